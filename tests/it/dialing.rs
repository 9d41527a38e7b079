//! Addresses that are not plain: a name of several, the first of which seem dead, and one that means something on one link
//! alone.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with};
use tokio::process::Command;

use crate::harness::{
    Daemon, Home,
    binaries::binary,
    soon,
    tools::{program, root},
};

const NAME: &str = "several.test";

/// A listener whose queue is full, so that the kernel answers no further SYN, and what fills it.
fn dead(address: SocketAddrV4) -> Vec<OwnedFd> {
    let socket = |flags| {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
        socket.expect("a socket")
    };
    let listener = socket(SocketFlags::CLOEXEC);
    bind(&listener, &address).expect("the port, at another address");
    listen(&listener, 0).expect("it listens");
    let mut sockets = vec![listener];
    for _ in 0..4 {
        let filling = socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
        // Under way, or done: either takes a place.
        let _ = connect(&filling, &address);
        sockets.push(filling);
    }
    sockets
}

#[tokio::test]
async fn pitfall_61_the_old_protocol_is_dialled_at_all_addresses_of_a_name() {
    skip_unless!(root());
    let daemon = Daemon::start(&["--legacy", "tcp://127.0.0.1:0/exec"]).await;
    let port = daemon.socket("tcp-exec").port();
    let dead_hosts = [2, 3].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let _dead = dead_hosts.map(|host| dead(SocketAddrV4::new(host, port)));
    // The resolver may turn their order round. Tried in turn, a dead one would take all of the time for connecting.
    let hosts = [dead_hosts[0], Ipv4Addr::LOCALHOST, dead_hosts[1]];
    let lines = hosts.map(|host| format!("{host} {NAME}\n")).concat();
    let home = Home::new();
    fs::write(home.path("hosts"), lines).expect("a file");
    let script = r#"mount --bind "$1" /etc/hosts && shift && exec "$@""#;
    let run = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(home.path("hosts"))
        .arg(binary("remex"))
        .args(["legacy", &format!("{NAME}:{port}"), "echo", "here"])
        .output();
    let output = soon("remex legacy", run).await.expect("unshare runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(output.stdout, b"here\n", "{output:?}");
    daemon.stop().await;
}

/// A network with nothing but a loopback, which has an address of its link.
const LINK: &str = "ip link set lo up; ip -6 addr add fe80::1/64 dev lo nodad; exec \"$@\"";

/// What `remex` prints in the network of `daemon`.
async fn remex_beside(daemon: &Daemon, words: &[&str]) -> String {
    let run = Command::new("nsenter")
        .args(["--net", "--target", &daemon.pid().to_string()])
        .arg(binary("remex"))
        .args(words)
        .output();
    let output = soon("remex", run).await.expect("nsenter runs");
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[tokio::test]
async fn an_address_of_one_link_is_served_and_called_with_its_zone() {
    skip_unless!(root());
    skip_unless!(program("ip"));
    let flags = [
        "--listen",
        "[fe80::1%lo]:0",
        "--allow-plaintext",
        "--legacy",
        "tcp://[fe80::1%25lo]:0/exec",
        "--legacy",
        "udp://[FE80:0::1%25lo]:0/exec",
        "--allow-udp-exec",
    ];
    let home = Home::new();
    let wrapper = ["unshare", "--net", "sh", "-ec", LINK, "sh"];
    let daemon = Daemon::spawn(&home, home.remexd_under(&wrapper, &flags)).await;
    let grpc = daemon.url("grpc");
    let (_, port) = grpc.rsplit_once(':').expect("a port");
    assert_eq!(grpc, format!("http://[fe80::1%251]:{port}"));
    for server in [
        grpc,
        &format!("http://[fe80::1%25lo]:{port}"),
        &format!("http://[FE80::0:1%lo]:{port}"),
    ] {
        let said = remex_beside(&daemon, &["ping", "--server", server]).await;
        assert!(said.contains("remexd"), "{server}: {said}");
    }
    let tcp = daemon.url("tcp-exec");
    let (_, port) = tcp.rsplit_once(':').expect("a port");
    for server in [tcp, &format!("[fe80::1%lo]:{port}"), daemon.url("udp-exec")] {
        let said = remex_beside(&daemon, &["legacy", server, "echo", "here"]).await;
        assert_eq!(said, "here\n", "{server}");
    }
    daemon.stop().await;
}
