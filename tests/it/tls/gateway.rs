//! The gateway as a client over TLS: clients of the old protocol reach a server that knows the gateway.

use tokio::process::Command;

use super::{
    site::{Site, assert_says},
    tokens::new_token,
};
use crate::{
    gateway::support::{Gateway, Legacy},
    harness::{binaries::binary, soon},
};

#[tokio::test]
async fn the_old_protocol_is_translated_over_tls() {
    let site = Site::new();
    let (token, line) = new_token(&["gateway"]).await;
    let (tokens, ca) = (site.put("tokens", &line), site.at("ca.pem"));
    let token = site.put("token", &token);
    let daemon = site
        .start(&["--tls-client-ca", &ca, "--tokens", &tokens])
        .await;
    site.put_leaf("client", &site.ca.client("gateway.example"));
    let (cert, key) = (site.at("client.pem"), site.at("client.key"));
    for (credentials, caller) in [
        (vec!["--cert", &cert, "--key", &key], "dns:gateway.example"),
        (vec!["--token-file", &token], "token:gateway"),
    ] {
        let flags = [&["--ca", &ca][..], &credentials].concat();
        let listener = "tcp://127.0.0.1:0/exec";
        let gateway =
            Gateway::start_with(&site.home, daemon.url("grpc"), &[listener], &flags).await;
        let mut client = Legacy::connect(gateway.socket("tcp-exec")).await;
        assert_eq!(client.ask("echo ran").await.text(), "ran\n");
        assert_eq!(site.executions().await[0].caller, caller);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_gateway_says_which_of_its_files_is_of_no_use() {
    let site = Site::new();
    for (flags, parts) in [
        (
            vec!["--ca", "none.pem"],
            ["--ca: none.pem", "cannot be read"],
        ),
        (
            vec!["--cert", "server.pem"],
            ["--cert: ", "belong together"],
        ),
        (
            vec!["--ca", "server.key"],
            ["--ca: server.key", "no certificate"],
        ),
    ] {
        let mut gateway = Command::new(binary("remex-gateway"));
        gateway
            .arg("--check")
            .args(flags)
            .current_dir(site.home.folder());
        let output = soon("remex-gateway", gateway.output()).await.unwrap();
        assert_eq!(output.status.code(), Some(64));
        assert_says(&String::from_utf8(output.stderr).unwrap(), &parts);
    }
}
