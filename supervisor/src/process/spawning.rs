//! One spawn on its way: a command is resolved to a plan, then its program is executed. Each step may be held by the kernel; none
//! holds the thread that asks for more than a moment, and all of them together have to be done in time.

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
    time::Instant,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    child::{Fourth, Job},
    clone::Birth,
    containment::Place,
    error::{self, StartError},
    leader::Leader,
    lookup::{self, How, Seen},
    low_fds::Taken,
    plan::Plan,
    pty::Master,
    resolving::{Patience, Resolution, STANDSTILL},
    running::{Care, Process},
    spawn::Spawner,
    spec::{CommandSpec, StdinSpec},
    stdio::{self, ChildStdio, Stdio},
    stuck::{Stuck, Uses},
    table,
};
use crate::zygote::{self, Answer};

/// How often a zygote that has died is started anew for one spawn.
const MAX_ZYGOTES: usize = 2;

/// A spawn on its way. Dropped before its end, it is killed.
#[derive(Debug)]
pub struct Spawning<'a> {
    spawner: &'a Spawner,
    id: &'a str,
    spec: &'a CommandSpec,
    stdin: StdinSpec,
    patience: Patience,
    stage: Stage<'a>,
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
    Executing(Executing),
    Switching(Switching),
    Done(Box<Result<(Process, Stdio), StartError>>),
    Over,
}

/// The server's side of a command that is to be.
#[derive(Debug)]
struct Ours {
    place: Place,
    stdio: Stdio,
    /// For signals to the foreground.
    terminal: Option<Master>,
}

/// A child in this memory is on its way to the program.
#[derive(Debug)]
struct Executing {
    leader: Leader,
    birth: Birth<Job>,
    low_fds: Option<Taken>,
    childs: ChildStdio,
    ours: Ours,
}

