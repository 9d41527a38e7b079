//! The making of the ruleset: of paths that the kernel knows, at once, else by a child, which a path may hold.

use std::{sync::Arc, time::Instant};

use super::{
    super::{
        clone::Birth,
        error::{self, StartError},
        isolation::{Granting, IsolationSpec, decide},
        leader::Leader,
        lookup::How,
        plan::{Plan, Planned},
        spawn::Spawner,
        stuck::{Stuck, Uses},
    },
    Stage,
    examining::Seen,
};

/// A child opens paths and grants them.
#[derive(Debug)]
pub(super) struct GrantingPaths {
    leader: Leader,
    birth: Birth<Granting>,
    plan: Plan,
    seen: Option<Seen>,
}

impl GrantingPaths {
    /// Decides what is applied of `isolation`, and grants the paths that the kernel knows; has a child do so with others.
    pub(super) fn begin(
        spawner: &Spawner,
        (mut plan, seen): (Plan, Option<Seen>),
        isolation: Option<&IsolationSpec>,
    ) -> Result<Stage, StartError> {
        let done =
            |plan, ruleset, seen| Ok(Stage::Done(Box::new(Ok((Planned { plan, ruleset }, seen)))));
        let Some(isolation) = isolation else {
            return done(plan, None, seen);
        };
        let decision = decide(isolation, &spawner.support)?;
        let granting = Granting::begin(isolation, &decision)?;
        plan.confinement = Some(decision.confinement);
        let Some(mut granting) = granting else {
            return done(plan, None, seen);
        };
        if granting.go(How::Cached) {
            return done(plan, Some(granting.end()?), seen);
        }
        if spawner.is_crowded() {
            return Err(error::crowded());
        }
        let mut birth = None;
        let leader = spawner.containment.guard(|| {
            let (leader, started) = spawner.cloner.start(granting, None)?;
            birth = Some(started);
            Ok(leader)
        });
        let leader = leader.map_err(StartError::resources("make a process"))?;
        let birth = birth.ok_or_else(error::no_child)?;
        Ok(Stage::Granting(Box::new(Self {
            leader,
            birth,
            plan,
            seen,
        })))
    }

    /// Whether it has ended by `until`.
    pub(super) fn wait(&self, until: Instant) -> bool {
        self.birth.wait(until)
    }

    /// The plan, with the ruleset.
    pub(super) fn end(self, spawner: &Spawner) -> Result<(Planned, Option<Seen>), StartError> {
        let Self {
            leader,
            birth,
            plan,
            seen,
        } = self;
        let granting = spawner.cloner.finish(birth);
        spawner.containment.bury(&Arc::new(leader));
        let ruleset = granting.ok_or_else(error::no_child)?.end()?;
        let ruleset = Some(ruleset);
        Ok((Planned { plan, ruleset }, seen))
    }

    pub(super) fn kill(self) -> Stuck {
        Stuck::kill(self.leader, None, Uses::Grants(self.birth))
    }
}
