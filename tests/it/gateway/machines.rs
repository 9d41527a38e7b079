//! Two machines, as network namespaces, with a narrow and bad path between them. They are gone when it is dropped.

use std::{
    fs::{self, File},
    io::Read,
    net::{SocketAddr, TcpStream},
    os::fd::AsFd,
    process::{self, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::process::Child;

use super::support::{Legacy, script};
use crate::harness::tools::{self, Missing};

/// The narrowest that every host of IPv4 has to take.
const MTU: &str = "576";
/// Addresses for documentation: no real machine has them.
pub(crate) const SERVER: &str = "192.0.2.1";
const CLIENT: &str = "192.0.2.2";
/// Packets in a hundred that are lost, each way.
const LOST: &str = "2";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// What lies between the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// Nothing but a small MTU.
    Narrow,
    /// It loses packets.
    Lossy,
    /// It delays packets, so that they overtake each other.
    Reordering,
}

/// The two machines.
pub(crate) struct Machines {
    id: String,
    carrier: Option<Carrier>,
}

/// Killed when it is dropped.
struct Carrier(process::Child);

impl Carrier {
    /// Carries packets between two devices that it makes.
    fn start(server: &str, client: &str, here: &str, there: &str) -> Self {
        let mut carrier = Self(
            script("path.py", &[here, there])
                .into_std()
                .stdout(Stdio::piped())
                .spawn()
                .expect("python3 runs"),
        );
        let mut line = [0; 6];
        let mut stdout = carrier.0.stdout.take().expect("a pipe");
        stdout.read_exact(&mut line).expect("it is ready");
        // Made where the test is, they are moved to their machines.
        ip(&["link", "set", here, "netns", server]);
        ip(&["link", "set", there, "netns", client]);
        carrier
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Machines {
    /// What they need.
    pub(crate) fn possible() -> Result<(), Missing> {
        tools::root()?;
        for program in ["ip", "nft", "python3"] {
            tools::program(program)?;
        }
        File::options()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .map(drop)
            .map_err(|_| Missing::new("/dev/net/tun"))
    }

    pub(crate) fn new(path: Path) -> Self {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        // Names of devices have 15 bytes at most.
        let id = format!("rx{}.{next}", process::id());
        let mut machines = Self { id, carrier: None };
        let (server, client) = (machines.server(), machines.client());
        ip(&["netns", "add", &server]);
        ip(&["netns", "add", &client]);
        for machine in [&server, &client] {
            ip(&["-n", machine, "link", "set", "lo", "up"]);
        }
        let (here, there) = (format!("{}s", machines.id), format!("{}c", machines.id));
        if path == Path::Reordering {
            machines.carrier = Some(Carrier::start(&server, &client, &here, &there));
        } else {
            ip(&[
                "link", "add", &here, "netns", &server, "type", "veth", "peer", "name", &there,
                "netns", &client,
            ]);
        }
        for (machine, device, own, other) in [
            (&server, &here, SERVER, CLIENT),
            (&client, &there, CLIENT, SERVER),
        ] {
            ip(&[
                "-n", machine, "addr", "add", own, "peer", other, "dev", device,
            ]);
            // A packet that stands for many would be lost as many.
            let narrow = ["mtu", MTU, "gso_max_segs", "1", "up"];
            ip(&[&["-n", machine, "link", "set", device][..], &narrow].concat());
            if path == Path::Lossy {
                lose(machine);
            }
        }
        machines
    }

    fn server(&self) -> String {
        format!("{}.server", self.id)
    }

    fn client(&self) -> String {
        format!("{}.client", self.id)
    }

    /// Where a listener of the server's is, on a port of its own choice.
    pub(crate) fn url(service: &str) -> String {
        format!("tcp://{SERVER}:0/{service}")
    }

    /// Runs `scenario` on the server: what it starts is there too.
    pub(crate) fn on_server(&self, scenario: impl Future<Output = ()> + Send) {
        on(&self.server(), || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(scenario);
        });
    }

    /// A connection from the client.
    pub(crate) fn connect(&self, address: SocketAddr) -> Legacy {
        let stream = on(&self.client(), || TcpStream::connect(address));
        let stream = stream.expect("a connection");
        stream.set_nonblocking(true).expect("a socket");
        Legacy {
            stream: tokio::net::TcpStream::from_std(stream).expect("a socket"),
        }
    }

    /// A process on the client.
    pub(crate) fn on_client(&self, mut start: tokio::process::Command) -> Child {
        // It is the current runtime that has to hear of its end.
        let runtime = tokio::runtime::Handle::current();
        on(&self.client(), move || {
            let _inside = runtime.enter();
            start.spawn().expect("it runs")
        })
    }

    /// Shortens how long the client's kernel remembers what a process that is gone has left half-closed.
    pub(crate) fn forget_soon(&self) {
        on(&self.client(), || {
            fs::write("/proc/sys/net/ipv4/tcp_fin_timeout", "1").expect("a setting");
        });
    }

    /// The packets that were lost so far.
    pub(crate) fn lost_packets(&self) -> u64 {
        let list = |machine: String| {
            let text = nft(&machine, &["list", "ruleset"]);
            let (_, counter) = text.split_once("counter packets ").expect("a counter");
            let number = counter.split_whitespace().next().expect("a number");
            number.parse::<u64>().expect("a number")
        };
        list(self.server()) + list(self.client())
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for machine in [self.server(), self.client()] {
            let removed = Command::new("ip").args(["netns", "del", &machine]).status();
            if !removed.is_ok_and(|status| status.success()) {
                eprintln!("left behind: the network namespace {machine}");
            }
        }
    }
}

/// Runs `work` in a thread of its own, on one of the machines.
fn on<T: Send>(machine: &str, work: impl FnOnce() -> T + Send) -> T {
    let path = format!("/run/netns/{machine}");
    let inside = || {
        let namespace = File::open(&path).expect("a machine");
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("a way into it");
        work()
    };
    thread::scope(|scope| match scope.spawn(inside).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn lose(machine: &str) {
    nft(machine, &["add", "table", "inet", "path"]);
    let chain = "add chain inet path arriving { type filter hook input priority 0; }";
    nft(machine, &[chain]);
    let rule = format!(
        "add rule inet path arriving meta l4proto tcp numgen random mod 100 < {LOST} counter drop"
    );
    nft(machine, &[&rule]);
}

fn nft(machine: &str, arguments: &[&str]) -> String {
    run(Command::new("ip")
        .args(["netns", "exec", machine, "nft"])
        .args(arguments))
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments));
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}
