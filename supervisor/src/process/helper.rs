//! A process of the server's own, which runs no command.

use std::{io, sync::Arc, time::Instant};

use super::{
    child::Job,
    clone::{Birth, Cloner},
    containment::Containment,
    leader::Leader,
    signal,
};

/// Makes helpers.
#[derive(Debug)]
pub(crate) struct Helpers {
    cloner: Arc<Cloner>,
    containment: Arc<Containment>,
}

/// One that was made. It is a child, and nobody's orphan.
#[derive(Debug)]
pub(crate) struct Helper {
    leader: Arc<Leader>,
    /// What it uses of this process until it executes.
    birth: Option<Birth<Job>>,
}

impl Helpers {
    pub(super) fn new(cloner: &Arc<Cloner>, containment: &Arc<Containment>) -> Self {
        Self {
            cloner: Arc::clone(cloner),
            containment: Arc::clone(containment),
        }
    }

    /// Starts one.
    pub(crate) fn start(&self, job: Job) -> io::Result<Helper> {
        let mut birth = None;
        let leader = self.containment.guard(|| {
            let (leader, started) = self.cloner.start(job, None)?;
            birth = Some(started);
            Ok(leader)
        })?;
        Ok(Helper {
            leader: Arc::new(leader),
            birth,
        })
    }

    /// Whether it has executed, or died; waits for that no longer than `until`.
    pub(crate) fn has_executed(&self, helper: &mut Helper, until: Instant) -> bool {
        let over = helper.birth.take_if(|birth| birth.wait(until));
        if let Some(birth) = over {
            self.cloner.finish(birth);
        }
        helper.birth.is_none()
    }

    /// Kills it, if it has not died yet, and reaps it when the kernel lets go of it.
    pub(crate) fn bury(&self, helper: &Helper) {
        // One that has died needs no signal.
        let _ = signal::pidfd_send(helper.leader.pidfd(), libc::SIGKILL);
        self.containment.bury(&helper.leader);
    }
}
