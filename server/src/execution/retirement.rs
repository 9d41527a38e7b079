//! The end of an execution's record as one that runs, whatever becomes of its host.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use remex_supervisor::{
    lifecycle::{event::Exit, outcome::Outcome},
    process::Usage,
};

use super::{EndRecord, Execution, log, registry::Registry};

/// Retires a record: with the exit that it is given, or, if its host is dropped or panics before, as lost.
#[derive(Debug)]
pub(super) struct Retirement {
    pub(super) registry: Registry,
    execution: Option<Arc<Execution>>,
}

impl Retirement {
    pub(super) fn new(registry: Registry, execution: Arc<Execution>) -> Self {
        Self {
            registry,
            execution: Some(execution),
        }
    }

    /// The execution has ended.
    pub(super) fn retire(mut self, exit: Exit) {
        if let Some(execution) = self.execution.take() {
            self.registry.retire(&execution, end(exit));
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
        self.registry.retire(&execution, end(lost));
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
    use std::{collections::BTreeMap, future::pending, io, os::unix::ffi::OsStrExt, path::Path};

    use bytes::Bytes;
    use remex_daemon::net::{Caller, Transport};
    use remex_supervisor::{
        journal::SyncMode,
        lifecycle::{
            outcome::ExitReason,
            outlet::{Flow, Outlet},
            output::OutputStream,
        },
        process::{self, CommandSpec, DEFAULT_KILL_AFTER, ResourceLimits, Spawner},
    };
    use tokio::time::timeout;

    use super::*;
    use crate::{
        attached::outlet::AttachedOutlet,
        durable::DurableSettings,
        execution::{Executions, NewExecution, Through},
    };

    /// Longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Panics when there is output.
    struct Panics;

    impl Outlet for Panics {
        const PATIENCE: Duration = Duration::ZERO;

        fn takes(&self, _: OutputStream) -> bool {
            true
        }

        fn read(
            &mut self,
            _: OutputStream,
            _: impl FnOnce(&mut Vec<u8>) -> io::Result<usize>,
        ) -> io::Result<usize> {
            panic!("as the test wants it")
        }

        fn end(&mut self, _: OutputStream) {}

        fn started(&mut self, _: Duration, _: i32) {}

        fn deadline(&self, _: Duration, _: bool) -> Option<Duration> {
            None
        }

        fn pass_on(&mut self, _: Duration, _: bool) -> Flow {
            Flow::Same
        }

        fn deliver(&mut self, _: Duration, _: Exit, _: impl FnOnce()) -> bool {
            true
        }

        fn abandon(&mut self) -> Flow {
            Flow::Same
        }
    }

    impl AttachedOutlet for Panics {
        async fn gone(&self) {
            pending::<()>().await;
        }

        async fn room(&self) {
            pending::<()>().await;
        }
    }

    fn executions(folder: &Path) -> Executions {
        let settings = process::Settings {
            directory: folder.to_owned(),
            pass_environment: Vec::new(),
            state_dir: folder.to_owned(),
            instance: format!("retirement-{}", std::process::id()),
            containment: process::Choice::Auto,
            prepared: None,
        };
        let (spawner, _) = Spawner::new(settings).unwrap();
        let durable = DurableSettings {
            sync: SyncMode::None,
        };
        Executions::new(spawner, 1, folder, durable).unwrap()
    }

    fn shell(text: &str) -> NewExecution {
        let argv = ["/bin/sh", "-c", text]
            .map(|string| std::ffi::CString::new(std::ffi::OsStr::new(string).as_bytes()).unwrap());
        NewExecution {
            spec: CommandSpec {
                argv: argv.into(),
                shell: true,
                working_directory: None,
                environment: Vec::new(),
                clear_environment: false,
                user: None,
                timeout: None,
                kill_after: DEFAULT_KILL_AFTER,
                terminal: None,
                limits: ResourceLimits::default(),
            },
            stdin: Bytes::new(),
            stdin_open: false,
            until_end: false,
            labels: BTreeMap::new(),
            caller: Caller::unix(0),
            through: Through {
                transport: Transport::Unix,
                gateway: false,
                client: None,
            },
            durability: None,
        }
    }

    #[tokio::test]
    async fn pitfall_55_a_panic_in_a_host_retires_its_record_and_kills_its_command() {
        let folder = tempfile::tempdir().unwrap();
        let executions = executions(folder.path());
        let new = shell("echo; exec sleep 1000");
        let execution = executions.start_attached(new, |_| Panics).await.unwrap();
        let ended = timeout(PATIENCE, execution.ended()).await;
        ended.expect("its record is retired");
        let EndRecord { exit, .. } = execution.end_record().unwrap();
        assert_eq!(exit.outcome.reason, ExitReason::Lost);
        assert_eq!(exit.outcome.status, None);
        // It counts among the ended: it may be forgotten, and nobody reaches it.
        assert!(execution.signal(9).await.is_err());
        executions.delete(&execution).await.unwrap();
        executions.begin().unwrap();
        let found = executions.find(execution.id, &execution.caller).await;
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
