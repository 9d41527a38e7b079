//! One command: a process on pipes, or a script that plays a terminal or an ending.
//!
//! `fake:exit CODE SIGNAL REASON` ends just so; `fake:deaf` takes no stdin and waits for a signal; with a terminal, what
//! it is told comes back as text, until `q`.

use std::{io::ErrorKind, os::unix::process::ExitStatusExt, process::Stdio, time::Duration};

use bytes::Bytes;
use remex::{error::Reason, v1::*};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin},
    sync::mpsc,
};
use tonic::{Status, Streaming};

/// What goes into an InteractResponse.
pub(super) struct Reply {
    pub(super) event: Option<Event>,
    pub(super) accepted: u64,
}

/// What came in an InteractRequest.
pub(super) enum Input {
    Stdin(Bytes),
    Eof,
    /// The caller has gone, which is no end of stdin.
    Gone,
    Signal(i32),
    Resize(WindowSize),
}

/// Passes on what comes in; the end of the requests is the end of stdin.
pub(super) async fn read_input(
    mut requests: Streaming<InteractRequest>,
    input: mpsc::Sender<Input>,
) {
    use interact_request::Message;
    let end = loop {
        let request = match requests.message().await {
            Ok(Some(request)) => request,
            Ok(None) => break Input::Eof,
            Err(_) => break Input::Gone,
        };
        let message = match request.message.unwrap() {
            Message::StdinChunk(chunk) => {
                if !chunk.data.is_empty() {
                    let _ = input.send(Input::Stdin(chunk.data)).await;
                }
                if !chunk.eof {
                    continue;
                }
                Input::Eof
            }
            Message::Signal(signal) => Input::Signal(signal),
            Message::Resize(size) => Input::Resize(size),
            Message::Start(_) | Message::Attach(_) => panic!("not the first message"),
        };
        let _ = input.send(message).await;
    };
    let _ = input.send(end).await;
}

pub(super) fn signal(pid: i32, signal: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let signal = rustix::process::Signal::from_named_raw(signal).unwrap();
    rustix::process::kill_process_group(pid, signal).unwrap();
}

/// A command that was begun.
pub(super) enum Spawned {
    Process {
        child: Box<Child>,
        stdin: Vec<u8>,
        timeout: Option<Duration>,
    },
    Deaf,
    Terminal(Terminal),
    Ending(Exit),
}

pub(super) fn spawn(command: &Command, stdin: Vec<u8>, open: bool) -> Result<Spawned, Status> {
    if let Some(terminal) = command.terminal.clone() {
        return Ok(Spawned::Terminal(terminal));
    }
    let argv = if command.shell.is_empty() {
        command.argv.clone()
    } else {
        vec!["/bin/sh".into(), "-c".into(), command.shell.clone()]
    };
    match argv[0].as_str() {
        "fake:deaf" => return Ok(Spawned::Deaf),
        "fake:exit" => {
            let number = |n: usize| argv[n].parse().unwrap();
            let (code, signal, reason) = (Some(number(1)), number(2), number(3));
            return Ok(Spawned::Ending(Exit {
                code,
                signal,
                reason,
                ..Exit::default()
            }));
        }
        _ => {}
    }
    let mut process = tokio::process::Command::new(&argv[0]);
    process.args(&argv[1..]).envs(&command.environment);
    process.stdout(Stdio::piped()).stderr(Stdio::piped());
    let piped = open || !stdin.is_empty();
    process.stdin(if piped { Stdio::piped() } else { Stdio::null() });
    process.process_group(0).kill_on_drop(true);
    if !command.working_directory.is_empty() {
        process.current_dir(&command.working_directory);
    }
    let child = process.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => Reason::ProgramNotFound.status(format!("no program {:?}", argv[0])),
        _ => Reason::ProgramNotExecutable.status(format!("{:?} cannot be executed", argv[0])),
    })?;
    let timeout = command.timeout.map(|timeout| timeout.try_into().unwrap());
    Ok(Spawned::Process {
        child: Box::new(child),
        stdin,
        timeout,
    })
}

impl Spawned {
    pub(super) fn pid(&self) -> i32 {
        match self {
            Self::Process { child, .. } => i32::try_from(child.id().unwrap()).unwrap(),
            _ => 1,
        }
    }

    /// Tells what happens, to the end. When nobody listens any more, it kills.
    pub(super) async fn drive(
        self,
        execution_id: String,
        input: mpsc::Receiver<Input>,
        replies: mpsc::Sender<Reply>,
    ) -> Exit {
        let pid = self.pid();
        let mut teller = Teller {
            sequence: 0,
            accepted: 0,
            offsets: [0; 4],
            replies,
        };
        teller
            .tell(event::Kind::Started(Started { execution_id, pid }))
            .await;
        let exit = match self {
            Self::Process {
                child,
                stdin,
                timeout,
            } => process(*child, stdin, timeout, input, &mut teller).await,
            Self::Deaf => deaf(input).await,
            Self::Terminal(terminal) => play_terminal(&terminal, input, &mut teller).await,
            Self::Ending(exit) => exit,
        };
        teller
            .tell(event::Kind::Exited(Exited { exit: Some(exit) }))
            .await;
        exit
    }
}

struct Teller {
    sequence: u64,
    accepted: u64,
    offsets: [u64; 4],
    replies: mpsc::Sender<Reply>,
}

impl Teller {
    async fn tell(&mut self, kind: event::Kind) {
        self.sequence += 1;
        let event = Event {
            sequence: self.sequence,
            time: None,
            kind: Some(kind),
        };
        self.reply(Some(event)).await;
    }

