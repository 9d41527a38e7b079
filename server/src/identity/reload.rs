//! Certificates, tokens and keys anew, when their files change or SIGHUP asks. What is broken leaves the old in place, and
//! says so; connections and calls go on meanwhile.

use std::{fmt, fs, os::unix::fs::MetadataExt, path::Path, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{Trust, TrustError, TrustFiles};

/// How often the files are looked at. Not by inotify, which does not see a file that another machine or another mount changes.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// By which a changed file is known. Of what a link leads to, so that a link that leads elsewhere is a change.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

/// The current trust, for those that serve by it.
pub type CurrentTrust = watch::Receiver<Arc<Trust>>;

/// Keeps a [`Trust`] up to date.
pub struct Reloader {
    files: TrustFiles,
    stamps: Vec<Stamp>,
    current: watch::Sender<Arc<Trust>>,
    complaints: Complaints,
}

/// What was wrong when the files were last looked at.
#[derive(Debug, Default, PartialEq, Eq)]
struct Complaints {
    last: Vec<String>,
    said: Vec<String>,
}

impl Complaints {
    /// Which of `now` are to be said: those that stood a second look, since a certificate and its key are never replaced in
    /// the same moment, and that have not been said yet. `at_once`: somebody waits to hear of them.
    fn due(&mut self, now: Vec<String>, at_once: bool) -> Vec<String> {
        let is_due = |one: &&String| at_once || self.last.contains(one);
        let is_new = |one: &&String| at_once || !self.said.contains(one);
        let due: Vec<_> = now.iter().filter(is_due).filter(is_new).cloned().collect();
        self.said.retain(|one| now.contains(one));
        self.said.extend(due.iter().cloned());
        self.last = now;
        due
    }
}

impl Reloader {
    /// Of what is in `files` now.
    pub fn new(files: TrustFiles) -> Result<Self, TrustError> {
        // Before they are read: what changes meanwhile is read again.
        let stamps = stamps(&files);
        let trust = Trust::load(&files)?;
        Ok(Self {
            files,
            stamps,
            current: watch::Sender::new(Arc::new(trust)),
            complaints: Complaints::default(),
        })
    }

    /// What holds from now on, and what will.
    pub fn current(&self) -> CurrentTrust {
        self.current.subscribe()
    }

    /// Which tells those who go by [`Self::current`], for whoever takes this one's place.
    pub fn sender(&self) -> watch::Sender<Arc<Trust>> {
        self.current.clone()
    }

    /// In place of the one that `current` is of, which was told to stop: whoever goes by it, goes by these files.
    #[must_use]
    pub fn in_place_of(mut self, current: watch::Sender<Arc<Trust>>) -> Self {
        current.send_replace(Arc::clone(&self.current.borrow()));
        self.current = current;
        self
    }

    /// Looks at the files until `stop`, if there are any; at once when `asked`.
    pub async fn run(mut self, mut asked: watch::Receiver<u64>, stop: CancellationToken) {
        if self.files.paths().next().is_none() {
            return;
        }
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_asked = tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = asked.changed() => true,
                _ = looks.tick() => false,
            };
            // A file may be on a disk that does not answer, which is nobody else's business.
            let stopped = stop.clone();
            let looked = spawn_blocking(move || {
                self.look(is_asked, &stopped);
                self
            });
            self = match looked.await {
                Ok(this) => this,
                Err(error) => {
                    tracing::error!(%error, "certificates and tokens are not reloaded any more");
                    return;
                }
            };
        }
    }

    fn look(&mut self, asked: bool, stopped: &CancellationToken) {
        let stamps = stamps(&self.files);
        if !asked && stamps == self.stamps && self.complaints.last.is_empty() {
            return;
        }
        let changed = stamps != self.stamps;
        self.stamps = stamps;
        let (trust, errors) = self.current.borrow().reloaded(&self.files);
        if changed || asked || errors.len() < self.complaints.last.len() {
            // Another one may have taken its place meanwhile.
            let is_new = self.current.send_if_modified(|current| {
                let goes_on = !stopped.is_cancelled();
                if goes_on {
                    *current = Arc::new(trust);
                }
                goes_on
            });
            if is_new && errors.is_empty() {
                tracing::info!("certificates, tokens and keys were read again");
            }
        }
        let text = |error: &TrustError| format!("{}: {error}", error.flag());
        let errors = errors.iter().map(text).collect();
        for error in self.complaints.due(errors, asked) {
            tracing::error!(%error, "not reloaded: what held before still does");
        }
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

fn stamps(files: &TrustFiles) -> Vec<Stamp> {
    files.paths().map(|path| stamp(path)).collect()
}

fn stamp(path: &Path) -> Stamp {
    let of = fs::metadata(path).ok()?;
    Some((
        of.dev(),
        of.ino(),
        of.size(),
        (of.mtime(), of.mtime_nsec()),
        (of.ctime(), of.ctime_nsec()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_stands_a_second_look_is_said_once() {
        let mut complaints = Complaints::default();
        assert_eq!(complaints.due(texts(&["a"]), false), texts(&[]));
        assert_eq!(complaints.due(texts(&["a", "b"]), false), texts(&["a"]));
        assert_eq!(complaints.due(texts(&["a", "b"]), false), texts(&["b"]));
        assert_eq!(complaints.due(texts(&["a", "b"]), false), texts(&[]));
        // Whoever asks is told, again if need be.
        assert_eq!(complaints.due(texts(&["a"]), true), texts(&["a"]));
        assert_eq!(complaints.due(texts(&[]), false), texts(&[]));
        assert_eq!(complaints.due(texts(&["a"]), false), texts(&[]));
        assert_eq!(complaints.due(texts(&["a"]), false), texts(&["a"]));
    }

    #[test]
    fn a_changed_file_has_another_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let link = folder.path().join("link");
        fs::write(&one, "x").unwrap();
        fs::write(&two, "x").unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let first = stamp(&link);
        assert!(first.is_some());
        assert_eq!(first, stamp(&one));
        fs::remove_file(&link).unwrap();
        assert_eq!(stamp(&link), None);
        std::os::unix::fs::symlink(&two, &link).unwrap();
        assert_ne!(stamp(&link), first);
    }
}
