//! Interact: a command as if it were local, with live output, stdin, signals, a terminal.

use std::io::{self, Read, Write, stderr, stdin, stdout};

use remex_client::{Client, Command, Control, Event, Exit, ExitReason, Signal, Stdin, Stream};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
};

use crate::{
    Outcome,
    options::Options,
    terminal::{self, RawTerminal},
};

const CHUNK_BYTES: usize = 64 << 10;

/// Runs the command, and returns its exit code.
pub(crate) async fn run(client: &Client, options: Options) -> Outcome {
    let mut command = Command::new(options.program)
        .args(options.args)
        .user(options.user)
        .timeout(options.timeout);
    let mut raw = None;
    if options.terminal {
        let (rows, columns) = terminal::size()?;
        command = command.terminal(rows, columns, "");
        raw = Some(RawTerminal::new()?);
    }
    // The library asks the server for what restricts a command: one that is too old would drop the user unseen.
    let mut interaction = client.interact(command).await?;
    if let Some(stdin) = interaction.stdin.take() {
        tokio::spawn(forward_stdin(stdin));
    }
    forward_signals(&interaction.control())?;
    if raw.is_some() {
        tokio::spawn(forward_resizes(interaction.control()));
    }
    while let Some(event) = interaction.next().await? {
        match event {
            Event::Output { stream, data, .. } => {
                write(stream, &data)?;
            }
            Event::Exited(exit) => {
                return exit_code(&exit);
            }
            _ => {}
        }
    }
    Err("the server stopped telling what the command does".into())
}

/// Passes on what the command wrote.
pub(crate) fn write(stream: Stream, data: &[u8]) -> io::Result<()> {
    if stream == Stream::Stderr {
        return stderr().write_all(data);
    }
    stdout().write_all(data)?;
    stdout().flush()
}

/// Its own, 128+n if signal n ended it, 124 if its timeout did.
pub(crate) fn exit_code(exit: &Exit) -> Outcome {
    match exit.reason {
        ExitReason::Own | ExitReason::Signal | ExitReason::Timeout => Ok(exit.status_code()),
        reason => Err(format!("the command was lost: {}", reason.as_str()).into()),
    }
}

/// The command's stdin ends when this returns, and drops it.
pub(crate) async fn forward_stdin(mut to: Stdin) -> io::Result<()> {
    loop {
        let read = spawn_blocking(|| {
            let mut data = vec![0; CHUNK_BYTES];
            let length = stdin().read(&mut data)?;
            data.truncate(length);
            io::Result::Ok(data)
        });
        let data = read.await.map_err(io::Error::other)??;
        // It waits whenever as much is on its way as may be.
        if data.is_empty() || to.write(data).await.is_err() {
            return Ok(());
        }
    }
}

pub(crate) fn forward_signals(control: &Control) -> io::Result<()> {
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        let mut received = signal(kind)?;
        let control = control.clone();
        tokio::spawn(async move {
            while received.recv().await.is_some() {
                // Their numbers are Linux's, here and there.
                if let Some(signal) = Signal::new(kind.as_raw_value()) {
                    let _ = control.signal(signal).await;
                }
            }
        });
    }
    Ok(())
}

async fn forward_resizes(control: Control) -> io::Result<()> {
    let mut resized = signal(SignalKind::window_change())?;
    while resized.recv().await.is_some() {
        let (rows, columns) = terminal::size()?;
        let _ = control.resize(rows, columns).await;
    }
    Ok(())
}
