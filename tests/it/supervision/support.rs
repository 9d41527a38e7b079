//! A server with a client, and calls whose answers are checked against the rules that hold for all of them.

use std::{
    env, fs,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use remex::v1::exec_service_client::ExecServiceClient;
use remex::v1::{
    self, Event, Exit, SignalRequest, StartRequest, StartResponse, event::Kind, exit::Reason,
    output::Stream,
};
use remex_client::{Channel, Client};
use tokio::process::Command;
use tonic::{Status, Streaming};

use crate::harness::{Daemon, Home, command_line, soon};

/// Most bytes of one Output.
const MAX_OUTPUT_BYTES: usize = 64 * 1024;

/// Two tests of `$scenario`: with the way of keeping trees together that this machine gives, and with the fallback.
macro_rules! with_each_containment {
    ($($(#[$attribute:meta])* $name:ident => $scenario:ident;)*) => {$(
        mod $name {
            $(#[$attribute])*
            #[tokio::test]
            async fn by_default() {
                super::$scenario($crate::supervision::support::Server::start(&[]).await).await;
            }

            $(#[$attribute])*
            #[tokio::test]
            async fn by_sweep() {
                let flags = &["--containment", "sweep"];
                super::$scenario($crate::supervision::support::Server::start(flags).await).await;
            }
        }
    )*};
}

/// `short`, or `long` in a long run.
pub(crate) fn count(short: usize, long: usize) -> usize {
    if is_long() { long } else { short }
}

pub(crate) fn is_long() -> bool {
    env::var("REMEX_LONG").is_ok_and(|value| value == "1")
}

/// Numbers that `REMEX_SEED` repeats.
pub(crate) struct Random(u64);

impl Random {
    /// Says which seed it has, which is seen when the test fails.
    pub(crate) fn new() -> Self {
        let given = env::var("REMEX_SEED").ok();
        let seed = match given.map(|text| text.parse()) {
            Some(seed) => seed.expect("REMEX_SEED is a number"),
            None => RandomState::new().hash_one(0),
        };
        eprintln!("REMEX_SEED={seed}");
        Self(seed)
    }

    /// Others, for what goes on beside.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// One below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A remexd and a connection to it.
pub(crate) struct Server {
    pub(crate) daemon: Daemon,
    pub(crate) client: Client,
}

impl Server {
    pub(crate) async fn start(flags: &[&str]) -> Self {
        Self::start_in(&Home::new(), flags).await
    }

    pub(crate) async fn start_in(home: &Home, flags: &[&str]) -> Self {
        let daemon = Daemon::start_in(home, flags).await;
        let client = daemon.client().await;
        Self { daemon, client }
    }

    /// One that is the first process of its PID namespace; see [`Home::first_remexd`].
    pub(crate) async fn start_first(flags: &[&str]) -> Self {
        let home = Home::new();
        let daemon = Daemon::spawn(&home, home.first_remexd(flags)).await;
        let client = daemon.client().await;
        Self { daemon, client }
    }

    pub(crate) fn exec(&self) -> ExecServiceClient<Channel> {
        self.client.exec()
    }

    /// Starts a command, and returns its stream when it runs.
    pub(crate) async fn begin(&self, request: StartRequest) -> Running {
        Running::begin(self.client.clone(), request).await
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, request: StartRequest) -> Record {
        self.begin(request).await.end().await
    }

    /// How much of an execution's output was read when its reader, who does not read, had held it up for a while.
    pub(crate) async fn held_up(&self, execution_id: &str) -> usize {
        soon("a held-up reader", self.stands_still(execution_id)).await
    }

    async fn stands_still(&self, execution_id: &str) -> usize {
        const LOOKS: usize = 10;
        let (mut last, mut same) = (0, 0);
        while same < LOOKS {
            let request = v1::GetRequest {
                execution_id: execution_id.to_owned(),
                ..v1::GetRequest::default()
            };
            let record = soon("a record", self.exec().get(request)).await;
            let record = record.expect("it is known").into_inner().execution;
            let now = record.map_or(0, |record| {
                record.stdout_bytes_total + record.stderr_bytes_total
            });
            same = if now == last && now > 0 { same + 1 } else { 0 };
            last = now;
        }
        usize::try_from(last).expect("a size")
    }

    /// Why a command is refused.
    pub(crate) async fn refusal(&self, request: StartRequest) -> Status {
        let started = soon("an answer", self.exec().start(request)).await;
        started.map(drop).expect_err("it is refused")
    }

    /// `remex ARGS`, at this server.
    pub(crate) fn remex(&self, args: &[&str]) -> Command {
        command_line::remex(&self.daemon.endpoint().to_string(), args)
    }

    /// CPU time that remexd has used.
    pub(crate) fn cpu_time(&self) -> Duration {
        // clock_t counts hundredths of a second for every program (USER_HZ).
        const TICK: Duration = Duration::from_millis(10);
        let stat = stat_of(self.daemon.pid().as_raw_nonzero().get()).expect("remexd lives");
        let ticks = stat.split(' ').skip(11).take(2);
        TICK * ticks
            .filter_map(|ticks| ticks.parse::<u32>().ok())
            .sum::<u32>()
    }
}

/// `/bin/sh -c TEXT`.
pub(crate) fn shell(text: impl Into<String>) -> StartRequest {
    StartRequest {
        command: Some(v1::Command {
            shell: text.into(),
            ..v1::Command::default()
        }),
        ..StartRequest::default()
    }
}

pub(crate) fn argv<const N: usize>(words: [&str; N]) -> StartRequest {
    StartRequest {
        command: Some(v1::Command {
            argv: words.map(str::to_owned).to_vec(),
            ..v1::Command::default()
        }),
        ..StartRequest::default()
    }
}

/// What a request's command may also have.
pub(crate) trait RequestExt {
    fn with(self, change: impl FnOnce(&mut v1::Command)) -> Self;
    fn timeout(self, millis: u64) -> Self;
    fn kill_after(self, millis: u64) -> Self;
    fn on_terminal(self) -> Self;
    fn limits(self, limits: v1::Limits) -> Self;
    fn stdin(self, data: impl Into<Vec<u8>>) -> Self;
    fn stdin_open(self) -> Self;
}

impl RequestExt for StartRequest {
    fn with(mut self, change: impl FnOnce(&mut v1::Command)) -> Self {
        change(self.command.get_or_insert_default());
        self
    }

    fn timeout(self, millis: u64) -> Self {
        self.with(|command| command.timeout = Some(duration(millis)))
    }

    fn kill_after(self, millis: u64) -> Self {
        self.with(|command| command.kill_after = Some(duration(millis)))
    }

    fn on_terminal(self) -> Self {
        self.with(|command| command.terminal = Some(v1::Terminal::default()))
    }

    fn limits(self, limits: v1::Limits) -> Self {
        self.with(|command| command.limits = Some(limits))
    }

    fn stdin(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.stdin_data = data.into().into();
        self
    }

    fn stdin_open(mut self) -> Self {
        self.stdin_open = true;
        self
    }
}

pub(crate) fn duration(millis: u64) -> prost_types::Duration {
    Duration::from_millis(millis)
        .try_into()
        .expect("a short duration")
}

/// A command that runs, seen through Start. Dropping it cancels the call.
pub(crate) struct Running {
    pub(crate) id: String,
    pub(crate) pid: i32,
    client: Client,
    stream: Streaming<StartResponse>,
    record: Record,
}

/// What has come of a command.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) terminal: Vec<u8>,
    pub(crate) outputs: usize,
    /// Bytes of stdout that were dropped.
    forgotten: u64,
    sequence: u64,
    exit: Option<Exit>,
}

impl Running {
    /// A command that `client` starts.
    pub(crate) async fn begin(client: Client, request: StartRequest) -> Self {
        let started = soon("a start", client.exec().start(request)).await;
        let mut stream = started.expect("it starts").into_inner();
        let first = soon("the first event", stream.message()).await;
        let event = first.expect("no error").and_then(|first| first.event);
        let mut record = Record::default();
        let Some(Kind::Started(started)) = record.take(event.expect("an event")) else {
            panic!("the first event is not started");
        };
        Self {
            id: started.execution_id,
            pid: started.pid,
            client,
            stream,
            record,
        }
    }

    /// Its next event; `None` when the stream has ended. An empty message is passed over.
    pub(crate) async fn next(&mut self) -> Option<Kind> {
        loop {
            let message = soon("an event", self.stream.message()).await;
            let Some(message) = message.expect("no error") else {
                assert!(self.record.exit.is_some(), "the stream ends before exited");
                return None;
            };
            if let Some(event) = message.event {
                return self.record.take(event);
            }
        }
    }

    /// The next message as it is.
    pub(crate) async fn message(&mut self) -> Result<Option<StartResponse>, Status> {
        soon("a message", self.stream.message()).await
    }

    /// Everything to its end.
    pub(crate) async fn end(mut self) -> Record {
        while self.next().await.is_some() {}
        self.record
    }

    /// Reads until stdout, or the terminal, has `text`.
    pub(crate) async fn until(&mut self, text: &str) {
        while !self.record.text().contains(text) {
            assert!(
                self.next().await.is_some(),
                "no {text:?}: {:?}",
                self.record
            );
        }
    }

    /// Drops the bytes that were read, of a command that writes more than a test has room for.
    pub(crate) fn forget(&mut self) {
        self.record.forgotten += self.record.stdout.len() as u64;
        self.record.stdout.clear();
    }

    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    pub(crate) async fn signal(&self, signal: i32) -> Result<(), Status> {
        let execution_id = self.id.clone();
        let request = SignalRequest {
            execution_id,
            signal,
        };
        let sent = soon("a signal", self.client.exec().signal(request)).await;
        sent.map(drop)
    }

    /// Gives it stdin.
    pub(crate) async fn write(&self, data: &'static [u8]) {
        let request = v1::WriteRequest {
            execution_id: self.id.clone(),
            chunk: Some(v1::StdinChunk {
                data: data.into(),
                ..v1::StdinChunk::default()
            }),
        };
        let written = soon("a write", self.client.exec().write(request)).await;
        written.expect("it takes stdin");
    }

    /// Whether its leader has not ended.
    pub(crate) fn leader_lives(&self) -> bool {
        state_of(self.pid).is_some_and(|state| !"ZX".contains(state))
    }
}

impl Record {
    /// Takes in the next event, with the rules that every stream keeps.
    fn take(&mut self, event: Event) -> Option<Kind> {
        assert!(self.exit.is_none(), "behind exited comes {event:?}");
        self.sequence += 1;
        assert_eq!(event.sequence, self.sequence);
        assert!(event.time.is_some());
        match event.kind.as_ref().expect("a kind") {
            Kind::Started(started) => {
                assert_eq!(self.sequence, 1, "started is not the first");
                assert!(started.pid > 1);
            }
            Kind::Output(output) => {
                let stream = match Stream::try_from(output.stream).expect("a known stream") {
                    Stream::Stdout => &mut self.stdout,
                    Stream::Stderr => &mut self.stderr,
                    Stream::Terminal => &mut self.terminal,
                    Stream::Unspecified => panic!("an output of no stream"),
                };
                let forgotten = if output.stream == 1 {
                    self.forgotten
                } else {
                    0
                };
                assert_eq!(output.offset, forgotten + stream.len() as u64);
                assert!((1..=MAX_OUTPUT_BYTES).contains(&output.data.len()));
                stream.extend_from_slice(&output.data);
                self.outputs += 1;
            }
            Kind::Gap(gap) => panic!("{gap:?}"),
            Kind::Exited(exited) => {
                let exit = exited.exit.expect("an exit");
                let code = exit.code.expect("a code is always set");
                assert_eq!(
                    code == -1,
                    exit.signal != 0 || exit.reason() >= Reason::LostStart
                );
                assert!(exit.wall_time.is_some() && exit.usage.is_some());
                self.exit = Some(exit);
            }
        }
        event.kind
    }

    pub(crate) fn exit(&self) -> &Exit {
        self.exit.as_ref().expect("it has ended")
    }

    /// Code, signal and reason.
    pub(crate) fn ending(&self) -> (i32, i32, Reason) {
        ending(self.exit())
    }

    /// stdout, or what is on its terminal.
    pub(crate) fn text(&self) -> String {
        let bytes = [&self.stdout[..], &self.terminal].concat();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

pub(crate) fn ending(exit: &Exit) -> (i32, i32, Reason) {
    (exit.code.expect("a code"), exit.signal, exit.reason())
}

/// The letter of a process's state.
pub(crate) fn state_of(pid: i32) -> Option<char> {
    stat_of(pid)?.split(' ').next()?.chars().next()
}

/// `/proc/PID/stat` behind the program's name: state, parent, …
pub(crate) fn stat_of(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(rest.to_owned())
}

/// remexd's own helper, which makes children that run as other users, as long as it lives.
fn is_zygote(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"remexd: zygote\0")
}

/// Processes whose parent is `parent`, with the letter of their state; but for [`is_zygote`].
pub(crate) fn children_of(parent: i32) -> Vec<(i32, char)> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| {
            let stat = stat_of(pid)?;
            let mut fields = stat.split(' ');
            let state = fields.next()?.chars().next()?;
            let is_child = fields.next()?.parse() == Ok(parent) && !is_zygote(pid);
            is_child.then_some((pid, state))
        })
        .collect()
}
