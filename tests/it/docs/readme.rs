//! The README's tour.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
};

use super::console::{Place, try_out};
use crate::harness::{Daemon, binaries::binary, tools};

#[tokio::test]
async fn the_tour_prints_what_it_says() {
    skip_unless!(tools::root());
    for program in ["grpcurl", "nc", "python3", "bash"] {
        skip_unless!(tools::program(program));
    }
    let daemon = Daemon::start(&[
        "--legacy",
        "tcp://127.0.0.1:0/exec",
        "--legacy",
        "udp://127.0.0.1:0/exec",
        "--legacy",
        "udp://127.0.0.1:0/echo",
    ])
    .await;
    let place = Place {
        words: words(&daemon, free_port()),
        folder: Path::new(env!("CARGO_MANIFEST_DIR")),
        variables: [("REMEX_SERVER", daemon.url("grpc").to_owned())].into(),
    };
    try_out("README.md", &place).await;
    daemon.stop().await;
}

/// The README speaks of the default ports and of a release; here it is this daemon's ports and this build.
fn words(daemon: &Daemon, gateway: SocketAddr) -> Vec<(String, String)> {
    let release = binary("remexd").parent().expect("a folder");
    let ready = daemon.home().path("gateway");
    let port = |name: &str| format!("127.0.0.1 {}", daemon.socket(name).port());
    [
        ("cargo build --quiet --release --bins", ":".to_owned()),
        ("target/release", release.display().to_string()),
        ("/tmp/gateway.ready", ready.display().to_string()),
        ("127.0.0.1:50051", daemon.socket("grpc").to_string()),
        ("udp://127.0.0.1:8080", daemon.url("udp-exec").to_owned()),
        ("127.0.0.1:8080", daemon.socket("tcp-exec").to_string()),
        ("127.0.0.1 8080", port("udp-exec")),
        ("127.0.0.1 8081", port("udp-echo")),
        ("127.0.0.1:8082", gateway.to_string()),
    ]
    .map(|(from, to)| (from.to_owned(), to))
    .into()
}

/// A port for the gateway that the tour starts, which nobody has now.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
}
