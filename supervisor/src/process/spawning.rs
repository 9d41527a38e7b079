//! One spawn on its way: from a name in the user database over the search for the program to its execution. Each step
//! may be held by the kernel; none holds the thread that asks for more than a moment, and all of them together have to
//! be done in time.

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    child::{Failure, Fourth, Job, Step},
    clone::Birth,
    containment::Place,
    error::StartError,
    leader::Leader,
    limits,
    lookup::{self, How, Search, Seen, directory_error, exec_error},
    low_fds::Taken,
    names::Question,
    plan::Plan,
    pty::Master,
    running::Process,
    spawn::{Draft, Spawner},
    spec::{CommandSpec, StdinSpec},
    stdio::{self, ChildStdio, Stdio},
    stuck::{Stuck, Uses},
    table,
};
use crate::zygote::{self, Answer};

/// How long the thread that starts a command stands still for it. More than most take.
const STANDSTILL: Duration = Duration::from_millis(2);

/// How long a spawn may take before it is killed and given up.
pub const SPAWN_BOUND: Duration = Duration::from_secs(10);

/// How often a spawn that takes longer than a moment is looked at: first, and at last.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(50);

/// How often a zygote that has died is started anew for one spawn.
const MAX_ZYGOTES: usize = 2;

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

/// A child looks for the program.
#[derive(Debug)]
struct Searching {
    leader: Leader,
    birth: Birth<Search>,
    plan: Plan,
    path: Option<Vec<u8>>,
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

    /// Looks for the program where the kernel knows of it, else has a child do so.
    fn search(&self, Draft { mut plan, path }: Draft) -> Result<Stage, StartError> {
        let name = &plan.argv[0];
        // A name with a slash is a path, whatever is there: that is for the kernel to say.
        if name.as_bytes().contains(&b'/') {
            plan.program = name.clone();
            if self.spawner.is_crowded() && !is_known(&plan) {
                return Err(crowded());
            }
            return self.launch(plan);
        }
        let as_self = plan.identity.is_none();
        let mut search = Search::new(name, path.as_deref(), &plan.directory, as_self);
        if search.look(How::Cached) {
            plan.program = search.outcome(name, path.as_deref())?;
            return self.launch(plan);
        }
        if self.spawner.is_crowded() {
            return Err(crowded());
        }
        let mut birth = None;
        let spawner = self.spawner;
        let leader = spawner.containment.guard(|| {
            let (leader, started) = spawner.cloner.start(search, None)?;
            birth = Some(started);
            Ok(leader)
        });
        let leader = leader.map_err(StartError::resources("make a process"))?;
        let birth = birth.ok_or_else(no_child)?;
        Ok(Stage::Searching(Searching {
            leader,
            birth,
            plan,
            path,
        }))
    }

    fn found(&self, searching: Searching, until: Instant) -> Advance {
        if !searching.birth.wait(until) {
            return Ok((Stage::Searching(searching), false));
        }
        let Searching {
            leader,
            birth,
            mut plan,
            path,
        } = searching;
        let search = self.spawner.cloner.finish(birth);
        self.spawner.containment.bury(&Arc::new(leader));
        let search = search.ok_or_else(no_child)?;
        plan.program = search.outcome(&plan.argv[0], path.as_deref())?;
        Ok((self.launch(plan)?, true))
    }

    /// Makes everything that the command needs, then the child. What is needed to supervise it is there before it is.
    fn launch(&self, mut plan: Plan) -> Result<Stage, StartError> {
        let spawner = self.spawner;
        let switches = plan.identity.as_ref().map(|identity| identity.uid);
        if let (Some(text), Some(_), None) = (&self.spec.user, switches, &spawner.zygote) {
            return Err(no_zygote(text, "this program has no helper for that"));
        }
        let streams = match &self.spec.terminal {
            Some(terminal) => stdio::terminal(terminal, switches)
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

    fn execute(&self, plan: Plan, ours: Ours, childs: ChildStdio) -> Result<Stage, StartError> {
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

    fn executed(&self, executing: Executing, until: Instant) -> Advance {
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
                Some(plan) => self.failure(failure, &plan),
                None => no_child(),
            },
            None => no_child(),
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
    ) -> Result<Stage, StartError> {
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
                Err(no_zygote(text, &error.to_string()))
            }
        }
    }

