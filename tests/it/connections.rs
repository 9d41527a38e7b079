//! The client's connections to a real server: many commands, calls that nobody reads, calls that are reset, long stdin.

use std::{fs, path::PathBuf, time::Duration};

use bytes::Bytes;
use remex::v1;
use remex_client::{Command, Event, MAX_CALLS_PER_CONNECTION};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::net::unix::pipe;
use tonic::{Code, Request};

use crate::{
    gateway::support::{Gateway, Legacy, count},
    harness::{Daemon, Home, Marker, eventually, soon},
    limits::raise_open_files,
};

const LISTENER: &str = "tcp://127.0.0.1:0/exec";
/// More than the streams that the server takes on one connection.
const MANY: usize = 1030;
/// More resets than a connection of h2's survives by default.
const RESETS: usize = 2600;
/// Clients that reset their commands at once.
const AT_ONCE: usize = 50;

/// A way to hold commands: `cat` of it ends when it is let go of.
struct Hold(PathBuf);

impl Hold {
    fn new(home: &Home) -> Self {
        let path = home.path("hold");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a named pipe");
        Self(path)
    }

    /// Whoever reads it now comes to its end.
    async fn let_go(&self) {
        let open = || pipe::OpenOptions::new().open_sender(&self.0).ok();
        drop(eventually("a reader", open).await);
    }
}

async fn upstream_and_gateway() -> (Daemon, Gateway, Home) {
    let home = Home::new();
    let daemon = Daemon::start(&[]).await;
    let gateway = Gateway::start(&home, daemon.url("grpc"), &[LISTENER]).await;
    (daemon, gateway, home)
}

