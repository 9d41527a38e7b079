//! How a command is asked for, again and again until its end is known; and what the history of that is.

use std::process::{Output, Stdio};

use bytes::Bytes;
use remex::{
    error::Reason as Refusal,
    v1::{Event, StartRequest, Terminal, event::Kind as EventKind, exit::Reason},
};
use remex_client::{
    Client, Command, Endpoint, Event as ClientEvent, Exit, ExitReason, Interaction, Stream,
};
use tokio::{io::AsyncWriteExt, process::Child, time::sleep};
use tonic::{Code, Status};

use super::{
    job::{Job, Kind},
    model::{Answer, End, Fate, History, Told, Violation},
};
use crate::{
    durable::support::{HasEvent, from},
    harness::{LOOK_AGAIN, command_line::remex, soon},
    supervision::support::{RequestExt, shell},
};

/// Stdin is given in pieces of this size.
const PIECE_BYTES: usize = 9000;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// The library, by Start.
    Start,
    /// The library, by Interact.
    Interact,
    /// The library, by Run.
    Run,
    /// `remex run --resume`.
    CommandLine,
    /// One that only ever repeats its Start.
    AsksAgain,
    /// One that goes on by Attach, behind what it was told.
    Attaches,
}

impl Caller {
    /// Those who can ask for such a command.
    pub(super) fn of(kind: Kind) -> &'static [Self] {
        match kind {
            Kind::Fed => &[Self::Interact, Self::Interact, Self::CommandLine],
            Kind::Given | Kind::Terminal => &[Self::Start, Self::AsksAgain, Self::Attaches],
            Kind::Endless => &[Self::Start, Self::Interact, Self::AsksAgain, Self::Attaches],
            _ => &[
                Self::Start,
                Self::Start,
                Self::Interact,
                Self::Run,
                Self::CommandLine,
                Self::AsksAgain,
                Self::AsksAgain,
                Self::Attaches,
                Self::Attaches,
            ],
        }
    }
}

/// Where the server is.
#[derive(Clone)]
pub(super) struct Way {
    /// As it is typed.
    pub(super) address: String,
    /// Which others call through as well.
    pub(super) client: Client,
}

impl Way {
    pub(super) fn to(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            client: connect(address),
        }
    }
}

/// A connection of its own.
fn connect(address: &str) -> Client {
    let endpoint: Endpoint = address.parse().expect("an address");
    Client::connect_lazy(&endpoint)
}

/// The history of one job.
pub(super) struct Watched {
    pub(super) job: Job,
    pub(super) history: History,
}

impl Watched {
    pub(super) fn new(job: Job) -> Self {
        let history = History::new(job.expected.clone());
        Self { job, history }
    }

    #[track_caller]
    pub(super) fn check(&self, what: Result<(), Violation>) {
        if let Err(violation) = what {
            panic!("{}: {violation:?}", self.job.name);
        }
    }

    /// Has `caller` ask until the end is known.
    pub(super) async fn ask(&mut self, caller: Caller, way: &Way) {
        match caller {
            Caller::Start => self.start(way).await,
            Caller::Interact => self.interact(way).await,
            Caller::Run => self.run(way).await,
            Caller::CommandLine => while !self.typed(self.type_it(way)).await {},
            Caller::AsksAgain | Caller::Attaches => {
                while !self.history.has_ended() {
                    let attaches = caller == Caller::Attaches && self.history.position() > 0;
                    if let Err(status) = self.ask_once(&way.address, attaches).await {
                        self.assert_lost(&status);
                        sleep(LOOK_AGAIN).await;
                    }
                }
            }
        }
    }

    /// Reads all of it once more, after its end.
    pub(super) async fn replay(&mut self, client: &Client) {
        let record = self.record(client).await;
        self.check_is(&record.execution_id);
        self.history.joins(0);
        let attach = from(&record.execution_id, 0);
        let attached = soon("an attach", client.exec().attach(attach)).await;
        let stream = attached.expect("it is known").into_inner();
        let read = self.read(stream).await;
        read.expect("a server that stays");
        let end = record.exit.as_ref().map(End::of);
        let is_told = end == self.history.end() && end.is_some();
        assert!(is_told, "{}: {end:?} is in its record", self.job.name);
        let is_over = self.history.is_over(self.job.runs());
        self.check(is_over);
    }

    /// What the server says of its request.
    async fn record(&self, client: &Client) -> remex::v1::Execution {
        let request = remex::v1::GetRequest {
            request_id: self.job.name.clone(),
            ..remex::v1::GetRequest::default()
        };
        let got = soon("a record", client.exec().get(request)).await;
        let got = got.unwrap_or_else(|status| panic!("{}: {status}", self.job.name));
        got.into_inner().execution.expect("a record")
    }

