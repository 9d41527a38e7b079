//! The search for the program: where the kernel knows of it, at once, else by a child, which a folder of PATH may hold.

use std::{sync::Arc, time::Instant};

use super::{
    super::{
        clone::Birth,
        error::{self, StartError},
        leader::Leader,
        lookup::{How, Search},
        plan::Plan,
        spawn::{Draft, Spawner},
        stuck::{Stuck, Uses},
    },
    Stage,
};

/// A child looks for the program.
#[derive(Debug)]
pub(super) struct Searching {
    leader: Leader,
    birth: Birth<Search>,
    plan: Plan,
    path: Option<Vec<u8>>,
}

impl Searching {
    /// Looks for the program where the kernel knows of it, else has a child do so.
    pub(super) fn begin(
        spawner: &Spawner,
        Draft { mut plan, path }: Draft,
    ) -> Result<Stage, StartError> {
        let name = &plan.argv[0];
        // A name with a slash is a path, whatever is there: that is for the kernel to say.
        if name.as_bytes().contains(&b'/') {
            plan.program = name.clone();
            return Ok(Stage::Found(Box::new(plan)));
        }
        let as_self = plan.identity.is_none();
        let mut search = Search::new(name, path.as_deref(), &plan.directory, as_self);
        if search.look(How::Cached) {
            plan.program = search.outcome(name, path.as_deref())?;
            return Ok(Stage::Found(Box::new(plan)));
        }
        if spawner.is_crowded() {
            return Err(error::crowded());
        }
        let mut birth = None;
        let leader = spawner.containment.guard(|| {
            let (leader, started) = spawner.cloner.start(search, None)?;
            birth = Some(started);
            Ok(leader)
        });
        let leader = leader.map_err(StartError::resources("make a process"))?;
        let birth = birth.ok_or_else(error::no_child)?;
        Ok(Stage::Searching(Box::new(Self {
            leader,
            birth,
            plan,
            path,
        })))
    }

    /// Whether it has ended by `until`.
    pub(super) fn wait(&self, until: Instant) -> bool {
        self.birth.wait(until)
    }

    /// The plan, with the program that was found.
    pub(super) fn end(self, spawner: &Spawner) -> Result<Plan, StartError> {
        let Self {
            leader,
            birth,
            mut plan,
            path,
        } = self;
        let search = spawner.cloner.finish(birth);
        spawner.containment.bury(&Arc::new(leader));
        let search = search.ok_or_else(error::no_child)?;
        plan.program = search.outcome(&plan.argv[0], path.as_deref())?;
        Ok(plan)
    }

    pub(super) fn kill(self) -> Stuck {
        Stuck::kill(self.leader, None, Uses::Search(self.birth))
    }
}
