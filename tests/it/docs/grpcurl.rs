//! docs/grpcurl.md, with the tools of today. That an old grpcurl makes the same calls is `crate::grpcurl`'s.

use super::{
    console::{Place, try_out},
    over_tls,
};
use crate::harness::{Daemon, Home, tools};

#[tokio::test]
async fn every_call_prints_what_it_says() {
    for program in ["grpcurl", "bash", "buf", "ghz", "grpc-health-probe"] {
        skip_unless!(tools::program(program));
    }
    let home = Home::new();
    let socket = home.path("remexd.sock").display().to_string();
    let listen = format!("unix:{socket}");
    let flags = ["--listen", "127.0.0.1:0", "--listen", &listen];
    let daemon = Daemon::start_in(&home, &flags).await;
    let started = home.path("started").display().to_string();
    let secure = Home::new();
    let over_tls = over_tls::start(&secure).await;
    let words = [
        ("127.0.0.1:50051", daemon.socket("grpc").to_string()),
        ("127.0.0.1:50052", over_tls.socket("grpc").to_string()),
        (" certs/", format!(" {}/", secure.path("certs").display())),
        ("/run/remex/remexd.sock", socket),
        ("/tmp/started", started),
    ];
    let place = Place {
        words: words.map(|(from, to)| (from.to_owned(), to)).into(),
        folder: home.folder(),
        variables: [].into(),
    };
    try_out("docs/grpcurl.md", &place).await;
    over_tls.stop().await;
    daemon.stop().await;
}
