//! The audit log's file, and the thread that writes it. It waits for nobody but the file, and asks again when that takes
//! nothing: what could not be written is written later, in order.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, open},
    io::Errno,
};

use super::queue::{Entry, NotWritten, Queue, Task};

/// A file that takes nothing is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// A pipe that nobody reads is trouble after so long.
const STUCK: Duration = Duration::from_secs(1);

/// The most that one write holds.
const WRITE_BYTES: usize = 256 * 1024;

/// The file is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditFileError {
    /// It cannot be opened, or made.
    #[error("{}: cannot be opened to write: {source}", file.display())]
    Open {
        /// Which one.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Lines say what is nobody else's business, and nobody else is to forge them.
    #[error("{}: others may read or write it (mode {mode:04o}): chmod 600 {}", file.display(), file.display())]
    Shared {
        /// Which one.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Its owner may change it.
    #[error("{}: belongs to user {owner}: chown it to the user that remexd runs as, or to root", file.display())]
    Foreign {
        /// Which one.
        file: PathBuf,
        /// Whose it is.
        owner: u32,
    },
}

/// That the file at `path` can be had, or that it can be made; makes nothing.
pub fn check(path: &Path) -> Result<(), AuditFileError> {
    match path.symlink_metadata() {
        Ok(_) => open_for(path, OFlags::empty()).map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = match path.parent() {
                Some(folder) if folder != Path::new("") => folder,
                _ => Path::new("."),
            };
            let source = match folder.metadata() {
                Ok(metadata) if metadata.is_dir() => return Ok(()),
                Ok(_) => io::ErrorKind::NotADirectory.into(),
                Err(error) => error,
            };
            let file = path.to_owned();
            Err(AuditFileError::Open { file, source })
        }
        Err(source) => {
            let file = path.to_owned();
            Err(AuditFileError::Open { file, source })
        }
    }
}

/// Opens the file at `path` to add to it, and makes it, for its owner alone, if it is not there. No link is followed: a folder
/// that others may write leads nowhere else.
pub(super) fn open_to_append(path: &Path) -> Result<File, AuditFileError> {
    open_for(path, OFlags::CREATE)
}

fn open_for(path: &Path, more: OFlags) -> Result<File, AuditFileError> {
    // Non-blocking for pipes: whoever reads them may not, and then the thread has to be able to leave them.
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | more
        | OFlags::CLOEXEC
        | OFlags::NOFOLLOW
        | OFlags::NOCTTY
        | OFlags::NONBLOCK;
    let failed = |source| AuditFileError::Open {
        file: path.to_owned(),
        source,
    };
    let file = open(path, flags, Mode::RUSR | Mode::WUSR).map_err(|errno| failed(errno.into()))?;
    let file = File::from(file);
    let metadata = file.metadata().map_err(failed)?;
    let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
    // What is no file keeps nothing that could be read or changed.
    if metadata.is_file() && mode & 0o077 != 0 {
        let file = path.to_owned();
        return Err(AuditFileError::Shared { file, mode });
    }
    if metadata.is_file() && owner != 0 && owner != rustix::process::geteuid().as_raw() {
        let file = path.to_owned();
        return Err(AuditFileError::Foreign { file, owner });
    }
    Ok(file)
}

/// Begins to write what comes into `queue` to `file`, which is at `path`.
pub(super) fn start(path: PathBuf, file: File, queue: Queue) -> io::Result<()> {
    let mut writer = Writer {
        path,
        file,
        queue,
        entries: VecDeque::new(),
        begun: 0,
    };
    let thread = thread::Builder::new().name("audit".to_owned());
    thread.spawn(move || writer.run()).map(drop)
}

struct Writer {
    path: PathBuf,
    file: File,
    queue: Queue,
    /// In hand.
    entries: VecDeque<Entry>,
    /// What of the first of them is written.
    begun: usize,
}

impl Writer {
    fn run(&mut self) {
        loop {
            let Task { entries, reopen } = self.queue.take();
            self.entries.extend(entries);
            if reopen {
                self.reopen();
            }
            while !self.entries.is_empty() {
                match self.write() {
                    Ok(()) => self.well(),
                    Err(why) => self.fail(&why),
                }
            }
        }
    }

