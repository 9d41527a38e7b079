//! How remexd ends: a signal drains it, within a bound that nobody outside can stretch, and nothing is left.

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    time::{Duration, Instant},
};

use bytes::Bytes;
use remex::v1::{
    Command, EchoStreamRequest, Exit, StartRequest, StartResponse, StdinChunk, WriteRequest,
    echo_stream_request::Content, event::Kind, exit,
};
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::Streaming;

use crate::{
    harness::{
        Daemon, Marker,
        http2::{Frames, framed},
        soon,
    },
    signals::is_draining,
};

/// Far above what is to be waited for, far below what must not be.
const AT_ONCE: Duration = Duration::from_secs(20);

fn shell(text: &str) -> Command {
    Command {
        shell: text.to_owned(),
        ..Command::default()
    }
}

/// The events of a command that runs, from `started` on.
async fn start(daemon: &Daemon, text: &str) -> Events {
    let request = StartRequest {
        command: Some(shell(text)),
        stdin_open: true,
        ..StartRequest::default()
    };
    let client = daemon.client().await;
    let started = soon("a start", client.exec().start(request)).await;
    Events(started.unwrap().into_inner())
}

struct Events(Streaming<StartResponse>);

impl Events {
    async fn next(&mut self) -> Kind {
        let message = soon("an event", self.0.message()).await;
        message.unwrap().unwrap().event.unwrap().kind.unwrap()
    }

    /// The execution's id.
    async fn started(&mut self) -> String {
        match self.next().await {
            Kind::Started(started) => started.execution_id,
            other => panic!("{other:?}"),
        }
    }

    async fn output(&mut self) -> Bytes {
        match self.next().await {
            Kind::Output(output) => output.data,
            other => panic!("{other:?}"),
        }
    }

    async fn exit(&mut self) -> Exit {
        match self.next().await {
            Kind::Exited(exited) => exited.exit.unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

/// Asserts that each of `addresses` can be bound.
fn assert_all_free(addresses: &[(String, String)]) {
    for (name, url) in addresses {
        let (_, address) = url.split_once("://").unwrap();
        let address: SocketAddr = address.parse().unwrap();
        let bound = if name.starts_with("udp") {
            UdpSocket::bind(address).map(drop)
        } else {
            TcpListener::bind(address).map(drop)
        };
        bound.unwrap_or_else(|error| panic!("{name} {url}: {error}"));
    }
}

#[tokio::test]
async fn an_idle_daemon_ends_at_once_and_frees_its_ports() {
    // An address of its own: no other test's connection has one of its ports when they are bound again.
    let flags = "--listen 127.9.0.1:0 --listen [::1]:0 --legacy tcp://127.9.0.1:0/exec \
                 --legacy udp://127.9.0.1:0/exec --legacy tcp://127.9.0.1:0/echo \
                 --legacy udp://127.9.0.1:0/time --drain-timeout 10m";
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = Daemon::start(&flags.split(' ').collect::<Vec<_>>()).await;
        assert_eq!(daemon.addresses().len(), 6);
        let sent = Instant::now();
        daemon.signal(signal);
        assert_eq!(daemon.wait().await.code(), Some(0));
        assert!(sent.elapsed() < AT_ONCE, "{:?}", sent.elapsed());
        assert_all_free(daemon.addresses());
    }
}

#[tokio::test]
async fn what_runs_gets_the_drain_timeout_and_is_then_ended() {
    let mut daemon = Daemon::start(&["--drain-timeout", "500ms"]).await;
    let marker = Marker::new();
    let text = format!("setsid sleep {marker} & echo ready; sleep {marker}");
    let mut events = start(&daemon, &text).await;
    events.started().await;
    assert_eq!(events.output().await, "ready\n");
    assert!(marker.processes().len() > 1);
    let sent = Instant::now();
    daemon.signal(Signal::TERM);
    let exit = events.exit().await;
    assert!(sent.elapsed() >= Duration::from_millis(500));
    assert_eq!(exit.reason(), exit::Reason::Shutdown);
    assert_eq!(exit.code, Some(-1));
    assert_eq!(daemon.wait().await.code(), Some(0));
    assert!(sent.elapsed() < AT_ONCE, "{:?}", sent.elapsed());
    marker.is_gone().await;
}

#[tokio::test]
async fn what_ends_by_itself_in_time_is_served_to_its_end() {
    let mut daemon = Daemon::start(&["--drain-timeout", "10m"]).await;
    let mut events = start(&daemon, "cat; exit 7").await;
    let execution_id = events.started().await;
    let client = daemon.client().await;
    daemon.signal(Signal::TERM);
    is_draining(&client).await;
    let chunk = StdinChunk {
        text: "the last words".to_owned(),
        eof: true,
        ..StdinChunk::default()
    };
    let request = WriteRequest {
        execution_id,
        chunk: Some(chunk),
    };
    client.exec().write(request).await.unwrap();
    assert_eq!(events.output().await, "the last words");
    let exit = events.exit().await;
    assert_eq!(exit.reason(), exit::Reason::Self_);
    assert_eq!(exit.code, Some(7));
    // The end of the command is the end of the drain.
    assert_eq!(daemon.wait().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut daemon = Daemon::start(&["--drain-timeout", "10m"]).await;
    let marker = Marker::new();
    let _events = start(&daemon, &format!("sleep {marker}")).await;
    let client = daemon.client().await;
    daemon.signal(Signal::TERM);
    is_draining(&client).await;
    let sent = Instant::now();
    daemon.signal(Signal::TERM);
    let status = daemon.wait().await;
    assert!(sent.elapsed() < AT_ONCE, "{:?}", sent.elapsed());
    assert_eq!(status.code(), Some(128 + 15), "{status}");
}

#[tokio::test]
async fn a_connection_that_says_nothing_does_not_hold_it_up() {
    let mut daemon = Daemon::start(&["--legacy", "tcp://127.0.0.1:0/exec"]).await;
    let mut silent = Vec::new();
    for name in ["grpc", "tcp-exec"] {
        silent.push(TcpStream::connect(daemon.socket(name)).await.unwrap());
    }
    let mut half = TcpStream::connect(daemon.socket("grpc")).await.unwrap();
    half.write_all(b"PRI * HTTP").await.unwrap();
    silent.push(half);
    // Both listeners have taken what came before this.
    let _client = daemon.client().await;
    let sent = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().await.code(), Some(0));
    assert!(sent.elapsed() < AT_ONCE, "{:?}", sent.elapsed());
    for mut connection in silent {
        // Closed, in whichever way.
        let _ = soon("the end", connection.read(&mut [0; 64])).await;
    }
}

/// Nor do calls that last as long as their caller likes: they have two seconds to take what there still is.
#[tokio::test]
async fn calls_that_their_caller_leaves_open_hold_it_up_for_two_seconds() {
    const GOODBYE: Duration = Duration::from_secs(2);
    let mut daemon = Daemon::start(&[]).await;
    let mut frames = Frames::connect(&daemon).await;
    let stream = frames.headers("/remex.v1.EchoService/EchoStream", false);
    let message = EchoStreamRequest {
        content: Some(Content::Text("still here".to_owned())),
    };
    frames.data(stream, &framed(&message), false);
    frames.flush().await;
    assert!(frames.has_data_of(stream).await);
    let sent = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().await.code(), Some(0));
    let took = sent.elapsed();
    assert!(took >= GOODBYE && took < GOODBYE + AT_ONCE, "{took:?}");
}