/// The zygote makes a child.
#[derive(Debug)]
struct Switching {
    channel: OwnedFd,
    leader: Option<Leader>,
    childs: ChildStdio,
    ours: Ours,
    plan: Plan,
    /// How many zygotes were asked.
    asked: usize,
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
            stage: Stage::Resolving(Resolution::begin(spawner, spec)),
        };
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

    /// Waits until it has started or failed.
    pub fn wait(mut self) -> Result<(Process, Stdio), StartError> {
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

    fn resolve(&self, mut resolution: Resolution<'a>, until: Instant) -> Advance<'a> {
        resolution.advance(until);
        let Some(plan) = resolution.take() else {
            return Ok((Stage::Resolving(resolution), false));
        };
        let plan = plan?;
        // What was found by a search is known to answer.
        let is_path = plan.argv[0].as_bytes().contains(&b'/');
        if is_path && self.spawner.is_crowded() && !is_known(&plan) {
            return Err(error::crowded());
        }
        Ok((self.launch(plan)?, true))
    }

    /// Makes everything that the command needs, then the child. What is needed to supervise it is there before it is.
    fn launch(&self, mut plan: Plan) -> Result<Stage<'a>, StartError> {
        let spawner = self.spawner;
        let switches = plan.identity.as_ref().map(|identity| identity.uid);
        if let (Some(text), Some(_), None) = (&self.spec.user, switches, &spawner.zygote) {
            return Err(error::no_switch(
                text,
                "this program has no helper for that",
            ));
        }
        let streams = match &self.spec.terminal {
            Some(terminal) => stdio::terminal(terminal.size, switches)
                .map(|(ours, childs, master)| (ours, childs, Some(master))),
            None => stdio::pipes(self.stdin).map(|(ours, childs)| (ours, childs, None)),
        };
        let make = StartError::resources("make the command's streams");
        let (stdio, childs, terminal) = streams.map_err(make)?;
        let place = spawner.containment.place(self.id, self.spec.limits.tree)?;
        if let Place::Sweep(tag) = &place {
            let tag = [table::TAG.as_bytes(), b"=", tag.as_bytes()].concat();
            plan.environment.extend(CString::new(tag));
        }
        let ours = Ours {
            place,
            stdio,
            terminal,
        };
        if switches.is_some() {
            return self.ask(plan, ours, childs, 0);
        }
        self.execute(plan, ours, childs)
    }

    fn execute(&self, plan: Plan, ours: Ours, childs: ChildStdio) -> Result<Stage<'a>, StartError> {
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
        let job = Job::new(plan, fds, Fourth::Closed);
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

    fn executed(&self, executing: Executing, until: Instant) -> Advance<'a> {
        if !executing.birth.wait(until) {
            return Ok((Stage::Executing(executing), false));
        }
        let Executing {
            leader,
            birth,
            low_fds,
            childs,
            ours,
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

    /// Has the zygote make the child.
    fn ask(
        &self,
        plan: Plan,
        ours: Ours,
        childs: ChildStdio,
        asked: usize,
    ) -> Result<Stage<'a>, StartError> {
        let ends = childs.ends(self.spawner.low_fds.null());
        let zygote = self.spawner.zygote.as_ref();
        let channel = zygote
            .ok_or_else(|| io::ErrorKind::NotFound.into())
            .and_then(|zygote| zygote.ask(&plan, ends, ours.place.cgroup()));
        match channel {
            Ok(channel) => Ok(Stage::Switching(Switching {
                channel,
                leader: None,
                childs,
                ours,
                plan,
                asked: asked + 1,
            })),
            Err(error) => {
                self.spawner.containment.abandon(ours.place);
                let text = self.spec.user.as_deref().unwrap_or_default();
                Err(error::no_switch(text, &error.to_string()))
            }
        }
    }

    fn switched(&self, mut switching: Switching, until: Instant) -> Advance<'a> {
        loop {
            let Some(answer) = wait_answer(&switching.channel, until) else {
                return Ok((Stage::Switching(switching), false));
            };
            let containment = &self.spawner.containment;
            match (answer, switching.leader.take()) {
                (Answer::Born(cloned), None) => {
                    // It does nothing until it is known to be no orphan.
                    let leader = containment.guard(|| Ok(Leader::new(cloned)));
                    switching.leader = leader.ok();
                    if zygote::go_on(&switching.channel).is_err() {
                        // It has died, which the channel's end says.
                    }
                }
                (Answer::End, Some(leader)) => {
                    return Ok((self.started(leader, switching.ours), false));
                }
                (Answer::Failed(failure), Some(leader)) => {
                    let user = self.spec.user.as_deref();
                    let error = failure.meaning(&switching.plan, user);
                    return self.buried(leader, switching.ours, error);
                }
                // The zygote has died. No child goes on that we have not told to.
                (Answer::End, None) if switching.asked < MAX_ZYGOTES => {
                    let Switching {
                        plan,
                        ours,
                        childs,
                        asked,
                        ..
                    } = switching;
                    return Ok((self.ask(plan, ours, childs, asked)?, true));
                }
                (Answer::NotBorn(error), None) => {
                    containment.abandon(switching.ours.place);
                    return Err(StartError::resources("make a process")(error));
                }
                (answer, leader) => {
                    tracing::warn!(?answer, "cannot make a child that changes its user");
                    let text = self.spec.user.as_deref().unwrap_or_default();
                    let error = error::no_switch(text, "the helper for that has died");
                    let Some(leader) = leader else {
                        containment.abandon(switching.ours.place);
                        return Err(error);
                    };
                    let stuck = Stuck::kill(leader, Some(switching.ours.place), Uses::Nothing);
                    self.spawner.put_to_rest(stuck);
                    return Err(error);
                }
            }
        }
    }

    fn started(&self, leader: Leader, ours: Ours) -> Stage<'a> {
        let tree = ours.place.into_tree(&leader);
        let care = Care::Kept(Arc::clone(&self.spawner.containment));
        let process = Process::new(leader, tree, ours.terminal, care);
        Stage::Done(Box::new(Ok((process, ours.stdio))))
    }

    /// Takes leave of a child that has ended without executing anything.
    fn buried(&self, leader: Leader, ours: Ours, error: StartError) -> Advance<'a> {
        self.spawner.containment.bury(&Arc::new(leader));
        self.spawner.containment.abandon(ours.place);
        Err(error)
    }

    /// Kills what is on its way.
    fn abandon(&self, stage: Stage<'a>) {
        let stuck = match stage {
            Stage::Executing(executing) => {
                let uses = Uses::Command {
                    birth: executing.birth,
                    low_fds: executing.low_fds,
                    stdio: executing.childs,
                };
                Stuck::kill(executing.leader, Some(executing.ours.place), uses)
            }
            Stage::Switching(switching) => {
                let Some(leader) = switching.leader else {
                    // A child that it still makes is not told to go on.
                    if let (Some(zygote), true) = (
                        &self.spawner.zygote,
                        Instant::now() >= self.patience.give_up(),
                    ) {
                        zygote.kill();
                    }
                    self.spawner.containment.abandon(switching.ours.place);
                    return;
                };
                Stuck::kill(leader, Some(switching.ours.place), Uses::Nothing)
            }
            // What is dropped is given up, and a process is killed.
            Stage::Resolving(_) | Stage::Done(_) | Stage::Over => return,
        };
        self.spawner.put_to_rest(stuck);
    }
}

impl Drop for Spawning<'_> {
    fn drop(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        self.abandon(stage);
    }
}

/// What the zygote or its child says by `until`.
fn wait_answer(channel: &OwnedFd, until: Instant) -> Option<Answer> {
    loop {
        if let Some(answer) = zygote::next_answer(channel) {
            return Some(answer);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        let left = Timespec::try_from(left).ok();
        let mut fds = [PollFd::from_borrowed_fd(channel.as_fd(), PollFlags::IN)];
        // Interrupted or not, what there is to be read says.
        let _ = poll(&mut fds, left.as_ref());
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
