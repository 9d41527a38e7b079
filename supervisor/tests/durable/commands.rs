//! Commands to run durably, and what a server does with one that runs.

use std::{
    ffi::CString,
    fs,
    io::ErrorKind,
    time::{Duration, Instant},
};

use remex_supervisor::{
    durable::{
        Order,
        message::{Attached, EndCause, LinkRequest, MAX_STDIN_BYTES, Report, StdinPiece},
    },
    journal::Settings,
    lifecycle::{
        event::{EventKind, Exit},
        outcome::Cause,
        presence::OnDisconnect,
    },
    process::{CommandSpec, ResourceLimits, WindowSize},
};

use crate::{
    scenarios::{
        spec::{LONG, spec},
        told::Told,
    },
    server::{PATIENCE, Server, Spare, order},
};

/// Why a server can end it.
pub(crate) const CAUSES: &[Cause] = &[Cause::Disconnect, Cause::Shutdown];

/// A command to run.
pub(crate) struct Command {
    pub(crate) argv: Vec<CString>,
    pub(crate) stdin: Vec<u8>,
    pub(crate) stdin_open: bool,
    pub(crate) terminal: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) kill_after: Duration,
    pub(crate) on_disconnect: OnDisconnect,
    pub(crate) settings: Settings,
    pub(crate) limits: ResourceLimits,
}

/// `/bin/sh -c TEXT`, without stdin.
pub(crate) fn shell(text: impl Into<Vec<u8>>) -> Command {
    command(["/bin/sh".into(), "-c".into(), text.into()])
}

/// A program and its arguments.
pub(crate) fn command<const N: usize>(argv: [Vec<u8>; N]) -> Command {
    Command {
        argv: argv.map(|word| CString::new(word).unwrap()).to_vec(),
        stdin: Vec::new(),
        stdin_open: false,
        terminal: false,
        timeout: None,
        kill_after: LONG,
        on_disconnect: OnDisconnect::Detach,
        settings: Settings::default(),
        limits: ResourceLimits::default(),
    }
}

impl Command {
    pub(crate) fn spec(&self) -> CommandSpec {
        CommandSpec {
            timeout: self.timeout,
            kill_after: self.kill_after,
            limits: self.limits,
            ..spec(&self.argv, self.terminal)
        }
    }

    pub(crate) fn order(&self) -> Order {
        Order {
            stdin: self.stdin.clone().into(),
            stdin_open: self.stdin_open,
            on_disconnect: self.on_disconnect,
            settings: self.settings,
            ..order(&self.spec())
        }
    }

    /// Starts it, with one caller attached.
    pub(crate) fn start(self) -> Running {
        let server = Spare::new().start(&self.order()).unwrap();
        Running::of(server)
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Told {
        self.start().end()
    }
}

/// A command that runs.
pub(crate) struct Running {
    pub(crate) server: Server,
    since: Instant,
    /// What was reported and not been looked at.
    pub(crate) reports: Vec<Report>,
    exit: Option<Exit>,
    next_request: u32,
    /// A piece of stdin is on its way.
    is_writing: bool,
}

impl Running {
    pub(crate) fn of(server: Server) -> Self {
        Self {
            server,
            since: Instant::now(),
            reports: Vec::new(),
            exit: None,
            next_request: 0,
            is_writing: false,
        }
    }

    /// The time since its spawn, or a little less.
    pub(crate) fn now(&self) -> Duration {
        self.since.elapsed()
    }

    /// Takes in one report, if there is one within `patience`. Returns how it ended, once it has.
    #[track_caller]
    pub(crate) fn step_within(&mut self, patience: Duration) -> Option<Exit> {
        assert!(self.since.elapsed() < PATIENCE, "it takes too long");
        if let Ok(report) = self.server.report_within(patience.min(PATIENCE)) {
            let report = report.expect("an end that is told");
            if let Report::Ended { exit, kept, .. } = &report {
                assert!(kept);
                self.exit = Some(*exit);
            }
            self.reports.push(report);
        }
        self.exit
    }

    #[track_caller]
    pub(crate) fn step(&mut self) -> Option<Exit> {
        self.step_within(PATIENCE)
    }

    /// Goes on until `is_so` of what the journal says.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&Told) -> bool) {
        while !is_so(&self.told()) {
            assert!(self.step().is_none(), "it ended before {what}");
        }
    }

