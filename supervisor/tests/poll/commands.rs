//! Commands to run, and what a caller does with one that runs.

use std::{
    ffi::CString,
    fs,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use remex_supervisor::{
    lifecycle::{
        counters::Counters,
        engine::{Engine, Ready},
        event::{EventKind, Exit},
        life::Life,
        outcome::Cause,
        outlet::{EventOutlet, Outlet},
        stdin::{Stdin, StdinChunk},
    },
    process::{Choice, CommandSpec, Process, Settings, Spawner, StdinSpec, Stdio, WindowSize},
};
use tempfile::TempDir;

use crate::{
    host::Host,
    outlets::Reader,
    scenarios::{
        spec::{LONG, spec},
        sweep::is_by_sweep,
        told::Told,
    },
};

/// Longer than anything here takes, on a busy machine too; only a failure waits for it.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why a server can end it.
pub(crate) const CAUSES: &[Cause] = &[Cause::Timeout, Cause::Disconnect, Cause::Shutdown];

/// A command to run.
pub(crate) struct Command {
    argv: Vec<CString>,
    pub(crate) stdin: Vec<u8>,
    pub(crate) stdin_open: bool,
    pub(crate) terminal: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) kill_after: Duration,
}

/// `/bin/sh -c TEXT`, without stdin.
pub(crate) fn shell(text: impl Into<Vec<u8>>) -> Command {
    let argv = ["/bin/sh".into(), "-c".into(), text.into()];
    Command {
        argv: argv.map(|word| CString::new(word).unwrap()).to_vec(),
        stdin: Vec::new(),
        stdin_open: false,
        terminal: false,
        timeout: None,
        kill_after: LONG,
    }
}

impl Command {
    fn spawn(&self) -> (Process, Stdio) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let spec = CommandSpec {
            timeout: self.timeout,
            kill_after: self.kill_after,
            ..spec(&self.argv, self.terminal)
        };
        let stdin = if self.stdin_open || !self.stdin.is_empty() {
            StdinSpec::Open
        } else {
            StdinSpec::Null
        };
        let id = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
        spawner().start(&id, &spec, stdin).wait().unwrap()
    }

    /// Starts it, its output going where `outlet` says.
    pub(crate) fn start_into<O: Outlet>(self, outlet: impl FnOnce(Arc<Counters>) -> O) -> Host<O> {
        let spawned = self.spawn();
        let counters = Arc::<Counters>::default();
        let stdin = Stdin::new(self.stdin.into(), self.stdin_open, self.terminal);
        let life = Life::new(self.timeout, self.kill_after);
        let outlet = outlet(Arc::clone(&counters));
        Host::new(Engine::new(spawned, stdin, life, outlet, counters))
    }

    /// Starts it for a reader of its events.
    pub(crate) fn start(self) -> Running {
        Running(self.start_into(|counters| EventOutlet::new(Reader::default(), counters)))
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Told {
        self.start().end()
    }
}

/// One for all, as in a daemon.
fn spawner() -> &'static Spawner {
    static SPAWNER: OnceLock<(Spawner, TempDir)> = OnceLock::new();
    let (spawner, _) = SPAWNER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            directory: folder.path().to_owned(),
            pass_environment: Vec::new(),
            state_dir: folder.path().to_owned(),
            instance: format!("poll-{}", std::process::id()),
            containment: if is_by_sweep() {
                Choice::Sweep
            } else {
                Choice::Auto
            },
            prepared: None,
        };
        let (spawner, _) = Spawner::new(settings).unwrap();
        (spawner, folder)
    });
    spawner
}

/// A command that runs, with a reader of its events.
pub(crate) struct Running(pub(crate) Host<EventOutlet<Reader>>);

impl Running {
    /// Goes on until `is_so` of what the reader was told.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&Told) -> bool) {
        while !is_so(&self.told()) {
            assert!(self.step().is_none(), "it ended before {what}");
        }
    }

    /// Goes on until it has said `ready`.
    #[track_caller]
    pub(crate) fn until_ready(&mut self) {
        self.until("it said so", |told| told.text().contains("ready"));
    }

    /// One step of its host.
    #[track_caller]
    pub(crate) fn step(&mut self) -> Option<Exit> {
        self.step_within(PATIENCE)
    }

    /// The same, at most for `patience`.
    #[track_caller]
    pub(crate) fn step_within(&mut self, patience: Duration) -> Option<Exit> {
        let now = self.0.now();
        assert!(now < PATIENCE, "{now:?} are too long");
        self.0
            .step(patience.min(PATIENCE.saturating_sub(now)))
            .copied()
    }

    /// What the reader was told so far.
    pub(crate) fn told(&self) -> Told {
        let reader = self.0.engine.outlet().sink().expect("a reader");
        Told::of(&reader.events)
    }

    /// Goes on to its end, and delivers that.
    #[track_caller]
    pub(crate) fn end(mut self) -> Told {
        while self.0.engine.exit().is_none() {
            self.step();
        }
        let now = self.0.now();
        assert!(self.0.engine.deliver(now, || {}));
        self.told()
    }

    pub(crate) fn signal(&mut self, number: i32) {
        let now = self.0.now();
        self.0.engine.signal(number, now);
    }

    /// The time since its spawn.
    pub(crate) fn now(&self) -> Duration {
        self.0.now()
    }

    /// Sets its terminal's size; `false`: it has none.
    pub(crate) fn resize(&mut self, size: WindowSize) -> bool {
        self.0.engine.resize(size)
    }

    /// Ends its stdin.
    pub(crate) fn end_stdin(&mut self) {
        let now = self.0.now();
        self.0.engine.end_stdin(now);
    }

    /// The server ends it.
    pub(crate) fn end_for(&mut self, cause: Cause) {
        let now = self.0.now();
        self.0.engine.end(cause, now);
    }

    /// Its reader goes away.
    pub(crate) fn abandon(&mut self) {
        let now = self.0.now();
        self.0.engine.ready(Ready::ReaderGone, now);
    }

    /// Whether its reader has room.
    pub(crate) fn set_room(&mut self, has_room: bool) {
        let reader = self.0.engine.outlet().sink().expect("a reader");
        reader.has_room.set(has_room);
        if has_room {
            let now = self.0.now();
            self.0.engine.ready(Ready::Room, now);
        }
    }

    /// The letter of its leader's state.
    pub(crate) fn state(&self) -> Option<char> {
        let reader = self.0.engine.outlet().sink().expect("a reader");
        let EventKind::Started { pid } = reader.events.first()?.kind else {
            return None;
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    /// Types, or sends, `data` when there is room for it.
    #[track_caller]
    pub(crate) fn write(&mut self, data: &[u8], eof: bool) {
        while !self.0.engine.takes_stdin() {
            assert_eq!(self.step(), None);
        }
        let now = self.0.now();
        let chunk = StdinChunk {
            offset: None,
            data: data.to_vec().into(),
            eof,
        };
        self.0.engine.offer_stdin(chunk, now).unwrap();
    }
}
