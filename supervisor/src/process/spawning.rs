//! One spawn on its way: a command is resolved to a plan, what it needs is made, and its program is executed once it is released.
//! Each step may be held by the kernel; none holds the thread that asks for more than a moment, and all of them together have to be
//! done in time.

mod executing;
mod launch;
mod switching;

use std::{ffi::CString, time::Instant};

use self::{executing::Executing, launch::Ready, switching::Switching};
use super::{
    error::{self, StartError},
    examine::Held,
    lookup::{self, How, Seen},
    patience::{Patience, STANDSTILL},
    plan::Plan,
    resolving::{Resolution, Resolved},
    running::Process,
    spawn::Spawner,
    spec::{CommandSpec, StdinSpec},
    stdio::Stdio,
};

/// A spawn on its way. Dropped before its end, it is killed.
#[derive(Debug)]
pub struct Spawning<'a> {
    spawner: &'a Spawner,
    id: &'a str,
    spec: &'a CommandSpec,
    stdin: StdinSpec,
    patience: Patience,
    stage: Stage<'a>,
    is_released: bool,
    /// What was examined, until it is executed.
    _held: Option<Held>,
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
enum Stage<'a> {
    Resolving(Resolution<'a>),
    /// All is there but a process.
    Ready(Box<Ready>),
    Executing(Executing),
    Switching(Box<Switching>),
    Done(Box<Result<(Process, Stdio), StartError>>),
    Over,
}

/// What a step comes to: the next stage, or the same because it is not done.
type Advance<'a> = Result<(Stage<'a>, bool), StartError>;

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
            patience: Patience::new(now),
            stage: Stage::Resolving(Resolution::begin(spawner, spec, false)),
            is_released: false,
            _held: None,
        };
        spawning.advance(now + STANDSTILL);
        spawning
    }

    /// Begins where `resolved` is what `spec` has become.
    pub(super) fn go_on(
        spawner: &'a Spawner,
        id: &'a str,
        spec: &'a CommandSpec,
        stdin: StdinSpec,
        resolved: Resolved,
    ) -> Self {
        let now = Instant::now();
        let (planned, held) = resolved.into_plan();
        let mut spawning = Self {
            spawner,
            id,
            spec,
            stdin,
            patience: Patience::new(now),
            stage: Stage::Over,
            is_released: false,
            _held: held,
        };
        let ready = spawning.make_ready(planned);
        spawning.stage = ready.unwrap_or_else(failed);
        spawning.advance(now + STANDSTILL);
        spawning
    }

    /// The program may be executed from now on, which a child may be waiting for. This thread stands still for 2 ms at most.
    pub fn release(&mut self) {
        self.is_released = true;
        if let Stage::Executing(executing) = &mut self.stage {
            executing.release();
        }
        self.advance(Instant::now() + STANDSTILL);
    }

    /// How far it is. Not to be called again after it has started or failed.
    pub fn poll(&mut self, now: Instant) -> SpawnProgress {
        self.advance(now);
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Done(done) => match *done {
                Ok((process, stdio)) => SpawnProgress::Started(process, stdio),
                Err(error) => SpawnProgress::Failed(error),
            },
            stage => match (self.patience.next(now), stage) {
                (Some(next), stage) => {
                    self.stage = stage;
                    SpawnProgress::WaitUntil(next)
                }
                (None, Stage::Resolving(mut resolution)) => {
                    SpawnProgress::Failed(resolution.give_up())
                }
                (None, stage) => {
                    self.spawner.count_held();
                    self.abandon(stage);
                    let what = "the program or the working directory does not answer";
                    SpawnProgress::Failed(StartError::Held { what })
                }
            },
        }
    }

    /// Releases it, and waits until it has started or failed.
    pub fn wait(mut self) -> Result<(Process, Stdio), StartError> {
        self.release();
        loop {
            self.advance(self.patience.give_up());
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
                Stage::Resolving(resolution) => self.resolve(resolution, until),
                Stage::Ready(ready) if self.is_released || !ready.switches() => self.launch(*ready),
                Stage::Executing(executing) if self.is_released => self.executed(executing, until),
                Stage::Switching(switching) => self.switched(*switching, until),
                stage @ (Stage::Ready(_) | Stage::Executing(_) | Stage::Done(_) | Stage::Over) => {
                    Ok((stage, false))
                }
            };
            let (stage, goes_on) = advanced.unwrap_or_else(|error| (failed(error), false));
            self.stage = stage;
            if !goes_on {
                return;
            }
        }
    }

    fn resolve(&self, mut resolution: Resolution<'a>, until: Instant) -> Advance<'a> {
        resolution.advance(until);
        let Some(planned) = resolution.take() else {
            return Ok((Stage::Resolving(resolution), false));
        };
        let (planned, _) = planned?;
        let plan = &planned.plan;
        // What was found by a search is known to answer.
        let is_path = plan.argv[0].as_bytes().contains(&b'/');
        if is_path && self.spawner.is_crowded() && !is_known(plan) {
            return Err(error::crowded());
        }
        Ok((self.make_ready(planned)?, true))
    }

    /// Kills what is on its way.
    fn abandon(&self, stage: Stage<'a>) {
        let stuck = match stage {
            Stage::Executing(executing) => Some(executing.kill()),
            Stage::Switching(switching) => {
                let is_held = Instant::now() >= self.patience.give_up();
                switching.kill(self.spawner, is_held)
            }
            Stage::Ready(ready) => {
                self.spawner.containment.abandon(ready.ours.place);
                None
            }
            // What is dropped is given up, and a process is killed.
            Stage::Resolving(_) | Stage::Done(_) | Stage::Over => None,
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

/// Whether the kernel knows the program and the working directory without asking anybody.
fn is_known(plan: &Plan) -> bool {
    let mut file = plan.program.as_bytes().to_vec();
    if !file.starts_with(b"/") {
        file = [plan.directory.as_bytes(), b"/", &file].concat();
    }
    let file = CString::new(file).unwrap_or_default();
    [&file, &plan.directory]
        .into_iter()
        .all(|path| lookup::look(path, How::Cached, false) != Seen::Unknown)
}

fn failed<'a>(error: StartError) -> Stage<'a> {
    Stage::Done(Box::new(Err(error)))
}

#[cfg(test)]
mod tests;
