//! Room: those who may not, and commands over UDP that take their time, leave everybody else theirs.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use remex_gateway::limits::Limits;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, connect, socket_with},
    process::Uid,
    thread::set_thread_uid,
};
use tokio::{net::UdpSocket, time::timeout};

use super::support::{Legacy, allow_descriptors, count, remexd};
use crate::harness::{Marker, eventually, soon, tools};

/// What a stranger has looked at again after at most.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// How long the owner waits at most among them, half of the time.
const OWNER_WAIT: Duration = Duration::from_millis(100);

/// The same, but for one time in a hundred: the strangers are busy on the same processors.
const OWNER_WAIT_P99: Duration = Duration::from_secs(1);

/// After which a client that has no answer to its datagram asks again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Connections of another user, opened as fast as one thread can, and anew whenever they are reset, until it is dropped.
struct Strangers {
    stop: Arc<AtomicBool>,
    opened: Arc<AtomicUsize>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Strangers {
    fn start(port: u16, connections: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let opened = Arc::new(AtomicUsize::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&opened));
        let thread = thread::spawn(move || {
            // Of this thread alone: sockets belong to the user of the thread that makes them.
            set_thread_uid(Uid::from_raw(tools::OTHER_USER)).expect("another user");
            let mut open = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                for _ in open.len()..connections {
                    open.extend(dial(port));
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                drop_ended(&mut open);
            }
        });
        Self {
            stop,
            opened,
            thread: Some(thread),
        }
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            assert!(joined.is_ok() || thread::panicking(), "strangers panicked");
        }
    }
}

/// A connection that is under way, unless there is no port left.
fn dial(port: u16) -> Option<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
    let socket = socket.expect("a socket");
    match connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) {
        Ok(()) | Err(Errno::INPROGRESS) => Some(socket),
        Err(_) => None,
    }
}

fn drop_ended(open: &mut Vec<OwnedFd>) {
    let mut watched: Vec<_> = open
        .iter()
        .map(|socket| PollFd::new(socket, PollFlags::RDHUP))
        .collect();
    poll(&mut watched, Some(&LOOK)).expect("a look");
    let mut ended = watched
        .iter()
        .map(|watched| !watched.revents().is_empty())
        .collect::<Vec<_>>()
        .into_iter();
    open.retain(|_| !ended.next().unwrap_or(false));
}

/// How long the owner waits for an answer of the gateway's own, on a connection of its own, so many times.
async fn waits(address: SocketAddr, times: usize) -> Vec<Duration> {
    let mut waits = Vec::new();
    for _ in 0..times {
        let begin = Instant::now();
        // White space: nothing runs, which would take a time of its own.
        let reply = Legacy::connect(address).await.ask(" ").await;
        waits.push(begin.elapsed());
        assert_eq!(reply.header["total_size"], 0);
    }
    waits.sort_unstable();
    waits
}

fn p99(waits: &[Duration]) -> Duration {
    waits[waits.len() * 99 / 100]
}

#[tokio::test]
async fn strangers_keep_no_owner_waiting() {
    skip_unless!(tools::root());
    allow_descriptors();
    let connections = count(2_000, 10_000);
    let daemon = remexd(&["tcp://127.0.0.1:0/exec"]).await;
    let address = daemon.socket("tcp-exec");
    let alone = waits(address, 200).await;
    let strangers = Strangers::start(address.port(), connections);
    eventually("all strangers", || {
        (strangers.opened() >= connections).then_some(())
    })
    .await;
    let among = waits(address, 200).await;
    eprintln!(
        "alone {:?} {:?} {:?}, among {} strangers: {:?} {:?} {:?}",
        alone[100],
        p99(&alone),
        alone[199],
        strangers.opened(),
        among[100],
        p99(&among),
        among[199]
    );
    assert!(among[100] <= OWNER_WAIT, "{:?}", among[100]);
    assert!(p99(&among) <= OWNER_WAIT_P99, "{:?}", p99(&among));
    let mut owner = Legacy::connect(address).await;
    assert_eq!(owner.ask("echo mine").await.text(), "mine\n");
    drop(strangers);
    daemon.stop().await;
}

/// What `socket`'s peer answers to `text`; a datagram may be lost in a crowd, and then its client asks again.
async fn ask_datagram(socket: &UdpSocket, text: &str) -> Vec<u8> {
    let asking = async {
        loop {
            let mut reply = vec![0; 1024];
            socket.send(text.as_bytes()).await.expect("sent");
            if let Ok(size) = timeout(ASK_AGAIN, socket.recv(&mut reply)).await {
                reply.truncate(size.expect("a reply"));
                return reply;
            }
        }
    };
    soon("an answer over UDP", asking).await
}

async fn datagrams_to(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    socket.connect(address).await.expect("connected");
    socket
}

#[tokio::test]
async fn commands_over_udp_silence_neither_echo_nor_time() {
    let daemon = remexd(&[
        "udp://127.0.0.1:0/exec?timeout=10m",
        "udp://127.0.0.1:0/echo",
        "udp://127.0.0.1:0/time",
    ])
    .await;
    let commands = datagrams_to(daemon.socket("udp-exec")).await;
    let marker = Marker::new();
    let commands_at_once = Limits::DEFAULT.datagram_commands;
    for number in 1..=commands_at_once {
        let command = format!("exec sleep {marker}");
        commands.send(command.as_bytes()).await.expect("sent");
        // A few at a time: more might not fit into the listener's socket.
        if number % 16 == 0 {
            eventually("the commands", || {
                (marker.processes().len() >= number).then_some(())
            })
            .await;
        }
    }
    let echo = datagrams_to(daemon.socket("udp-echo")).await;
    let time = datagrams_to(daemon.socket("udp-time")).await;
    for round in 0..50 {
        let text = format!("echo {round}");
        assert_eq!(
            ask_datagram(&echo, &text).await,
            text.to_uppercase().as_bytes()
        );
        assert_eq!(ask_datagram(&time, &text).await, text.as_bytes());
    }
    // One command more is dropped, and the log says so.
    let late = daemon.home().path("late");
    let command = format!("touch {}", late.display());
    commands.send(command.as_bytes()).await.expect("sent");
    eventually("a line of the log", || {
        let line = "too many datagrams at once";
        daemon.home().log().contains(line).then_some(())
    })
    .await;
    assert!(!late.exists());
    assert_eq!(marker.processes().len(), commands_at_once);
    marker.kill();
    daemon.stop().await;
}