    async fn output(&mut self, stream: output::Stream, data: Bytes) {
        let offset = self.offsets[stream as usize];
        self.offsets[stream as usize] += data.len() as u64;
        let (stream, text) = (stream.into(), String::new());
        self.tell(event::Kind::Output(Output {
            stream,
            offset,
            data,
            text,
        }))
        .await;
    }

    async fn accept(&mut self, bytes: usize) {
        self.accepted += bytes as u64;
        self.reply(None).await;
    }

    async fn reply(&mut self, event: Option<Event>) {
        let accepted = self.accepted;
        let _ = self.replies.send(Reply { event, accepted }).await;
    }
}

async fn deaf(mut input: mpsc::Receiver<Input>) -> Exit {
    loop {
        match input.recv().await {
            Some(Input::Signal(signal)) => return killed(signal, exit::Reason::Signal),
            // The caller has gone.
            Some(Input::Gone) | None => return killed(9, exit::Reason::Disconnect),
            Some(_) => {}
        }
    }
}

async fn play_terminal(
    terminal: &Terminal,
    mut input: mpsc::Receiver<Input>,
    teller: &mut Teller,
) -> Exit {
    let (rows, columns, term) = (terminal.rows, terminal.columns, &terminal.term);
    let mut said = format!("<{rows}x{columns} {term}>");
    loop {
        teller.output(output::Stream::Terminal, said.into()).await;
        said = match input.recv().await {
            Some(Input::Stdin(data)) if &data[..] == b"q" => return code(3),
            Some(Input::Stdin(data)) => {
                teller.accept(data.len()).await;
                format!("<{}>", data.escape_ascii())
            }
            Some(Input::Resize(size)) => format!("<{}x{}>", size.rows, size.columns),
            Some(Input::Signal(signal)) => format!("<signal {signal}>"),
            Some(Input::Eof | Input::Gone) | None => return killed(1, exit::Reason::Disconnect),
        };
    }
}

async fn process(
    mut child: Child,
    first: Vec<u8>,
    timeout: Option<Duration>,
    input: mpsc::Receiver<Input>,
    teller: &mut Teller,
) -> Exit {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    let (sender, mut happenings) = mpsc::channel(16);
    let stdout = child.stdout.take().unwrap();
    let stderr = child.stderr.take().unwrap();
    tokio::spawn(read(stdout, output::Stream::Stdout, sender.clone()));
    tokio::spawn(read(stderr, output::Stream::Stderr, sender.clone()));
    tokio::spawn(feed(child.stdin.take(), first, pid, input, sender));
    let mut reason = exit::Reason::Self_;
    let deadline = tokio::time::sleep(timeout.unwrap_or(Duration::from_hours(1)));
    tokio::pin!(deadline);
    let mut open = 2;
    while open > 0 {
        tokio::select! {
            happening = happenings.recv() => match happening.unwrap() {
                Happening::Output(stream, data) => teller.output(stream, data).await,
                Happening::End => open -= 1,
                Happening::Accepted(bytes) => teller.accept(bytes).await,
                Happening::Signalled => reason = exit::Reason::Signal,
            },
            () = &mut deadline, if reason != exit::Reason::Timeout => {
                reason = exit::Reason::Timeout;
                signal(pid, 9);
            }
            () = teller.replies.closed() => {
                signal(pid, 9);
                return killed(9, exit::Reason::Disconnect);
            }
        }
    }
    let status = child.wait().await.unwrap();
    match status.signal() {
        Some(signal) => killed(signal, reason),
        None if reason == exit::Reason::Signal => code(status.code().unwrap()),
        None => Exit {
            reason: reason.into(),
            ..code(status.code().unwrap())
        },
    }
}

enum Happening {
    Output(output::Stream, Bytes),
    End,
    Accepted(usize),
    Signalled,
}

async fn read(
    mut from: impl AsyncRead + Unpin,
    stream: output::Stream,
    to: mpsc::Sender<Happening>,
) {
    let mut buffer = vec![0; 65536];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let data = Bytes::copy_from_slice(&buffer[..count]);
        let _ = to.send(Happening::Output(stream, data)).await;
    }
    let _ = to.send(Happening::End).await;
}

async fn feed(
    mut stdin: Option<ChildStdin>,
    first: Vec<u8>,
    pid: i32,
    mut input: mpsc::Receiver<Input>,
    to: mpsc::Sender<Happening>,
) {
    let mut next = Some(Input::Stdin(first.into()));
    while let Some(message) = next {
        match message {
            Input::Stdin(data) => {
                if let Some(pipe) = &mut stdin
                    && pipe.write_all(&data).await.is_err()
                {
                    stdin = None;
                }
                let _ = to.send(Happening::Accepted(data.len())).await;
            }
            Input::Eof => stdin = None,
            // Whoever sees that its replies go nowhere ends the command, with its stdin as it is.
            Input::Gone => return to.closed().await,
            Input::Signal(number) => {
                let _ = to.send(Happening::Signalled).await;
                signal(pid, number);
            }
            Input::Resize(_) => panic!("there is no terminal"),
        }
        next = input.recv().await;
    }
}

fn code(code: i32) -> Exit {
    let reason = exit::Reason::Self_.into();
    Exit {
        code: Some(code),
        reason,
        ..Exit::default()
    }
}

fn killed(signal: i32, reason: exit::Reason) -> Exit {
    let reason = reason.into();
    Exit {
        code: Some(-1),
        signal,
        reason,
        ..Exit::default()
    }
}
