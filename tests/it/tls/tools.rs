//! `remexd certs init` and `remexd token new`, and what others call with what they make: grpcurl and `remex`.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    site::{Site, assert_says},
    tokens::{new_token, remexd},
};
use crate::harness::{Daemon, Home, binaries::binary, soon, tools::program};

#[tokio::test]
async fn certificates_that_it_makes_are_all_that_is_needed() {
    let home = Home::new();
    let folder = home.path("certs");
    let folder = folder.to_str().unwrap();
    let made = remexd(&["certs", "init", folder]).await;
    assert!(made.status.success(), "{made:?}");
    for name in [
        "ca.pem",
        "server.pem",
        "server.key",
        "client.pem",
        "client.key",
    ] {
        let mode = fs::metadata(home.path("certs").join(name))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
    }
    let again = remexd(&["certs", "init", folder]).await;
    assert_eq!(again.status.code(), Some(69));
    let text = String::from_utf8(again.stderr).unwrap();
    assert_says(&text, &["ca.pem", "nothing is overwritten"]);

    let at = |name: &str| format!("{folder}/{name}");
    let (cert, key, ca) = (at("server.pem"), at("server.key"), at("ca.pem"));
    let flags = [
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--tls-client-ca",
        &ca,
    ];
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let flags = [&flags[..], &["--listen", listen]].concat();
        let daemon = Daemon::start_in(&home, &flags).await;
        let port = daemon.socket("grpc").port();
        // As typed, this machine is http; it is the scheme that says otherwise.
        let host = listen.trim_end_matches(":0");
        // A machine may know localhost by its address of IPv4 alone.
        let name = if host == "127.0.0.1" {
            "localhost"
        } else {
            host
        };
        for host in [host, name] {
            let server = format!("https://{host}:{port}");
            let mut remex = Command::new(binary("remex"));
            remex.args(["--server", &server, "--ca", &ca]);
            remex.args(["run", "--", "echo", "ran"]);
            remex
                .env("REMEX_CERT", at("client.pem"))
                .env("REMEX_KEY", at("client.key"));
            let output = soon("remex", remex.output()).await.unwrap();
            assert_eq!(output.stdout, b"ran\n", "{server}: {output:?}");
        }
        daemon.stop().await;
    }
}

#[tokio::test]
async fn grpcurl_calls_with_a_certificate_or_a_token() {
    let grpcurl = skip_unless!(program("grpcurl"));
    let site = Site::new();
    let (token, line) = new_token(&["ci"]).await;
    let (tokens, ca) = (site.put("tokens", &line), site.at("ca.pem"));
    let daemon = site
        .start(&["--tokens", &tokens, "--tls-client-ca", &ca])
        .await;
    site.put_leaf("client", &site.ca.client("spiffe://example.org/me"));
    let (cert, key) = (site.at("client.pem"), site.at("client.key"));
    let bearer = format!("authorization: Bearer {token}");
    let address = daemon.socket("grpc").to_string();
    let call = async |flags: &[&str], words: &[&str]| {
        let mut command = Command::new(&grpcurl);
        command
            .args(["-cacert", &ca])
            .args(flags)
            .arg(&address)
            .args(words);
        soon("grpcurl", command.kill_on_drop(true).output())
            .await
            .unwrap()
    };
    let request = json!({"command": {"shell": "echo ran"}, "text": true}).to_string();
    let run = "remex.v1.ExecService/Run";
    for flags in [vec!["-cert", &cert, "-key", &key], vec!["-H", &bearer]] {
        let output = call(&[&flags[..], &["-d", &request]].concat(), &[run]).await;
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(answer["stdoutText"], "ran\n", "{output:?}");
        let listed = call(&flags, &["list"]).await;
        assert!(String::from_utf8_lossy(&listed.stdout).contains("remex.v1.ExecService"));
    }
    // Neither reflection nor health is for strangers.
    for words in [["list"].as_slice(), &["grpc.health.v1.Health/Check"]] {
        let refused = call(&[], words).await;
        assert!(!refused.status.success(), "{refused:?}");
        let text = String::from_utf8(refused.stderr).unwrap();
        assert_says(&text, &["who calls"]);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_token_is_refused_that_could_never_be_one() {
    for (words, parts) in [
        (vec!["token", "new", "a b"], ["NAME", "letters, digits"]),
        (vec!["token", "new", ""], ["NAME", "letters, digits"]),
        (
            vec!["token", "new", "ci", "--expires", "soon"],
            ["--expires", "720h"],
        ),
        (
            vec!["token", "new", "ci", "--expires", "2020-01-01T00:00:00Z"],
            ["--expires", "over already"],
        ),
    ] {
        let output = remexd(&words).await;
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        assert!(output.stdout.is_empty());
        assert_says(&String::from_utf8(output.stderr).unwrap(), &parts);
    }
}
