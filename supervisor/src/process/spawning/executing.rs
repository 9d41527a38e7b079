//! A command of this process's own user: a child in this memory executes it.

use std::{io, os::fd::AsRawFd, sync::Arc, time::Instant};

use super::{
    super::{
        child::{Fourth, Job},
        clone::Birth,
        error::{self, StartError},
        gate::Gate,
        leader::Leader,
        low_fds::Taken,
        plan::Planned,
        stdio::ChildStdio,
        stuck::{Stuck, Uses},
    },
    Advance, Spawning, Stage,
    launch::Ours,
};

/// A child in this memory is on its way to the program.
#[derive(Debug)]
pub(super) struct Executing {
    leader: Leader,
    birth: Birth<Job>,
    /// What holds it back, until it is released.
    gate: Option<Arc<Gate>>,
    low_fds: Option<Taken>,
    childs: ChildStdio,
    ours: Ours,
}

impl Executing {
    /// The program may be executed.
    pub(super) fn release(&mut self) {
        if let Some(gate) = self.gate.take() {
            self.leader.let_go();
            gate.open();
        }
    }

    /// The pid of a child that is ready, and waits to be released.
    #[cfg(test)]
    pub(super) fn held(&self) -> Option<i32> {
        let gate = self.gate.as_ref()?;
        gate.is_awaited().then_some(self.leader.pid())
    }

    pub(super) fn kill(self) -> Stuck {
        let uses = Uses::Command {
            birth: self.birth,
            low_fds: self.low_fds,
            stdio: self.childs,
        };
        Stuck::kill(self.leader, Some(self.ours.place), uses)
    }
}

impl<'a> Spawning<'a> {
    pub(super) fn execute(
        &self,
        planned: Planned,
        ours: Ours,
        childs: ChildStdio,
    ) -> Result<Stage<'a>, StartError> {
        let spawner = self.spawner;
        let ends = childs.ends(spawner.low_fds.null());
        let low_fds = match spawner.low_fds.take(ends) {
            Ok(low_fds) => low_fds,
            Err(error) => {
                spawner.containment.abandon(ours.place);
                return Err(StartError::resources("place the command's streams")(error));
            }
        };
        let fds = low_fds
            .as_ref()
            .map_or_else(|| ends.map(|end| end.as_raw_fd()), Taken::fds);
        let gate = (!self.is_released).then(Arc::<Gate>::default);
        let job = Job::new(planned, fds, Fourth::Closed).behind(gate.clone());
        let mut birth = None;
        let leader = spawner.containment.guard(|| {
            let (leader, started) = spawner.cloner.start(job, ours.place.cgroup())?;
            birth = Some(started);
            Ok(leader)
        });
        match (leader, birth) {
            (Ok(leader), Some(birth)) => Ok(Stage::Executing(Executing {
                leader,
                birth,
                gate,
                low_fds,
                childs,
                ours,
            })),
            (leader, _) => {
                spawner.containment.abandon(ours.place);
                let error = leader.err().unwrap_or_else(|| io::ErrorKind::Other.into());
                Err(StartError::resources("make a process")(error))
            }
        }
    }

    pub(super) fn executed(&self, executing: Executing, until: Instant) -> Advance<'a> {
        if !executing.birth.wait(until) {
            return Ok((Stage::Executing(executing), false));
        }
        let Executing {
            leader,
            birth,
            low_fds,
            childs,
            ours,
            ..
        } = executing;
        let job = self.spawner.cloner.finish(birth);
        drop((low_fds, childs));
        let error = match job.as_ref().and_then(Job::outcome) {
            Some(Ok(())) => return Ok((self.started(leader, ours), false)),
            Some(Err(failure)) => match job.map(Job::into_plan) {
                Some(plan) => failure.meaning(&plan, self.spec.user.as_deref()),
                None => error::no_child(),
            },
            None => error::no_child(),
        };
        self.buried(leader, ours, error)
    }
}
