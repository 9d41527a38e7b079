//! A supervisor's life: it waits for an execution, runs it to its end whatever becomes of the servers that come and go, and
//! ends when the outcome is where it belongs.

#![expect(unsafe_code, reason = "takes over a descriptor, and forks")]

use std::{
    mem,
    os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd, RawFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::{
    event::PollFlags,
    fs::{AtFlags, unlinkat},
};

use super::{
    connection::{Connection, Listener},
    crash::{self, CrashPoint},
    link::SOCKET_FILE,
    lock::SupervisorLock,
    message::{Attached, LinkRequest, OLDEST_VERSION, Report, Stage},
    order::{self, MAX_ORDER_BYTES},
    running::{Callers, Running, Source},
    state::{NotNow, Starting, State},
    watched::Watch,
};
use crate::{
    journal::{DiskFolder, Writer},
    lifecycle::presence::Presence,
    packet,
    process::{
        NotStarted, SPAWN_BOUND, StdinSpec,
        plan::Planned,
        raw,
        solo::{self, ChildSignals, Groundwork, Launch, Launching},
    },
};

/// A server that takes nothing any more holds the end up for so long.
const FAREWELL_BOUND: Duration = Duration::from_secs(5);

/// Most requests of a server that are served in a row.
const REQUESTS_AT_ONCE: usize = 16;

/// Is a supervisor, to the end of this process.
pub(crate) fn supervise(link: OwnedFd) -> ! {
    live(link.into_raw_fd())
}

/// A panic ends the process: what it would unwind to is the life of the process that it was forked from.
extern "C" fn live(link: RawFd) -> ! {
    // SAFETY: it was given up by the only caller, who owned it.
    let link = unsafe { OwnedFd::from_raw_fd(link) };
    // SAFETY: nothing uses the descriptor, which was the zygote's, and there is no other thread.
    let children = unsafe { solo::begin(link) };
    if let Ok((link, children)) = children {
        let _ = rustix::thread::set_name(c"remex-execution");
        Supervisor::new(link, children).run();
    }
    raw::exit(0)
}

struct Supervisor {
    children: ChildSignals,
    /// The server that it listens to.
    server: Option<Connection>,
    /// The server that it was made by, which alone may give it an execution, is still there.
    has_maker: bool,
    /// Where the tree of its execution will be.
    cgroup: Option<(OwnedFd, PathBuf)>,
    execution: Option<Execution>,
    state: State,
}

/// Which execution it is.
struct Execution {
    id: String,
    folder: DiskFolder,
    listener: Listener,
    /// Held to the end of the process.
    _lock: SupervisorLock,
}

impl Supervisor {
    fn new(link: OwnedFd, children: ChildSignals) -> Self {
        Self {
            children,
            server: Some(Connection::new(link)),
            has_maker: true,
            cgroup: None,
            execution: None,
            state: State::Waiting(None),
        }
    }

    fn run(&mut self) {
        while !matches!(self.state, State::Over) {
            let ready = self.wait();
            if ready.contains(&Source::Children) {
                self.children.take();
            }
            if let State::Running(running, _) = &mut self.state {
                running.serve(&ready);
            }
            self.look_at_launch();
            if ready.contains(&Source::Listener) {
                self.meet_servers();
            }
            if ready.contains(&Source::Link) {
                self.serve_requests();
            }
            self.leave_broken_server();
            self.settle();
        }
        self.farewell();
    }

    fn wait(&self) -> Vec<Source> {
        let mut watch = Watch::new();
        match &self.state {
            State::Starting(starting) => {
                watch.add(starting.launching.channel(), PollFlags::IN, Source::Launch);
                watch.until(Some(starting.give_up));
            }
            State::Running(running, callers) => {
                running.watch(&mut watch);
                watch.until(callers.deadline());
                watch.add(self.children.as_fd(), PollFlags::IN, Source::Children);
            }
            State::Waiting(_) | State::Ended { .. } | State::Over => {}
        }
        if let Some(server) = &self.server {
            watch.add(server.as_fd(), server.interest(), Source::Link);
        }
        if let Some(Execution { listener, .. }) = &self.execution {
            watch.add(listener.as_fd(), PollFlags::IN, Source::Listener);
            for newcomer in listener.newcomers() {
                watch.add(newcomer.as_fd(), newcomer.interest(), Source::Listener);
            }
        }
        watch.wait()
    }

    /// Listens to another server, if one has come.
    fn meet_servers(&mut self) {
        let Some(execution) = &mut self.execution else {
            return;
        };
        execution.listener.accept();
        while let Some((server, newest)) = execution.listener.next_greeted() {
            // What the one before it was told and did is void.
            self.server = Some(server);
            self.has_maker = false;
            self.state.server_gone();
            Self::welcome(
                self.server.as_mut(),
                &execution.id,
                self.state.stage(true),
                newest,
            );
            if let State::Ended { report, .. } = &self.state
                && let Some(server) = &mut self.server
            {
                server.send(report);
            }
        }
    }

    fn welcome(server: Option<&mut Connection>, id: &str, stage: Stage, newest: u16) {
        let Some(server) = server else {
            return;
        };
        let version = if newest < OLDEST_VERSION {
            OLDEST_VERSION
        } else {
            server.agree(newest)
        };
        server.send(&Report::Welcome {
            version,
            id: id.to_owned(),
            stage,
        });
    }

    fn serve_requests(&mut self) {
        for _ in 0..REQUESTS_AT_ONCE {
            let Some(server) = &mut self.server else {
                return;
            };
            server.flush();
            let Some((request, fds)) = server.receive() else {
                break;
            };
            self.serve(request, fds);
        }
    }

    fn leave_broken_server(&mut self) {
        if self.server.as_ref().is_some_and(Connection::is_broken) {
            self.server = None;
            self.has_maker = false;
            self.state.server_gone();
        }
    }

    fn serve(&mut self, request: LinkRequest, fds: Vec<OwnedFd>) {
        let answer = match request {
            LinkRequest::Hello { newest } => {
                let id = self
                    .execution
                    .as_ref()
                    .map_or("", |execution| &execution.id);
                let stage = self.state.stage(self.execution.is_some());
                Self::welcome(self.server.as_mut(), id, stage, newest);
                Ok(None)
            }
            LinkRequest::Place { path } => self.place(path, fds),
            LinkRequest::Prepare { id } => self.prepare(id, fds).map(Some),
            LinkRequest::Start { order } => self.start(&order, fds),
            request => self.state.serve(request),
        };
        match (answer, &mut self.server) {
            (Ok(Some(report)), Some(server)) => server.send(&report),
            (Err(NotNow), Some(server)) => server.give_up(),
            (Ok(_) | Err(_), _) => {}
        }
    }

    /// Takes note of the cgroup at `path`, which comes along.
    fn place(&mut self, path: PathBuf, fds: Vec<OwnedFd>) -> Result<Option<Report>, NotNow> {
        let (true, None, Some(dir)) = (self.has_maker, &self.execution, fds.into_iter().next())
        else {
            return Err(NotNow);
        };
        self.cgroup = Some((dir, path));
        Ok(None)
    }

    /// Takes the execution `id`, whose folder comes along.
    fn prepare(&mut self, id: String, fds: Vec<OwnedFd>) -> Result<Report, NotNow> {
        let (true, None, Some(folder)) = (
            self.has_maker,
            &self.execution,
            fds.into_iter().next().map(DiskFolder::from_fd),
        ) else {
            return Err(NotNow);
        };
        let prepared = Self::take(id, folder).and_then(|(execution, writer)| {
            let laid = Groundwork::lay(self.cgroup.take());
            let groundwork = laid.map_err(|error| format!("what its command needs: {error}"))?;
            Ok((execution, Box::new((writer, groundwork))))
        });
        Ok(match prepared {
            Ok((execution, waiting)) => {
                self.execution = Some(execution);
                self.state = State::Waiting(Some(waiting));
                Report::Prepared
            }
            Err(why) => {
                self.state = State::Over;
                Report::Unfit { why }
            }
        })
    }

    fn take(id: String, folder: DiskFolder) -> Result<(Execution, Writer), String> {
        let lock = SupervisorLock::take(folder.as_fd())
            .map_err(|error| format!("its lock: {error}"))?
            .ok_or("another supervisor has its lock")?;
        let writer =
            Writer::open(folder.clone()).map_err(|error| format!("its journal: {error}"))?;
        let listener =
            Listener::bind(folder.as_fd()).map_err(|error| format!("its socket: {error}"))?;
        let execution = Execution {
            id,
            folder,
            listener,
            _lock: lock,
        };
        Ok((execution, writer))
    }

    /// Begins to carry out an order.
    fn start(&mut self, order: &[u8], fds: Vec<OwnedFd>) -> Result<Option<Report>, NotNow> {
        if !self.has_maker {
            return Err(NotNow);
        }
        let State::Waiting(waiting) = &mut self.state else {
            return Err(NotNow);
        };
        let (mut writer, groundwork) = *waiting.take().ok_or(NotNow)?;
        let mut fds = fds.into_iter();
        let order = if order.is_empty() {
            fds.next()
                .and_then(|file| packet::read_sealed(file, MAX_ORDER_BYTES))
                .and_then(|bytes| order::Received::decode(&bytes))
        } else {
            order::Received::decode(order)
        };
        let order = order.ok_or(NotNow)?;
        let callers = Callers::new(Presence::new(order.on_disconnect));
        self.reach(CrashPoint::Ordered);
        let reserved = writer
            .reserve(&order.reservation, &order.settings)
            .map_err(|error| NotStarted::Storage {
                why: error.to_string(),
                is_full: error.is_full(),
            });
        self.reach(CrashPoint::Reserved);
        // Where it is missing, the child refuses what takes its place.
        let ruleset = order.plan.has_ruleset().then(|| fds.next()).flatten();
        match reserved.and_then(|()| launch(&order, ruleset, groundwork)) {
            Ok(launching) => {
                self.reach(CrashPoint::Launched);
                self.state = State::Starting(Box::new(Starting {
                    launching,
                    order,
                    writer,
                    callers,
                    attached: Attached {
                        callers: 1,
                        ..Attached::default()
                    },
                    end: None,
                    give_up: Instant::now() + SPAWN_BOUND,
                }));
                Ok(None)
            }
            Err(why) => Ok(Some(self.not_started(writer, why))),
        }
    }

    /// Nothing ran.
    fn not_started(&mut self, mut writer: Writer, why: NotStarted) -> Report {
        // A journal that cannot say so ends with a reservation, of which nobody knows what became.
        let _ = writer.not_started();
        self.state = State::Over;
        Report::NotStarted(why)
    }

    fn look_at_launch(&mut self) {
        let State::Starting(_) = &self.state else {
            return;
        };
        let State::Starting(starting) = mem::replace(&mut self.state, State::Over) else {
            return;
        };
        let mut starting = *starting;
        let report = match starting.launching.finish() {
            Err(launching) if Instant::now() < starting.give_up => {
                starting.launching = launching;
                self.state = State::Starting(Box::new(starting));
                return;
            }
            // Dropped, it is killed.
            Err(_) => self.not_started(starting.writer, NotStarted::Held),
            Ok(Err(why)) => self.not_started(starting.writer, why),
            Ok(Ok(spawned)) => {
                let Starting {
                    order,
                    writer,
                    callers,
                    attached,
                    end,
                    ..
                } = starting;
                self.reach(CrashPoint::Executed);
                let mut running = Running::begin(order, spawned, writer, attached);
                // Its start is in the journal before anybody is told.
                let _ = running.settle();
                self.reach(CrashPoint::Started);
                if let Some(cause) = end {
                    running.end(cause);
                }
                let report = running.started();
                if let Some(server) = &mut self.server {
                    server.send(&report);
                    // In one go, so that the server looks once.
                    running.tell(server);
                }
                self.state = State::Running(Box::new(running), callers);
                return;
            }
        };
        if let Some(server) = &mut self.server {
            server.send(&report);
        }
    }

    /// Does what is to be done whatever has happened, and tells the server.
    fn settle(&mut self) {
        match &mut self.state {
            // Whoever has made it has gone before there was anything to do.
            State::Waiting(_) if !self.has_maker => self.state = State::Over,
            State::Running(running, callers) => {
                if callers.are_gone() {
                    running.abandon();
                }
                let (execution, server) = (self.execution.as_ref(), self.server.as_ref());
                if running.has_exited() {
                    reach(CrashPoint::Exited, execution, server);
                }
                let ended = running.settle();
                if ended.is_some() {
                    reach(CrashPoint::Recorded, execution, server);
                }
                if let Some(server) = &mut self.server {
                    running.tell(server);
                }
                if let Some(report) = ended {
                    self.end(report);
                }
            }
            _ => {}
        }
        if let State::Ended { is_kept: true, .. } = self.state {
            self.state = State::Over;
        }
    }

    fn reach(&self, point: CrashPoint) {
        reach(point, self.execution.as_ref(), self.server.as_ref());
    }

    fn end(&mut self, report: Report) {
        if let Some(server) = &mut self.server {
            server.send(&report);
            // Somebody waits for that, and nobody for what this process does yet.
            rustix::thread::sched_yield();
        }
        if let State::Running(running, _) = &mut self.state {
            running.close_journal();
        }
        let is_kept = matches!(report, Report::Ended { kept: true, .. });
        self.state = State::Ended { report, is_kept };
    }

    /// Sends what has not been sent, and leaves nothing to connect to. The lock is free before the last server sees the end.
    fn farewell(&mut self) {
        if let Some(execution) = &self.execution {
            // What stays there refuses all connections.
            let _ = unlinkat(execution.folder.as_fd(), SOCKET_FILE, AtFlags::empty());
        }
        let until = Instant::now() + FAREWELL_BOUND;
        while let Some(server) = &mut self.server {
            server.flush();
            if server.is_idle() || Instant::now() >= until {
                break;
            }
            let mut watch = Watch::new();
            watch.add(server.as_fd(), PollFlags::OUT, ());
            watch.until(Some(until));
            watch.wait();
        }
        self.execution = None;
    }
}

/// Where a test may have it die, or its server.
fn reach(point: CrashPoint, execution: Option<&Execution>, server: Option<&Connection>) {
    if let Some(execution) = execution {
        let server = server.map(AsFd::as_fd);
        crash::supervisor_at(point, execution.folder.as_fd(), server);
    }
}

fn launch(
    order: &order::Received,
    ruleset: Option<OwnedFd>,
    groundwork: Groundwork,
) -> Result<Launching, NotStarted> {
    let launch = Launch {
        planned: Planned {
            plan: order.plan.clone(),
            ruleset,
        },
        stdin: StdinSpec::of(&order.stdin, order.stdin_open),
        terminal: order.terminal,
        is_memory_limited: order.is_memory_limited,
    };
    // SAFETY: this process never makes a thread, and it has called `solo::begin`.
    unsafe { Launching::start(launch, groundwork) }
}
