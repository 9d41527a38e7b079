//! Requests that do not end and replies that nobody reads take bounded memory, and cost an honest caller nothing: PITFALLS 53.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use h2::{SendStream, client::SendRequest};
use http::Request;
use remex::v1::{Command, RunRequest, StartRequest};
use tokio::{net::TcpStream, task::AbortHandle};

use crate::harness::{Daemon, LOOK_AGAIN, soon};

const MIB: usize = 1024 * 1024;

/// What unfinished requests may take, in MiB: a peer's share, a window for each connection, and what waits.
const BOUND_MIB: usize = 256;

/// What waits of a call before it comes to HTTP/2: four events of 64 KiB, and one that is being made.
const QUEUE_KIB: usize = 320;

/// Nothing has moved for so many looks, a second in all: all there is to be sent has been.
const LOOKS: usize = 100;

pub(crate) async fn connect(daemon: &Daemon) -> SendRequest<Bytes> {
    connect_until(daemon).await.0
}

/// The same, and what closes the connection.
pub(crate) async fn connect_until(daemon: &Daemon) -> (SendRequest<Bytes>, AbortHandle) {
    let stream = TcpStream::connect(daemon.socket("grpc")).await.unwrap();
    let (sender, connection) = h2::client::Builder::new()
        // A hundred small answers that wait to be read are no flood here.
        .data_frame_budget(16 * MIB)
        .handshake(stream)
        .await
        .unwrap();
    let connection = tokio::spawn(connection).abort_handle();
    (sender.ready().await.unwrap(), connection)
}

pub(crate) fn request(path: &str) -> Request<()> {
    Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

/// Returns the last of what `look` has seen, once that is something and has stayed the same.
pub(crate) async fn standstill(mut look: impl FnMut() -> usize) -> usize {
    let (mut before, mut looks) = (0, 0);
    soon("a standstill", async {
        while looks < LOOKS {
            // Nobody tells that nothing happens.
            tokio::time::sleep(LOOK_AGAIN).await;
            let now = look();
            looks = if now == before && now > 0 {
                looks + 1
            } else {
                0
            };
            before = now;
        }
    })
    .await;
    before
}

/// Sends all of a message of 4 MiB but its last byte, as fast as it is taken.
pub(crate) async fn send_unfinished(
    mut sender: SendRequest<Bytes>,
    sent: Arc<AtomicUsize>,
) -> Result<(), h2::Error> {
    // One for all: the attacker's memory is not what is tried.
    static DATA: [u8; LENGTH - 1] = [b'x'; LENGTH - 1];
    const LENGTH: usize = 4 * MIB - 64;
    let (_response, mut stream) = sender.send_request(request(ECHO), false)?;
    let header = [&[0][..], &u32::try_from(LENGTH).unwrap().to_be_bytes()].concat();
    stream.send_data(header.into(), false)?;
    send_as_taken(&mut stream, Bytes::from_static(&DATA), &sent).await?;
    std::future::pending().await
}

/// Sends `data` as fast as the windows let it; what went is counted.
pub(crate) async fn send_as_taken(
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    sent: &AtomicUsize,
) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len().min(64 * 1024));
        let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let Some(room) = room else { break };
        let bytes = room?.min(data.len());
        stream.send_data(data.split_to(bytes), false)?;
        sent.fetch_add(bytes, Ordering::Relaxed);
    }
    Ok(())
}

const ECHO: &str = "/remex.v1.EchoService/Echo";

async fn run(daemon: &Daemon) {
    let request = RunRequest {
        command: Some(Command {
            argv: vec!["true".to_owned()],
            ..Command::default()
        }),
        ..RunRequest::default()
    };
    let ran = soon("a run", daemon.client().await.exec().run(request)).await;
    assert_eq!(ran.unwrap().get_ref().exit.as_ref().unwrap().code, Some(0));
}

#[tokio::test]
async fn pitfall_53_requests_that_do_not_end_have_a_budget() {
    let daemon = Daemon::start(&[]).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let mut attack = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let sender = connect(&daemon).await;
        for _ in 0..500 {
            attack.spawn(send_unfinished(sender.clone(), Arc::clone(&sent)));
        }
    }
    let taken = standstill(|| {
        let memory = daemon.memory_mib();
        assert!(memory < BOUND_MIB, "{memory} MiB");
        sent.load(Ordering::Relaxed)
    })
    .await;
    run(&daemon).await;
    println!("{} MiB sent, {} MiB held", taken / MIB, daemon.memory_mib());
    drop(attack);
    run(&daemon).await;
    println!("{} MiB afterwards", daemon.memory_mib());
    daemon.stop().await;
}

#[tokio::test]
async fn pitfall_53_replies_that_nobody_reads_have_a_bound() {
    const CALLS: usize = 900;
    let daemon = Daemon::start(&[]).await;
    let client = daemon.client().await;
    let mut unread = Vec::new();
    for _ in 0..CALLS {
        let request = StartRequest {
            command: Some(Command {
                argv: vec!["yes".to_owned()],
                ..Command::default()
            }),
            ..StartRequest::default()
        };
        let started = soon("a start", client.exec().start(request)).await;
        unread.push(started.unwrap());
    }
    let held = standstill(|| daemon.memory_mib()).await;
    println!("{held} MiB for {CALLS} calls that nobody reads");
    // All that waits in HTTP/2 has 64 MiB; in front of it, each call has its queue.
    let bound = 64 + CALLS * QUEUE_KIB / 1024;
    assert!(held < bound, "{held} MiB");
    run(&daemon).await;
    drop(unread);
    daemon.stop().await;
}