    /// The request, as the library makes it.
    pub(super) fn command(&self) -> Command {
        let Job {
            script,
            name,
            stdin,
            kind,
            ..
        } = &self.job;
        let mut command = Command::shell(script).request_id(name);
        if *kind == Kind::Given {
            command = command.stdin(stdin.clone());
        }
        if *kind == Kind::Terminal {
            command = command.terminal(24, 80, "dumb");
        }
        command
    }

    /// The same by hand.
    fn request(&self) -> StartRequest {
        let mut request = shell(&self.job.script);
        self.job.name.clone_into(&mut request.request_id);
        if self.job.kind == Kind::Given {
            request.stdin_data = self.job.stdin.clone();
        }
        if self.job.kind == Kind::Terminal {
            request = request.with(|command| command.terminal = Some(Terminal::default()));
        }
        request
    }

    #[track_caller]
    fn check_is(&mut self, execution: &str) {
        let is = self.history.is(execution);
        self.check(is);
    }

    async fn start(&mut self, way: &Way) {
        let mut execution = loop {
            match way.client.start(self.command().resume()).await {
                Ok(execution) => break execution,
                Err(error) => self.assert_nothing_ran(error.reason()),
            }
        };
        self.check_is(execution.id());
        self.history.joins(0);
        loop {
            let event = soon("an event", execution.next()).await;
            let event = event.unwrap_or_else(|error| panic!("{}: {error}", self.job.name));
            let Some(event) = event else { return };
            self.hears(execution.position(), event);
        }
    }

    async fn interact(&mut self, way: &Way) {
        let mut interaction = loop {
            match way.client.interact(self.command().resume()).await {
                Ok(interaction) => break interaction,
                Err(error) => self.assert_nothing_ran(error.reason()),
            }
        };
        let stdin = interaction.stdin.take().expect("stdin");
        let feeding = tokio::spawn(feed(stdin, self.job.stdin.clone()));
        self.joins(&interaction);
        self.follow(&mut interaction).await;
        soon("stdin", feeding).await.expect("no panic");
    }

    /// What `interaction` tells is this one's.
    pub(super) fn joins(&mut self, interaction: &Interaction) {
        self.check_is(interaction.id());
        self.history.joins(interaction.position());
    }

    /// Takes its events until its end.
    pub(super) async fn follow(&mut self, interaction: &mut Interaction) {
        loop {
            let event = soon("an event", interaction.next()).await;
            let event = event.unwrap_or_else(|error| panic!("{}: {error}", self.job.name));
            let Some(event) = event else { return };
            self.hears(interaction.position(), event);
        }
    }

    pub(super) fn hears(&mut self, sequence: u64, event: ClientEvent) {
        let told = match event {
            ClientEvent::Started { .. } => Told::Started,
            ClientEvent::Output {
                stream,
                offset,
                data,
            } => Told::Output {
                stream: match stream {
                    Stream::Stdout => 0,
                    Stream::Stderr => 1,
                    Stream::Terminal => 2,
                    other => panic!("{other:?}"),
                },
                offset,
                data,
            },
            ClientEvent::Gap { .. } => Told::Gap,
            ClientEvent::Exited(exit) => Told::Exited(end(&exit)),
            // What follows goes on behind what came before.
            ClientEvent::Interrupted { .. } | ClientEvent::Resumed => return,
            other => panic!("{other:?}"),
        };
        let told = self.history.told(sequence, told);
        self.check(told);
    }

    async fn run(&mut self, way: &Way) {
        let outcome = way.client.run(self.command().resume()).await;
        let outcome = outcome.unwrap_or_else(|error| panic!("{}: {error}", self.job.name));
        self.check_is(&outcome.execution_id);
        let End::Own(code) = end(&outcome.exit) else {
            panic!("{}: {:?}", self.job.name, outcome.exit);
        };
        let answered = self.history.answered(&Answer {
            streams: [outcome.stdout, outcome.stderr, Bytes::new()],
            code,
        });
        self.check(answered);
    }

