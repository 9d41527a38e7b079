//! Floods: what is past a limit is refused as stated, memory stays flat, honest clients are served meanwhile.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use remex_gateway::limits::Limits;
use tokio::{io::AsyncWriteExt, net::UdpSocket, time::timeout};

use super::support::{Legacy, count, remexd, resident};
use crate::harness::{Daemon, Marker, PATIENCE, eventually, soon};

/// What a flood may leave in memory: buffers that allocators keep.
const FLAT_BYTES: u64 = 24 * 1024 * 1024;

/// After which a client that has no answer to its datagram asks again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

async fn honest(address: SocketAddr) {
    let mut client = Legacy::connect(address).await;
    assert_eq!(client.ask("echo honest").await.text(), "honest\n");
}

fn assert_flat(daemon: &Daemon, before: u64) {
    let (_, peak) = resident(daemon.pid());
    let more = peak.saturating_sub(before);
    assert!(more < FLAT_BYTES, "{} KiB more", more >> 10);
}

#[tokio::test]
async fn commands_past_the_limit_are_refused() {
    let daemon = remexd(&["tcp://127.0.0.1:0/exec", "tcp://127.0.0.1:0/echo"]).await;
    let address = daemon.socket("tcp-exec");
    let marker = Marker::new();
    let mut flood = Vec::new();
    for _ in 0..Limits::DEFAULT.running_commands {
        let mut client = Legacy::connect(address).await;
        client.send(format!("exec sleep {marker}")).await;
        flood.push(client);
    }
    eventually("the flood", || {
        (marker.processes().len() >= Limits::DEFAULT.running_commands).then_some(())
    })
    .await;
    let mut late = Legacy::connect(address).await;
    let refusal = late.ask("echo late").await;
    let expected = "remex: 1500 commands are running or have replies that are not read yet, as many as may; try again later\n";
    assert_eq!(refusal.text(), expected);
    assert!(refusal.header["exit_code"].is_null());

    let mut echo = Legacy::connect(daemon.socket("tcp-echo")).await;
    echo.send("x").await;
    let mut back = [0];
    soon(
        "an echo",
        tokio::io::AsyncReadExt::read_exact(&mut echo.stream, &mut back),
    )
    .await
    .expect("an echo");
    assert_eq!(&back, b"X");

    drop(flood);
    marker.is_gone().await;
    eventually_served(&mut late).await;
    let line = "beyond the limit of running commands";
    daemon.home().logged(&[line]).await;
    daemon.stop().await;
}

/// On the connection that was refused before.
async fn eventually_served(client: &mut Legacy) {
    soon("an end of refusals", async {
        while client.ask("echo late").await.text() != "late\n" {}
    })
    .await;
}

#[tokio::test]
async fn a_command_past_the_limit_is_refused() {
    let daemon = remexd(&["tcp://127.0.0.1:0/exec"]).await;
    let address = daemon.socket("tcp-exec");
    let mut client = Legacy::connect(address).await;
    let longest = format!("echo {}", "x".repeat(Limits::DEFAULT.request_bytes - 5));
    assert_eq!(
        client.ask(&longest).await.body.len(),
        Limits::DEFAULT.request_bytes - 4
    );
    client.send(longest + "x").await;
    let refusal = client.reply().await.expect("a reply");
    let expected =
        "remex: the command is longer than 65536 bytes; put it into a script; nothing was run\n";
    assert_eq!(refusal.text(), expected);
    assert_eq!(client.rest().await, b"");
    honest(address).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_flood_without_an_end_is_cut_off() {
    let daemon = remexd(&["tcp://127.0.0.1:0/exec"]).await;
    let address = daemon.socket("tcp-exec");
    honest(address).await;
    let (before, _) = resident(daemon.pid());
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..count(4, 40) {
        let mut flood = Vec::new();
        for _ in 0..50 {
            flood.push(Legacy::connect(address).await);
        }
        let sending = flood.into_iter().map(|mut client| {
            let chunk = chunk.clone();
            // Until it is cut off, which it must be.
            async move { while client.stream.write_all(&chunk).await.is_ok() {} }
        });
        let honest = honest(address);
        let floods = futures_util::future::join_all(sending);
        soon(
            "the end of the flood",
            futures_util::future::join(floods, honest),
        )
        .await;
    }
    honest(address).await;
    assert_flat(&daemon, before);
    let line = "refused a malformed command";
    daemon.home().logged(&[line]).await;
    daemon.stop().await;
}

/// Datagrams as fast as they can be sent, until it is dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    sending: Option<thread::JoinHandle<()>>,
}

impl Flood {
    fn start(to: SocketAddr) -> Self {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(to).expect("connected");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let sending = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // What is refused or lost is followed by the next.
                let _ = socket.send(b"flood");
            }
        });
        Self {
            stop,
            sending: Some(sending),
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sending) = self.sending.take() {
            let _ = sending.join();
        }
    }
}

#[tokio::test]
async fn a_flood_of_datagrams_leaves_the_others_their_share() {
    let daemon = remexd(&["udp://127.0.0.1:0/echo"]).await;
    let address = daemon.socket("udp-echo");
    let (before, _) = resident(daemon.pid());
    let honest = UdpSocket::bind("127.0.0.2:0").await.expect("a socket");
    honest.connect(address).await.expect("connected");
    let _flood = Flood::start(address);
    let mut served = 0;
    let asking = async {
        let is_refused = || daemon.home().log().contains("beyond the rate limits");
        for round in 0.. {
            // A busy machine may take a while to take more than it may.
            if round >= count(20, 200) && served > 0 && is_refused() {
                return;
            }
            // A datagram may be lost in the crowd; then a client asks again.
            let text = format!("honest {round}");
            let mut reply = [0; 64];
            honest.send(text.as_bytes()).await.expect("sent");
            if let Ok(size) = timeout(ASK_AGAIN, honest.recv(&mut reply)).await {
                assert!(reply[..size.expect("a reply")].starts_with(b"HONEST "));
                served += 1;
            }
        }
    };
    let bound = PATIENCE * u32::try_from(count(1, 10)).expect("a factor");
    let asked = timeout(bound, asking).await;
    asked.expect("the flood is refused, and others are served");
    assert_flat(&daemon, before);
    daemon.stop().await;
}
