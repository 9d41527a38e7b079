//! What idle connections and replies of gigabytes take in memory.

use std::net::SocketAddr;

use remex_gateway::limits::Limits;
use rustix::process::Pid;
use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::support::{
    Gateway, Legacy, allow_descriptors, count, forget_peak, remexd, resident, sockets,
};
use crate::harness::{Daemon, Home, eventually, soon};

/// The most that an idle connection may take.
const IDLE_BYTES: u64 = 4 * 1024;
/// The most that a reply of any length may take above idle.
const REPLY_BYTES: u64 = 64 << 20;
/// A wire whose length is an int32 cannot tell of more.
const MOST_LENGTH: u64 = 2_147_483_647;

#[tokio::test]
async fn idle_connections_cost_next_to_nothing() {
    let connections = count(2_000, Limits::DEFAULT.connections);
    allow_descriptors();
    let daemon = remexd(&["tcp://127.0.0.1:0/exec"]).await;
    let address = daemon.socket("tcp-exec");
    let mut first = Legacy::connect(address).await;
    assert_eq!(first.ask("echo 1").await.text(), "1\n");
    // Sockets alone: other descriptors of the command are closed a moment after its reply.
    let sockets_before = sockets(daemon.pid());
    let (before, _) = resident(daemon.pid());
    let mut idle = Vec::new();
    for _ in 1..connections {
        idle.push(Legacy::connect(address).await);
    }
    eventually("the acceptance of all connections", || {
        (sockets(daemon.pid()) >= sockets_before + idle.len()).then_some(())
    })
    .await;
    let (after, _) = resident(daemon.pid());
    let each = after.saturating_sub(before) / idle.len() as u64;
    eprintln!("an idle connection takes {each} bytes, one of {connections}");
    assert!(each <= IDLE_BYTES, "{each} bytes each");
    for client in [&mut first, &mut idle[connections / 2]] {
        assert_eq!(client.ask("echo 2").await.text(), "2\n");
    }
    if connections == Limits::DEFAULT.connections {
        one_more_waits(address, &mut idle).await;
    }
    daemon.stop().await;
}

/// For the end of another.
async fn one_more_waits(address: SocketAddr, idle: &mut Vec<Legacy>) {
    let mut late = Legacy::connect(address).await;
    late.send("echo late").await;
    idle.pop();
    assert_eq!(late.reply().await.expect("a reply").text(), "late\n");
}

/// Asks for a reply of `bytes` bytes, of which `expected` are to come; looks at none of them.
async fn read_reply(address: SocketAddr, wire: &str, bytes: u64, expected: u64) {
    let mut client = Legacy::connect(address).await;
    client.send(format!("head -c {bytes} /dev/zero")).await;
    let length = client.stream.read_u32_le().await.expect("a length");
    let announced = if wire == "length" {
        u64::from(length)
    } else {
        let mut header = vec![0; length as usize];
        client
            .stream
            .read_exact(&mut header)
            .await
            .expect("a header");
        let header: serde_json::Value = serde_json::from_slice(&header).expect("JSON");
        assert_eq!(header["truncated"], false);
        header["total_size"].as_u64().expect("a size")
    };
    assert_eq!(announced, expected);
    assert_eq!(discard(&mut client.stream, announced).await, announced);
    // Nothing after the body: the next command's reply begins right there.
    client.send("printf %s next").await;
    let mut next = vec![0; 4];
    client.stream.read_exact(&mut next).await.expect("a length");
}

async fn discard(stream: &mut TcpStream, most: u64) -> u64 {
    let mut stream = stream.take(most);
    tokio::io::copy(&mut stream, &mut tokio::io::sink())
        .await
        .expect("a body")
}

/// Runs `reading`, and returns how far the peaks of `processes` rose above what they took before.
async fn peak(processes: &[Pid], reading: impl Future<Output = ()>) -> u64 {
    let before: u64 = processes.iter().map(|pid| resident(*pid).0).sum();
    let patience = std::time::Duration::from_secs(count(120, 1200) as u64);
    timeout(patience, reading).await.expect("a whole reply");
    let peaks: u64 = processes.iter().map(|pid| resident(*pid).1).sum();
    peaks.saturating_sub(before)
}

fn assert_small(what: &str, bytes: u64, more: u64) {
    eprintln!("{what}: a reply of {bytes} bytes takes {} KiB", more >> 10);
    assert!(more < REPLY_BYTES, "{what}: {} KiB", more >> 10);
}