    /// Writes what one write takes.
    fn write(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        for entry in &self.entries {
            if !bytes.is_empty() && bytes.len() + entry.line.len() > WRITE_BYTES {
                break;
            }
            bytes.extend_from_slice(&entry.line);
        }
        let mut left = &bytes[self.begun.min(bytes.len())..];
        let since = Instant::now();
        while !left.is_empty() {
            match rustix::io::write(&self.file, left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    left = &left[written..];
                    self.written(written);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if since.elapsed() < STUCK => self.wait_for_room(),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn wait_for_room(&self) {
        let pause = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        let _ = poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&pause));
    }

    /// So many bytes more are written: whoever waits for one of those lines is told.
    fn written(&mut self, mut bytes: usize) {
        while let Some(first) = self.entries.front() {
            let left = first.line.len() - self.begun;
            if bytes < left {
                self.begun += bytes;
                return;
            }
            bytes -= left;
            self.begun = 0;
            if let Some(waiter) = self.entries.pop_front().and_then(|entry| entry.written) {
                let _ = waiter.send(Ok(()));
            }
        }
    }

    fn well(&self) {
        if self.queue.set_trouble(None) {
            tracing::info!(file = %self.path.display(), "--audit-log: lines are written again");
        }
    }

    /// Those who wait are told that it takes too long, and after a while it is tried again.
    fn fail(&mut self, error: &io::Error) {
        let is_stuck = error.kind() == io::ErrorKind::WouldBlock;
        let why = NotWritten(if is_stuck {
            "nobody reads it".to_owned()
        } else {
            error.to_string()
        });
        if self.queue.set_trouble(Some(why.clone())) {
            tracing::error!(file = %self.path.display(), %why, "--audit-log");
        }
        for entry in &mut self.entries {
            if let Some(waiter) = entry.written.take() {
                let _ = waiter.send(Err(why.clone()));
            }
        }
        if self.queue.pause(ASK_AGAIN) {
            self.reopen();
        } else if !is_stuck {
            // It may be another file by now: of a pipe whose reader has gone, of a disk that is there again.
            if let Ok(file) = open_to_append(&self.path) {
                self.take_over(file);
            }
        }
    }

    /// Goes on in the file that is at the path now; if that is of no use, in the one that is open.
    fn reopen(&mut self) {
        match open_to_append(&self.path) {
            Ok(file) => {
                self.take_over(file);
                tracing::info!(file = %self.path.display(), "--audit-log: opened anew");
            }
            Err(error) => {
                tracing::error!(%error, "--audit-log: not opened anew: lines go where they went before");
            }
        }
    }

    /// A line that was begun in another file is written whole.
    fn take_over(&mut self, file: File) {
        let is_same = match (file.metadata(), self.file.metadata()) {
            (Ok(new), Ok(old)) => (new.dev(), new.ino()) == (old.dev(), old.ino()),
            _ => false,
        };
        if !is_same {
            self.begun = 0;
        }
        self.file = file;
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use tokio::sync::oneshot;

    use super::{super::queue::Room, *};

    /// Longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn push(queue: &Queue, line: &str) -> oneshot::Receiver<Result<(), NotWritten>> {
        let (written, told) = oneshot::channel();
        let entry = Entry {
            line: line.into(),
            written: Some(written),
        };
        assert!(queue.push(Room::Commands, entry));
        told
    }

    fn begin(path: &Path) -> Queue {
        let queue = Queue::default();
        start(
            path.to_owned(),
            open_to_append(path).unwrap(),
            queue.clone(),
        )
        .unwrap();
        queue
    }

    #[test]
    fn lines_are_written_in_order_and_whoever_waits_is_told_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let queue = begin(&path);
        for line in ["one\n", "two\n"] {
            assert_eq!(push(&queue, line).blocking_recv(), Ok(Ok(())));
            assert!(fs::read_to_string(&path).unwrap().ends_with(line));
        }
        assert!(queue.finish(PATIENCE));
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn it_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let mode = || fs::metadata(&path).unwrap().mode() & 0o7777;
        open_to_append(&path).unwrap();
        assert_eq!(mode(), 0o600);
        for wrong in [0o640, 0o604, 0o620, 0o602, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(wrong)).unwrap();
            let refused = open_to_append(&path).unwrap_err();
            assert!(refused.to_string().contains("chmod 600"), "{refused}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let refused = open_to_append(&link).unwrap_err();
        assert!(matches!(refused, AuditFileError::Open { .. }), "{refused}");
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_written_once_there_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let queue = Queue::default();
        let full = File::options().write(true).open("/dev/full").unwrap();
        start(path.clone(), full, queue.clone()).unwrap();
        let told = push(&queue, "one\n").blocking_recv().unwrap();
        assert!(told.unwrap_err().to_string().contains("No space left"));
        assert!(queue.finish(PATIENCE));
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\n");
        assert_eq!(queue.trouble(), None);
    }

    #[test]
    fn a_line_that_was_begun_elsewhere_is_whole_in_the_next_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let mut writer = Writer {
            file: open_to_append(&path).unwrap(),
            path: path.clone(),
            queue: Queue::default(),
            entries: ["one\n", "two\n"]
                .map(|line| Entry {
                    line: line.into(),
                    written: None,
                })
                .into(),
            begun: 0,
        };
        writer.written(5);
        assert_eq!((writer.begun, writer.entries.len()), (1, 1));
        // The same file goes on where it was.
        writer.take_over(open_to_append(&path).unwrap());
        assert_eq!(writer.begun, 1);
        let other = folder.path().join("other");
        writer.take_over(open_to_append(&other).unwrap());
        writer.write().unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "two\n");
        assert!(writer.entries.is_empty());
    }
}