#[tokio::test]
async fn pitfall_57_a_gateway_runs_more_commands_than_a_connection_takes() {
    raise_open_files();
    let (daemon, gateway, home) = upstream_and_gateway().await;
    let (hold, runs) = (Hold::new(&home), home.path("runs"));
    let command = format!(
        "echo >>{}; cat {}; echo ran",
        runs.display(),
        hold.0.display()
    );
    let mut clients = Vec::new();
    for _ in 0..MANY {
        let mut client = Legacy::connect(gateway.socket("tcp-exec")).await;
        client.send(&command).await;
        clients.push(client);
    }
    eventually("the start of all of them", || {
        let lines = fs::read(&runs).ok()?.len();
        (lines == MANY).then_some(())
    })
    .await;
    // A shell has said so before its `cat` opens the pipe.
    let answered = async {
        for client in &mut clients {
            let reply = client.reply().await.expect("a reply");
            assert_eq!(reply.text(), "ran\n");
        }
    };
    tokio::pin!(answered);
    soon("all answers", async {
        loop {
            tokio::select! {
                () = &mut answered => return,
                () = hold.let_go() => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await;
    daemon.stop().await;
}

#[tokio::test]
async fn pitfall_57_clients_that_reset_their_commands_end_nobody_elses() {
    let (daemon, gateway, home) = upstream_and_gateway().await;
    let (address, hold) = (gateway.socket("tcp-exec"), Hold::new(&home));
    let mut other = Legacy::connect(address).await;
    other
        .send(format!("cat {}; echo ran", hold.0.display()))
        .await;
    let resets = count(RESETS, 4 * RESETS);
    let clients: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            tokio::spawn(async move {
                for _ in 0..resets / AT_ONCE {
                    let mut client = Legacy::connect(address).await;
                    // Its output is under way when the command ends with its client.
                    client.send("yes").await;
                    client.stream.set_zero_linger().expect("a socket");
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("it was reset");
    }
    hold.let_go().await;
    assert_eq!(other.reply().await.expect("a reply").text(), "ran\n");
    // The same connection serves on.
    assert_eq!(other.ask("echo again").await.text(), "again\n");
    daemon.stop().await;
}

#[tokio::test]
async fn pitfall_57_a_library_that_drops_its_calls_loses_no_other() {
    let daemon = Daemon::start(&[]).await;
    let client = daemon.client().await;
    let mut other = client
        .interact(Command::shell("read line; echo $line"))
        .await
        .unwrap();
    for _ in 0..RESETS / AT_ONCE {
        let calls: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { client.start(Command::new("yes")).await.map(drop) })
            })
            .collect();
        for call in calls {
            soon("a start", call).await.unwrap().unwrap();
        }
    }
    let mut stdin = other.stdin.take().unwrap();
    stdin.write("still here\n").await.unwrap();
    let mut output = Vec::new();
    while let Some(event) = soon("an event", other.next()).await.unwrap() {
        if let Event::Output { data, .. } = event {
            output.extend(data);
        }
    }
    assert_eq!(output, b"still here\n");
    daemon.stop().await;
}

#[tokio::test]
async fn pitfall_65_executions_that_nobody_reads_hold_up_no_other_call() {
    let daemon = Daemon::start(&[]).await;
    let client = daemon.client().await;
    let mut unread = Vec::new();
    for index in 0..MAX_CALLS_PER_CONNECTION - 1 {
        // A flood, and one line after the other.
        let command = match index % 2 {
            0 => Command::new("yes"),
            _ => Command::shell("while :; do echo line; done"),
        };
        unread.push(soon("a start", client.start(command)).await.unwrap());
    }
    for _ in 0..20 {
        let outcome = soon("a run", client.run(Command::new("echo").arg("read"))).await;
        assert_eq!(outcome.unwrap().stdout, "read\n");
    }
    let mut flood = client
        .start(Command::shell("head -c 50000000 /dev/zero"))
        .await
        .unwrap();
    let mut bytes = 0;
    while let Some(event) = soon("an event", flood.next()).await.unwrap() {
        if let Event::Output { data, .. } = event {
            bytes += data.len();
        }
    }
    assert_eq!(bytes, 50_000_000);
    // None of them was lost meanwhile.
    for execution in &mut unread {
        let first = soon("an event", execution.next()).await.unwrap();
        assert!(matches!(first, Some(Event::Started { .. })), "{first:?}");
        let next = soon("an event", execution.next()).await.unwrap();
        assert!(matches!(next, Some(Event::Output { .. })), "{next:?}");
    }
    drop(unread);
    daemon.stop().await;
}

#[tokio::test]
async fn stdin_of_200_mb_goes_through_and_comes_back() {
    const CHUNK_BYTES: usize = 1 << 20;
    const CHUNKS: usize = 200;
    let pattern: Bytes = (0..CHUNK_BYTES + CHUNKS)
        .map(|n| (n * 7 + n / 251).to_le_bytes()[0])
        .collect();
    // No chunk is like the one before.
    let sent = pattern.clone();
    let chunk = move |index: usize| pattern.slice(index..index + CHUNK_BYTES);
    let daemon = Daemon::start(&[]).await;
    let client = daemon.client().await;
    let mut interaction = client.interact(Command::new("cat")).await.unwrap();
    let mut stdin = interaction.stdin.take().unwrap();
    let writer = tokio::spawn(async move {
        for index in 0..CHUNKS {
            let chunk = sent.slice(index..index + CHUNK_BYTES);
            stdin.write(chunk).await.unwrap();
        }
    });
    let (mut index, mut left) = (0, Bytes::new());
    while let Some(event) = soon("an event", interaction.next()).await.unwrap() {
        match event {
            Event::Output { mut data, .. } => {
                while !data.is_empty() {
                    if left.is_empty() {
                        left = chunk(index);
                        index += 1;
                    }
                    let both = left.len().min(data.len());
                    assert!(
                        left.split_to(both) == data.split_to(both),
                        "in chunk {index}"
                    );
                }
            }
            Event::Exited(exit) => assert!(exit.success()),
            _ => {}
        }
    }
    assert_eq!((index, left.len()), (CHUNKS, 0));
    soon("the writer's end", writer).await.unwrap();
    daemon.stop().await;
}

#[tokio::test]
async fn a_command_that_stops_reading_its_stdin_still_ends_with_its_caller() {
    let daemon = Daemon::start(&[]).await;
    let client = daemon.client().await;
    let marker = Marker::new();
    // Fast at first, so that as much is on its way as may be.
    let command = format!("head -c 100000000 >/dev/null; exec sleep {marker}");
    let mut interaction = client.interact(Command::shell(command)).await.unwrap();
    let mut stdin = interaction.stdin.take().unwrap();
    let writer = tokio::spawn(async move {
        let data = Bytes::from(vec![0; 1 << 20]);
        while stdin.write(data.clone()).await.is_ok() {}
    });
    let sleeps = eventually("the end of its reading", || {
        marker
            .processes()
            .iter()
            .any(|process| process.command_line.starts_with("sleep"))
            .then_some(())
    });
    tokio::select! {
        () = sleeps => {}
        // What was accepted is told with the events.
        event = async { loop { interaction.next().await.unwrap(); } } => event,
    }
    drop(interaction);
    marker.is_gone().await;
    soon("the writer's end", writer).await.unwrap();
    daemon.stop().await;
}

#[tokio::test]
async fn a_deadline_is_the_callers_going_also_while_its_command_runs() {
    let daemon = Daemon::start(&[]).await;
    let client = daemon.client().await;
    let marker = Marker::new();
    let command = v1::Command {
        argv: vec!["sleep".into(), marker.to_string()],
        ..v1::Command::default()
    };
    let mut run = Request::new(v1::RunRequest {
        command: Some(command.clone()),
        ..v1::RunRequest::default()
    });
    run.set_timeout(Duration::from_millis(500));
    let status = soon("its end", client.exec().run(run)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    marker.is_gone().await;
    let mut start = Request::new(v1::StartRequest {
        command: Some(command),
        ..v1::StartRequest::default()
    });
    start.set_timeout(Duration::from_millis(500));
    let mut events = client.exec().start(start).await.unwrap().into_inner();
    let status = soon("its end", async {
        loop {
            match events.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended well"),
                Err(status) => return status,
            }
        }
    });
    let status = status.await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    marker.is_gone().await;
    daemon.stop().await;
}
