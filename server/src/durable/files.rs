//! File operations aside from the async workers: a disk may hold them for as long as it likes. A few threads do them all.

use std::sync::Arc;

use tokio::{sync::Semaphore, task::spawn_blocking};

/// So many at once; the others wait.
const AT_ONCE: usize = 16;

/// Where file operations are done. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Files(Arc<Semaphore>);

impl Default for Files {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Files {
    /// Does `work`. It is done to its end, also if nobody waits for it any more; a panic in it is the caller's.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        // It is never closed.
        let turn = Arc::clone(&self.0).acquire_owned().await;
        let done = spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        match done.await {
            Ok(value) => value,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime goes; whoever waits goes with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}
