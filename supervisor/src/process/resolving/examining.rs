//! The look at what would be executed, for somebody to judge: where the kernel knows of it, at once, else by a child.

use std::{sync::Arc, time::Instant};

use super::{
    super::{
        clone::Birth,
        error::{self, StartError},
        examine::{Examination, Examined, Held},
        leader::Leader,
        lookup::How,
        plan::Plan,
        spawn::Spawner,
        stuck::{Stuck, Uses},
    },
    Stage,
};

/// A child looks at program and folder.
#[derive(Debug)]
pub(super) struct Examining {
    leader: Leader,
    birth: Birth<Box<Examination>>,
    plan: Plan,
}

/// What was examined, with what holds it.
pub(super) type Seen = (Examined, Held);

impl Examining {
    /// Looks where the kernel knows, else has a child do so.
    pub(super) fn begin(spawner: &Spawner, mut plan: Plan) -> Result<Stage, StartError> {
        let mut examination = Examination::new(&plan)?;
        if examination.look(How::Cached) {
            let seen = examination.end(&mut plan, spawner.own_ids())?;
            return Ok(Stage::Examined(Box::new((plan, Some(seen)))));
        }
        if spawner.is_crowded() {
            return Err(error::crowded());
        }
        let mut birth = None;
        let leader = spawner.containment.guard(|| {
            let (leader, started) = spawner.cloner.start(examination, None)?;
            birth = Some(started);
            Ok(leader)
        });
        let leader = leader.map_err(StartError::resources("make a process"))?;
        let birth = birth.ok_or_else(error::no_child)?;
        Ok(Stage::Examining(Box::new(Self {
            leader,
            birth,
            plan,
        })))
    }

    /// Whether it has ended by `until`.
    pub(super) fn wait(&self, until: Instant) -> bool {
        self.birth.wait(until)
    }

    /// The plan, which executes what was seen alone.
    pub(super) fn end(self, spawner: &Spawner) -> Result<(Plan, Option<Seen>), StartError> {
        let Self {
            leader,
            birth,
            mut plan,
        } = self;
        let examination = spawner.cloner.finish(birth);
        spawner.containment.bury(&Arc::new(leader));
        let examination = examination.ok_or_else(error::no_child)?;
        let seen = examination.end(&mut plan, spawner.own_ids())?;
        Ok((plan, Some(seen)))
    }

    pub(super) fn kill(self) -> Stuck {
        Stuck::kill(self.leader, None, Uses::Examination(self.birth))
    }
}
