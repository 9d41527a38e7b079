//! From a [`CommandSpec`] to a [`Plan`]: its user is looked up, then its program is searched for. Either may be held by a user
//! database or a file system that does not answer; neither holds the thread that asks for more than a moment.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    clone::Birth,
    error::{self, StartError},
    leader::Leader,
    lookup::{How, Search},
    names::Question,
    plan::Plan,
    spawn::{Draft, Spawner},
    spec::CommandSpec,
    stuck::{Stuck, Uses},
};

/// How long the thread that starts a command stands still for it. More than most take.
pub(super) const STANDSTILL: Duration = Duration::from_millis(2);

/// How long a spawn may take before it is killed and given up.
pub const SPAWN_BOUND: Duration = Duration::from_secs(10);

/// How often a spawn that takes longer than a moment is looked at: first, and at last.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(50);

/// How long something is waited for, and how often it is looked at meanwhile.
#[derive(Debug)]
pub(crate) struct Patience {
    give_up: Instant,
    pause: Duration,
}

impl Patience {
    /// For what begins at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            give_up: now + SPAWN_BOUND,
            pause: FIRST_PAUSE,
        }
    }

    /// When it is given up.
    pub(super) fn give_up(&self) -> Instant {
        self.give_up
    }

    /// When to look again; `None`: it has taken too long.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Instant> {
        if now >= self.give_up {
            return None;
        }
        let next = now + self.pause;
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        Some(next.min(self.give_up))
    }
}

/// A command of which everything is looked up and decided. Its arguments and environment may be secrets, which a log is not told.
pub struct Resolved {
    pub(crate) plan: Plan,
    /// The user to run as, as the caller named it.
    pub(crate) user: Option<String>,
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
    Resolved(Resolved),
    /// It cannot be run.
    Failed(StartError),
    /// It takes longer; to be polled again at that time.
    WaitUntil(Instant),
}

impl<'a> Resolving<'a> {
    pub(super) fn begin(spawner: &'a Spawner, spec: &'a CommandSpec) -> Self {
        let now = Instant::now();
        let mut resolution = Resolution::begin(spawner, spec);
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
            Some(Ok(plan)) => {
                let user = self.resolution.spec.user.clone();
                return ResolveProgress::Resolved(Resolved { plan, user });
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
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Naming(Question),
    Searching(Box<Searching>),
    Done(Box<Result<Plan, StartError>>),
    Over,
}

/// A child looks for the program.
#[derive(Debug)]
struct Searching {
    leader: Leader,
    birth: Birth<Search>,
    plan: Plan,
    path: Option<Vec<u8>>,
}

impl<'a> Resolution<'a> {
    pub(super) fn begin(spawner: &'a Spawner, spec: &'a CommandSpec) -> Self {
        let mut resolution = Self {
            spawner,
            spec,
            stage: Stage::Over,
        };
        let first = match &spec.user {
            Some(text) => spawner.names.ask(text).map(Stage::Naming),
            None => spawner
                .draft(spec, None)
                .and_then(|draft| resolution.search(draft)),
        };
        resolution.stage = first.unwrap_or_else(failed);
        resolution
    }

    /// Goes as far as can be gone by `until`.
    pub(super) fn advance(&mut self, until: Instant) {
        if let Stage::Naming(question) = &self.stage {
            let Some(user) = question.wait(until) else {
                return;
            };
            let draft = user.and_then(|user| self.spawner.draft(self.spec, Some(&user)));
            let next = draft.and_then(|draft| self.search(draft));
            self.stage = next.unwrap_or_else(failed);
        }
        if matches!(&self.stage, Stage::Searching(searching) if searching.birth.wait(until))
            && let Stage::Searching(searching) = std::mem::replace(&mut self.stage, Stage::Over)
        {
            self.stage = Stage::Done(Box::new(self.found(*searching)));
        }
    }

    /// What it came to, once it has.
    pub(super) fn take(&mut self) -> Option<Result<Plan, StartError>> {
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
            _ => "a folder of PATH, or the working directory, does not answer",
        };
        self.abandon();
        StartError::Held { what }
    }

    /// Looks for the program where the kernel knows of it, else has a child do so.
    fn search(&self, Draft { mut plan, path }: Draft) -> Result<Stage, StartError> {
        let name = &plan.argv[0];
        // A name with a slash is a path, whatever is there: that is for the kernel to say.
        if name.as_bytes().contains(&b'/') {
            plan.program = name.clone();
            return Ok(Stage::Done(Box::new(Ok(plan))));
        }
        let as_self = plan.identity.is_none();
        let mut search = Search::new(name, path.as_deref(), &plan.directory, as_self);
        if search.look(How::Cached) {
            plan.program = search.outcome(name, path.as_deref())?;
            return Ok(Stage::Done(Box::new(Ok(plan))));
        }
        if self.spawner.is_crowded() {
            return Err(error::crowded());
        }
        let mut birth = None;
        let spawner = self.spawner;
        let leader = spawner.containment.guard(|| {
            let (leader, started) = spawner.cloner.start(search, None)?;
            birth = Some(started);
            Ok(leader)
        });
        let leader = leader.map_err(StartError::resources("make a process"))?;
        let birth = birth.ok_or_else(error::no_child)?;
        Ok(Stage::Searching(Box::new(Searching {
            leader,
            birth,
            plan,
            path,
        })))
    }

    fn found(&self, searching: Searching) -> Result<Plan, StartError> {
        let Searching {
            leader,
            birth,
            mut plan,
            path,
        } = searching;
        let search = self.spawner.cloner.finish(birth);
        self.spawner.containment.bury(&Arc::new(leader));
        let search = search.ok_or_else(error::no_child)?;
        plan.program = search.outcome(&plan.argv[0], path.as_deref())?;
        Ok(plan)
    }

    /// Kills what is on its way.
    fn abandon(&mut self) {
        if let Stage::Searching(searching) = std::mem::replace(&mut self.stage, Stage::Over) {
            let stuck = Stuck::kill(searching.leader, None, Uses::Search(searching.birth));
            self.spawner.put_to_rest(stuck);
        }
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