    #[track_caller]
    pub(crate) fn until_ready(&mut self) {
        self.until("it said so", |told| told.text().contains("ready"));
    }

    /// What the journal says, as far as the server was told.
    pub(crate) fn told(&self) -> Told {
        Told::of(&self.server.events())
    }

    /// Goes on to its end, and reads all of it.
    #[track_caller]
    pub(crate) fn end(mut self) -> Told {
        while self.exit.is_none() {
            self.step();
        }
        assert_eq!(self.server.report(), None, "the supervisor is still there");
        let told = Told::of(&self.server.whole());
        assert_eq!(told.exit, self.exit);
        told
    }

    /// Goes on until there is such a report.
    #[track_caller]
    pub(crate) fn until_report<T>(&mut self, find: impl Fn(&Report) -> Option<T>) -> T {
        loop {
            if let Some(index) = self
                .reports
                .iter()
                .position(|report| find(report).is_some())
            {
                let report = self.reports.remove(index);
                return find(&report).expect("it is there");
            }
            let exit = self.step();
            assert!(exit.is_none() || self.reports.iter().any(|report| find(report).is_some()));
        }
    }

    #[track_caller]
    fn ask(&mut self, request: impl Fn(u32) -> LinkRequest) -> bool {
        self.next_request += 1;
        let number = self.next_request;
        self.server.send(&request(number));
        self.until_report(|report| match report {
            Report::Done { request, done } if *request == number => Some(*done),
            _ => None,
        })
    }

    #[track_caller]
    pub(crate) fn signal(&mut self, number: i32) -> bool {
        self.ask(|request| LinkRequest::Signal { request, number })
    }

    #[track_caller]
    pub(crate) fn resize(&mut self, size: WindowSize) -> bool {
        self.ask(|request| LinkRequest::Resize { request, size })
    }

    /// The server ends it.
    pub(crate) fn end_for(&mut self, cause: Cause) {
        let cause = match cause {
            Cause::Disconnect => EndCause::Disconnect,
            Cause::Shutdown => EndCause::Shutdown,
            Cause::Timeout => panic!("no server does that"),
        };
        self.server.send(&LinkRequest::End(cause));
    }

    /// Who is attached.
    pub(crate) fn attach(&self, callers: u32, sent: u64) {
        let attached = LinkRequest::Attached(Attached {
            callers,
            observers: 0,
            sent,
        });
        if let Err(error) = self.server.link.send(&attached) {
            // It has ended meanwhile.
            let is_gone =
                [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&error.kind());
            assert!(is_gone, "{error}");
        }
    }

    /// Its leader's process id.
    pub(crate) fn leader(&self) -> Option<i32> {
        match self.server.events().first()?.kind {
            EventKind::Started { pid } => Some(pid),
            _ => None,
        }
    }

    /// The letter of its leader's state.
    pub(crate) fn state(&self) -> Option<char> {
        let pid = self.leader()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    /// Types, or sends, `data`, each piece when the one before it was taken.
    #[track_caller]
    pub(crate) fn write(&mut self, data: &[u8], eof: bool) {
        let mut pieces = data.chunks(MAX_STDIN_BYTES).peekable();
        if pieces.peek().is_none() {
            self.write_piece(&[], eof);
        }
        while let Some(piece) = pieces.next() {
            self.write_piece(piece, eof && pieces.peek().is_none());
        }
    }

    #[track_caller]
    fn write_piece(&mut self, data: &[u8], eof: bool) {
        self.until_taken();
        let data = data.to_vec().into();
        self.server.send(&LinkRequest::Stdin(StdinPiece {
            offset: None,
            eof,
            data,
        }));
        self.is_writing = true;
    }

    /// Waits until what was written last was taken.
    #[track_caller]
    pub(crate) fn until_taken(&mut self) {
        if std::mem::take(&mut self.is_writing) {
            self.until_report(|report| match report {
                Report::StdinTaken { .. } => Some(()),
                Report::StdinRefused(why) => panic!("{why}"),
                _ => None,
            });
        }
    }

    /// Ends its stdin.
    #[track_caller]
    pub(crate) fn end_stdin(&mut self) {
        self.write_piece(&[], true);
    }
}
