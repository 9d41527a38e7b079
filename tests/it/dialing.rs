//! `remex legacy` at a name of several addresses, the first of which seem dead: as with a server of gRPC, each costs a
//! moment, and not all of the time there is.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with};
use tokio::process::Command;

use crate::harness::{Daemon, Home, binaries::binary, soon, tools};

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
    skip_unless!(tools::root());
    let daemon = Daemon::start(&["--legacy", "tcp://127.0.0.1:0/exec"]).await;
    let port = daemon.socket("tcp-exec").port();
    let dead_hosts = [2, 3].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let _dead = dead_hosts.map(|host| dead(SocketAddrV4::new(host, port)));
    // The resolver may turn their order round. Tried in turn, a dead one would take all of the time for connecting.
    let hosts = [dead_hosts[0], Ipv4Addr::LOCALHOST, dead_hosts[1]];
    let lines: String = hosts
        .iter()
        .map(|host| format!("{host} {NAME}\n"))
        .collect();
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
