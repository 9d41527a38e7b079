//! From a [`CommandSpec`] to a [`Plan`]: its user is looked up, then its program is searched for, then, if somebody is to judge it,
//! both program and folder are looked at. Any of it may be held by a user database or a file system that does not answer; none
//! holds the thread that asks for more than a moment.

mod examining;
mod granting;
mod searching;

use std::{fmt, os::fd::OwnedFd, time::Instant};

use self::{
    examining::{Examining, Seen},
    granting::GrantingPaths,
    searching::Searching,
};
use super::{
    error::StartError,
    examine::{Examined, Held},
    names::Question,
    patience::{Patience, STANDSTILL},
    plan::{Plan, Planned},
    spawn::Spawner,
    spec::CommandSpec,
};

/// A command of which everything is looked up and decided. Its arguments and environment may be secrets, which a log is not told.
pub struct Resolved {
    pub(crate) plan: Plan,
    /// The ruleset of Landlock that the plan names.
    pub(crate) ruleset: Option<OwnedFd>,
    /// The user to run as, as the caller named it.
    pub(crate) user: Option<String>,
    examined: Option<Examined>,
    /// As long as this is there, no other file is taken for what was examined.
    held: Option<Held>,
}

impl Resolved {
    /// What would be executed, and where; `None`: nobody wanted to know.
    pub fn examined(&self) -> Option<&Examined> {
        self.examined.as_ref()
    }

    /// The plan, and what has to be held until it is carried out.
    pub(super) fn into_plan(self) -> (Planned, Option<Held>) {
        let Self {
            plan,
            ruleset,
            held,
            ..
        } = self;
        (Planned { plan, ruleset }, held)
    }
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolved")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A command on its way to a plan that is carried out elsewhere. Dropped before its end, it is given up.
#[derive(Debug)]
pub struct Resolving<'a> {
    patience: Patience,
    resolution: Resolution<'a>,
}

/// How far it is.
#[derive(Debug)]
pub enum ResolveProgress {
    /// There is a plan.
    Resolved(Box<Resolved>),
    /// It cannot be run.
    Failed(StartError),
    /// It takes longer; to be polled again at that time.
    WaitUntil(Instant),
}

impl<'a> Resolving<'a> {
    pub(super) fn begin(spawner: &'a Spawner, spec: &'a CommandSpec, examine: bool) -> Self {
        let now = Instant::now();
        let mut resolution = Resolution::begin(spawner, spec, examine);
        resolution.advance(now + STANDSTILL);
        Self {
            patience: Patience::new(now),
            resolution,
        }
    }

    /// How far it is. Not to be called again after it was resolved or has failed.
    pub fn poll(&mut self, now: Instant) -> ResolveProgress {
        self.resolution.advance(now);
        match self.resolution.take() {
            Some(Ok((Planned { plan, ruleset }, seen))) => {
                let (examined, held) = seen.unzip();
                return ResolveProgress::Resolved(Box::new(Resolved {
                    plan,
                    ruleset,
                    user: self.resolution.spec.user.clone(),
                    examined,
                    held,
                }));
            }
            Some(Err(error)) => return ResolveProgress::Failed(error),
            None => {}
        }
        match self.patience.next(now) {
            Some(next) => ResolveProgress::WaitUntil(next),
            None => ResolveProgress::Failed(self.resolution.give_up()),
        }
    }
}

/// The steps. Dropped, it is given up.
#[derive(Debug)]
pub(super) struct Resolution<'a> {
    spawner: &'a Spawner,
    spec: &'a CommandSpec,
    examine: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Naming(Question),
    Searching(Box<Searching>),
    /// There is a plan, which may have to be looked at.
    Found(Box<Plan>),
    Examining(Box<Examining>),
    /// There is a plan that nobody has to look at any more.
    Examined(Box<(Plan, Option<Seen>)>),
    Granting(Box<GrantingPaths>),
    Done(Box<Result<(Planned, Option<Seen>), StartError>>),
    Over,
}

