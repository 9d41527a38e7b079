//! The policy that holds, and how it is replaced: SIGHUP reads the file again. A broken file changes nothing.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use remex_daemon::FileError;
use tokio::{sync::watch, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::{breadth::broad, machine::ThisMachine, rule::AccessPolicy};

/// The policy at each time; `None`: there is none, and everything is allowed to those that are let in.
pub type CurrentPolicy = watch::Receiver<Option<Arc<AccessPolicy>>>;

/// Keeps the policy up to date.
#[derive(Debug)]
pub struct PolicyReloader {
    file: Option<PathBuf>,
    current: watch::Sender<Option<Arc<AccessPolicy>>>,
}

impl PolicyReloader {
    /// Of what is in `file` now.
    pub fn new(file: Option<PathBuf>) -> Result<Self, FileError> {
        let policy = file
            .as_ref()
            .map(|file| AccessPolicy::load(file, &ThisMachine));
        let policy = policy.transpose()?.map(Arc::new);
        Ok(Self {
            file,
            current: watch::Sender::new(policy),
        })
    }

    /// What holds from now on, and what will.
    pub fn current(&self) -> CurrentPolicy {
        self.current.subscribe()
    }

    /// Which tells those who go by [`Self::current`], for whoever takes this one's place.
    pub fn sender(&self) -> watch::Sender<Option<Arc<AccessPolicy>>> {
        self.current.clone()
    }

    /// In place of the one that `current` is of, which was told to stop: whoever goes by it, goes by this file.
    #[must_use]
    pub fn in_place_of(mut self, current: watch::Sender<Option<Arc<AccessPolicy>>>) -> Self {
        current.send_replace(self.current.borrow().clone());
        self.current = current;
        self
    }

    /// The file, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reads the file again whenever that is asked for, until `stop`.
    pub async fn run(self, mut reload: watch::Receiver<u64>, stop: CancellationToken) {
        let Some(file) = self.file else {
            return;
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = reload.changed() => {}
            }
            // The file, or the user database, may not answer, which is nobody else's business.
            let path = file.clone();
            match spawn_blocking(move || AccessPolicy::load(&path, &ThisMachine)).await {
                Ok(Ok(policy)) => {
                    warn_of_broad(&policy);
                    let rules = policy.rules.len();
                    // In one step: nothing is judged by half of it. Another one may have taken its place meanwhile.
                    self.current.send_if_modified(|current| {
                        let goes_on = !stop.is_cancelled();
                        if goes_on {
                            *current = Some(Arc::new(policy));
                        }
                        goes_on
                    });
                    tracing::info!(rules, "--policy: the policy was read again");
                }
                Ok(Err(error)) => {
                    tracing::error!(%error, "--policy: not reloaded: what held before still does");
                }
                Err(error) => {
                    tracing::error!(%error, "--policy: not reloaded: what held before still does");
                }
            }
        }
    }
}

/// Says which rules allow everything.
pub fn warn_of_broad(policy: &AccessPolicy) {
    for (rule, why) in broad(policy) {
        tracing::warn!(
            rule = rule.name,
            line = rule.line,
            why,
            "--policy: a rule allows everything"
        );
    }
}