    fn switched(&self, mut switching: Switching, until: Instant) -> Advance {
        loop {
            let Some(answer) = wait_answer(&switching.channel, until) else {
                return Ok((Stage::Switching(switching), false));
            };
            let containment = &self.spawner.containment;
            match (answer, switching.leader.take()) {
                (Answer::Born(cloned), None) => {
                    // It does nothing until it is known to be no orphan.
                    let leader = containment.guard(|| Ok(Leader::new(cloned, Instant::now())));
                    switching.leader = leader.ok();
                    if zygote::go_on(&switching.channel).is_err() {
                        // It has died, which the channel's end says.
                    }
                }
                (Answer::End, Some(leader)) => {
                    return Ok((self.started(leader, switching.ours), false));
                }
                (Answer::Failed(failure), Some(leader)) => {
                    let error = self.failure(failure, &switching.plan);
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
                    let error = no_zygote(text, "the helper for that has died");
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

    fn started(&self, leader: Leader, ours: Ours) -> Stage {
        let tree = ours.place.into_tree(&leader);
        let containment = Arc::clone(&self.spawner.containment);
        let process = Process::new(leader, tree, ours.terminal, containment);
        Stage::Done(Box::new(Ok((process, ours.stdio))))
    }

    /// Takes leave of a child that has ended without executing anything.
    fn buried(&self, leader: Leader, ours: Ours, error: StartError) -> Advance {
        self.spawner.containment.bury(&Arc::new(leader));
        self.spawner.containment.abandon(ours.place);
        Err(error)
    }

    /// Kills what is on its way.
    fn abandon(&self, stage: Stage) {
        let stuck = match stage {
            Stage::Searching(searching) => {
                Stuck::kill(searching.leader, None, Uses::Search(searching.birth))
            }
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
                    if let (Some(zygote), true) =
                        (&self.spawner.zygote, Instant::now() >= self.give_up)
                    {
                        zygote.kill();
                    }
                    self.spawner.containment.abandon(switching.ours.place);
                    return;
                };
                Stuck::kill(leader, Some(switching.ours.place), Uses::Nothing)
            }
            // A process that is dropped is killed.
            Stage::Naming(_) | Stage::Done(_) | Stage::Over => return,
        };
        self.spawner.put_to_rest(stuck);
    }

    /// What the failure of a step in the child means to the caller.
    fn failure(&self, failure: Failure, plan: &Plan) -> StartError {
        let Failure { step, errno, seen } = failure;
        let source = || io::Error::from_raw_os_error(errno);
        let why = source().to_string();
        let resources = |step| StartError::resources(step)(source());
        match step {
            Step::Session => resources("make a session"),
            Step::Terminal => resources("take the terminal"),
            Step::Stdio => resources("place the streams"),
            Step::Limit(index) => StartError::LimitUnavailable {
                limit: plan.limits.get(index).map_or("limit", limits::name),
                why,
            },
            Step::Niceness => StartError::LimitUnavailable {
                limit: "niceness",
                why,
            },
            Step::Identity => no_zygote(self.spec.user.as_deref().unwrap_or_default(), &why),
            Step::WorkingDirectory => directory_error(&plan.directory, source()),
            Step::Exec => exec_error(&plan.program, seen, errno),
        }
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

fn failed(error: StartError) -> Stage {
    Stage::Done(Box::new(Err(error)))
}

fn crowded() -> StartError {
    let error = io::Error::other("the kernel holds too many that were killed");
    StartError::resources("find the program")(error)
}

fn no_child() -> StartError {
    let error = io::Error::other("it was killed before it could execute its program");
    StartError::resources("make a process")(error)
}

fn no_zygote(user: &str, why: &str) -> StartError {
    StartError::UserSwitch {
        user: user.to_owned(),
        why: why.to_owned(),
    }
}