impl<'a> Resolution<'a> {
    pub(super) fn begin(spawner: &'a Spawner, spec: &'a CommandSpec, examine: bool) -> Self {
        let first = match &spec.user {
            Some(text) => spawner.names.ask(text).map(Stage::Naming),
            None => spawner
                .draft(spec, None)
                .and_then(|draft| Searching::begin(spawner, draft)),
        };
        Self {
            spawner,
            spec,
            examine,
            stage: first.unwrap_or_else(failed),
        }
    }

    /// Goes as far as can be gone by `until`.
    pub(super) fn advance(&mut self, until: Instant) {
        if let Stage::Naming(question) = &self.stage {
            let Some(user) = question.wait(until) else {
                return;
            };
            let draft = user.and_then(|user| self.spawner.draft(self.spec, Some(&user)));
            let next = draft.and_then(|draft| Searching::begin(self.spawner, draft));
            self.stage = next.unwrap_or_else(failed);
        }
        if matches!(&self.stage, Stage::Searching(searching) if searching.wait(until))
            && let Stage::Searching(searching) = std::mem::replace(&mut self.stage, Stage::Over)
        {
            let found = searching.end(self.spawner);
            self.stage = found.map_or_else(failed, |plan| Stage::Found(Box::new(plan)));
        }
        if matches!(self.stage, Stage::Found(_))
            && let Stage::Found(plan) = std::mem::replace(&mut self.stage, Stage::Over)
        {
            self.stage = if self.examine {
                Examining::begin(self.spawner, *plan).unwrap_or_else(failed)
            } else {
                Stage::Examined(Box::new((*plan, None)))
            };
        }
        if matches!(&self.stage, Stage::Examining(examining) if examining.wait(until))
            && let Stage::Examining(examining) = std::mem::replace(&mut self.stage, Stage::Over)
        {
            let examined = examining.end(self.spawner);
            self.stage =
                examined.map_or_else(failed, |examined| Stage::Examined(Box::new(examined)));
        }
        if matches!(self.stage, Stage::Examined(_))
            && let Stage::Examined(examined) = std::mem::replace(&mut self.stage, Stage::Over)
        {
            let isolation = self.spec.isolation.as_ref();
            let next = GrantingPaths::begin(self.spawner, *examined, isolation);
            self.stage = next.unwrap_or_else(failed);
        }
        if matches!(&self.stage, Stage::Granting(granting) if granting.wait(until))
            && let Stage::Granting(granting) = std::mem::replace(&mut self.stage, Stage::Over)
        {
            self.stage = Stage::Done(Box::new(granting.end(self.spawner)));
        }
    }

    /// What it came to, once it has.
    pub(super) fn take(&mut self) -> Option<Result<(Planned, Option<Seen>), StartError>> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Done(done) => Some(*done),
            stage => {
                self.stage = stage;
                None
            }
        }
    }

    /// It has taken too long.
    pub(super) fn give_up(&mut self) -> StartError {
        self.spawner.count_held();
        let what = match &self.stage {
            Stage::Naming(_) => "the user database does not answer",
            Stage::Granting(_) => "a path of its isolation does not answer",
            Stage::Examining(_) => "the program or the working directory does not answer",
            _ => "a folder of PATH, or the working directory, does not answer",
        };
        self.abandon();
        StartError::Held { what }
    }

    /// Kills what is on its way.
    fn abandon(&mut self) {
        let stuck = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Searching(searching) => searching.kill(),
            Stage::Granting(granting) => granting.kill(),
            Stage::Examining(examining) => examining.kill(),
            Stage::Naming(_)
            | Stage::Found(_)
            | Stage::Examined(_)
            | Stage::Done(_)
            | Stage::Over => return,
        };
        self.spawner.put_to_rest(stuck);
    }
}

impl Drop for Resolution<'_> {
    fn drop(&mut self) {
        self.abandon();
    }
}

fn failed(error: StartError) -> Stage {
    Stage::Done(Box::new(Err(error)))
}
