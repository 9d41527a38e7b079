//! The end of remexd: a drain, or another program in its place.

use std::{sync::Arc, time::Duration};

use remex_daemon::shutdown::Shutdown;
use remex_supervisor::lifecycle::{ending::KILL_BOUND, outcome::Cause};
use tokio::{
    task::{JoinHandle, block_in_place},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic_health::server::HealthReporter;

use crate::{audit::AuditLog, execution::Executions, grpc::routes, operation::OperatedDaemon};

/// Open connections are given this long to take their last messages.
const GOODBYE: Duration = Duration::from_secs(2);

/// What the second signal kills is waited for this long; then remexd ends, within a second of the signal. [`KILL_BOUND`], which
/// gives a tree up that the kernel holds, would use that up alone.
const KILL_NOW: Duration = Duration::from_millis(600);

/// Lines of the audit log on what was killed are given this long to be written.
const LAST_LINES: Duration = Duration::from_millis(200);

/// What a drain ends.
pub(super) struct Serving {
    pub(super) health: HealthReporter,
    pub(super) operation: Arc<OperatedDaemon>,
    pub(super) audit: AuditLog,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) stop_legacy: CancellationToken,
    pub(super) legacy: JoinHandle<()>,
}

impl Serving {
    /// Until an end is asked for and has come, and all of it is told.
    pub(super) async fn until_over(mut self, shutdown: &Shutdown) {
        self.ended(shutdown).await;
        // A second signal is over within a second.
        let patience = if shutdown.now().is_cancelled() {
            LAST_LINES
        } else {
            GOODBYE
        };
        if !block_in_place(|| self.audit.finish(patience)) {
            tracing::warn!(
                ?patience,
                "--audit-log: lines are left that could not be written"
            );
        }
    }

    async fn ended(&mut self, shutdown: &Shutdown) {
        tokio::select! {
            () = shutdown.drain().cancelled() => {}
            () = self.operation.upgrading().cancelled() => {
                tokio::select! {
                    // It does not wait for what it would serve then.
                    () = shutdown.drain().cancelled() => {}
                    () = self.finished() => {}
                }
            }
        }
        let patience = if shutdown.drain().is_cancelled() {
            self.operation.drain_timeout()
        } else {
            // What still runs has had its time.
            Duration::ZERO
        };
        self.stop_legacy.cancel();
        tokio::select! {
            biased;
            () = shutdown.now().cancelled() => {}
            () = self.drained(patience) => return,
        }
        let killed = async {
            let executions = self.operation.executions();
            executions.kill_all().await;
            executions.finished().await;
        };
        if timeout(KILL_NOW, killed).await.is_err() {
            tracing::warn!("some executions have not ended");
        }
    }

    /// Takes no more connections, which wait in the queues of the sockets, and lets those that there are finish, as long as a
    /// drain may take.
    async fn finished(&mut self) {
        self.stop_legacy.cancel();
        let listeners = self.operation.listeners();
        let finished = async { tokio::join!(listeners.finish(), &mut self.legacy) };
        if timeout(self.operation.drain_timeout(), finished)
            .await
            .is_err()
        {
            tracing::info!("ending what still runs for the next program");
        }
    }

    async fn drained(&self, patience: Duration) {
        let executions = self.operation.executions();
        drain(executions, &self.health, patience).await;
        self.stop.cancel();
        self.operation.listeners().close();
        if timeout(GOODBYE, executions.close()).await.is_err() {
            tracing::debug!("what an earlier remexd had left was looked at to the end");
        }
        self.tasks.close();
        if timeout(GOODBYE, self.tasks.wait()).await.is_err() {
            tracing::debug!("connections were open to the end");
        }
    }
}

/// Nothing new starts; what runs gets `patience`, then is ended with SHUTDOWN.
async fn drain(executions: &Executions, health: &HealthReporter, patience: Duration) {
    executions.drain();
    routes::serve(health, false).await;
    if timeout(patience, executions.finished()).await.is_ok() {
        return;
    }
    let running = executions.running();
    tracing::info!(running, "ending what still runs");
    let bound = executions.longest_kill_after() + KILL_BOUND + GOODBYE;
    let ended = async {
        executions.end_all(Cause::Shutdown).await;
        executions.finished().await;
    };
    // A reader that holds its output up holds up no more than this.
    if timeout(bound, ended).await.is_err() {
        tracing::warn!("some executions have not ended");
    }
}
