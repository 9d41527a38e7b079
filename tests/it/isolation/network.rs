//! The network: each kind of socket, and ways to one that no filter of `socket` sees.

use std::{
    net::{TcpListener, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener},
    path::Path,
};

use remex::v1::{Command, Isolation, isolation::Network};

use super::support::{assert_fails, assert_succeeds, network, ports, try_run};
use crate::{
    harness::tools::{program, root},
    supervision::support::Server,
};

/// What every attempt begins with; `tcp`, `udp`, `unix` and `datagram` are where somebody listens.
const HEAD: &str = "
import ctypes, os, socket, sys
tcp, udp, unix, datagram, pid = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
s = socket
libc = ctypes.CDLL(None, use_errno=True)
def called(result):
    if result < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
";

const CONNECT: &str = "s.create_connection(('127.0.0.1', tcp))";
const BIND: &str = "s.socket().bind(('127.0.0.1', 0))";
const LISTEN: &str = "s.socket().listen()";

/// Attempts that succeed without isolation, and with neither NONE nor PORTS.
const NEVER: [(&str, &str); 11] = [
    (
        "udp",
        "s.socket(s.AF_INET, s.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', udp))",
    ),
    ("unix", "s.socket(s.AF_UNIX).connect(unix)"),
    (
        "unix datagram",
        "s.socket(s.AF_UNIX, s.SOCK_DGRAM).sendto(b'x', datagram)",
    ),
    ("abstract unix", "s.socket(s.AF_UNIX).connect('\\0' + unix)"),
    (
        "pair of datagrams",
        "s.socketpair(s.AF_UNIX, s.SOCK_DGRAM)[0].sendto(b'x', datagram)",
    ),
    (
        "mptcp",
        "s.socket(s.AF_INET, s.SOCK_STREAM, 262).connect(('127.0.0.1', tcp))",
    ),
    (
        "fast open",
        "s.socket().sendto(b'x', 0x20000000, ('127.0.0.1', tcp))",
    ),
    (
        "packet of the host",
        "open('/proc/net/dev').read().index('lo:') and s.socket(s.AF_PACKET, s.SOCK_RAW).bind((s.if_nameindex()[1][1], 0))",
    ),
    ("vsock", "s.socket(40, s.SOCK_STREAM)"),
    (
        "io_uring",
        "called(libc.syscall(425, 1, ctypes.create_string_buffer(120)))",
    ),
    (
        "namespace of the daemon",
        "called(libc.setns(os.open(f'/proc/{pid}/ns/net', 0), 0)); s.create_connection(('127.0.0.1', tcp))",
    ),
];

/// Where attempts are aimed at.
struct Targets {
    tcp: TcpListener,
    udp: UdpSocket,
    _unix: [UnixListener; 2],
    _datagram: UnixDatagram,
    arguments: Vec<String>,
}

impl Targets {
    fn new(folder: &Path, pid: i32) -> Self {
        use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (unix, datagram) = (folder.join("stream"), folder.join("datagram"));
        let name = SocketAddr::from_abstract_name(unix.to_str().unwrap()).unwrap();
        let ports = [&tcp.local_addr().unwrap(), &udp.local_addr().unwrap()]
            .map(|at| at.port().to_string());
        let [tcp_port, udp_port] = ports;
        let arguments = [
            tcp_port,
            udp_port,
            unix.display().to_string(),
            datagram.display().to_string(),
            pid.to_string(),
        ];
        Self {
            _unix: [
                UnixListener::bind(&unix).unwrap(),
                UnixListener::bind_addr(&name).unwrap(),
            ],
            _datagram: UnixDatagram::bind(&datagram).unwrap(),
            tcp,
            udp,
            arguments: arguments.to_vec(),
        }
    }

    fn port(&self) -> u16 {
        self.tcp.local_addr().unwrap().port()
    }

    fn attempt(&self, text: &str, isolation: Option<Isolation>) -> Command {
        let mut argv = vec![
            "python3".to_owned(),
            "-c".to_owned(),
            format!("{HEAD}{text}\n"),
        ];
        argv.extend(self.arguments.clone());
        Command {
            argv,
            isolation,
            ..Command::default()
        }
    }
}

#[tokio::test]
async fn neither_none_nor_ports_has_any_other_socket() {
    skip_unless!(root());
    skip_unless!(program("python3"));
    let server = Server::start(&[]).await;
    let folder = server.daemon.home().path("");
    let targets = Targets::new(&folder, server.daemon.pid().as_raw_nonzero().get());
    for (name, text) in NEVER {
        let free = try_run(&server, targets.attempt(text, None)).await.unwrap();
        if free.code != 0
            && [
                "vsock",
                "mptcp",
                "io_uring",
                "packet of the host",
                "fast open",
            ]
            .contains(&name)
        {
            // A kernel, or a machine, without it.
            eprintln!("skipped: {name}: {}", free.err);
            continue;
        }
        assert_succeeds(&free, name);
        let any = try_run(&server, targets.attempt(text, Some(network(Network::Any))))
            .await
            .unwrap();
        if !["namespace of the daemon", "packet of the host"].contains(&name) {
            assert_succeeds(&any, name);
        }
        let none = try_run(&server, targets.attempt(text, Some(network(Network::None))))
            .await
            .unwrap();
        assert_fails(&none, name);
        if name == "namespace of the daemon" {
            continue;
        }
        let port = targets.port();
        let by_port = ports(&[port], &[port]);
        let by_port = try_run(&server, targets.attempt(text, Some(by_port)))
            .await
            .unwrap();
        assert_fails(&by_port, name);
        assert!(
            by_port.err.contains("Permission") || by_port.err.contains("not permitted"),
            "{name}: {by_port:?}"
        );
    }
    drop(targets.udp);
    server.daemon.stop().await;
}

#[tokio::test]
async fn tcp_is_had_by_its_ports_alone() {
    skip_unless!(root());
    skip_unless!(program("python3"));
    let server = Server::start(&[]).await;
    let targets = Targets::new(&server.daemon.home().path(""), 1);
    let port = targets.port();
    for (text, isolation, succeeds) in [
        (CONNECT, ports(&[port], &[]), true),
        (CONNECT, ports(&[port ^ 1], &[port]), false),
        (CONNECT, network(Network::None), false),
        (CONNECT, network(Network::Any), true),
        (BIND, ports(&[], &[0]), true),
        (BIND, ports(&[port], &[port]), false),
        // In its own namespace there is not even an address of its own.
        (BIND, network(Network::None), false),
        // The kernel picks a port for a socket that listens unbound.
        (LISTEN, ports(&[port], &[]), false),
        (LISTEN, network(Network::Any), true),
        (
            "s.socket(s.AF_NETLINK, s.SOCK_RAW, 0)",
            ports(&[port], &[]),
            false,
        ),
        (
            "s.socket(s.AF_NETLINK, s.SOCK_RAW, 0)",
            network(Network::Any),
            true,
        ),
        (
            "s.socket(s.AF_INET, s.SOCK_RAW, 1)",
            ports(&[port], &[]),
            false,
        ),
        ("s.socketpair()", ports(&[], &[]), true),
        ("s.socketpair()", network(Network::None), true),
    ] {
        let what = format!("{text} {isolation:?}");
        let ran = try_run(&server, targets.attempt(text, Some(isolation)))
            .await
            .unwrap();
        assert_eq!(ran.code == 0, succeeds, "{what}: {ran:?}");
    }
    server.daemon.stop().await;
}
