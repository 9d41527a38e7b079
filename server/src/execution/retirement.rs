//! The end of an execution's record as one that runs, whatever becomes of its host.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use remex_supervisor::{
    lifecycle::{event::Exit, outcome::Outcome},
    process::Usage,
};

use super::{EndRecord, Execution, Resources, log, registry::Registry};
use crate::audit::AuditLog;

/// Retires a record: with the exit that it is given, or, if its host is dropped or panics before, as lost.
#[derive(Debug)]
pub(super) struct Retirement {
    pub(super) registry: Registry,
    audit: AuditLog,
    execution: Option<Arc<Execution>>,
}

impl Retirement {
    pub(super) fn new(resources: &Resources, execution: Arc<Execution>) -> Self {
        Self {
            registry: resources.registry.clone(),
            audit: resources.audit.clone(),
            execution: Some(execution),
        }
    }

    /// The execution has ended.
    pub(super) fn retire(mut self, exit: Exit) {
        if let Some(execution) = self.execution.take() {
            let end = end(exit);
            // Whoever sees the end finds it told.
            self.audit.ended(&execution, &end);
            self.registry.retire(&execution, end);
            log::ended(&execution, &exit);
        }
    }
}

impl Drop for Retirement {
    fn drop(&mut self) {
        let Some(execution) = self.execution.take() else {
            return;
        };
        tracing::error!(id = %execution.id, "the supervision of an execution ended before it did; it was killed");
        let lost = Exit {
            outcome: Outcome::LOST,
            wall_time: execution.created.elapsed().unwrap_or(Duration::ZERO),
            usage: Usage::default(),
            oom_killed: false,
            output_left_open: false,
        };
        let end = end(lost);
        self.audit.ended(&execution, &end);
        self.registry.retire(&execution, end);
    }
}

fn end(exit: Exit) -> EndRecord {
    EndRecord {
        exit,
        lost: None,
        time: SystemTime::now(),
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, path::Path};

    use remex_supervisor::lifecycle::{
        event::EventKind,
        outcome::ExitReason,
        outlet::{EventOutlet, EventSink, Item},
    };
    use tokio::time::timeout;

    use super::{
        super::testing::{executions, shell},
        *,
    };
    use crate::{
        attached::outlet::AttachedOutlet, audit::CallRecord, execution::Viewer,
        policy::question::OnOthers,
    };

    /// Longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Panics when it is sent output.
    struct Panics;

    impl EventSink for Panics {
        fn tells_accepted(&self) -> bool {
            false
        }

        fn has_room(&self) -> bool {
            true
        }

        fn takes_large(&mut self) -> bool {
            false
        }

        fn send(&mut self, item: Item) {
            let kind = item.event.map(|event| event.kind);
            assert!(
                !matches!(kind, Some(EventKind::Output(_))),
                "as the test wants it"
            );
        }
    }

    impl AttachedOutlet for EventOutlet<Panics> {
        async fn gone(&self) {
            pending::<()>().await;
        }

        async fn room(&self) {
            pending::<()>().await;
        }
    }

    #[tokio::test]
    async fn pitfall_55_a_panic_in_a_host_retires_its_record_and_kills_its_command() {
        let folder = tempfile::tempdir().unwrap();
        let executions = executions(folder.path(), 1);
        let new = shell("echo; exec sleep 1000");
        let execution = executions
            .start_attached(new, |counters| EventOutlet::new(Panics, counters))
            .await
            .unwrap();
        let ended = timeout(PATIENCE, execution.ended()).await;
        ended.expect("its record is retired");
        let EndRecord { exit, .. } = execution.end_record().unwrap();
        assert_eq!(exit.outcome.reason, ExitReason::Lost);
        assert_eq!(exit.outcome.status, None);
        // It counts among the ended: it may be forgotten, and nobody reaches it.
        assert!(execution.signal(9).await.is_err());
        executions.delete(&execution).await.unwrap();
        let viewer = Viewer {
            caller: execution.caller.clone(),
            standing: None,
            record: CallRecord::default(),
        };
        let found = executions.find(execution.id, &viewer, OnOthers::See).await;
        assert!(found.is_none());
        // Its place is free, and its process gone.
        let again = timeout(PATIENCE, async {
            while executions.running() > 0 {
                tokio::task::yield_now().await;
            }
            while Path::new(&format!("/proc/{}", execution.pid)).exists() {
                tokio::task::yield_now().await;
            }
        });
        again.await.expect("nothing of it is left");
    }
}
