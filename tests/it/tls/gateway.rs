//! The gateway as a client over TLS: clients of the old protocol reach a server that knows the gateway.

use tokio::process::Command;

use super::{
    site::{Authority, Site, assert_says},
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

#[tokio::test]
async fn what_a_gateway_shows_and_trusts_is_read_again_when_it_changes() {
    let mut site = Site::new();
    let (first, first_line) = new_token(&["first"]).await;
    let (second, second_line) = new_token(&["second"]).await;
    let tokens = site.put("tokens", &format!("{first_line}\n{second_line}\n"));
    let (token, ca) = (site.put("token", &first), site.at("ca.pem"));
    let flags = ["--tls-client-ca", &ca, "--tokens", &tokens];
    let daemon = site.start(&flags).await;
    site.put_leaf("client", &site.ca.client("first.example"));
    let (cert, key) = (site.at("client.pem"), site.at("client.key"));
    let listener = ["tcp://127.0.0.1:0/exec"];
    let by_token = ["--ca", &ca, "--token-file", &token];
    let by_token = Gateway::start_with(&site.home, daemon.url("grpc"), &listener, &by_token).await;
    ran_as(&site, &by_token, "token:first").await;
    site.put("token", &second);
    ran_as(&site, &by_token, "token:second").await;

    let by_cert = ["--ca", &ca, "--cert", &cert, "--key", &key];
    let by_cert = Gateway::start_with(&site.home, daemon.url("grpc"), &listener, &by_cert).await;
    ran_as(&site, &by_cert, "dns:first.example").await;
    // Another CA for everything, from the next connection on.
    site.ca = Authority::new("next CA");
    site.put("ca.pem", &site.ca.pem);
    site.put_leaf("server", &site.ca.server(&["127.0.0.1"]));
    site.put_leaf("client", &site.ca.client("second.example"));
    let address = daemon.socket("grpc").to_string();
    daemon.stop().await;
    let daemon = site.start_at(&address, &flags).await;
    ran_as(&site, &by_cert, "dns:second.example").await;
    ran_as(&site, &by_token, "token:second").await;
    daemon.stop().await;
}

/// That a command which comes to `gateway` runs as that caller's, once the gateway has noticed what has changed.
async fn ran_as(site: &Site, gateway: &Gateway, caller: &str) {
    soon(caller, async {
        loop {
            let mut client = Legacy::connect(gateway.socket("tcp-exec")).await;
            if client.ask("echo ran").await.text() == "ran\n" {
                return;
            }
        }
    })
    .await;
    site.home.logged(&[&format!("caller={caller} ")]).await;
}
