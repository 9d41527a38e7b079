//! One spawn on its way: from a name in the user database over the search for the program to its execution. Each step
//! may be held by the kernel; none holds the thread that asks for more than a moment, and all of them together have to
//! be done in time.

mod executing;
mod launch;
mod searching;
mod switching;

use std::time::{Duration, Instant};

use self::{executing::Executing, searching::Searching, switching::Switching};
use super::{
    error::StartError,
    names::Question,
    running::Process,
    spawn::Spawner,
    spec::{CommandSpec, StdinSpec},
    stdio::Stdio,
};

/// How long the thread that starts a command stands still for it. More than most take.
const STANDSTILL: Duration = Duration::from_millis(2);

/// How long a spawn may take before it is killed and given up.
pub const SPAWN_BOUND: Duration = Duration::from_secs(10);

/// How often a spawn that takes longer than a moment is looked at: first, and at last.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(50);

/// A spawn on its way. Dropped before its end, it is killed.
#[derive(Debug)]
pub struct Spawning<'a> {
    spawner: &'a Spawner,
    id: &'a str,
    spec: &'a CommandSpec,
    stdin: StdinSpec,
    give_up: Instant,
    pause: Duration,
    stage: Stage,
}

/// How far a spawn is.
#[derive(Debug)]
pub enum SpawnProgress {
    /// The program was executed.
    Started(Process, Stdio),
    /// Nothing runs.
    Failed(StartError),
    /// It takes longer; to be polled again at that time.
    WaitUntil(Instant),
}

#[derive(Debug)]
enum Stage {
    Naming(Question),
    Searching(Searching),
    Executing(Executing),
    Switching(Switching),
    Done(Box<Result<(Process, Stdio), StartError>>),
    Over,
}

/// What a step comes to: the next stage, or the same because it is not done.
type Advance = Result<(Stage, bool), StartError>;

impl<'a> Spawning<'a> {
    pub(super) fn begin(
        spawner: &'a Spawner,
        id: &'a str,
        spec: &'a CommandSpec,
        stdin: StdinSpec,
    ) -> Self {
        let now = Instant::now();
        let mut spawning = Self {
            spawner,
            id,
            spec,
            stdin,
            give_up: now + SPAWN_BOUND,
            pause: FIRST_PAUSE,
            stage: Stage::Over,
        };
        let first = match &spec.user {
            Some(text) => spawner.names.ask(text).map(Stage::Naming),
            None => spawner
                .draft(spec, None)
                .and_then(|draft| spawning.search(draft)),
        };
        spawning.stage = first.unwrap_or_else(failed);
        spawning.advance(now + STANDSTILL);
        spawning
    }

    /// How far it is. Not to be called again after it has started or failed.
    pub fn poll(&mut self, now: Instant) -> SpawnProgress {
        self.advance(now);
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Done(done) => match *done {
                Ok((process, stdio)) => SpawnProgress::Started(process, stdio),
                Err(error) => SpawnProgress::Failed(error),
            },
            stage if now < self.give_up => {
                self.stage = stage;
                let next = now + self.pause;
                self.pause = (self.pause * 2).min(LAST_PAUSE);
                SpawnProgress::WaitUntil(next.min(self.give_up))
            }
            stage => {
                self.spawner.count_held();
                let what = match &stage {
                    Stage::Naming(_) => "the user database does not answer",
                    Stage::Searching(_) => {
                        "a folder of PATH, or the working directory, does not answer"
                    }
                    _ => "the program or the working directory does not answer",
                };
                self.abandon(stage);
                SpawnProgress::Failed(StartError::Held { what })
            }
        }
    }

    /// Waits until it has started or failed.
    pub fn wait(mut self) -> Result<(Process, Stdio), StartError> {
        loop {
            self.advance(self.give_up);
            match self.poll(Instant::now()) {
                SpawnProgress::Started(process, stdio) => return Ok((process, stdio)),
                SpawnProgress::Failed(error) => return Err(error),
                SpawnProgress::WaitUntil(_) => {}
            }
        }
    }

    /// Goes as far as can be gone by `until`.
    fn advance(&mut self, until: Instant) {
        loop {
            let stage = std::mem::replace(&mut self.stage, Stage::Over);
            let advanced = match stage {
                Stage::Naming(question) => self.name(question, until),
                Stage::Searching(searching) => self.found(searching, until),
                Stage::Executing(executing) => self.executed(executing, until),
                Stage::Switching(switching) => self.switched(switching, until),
                stage @ (Stage::Done(_) | Stage::Over) => Ok((stage, false)),
            };
            let (stage, goes_on) = advanced.unwrap_or_else(|error| (failed(error), false));
            self.stage = stage;
            if !goes_on {
                return;
            }
        }
    }

    fn name(&self, question: Question, until: Instant) -> Advance {
        let Some(user) = question.wait(until) else {
            return Ok((Stage::Naming(question), false));
        };
        let draft = self.spawner.draft(self.spec, Some(&user?))?;
        Ok((self.search(draft)?, true))
    }

    /// Kills what is on its way.
    fn abandon(&self, stage: Stage) {
        let stuck = match stage {
            Stage::Searching(searching) => Some(searching.kill()),
            Stage::Executing(executing) => Some(executing.kill()),
            Stage::Switching(switching) => {
                let is_held = Instant::now() >= self.give_up;
                switching.kill(self.spawner, is_held)
            }
            // A process that is dropped is killed.
            Stage::Naming(_) | Stage::Done(_) | Stage::Over => None,
        };
        if let Some(stuck) = stuck {
            self.spawner.put_to_rest(stuck);
        }
    }
}

impl Drop for Spawning<'_> {
    fn drop(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        self.abandon(stage);
    }
}

fn failed(error: StartError) -> Stage {
    Stage::Done(Box::new(Err(error)))
}