fn long_reply() -> u64 {
    count(300_000_000, usize::try_from(MOST_LENGTH).expect("64 bits")) as u64
}

const LENGTH: &str = "tcp://127.0.0.1:0/exec?wire=length";
const JSON: &str = "tcp://127.0.0.1:0/exec";

#[tokio::test]
async fn a_long_reply_of_remexd_is_not_held_in_memory() {
    let bytes = long_reply();
    let daemon = remexd(&[JSON]).await;
    let reading = read_reply(daemon.socket("tcp-exec"), "json-header", bytes, bytes);
    assert_small("remexd", bytes, peak(&[daemon.pid()], reading).await);
    if bytes == MOST_LENGTH {
        beyond_the_count(&daemon).await;
    }
    daemon.stop().await;
}

/// One byte more than a wire can count, which is cut.
async fn beyond_the_count(daemon: &Daemon) {
    let cutting = remexd(&[LENGTH]).await;
    let reading = read_reply(
        cutting.socket("tcp-exec"),
        "length",
        MOST_LENGTH + 1,
        MOST_LENGTH,
    );
    let more = peak(&[cutting.pid()], reading).await;
    assert_small("remexd, a cut reply", MOST_LENGTH + 1, more);
    let reading = read_reply(
        daemon.socket("tcp-exec"),
        "json-header",
        MOST_LENGTH + 1,
        MOST_LENGTH + 1,
    );
    assert_small(
        "remexd",
        MOST_LENGTH + 1,
        peak(&[daemon.pid()], reading).await,
    );
}

#[tokio::test]
async fn a_long_reply_of_a_gateway_is_not_held_in_memory() {
    let bytes = long_reply();
    let home = Home::new();
    let address = format!("unix:{}", home.path("socket").display());
    let daemon = Daemon::start_in(&home, &["--listen", &address]).await;
    let gateway = Gateway::start(&home, &address, &[LENGTH]).await;
    let reading = read_reply(gateway.socket("tcp-exec"), "length", bytes, bytes);
    let more = peak(&[daemon.pid(), gateway.pid()], reading).await;
    assert_small("remexd and remex-gateway", bytes, more);
    daemon.stop().await;
}

/// Clients that do not read their replies, and how long each is.
const UNREAD_CLIENTS: usize = 400;
const UNREAD_BYTES: usize = 2_000_000;
/// The most that all of them may take above idle: what replies share, with what is on its way, and what else a connection and
/// its command take.
const UNREAD_MOST_BYTES: u64 = 100 << 20;
/// What may stay in memory behind them: buffers that allocators keep.
const FLAT_BYTES: u64 = 24 << 20;

/// A client with next to no room of the kernel's for what it does not read.
async fn connect_narrow(address: SocketAddr) -> Legacy {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("its room");
    let stream = soon("a connection", socket.connect(address)).await;
    Legacy {
        stream: stream.expect("a connection"),
    }
}

#[tokio::test]
async fn replies_that_nobody_reads_share_one_bound() {
    let daemon = remexd(&["tcp://127.0.0.1:0/exec"]).await;
    let address = daemon.socket("tcp-exec");
    let mut honest = Legacy::connect(address).await;
    assert_eq!(honest.ask("echo 1").await.text(), "1\n");
    let (before, _) = resident(daemon.pid());
    for round in 1..=3 {
        forget_peak(daemon.pid());
        let (idle, _) = resident(daemon.pid());
        let mut clients = Vec::new();
        for _ in 0..UNREAD_CLIENTS {
            let mut client = connect_narrow(address).await;
            let command = format!("head -c {UNREAD_BYTES} /dev/zero");
            client.send(command).await;
            clients.push(client);
        }
        for client in &clients {
            // Its reply is all there when its first byte is.
            let begun = soon("a reply", client.stream.readable()).await;
            begun.expect("a reply");
        }
        let (now, peak) = resident(daemon.pid());
        let more = [now, peak].map(|bytes| bytes.saturating_sub(idle));
        eprintln!(
            "{UNREAD_CLIENTS} unread replies of {UNREAD_BYTES} bytes, round {round}: {} KiB, {} KiB at most",
            more[0] >> 10,
            more[1] >> 10
        );
        assert!(more[1] <= UNREAD_MOST_BYTES, "{} KiB", more[1] >> 10);
        assert_eq!(honest.ask("echo 2").await.text(), "2\n");
        drop(clients);
        let flat = || resident(daemon.pid()).0 <= before + FLAT_BYTES;
        eventually("memory as before", || flat().then_some(())).await;
    }
    daemon.stop().await;
}