    /// The command line, with its stdin on the way.
    pub(super) fn type_it(&self, way: &Way) -> Child {
        let Job { script, name, .. } = &self.job;
        let has_stdin = self.job.kind == Kind::Fed;
        let stdin: &[&str] = if has_stdin { &[] } else { &["-n"] };
        let typed = [
            &["run", "--resume", "-q", "--request-id", name],
            stdin,
            &["--shell", script],
        ]
        .concat();
        let mut command = remex(&way.address, &typed);
        if has_stdin {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().expect("remex runs");
        if let Some(mut stdin) = child.stdin.take() {
            let data = self.job.stdin.clone();
            // It fails if the command line is killed before it has read all.
            tokio::spawn(async move { stdin.write_all(&data).await });
        }
        child
    }

    /// Whether it came to a server. Where it finds none to begin with, it says so at once, and whoever types it types it again.
    pub(super) async fn typed(&mut self, child: Child) -> bool {
        let output: Output = soon("remex's end", child.wait_with_output())
            .await
            .expect("a child");
        let code = output.status.code().expect("an exit code");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if code == 255 && said.contains("REMEX_SERVER says where") && output.stdout.is_empty() {
            return false;
        }
        let answered = self.history.answered(&Answer {
            streams: [output.stdout.into(), output.stderr.into(), Bytes::new()],
            code,
        });
        if answered.is_err() {
            eprintln!("{}: remex ends with {code}: {said}", self.job.name);
        }
        self.check(answered);
        true
    }

    /// One call, by hand, over a connection of its own.
    async fn ask_once(&mut self, address: &str, attaches: bool) -> Result<(), Status> {
        let mut exec = connect(address).exec();
        if attaches {
            let execution = self.history.execution().expect("it is known").to_owned();
            let request = from(&execution, self.history.position());
            let stream = soon("an attach", exec.attach(request)).await?;
            self.read(stream.into_inner()).await
        } else {
            self.history.joins(0);
            let stream = soon("a start", exec.start(self.request())).await?;
            self.read(stream.into_inner()).await
        }
    }

    async fn read<M: HasEvent>(&mut self, mut stream: tonic::Streaming<M>) -> Result<(), Status> {
        while let Some(message) = soon("an event", stream.message()).await? {
            if let Some(event) = message.event() {
                self.takes(event);
            }
        }
        Ok(())
    }

    fn takes(&mut self, event: Event) {
        let told = match event.kind.expect("a kind") {
            EventKind::Started(started) => {
                self.check_is(&started.execution_id);
                Told::Started
            }
            EventKind::Output(output) => Told::Output {
                stream: usize::try_from(output.stream - 1).expect("a stream"),
                offset: output.offset,
                data: output.data,
            },
            EventKind::Gap(_) => Told::Gap,
            EventKind::Exited(exited) => Told::Exited(End::of(&exited.exit.expect("an exit"))),
        };
        let told = self.history.told(event.sequence, told);
        self.check(told);
    }

    /// That a call has failed because the connection was lost, or the server. What is refused is not.
    #[track_caller]
    fn assert_lost(&self, status: &Status) {
        if let Some(reason) = Refusal::of(status).filter(|reason| *reason != Refusal::Draining) {
            return self.assert_nothing_ran(Some(reason));
        }
        let is_lost = matches!(
            status.code(),
            Code::Unavailable | Code::Cancelled | Code::Internal | Code::Unknown
        );
        assert!(is_lost, "{}: {status}", self.job.name);
    }

    /// A start is refused alone where its supervisor was killed before anything ran.
    #[track_caller]
    fn assert_nothing_ran(&self, reason: Option<Refusal>) {
        let may_be_refused =
            self.job.expected.end == Fate::Lost && reason == Some(Refusal::SpawnFailed);
        assert!(may_be_refused, "{}: {reason:?}", self.job.name);
        assert_eq!(self.job.runs(), 0, "{} has run", self.job.name);
    }
}

/// Gives it `data`, and then the end.
async fn feed(mut stdin: remex_client::Stdin, data: Bytes) {
    for piece in pieces(&data) {
        stdin.write(piece).await.expect("it takes all of it");
    }
}

/// `data`, as it is given.
pub(super) fn pieces(data: &Bytes) -> impl Iterator<Item = Bytes> {
    data.chunks(PIECE_BYTES).map(|piece| data.slice_ref(piece))
}

impl End {
    /// As the API tells it.
    pub(super) fn of(exit: &remex::v1::Exit) -> Self {
        match (exit.reason(), exit.code) {
            (Reason::Self_, Some(code)) => Self::Own(code),
            (Reason::LostStart, Some(-1)) => Self::LostStart,
            (Reason::LostExit, Some(-1)) => Self::LostExit,
            _ => Self::Other,
        }
    }
}

/// As the library tells it.
fn end(exit: &Exit) -> End {
    match (exit.reason, exit.code) {
        (ExitReason::Own, Some(code)) => End::Own(code.into()),
        (ExitReason::LostStart, None) => End::LostStart,
        (ExitReason::LostExit, None) => End::LostExit,
        _ => End::Other,
    }
}
