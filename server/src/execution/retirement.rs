//! The end of an execution's record as one that runs, whatever becomes of its host.

use std::{sync::Arc, time::Duration};

use remex_supervisor::{
    lifecycle::{event::Exit, outcome::Outcome},
    process::Usage,
};

use super::{Execution, log, registry::Registry};

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
            self.registry.retire(&execution, exit);
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
        self.registry.retire(&execution, lost);
    }
}
