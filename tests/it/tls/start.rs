//! What a daemon says before it serves: what belongs together, which files it takes, and who may call.

use std::{fs, os::unix::fs::PermissionsExt};

use super::site::{Authority, Site, assert_says};
use crate::harness::{binaries::binary, soon};

/// `--check` with these flags: its exit code, and all that it says.
async fn checked(site: &Site, flags: &[&str]) -> (Option<i32>, String) {
    let mut command = tokio::process::Command::new(binary("remexd"));
    command.args(["--check", "--no-legacy"]).args(flags);
    command.current_dir(site.home.folder());
    let output = soon("remexd --check", command.output()).await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

const TLS: [&str; 4] = ["--tls-cert", "server.pem", "--tls-key", "server.key"];
const ANYWHERE: [&str; 2] = ["--listen", "0.0.0.0:0"];

#[tokio::test]
async fn what_is_unsafe_off_loopback_needs_its_flag() {
    let site = Site::new();
    site.put("tokens", "");
    let anywhere = [&ANYWHERE[..], &TLS].concat();
    let (code, text) = checked(&site, &anywhere).await;
    assert_eq!(code, Some(64), "{text}");
    assert_says(
        &text,
        &["0.0.0.0:0", "--tls-client-ca", "--allow-unauthenticated"],
    );
    let (code, text) = checked(&site, &ANYWHERE).await;
    assert_eq!(code, Some(64), "{text}");
    assert_says(&text, &["--tls-cert", "--allow-plaintext"]);
    for (more, said) in [
        (
            vec!["--allow-unauthenticated"],
            "every other machine that reaches it, known by their addresses alone.",
        ),
        (
            vec!["--tls-client-ca", "ca.pem"],
            "for whoever has a certificate that a CA in ca.pem has signed.",
        ),
        (
            vec!["--tokens", "tokens"],
            "for whoever has a token whose hash is in tokens.",
        ),
        (
            vec![
                "--tokens",
                "tokens",
                "--tls-client-ca",
                "ca.pem",
                "--allow-unauthenticated",
            ],
            "has signed or a token whose hash is in tokens; without one, for local user",
        ),
    ] {
        let (code, text) = checked(&site, &[&anywhere[..], &more].concat()).await;
        assert_eq!(code, Some(0), "{text}");
        assert_says(&text, &["gRPC over TLS on 0.0.0.0:0", said]);
    }
    let (code, text) = checked(&site, &TLS).await;
    assert_eq!(code, Some(0), "{text}");
    assert_says(&text, &["on 127.0.0.1:50051, for local user", "root (0)"]);
    assert!(!text.contains("other machine"), "{text}");
}

#[tokio::test]
async fn what_belongs_together_is_given_together() {
    let site = Site::new();
    for (flags, parts) in [
        (
            vec!["--tls-cert", "server.pem"],
            ["--tls-cert:", "--tls-key"],
        ),
        (
            vec!["--tls-key", "server.key"],
            ["--tls-key:", "--tls-cert"],
        ),
        (
            vec!["--tls-client-ca", "ca.pem"],
            ["--tls-client-ca:", "--tls-cert"],
        ),
        (vec!["--jwks", "x"], ["--jwks:", "--jwt-audience"]),
        (vec!["--jwt-issuer", "x"], ["--jwt-issuer:", "--jwks"]),
    ] {
        let (code, text) = checked(&site, &flags).await;
        assert_eq!(code, Some(64), "{text}");
        assert_says(&text, &parts);
    }
}

#[tokio::test]
async fn files_that_are_of_no_use_are_named() {
    let site = Site::new();
    let other = Authority::new("other CA").server(&["localhost"]);
    site.put("other.key", &other.key);
    site.put("jwks", "{\"keys\": []}");
    site.put("empty", "");
    site.put("nonsense", "nonsense");
    let with = |flags: &[&'static str]| [&TLS[..], flags].concat();
    for (flags, parts) in [
        (
            vec!["--tls-cert", "server.pem", "--tls-key", "other.key"],
            [
                "--tls-key: other.key",
                "not the key of the certificate in server.pem",
            ],
        ),
        (
            vec!["--tls-cert", "none.pem", "--tls-key", "server.key"],
            ["--tls-cert: none.pem", "cannot be read"],
        ),
        (
            vec!["--tls-cert", "server.key", "--tls-key", "server.key"],
            ["--tls-cert: server.key", "has no certificate"],
        ),
        (
            vec!["--tls-cert", "server.pem", "--tls-key", "server.pem"],
            ["--tls-key: server.pem", "has no private key"],
        ),
        (
            with(&["--tls-client-ca", "empty"]),
            ["--tls-client-ca: empty", "has no certificate"],
        ),
        (
            with(&["--tokens", "nonsense"]),
            ["--tokens: nonsense:1:", "sha256:"],
        ),
        (
            with(&["--jwks", "jwks", "--jwt-issuer", "x", "--jwt-audience", "y"]),
            ["--jwks: jwks", "no public key"],
        ),
    ] {
        let (code, text) = checked(&site, &flags).await;
        assert_eq!(code, Some(64), "{text}");
        assert_says(&text, &parts);
        let refusal = site.home.refused(&flags).await;
        refusal.assert(64, &parts);
    }
    let config = site.put("remexd.toml", "\n\ntokens = 'nonsense'\n");
    let (code, text) = checked(&site, &["--config", &config]).await;
    assert_eq!(code, Some(64), "{text}");
    assert_says(&text, &["remexd.toml:3: tokens: nonsense:1:"]);
}

/// At the start, and while it serves: then what was read before holds.
#[tokio::test]
async fn files_that_others_may_read_are_refused() {
    let site = Site::new();
    site.put("tokens", "");
    let open = |name: &str, mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(site.home.path(name), mode).unwrap();
    };
    for (name, flag) in [("server.key", "--tls-key"), ("tokens", "--tokens")] {
        for mode in [0o644, 0o640, 0o604, 0o660] {
            open(name, mode);
            let flags = [&TLS[..], &["--tokens", "tokens"]].concat();
            let parts = [format!("{flag}: {name}"), "chmod 600".to_owned()];
            let parts = [parts[0].as_str(), parts[1].as_str()];
            site.home.refused(&flags).await.assert(64, &parts);
        }
        open(name, 0o600);
    }
    let token = site.put("token", "remex_x");
    open("token", 0o644);
    let mut remex = tokio::process::Command::new(binary("remex"));
    remex.args(["--token-file", &token, "ps"]);
    let output = soon("remex", remex.output()).await.unwrap();
    assert_eq!(output.status.code(), Some(255));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_says(&text, &["--token-file: ", "chmod 600"]);
}

#[tokio::test]
async fn who_may_call_is_said_when_it_begins_to_serve() {
    let site = Site::new();
    let daemon = site.start_mutual().await;
    let address = daemon.socket("grpc");
    let said = format!("gRPC over TLS on {address}, for whoever has a certificate that a CA in");
    let socket = format!("gRPC on unix:{}, for local user", site.at("grpc.sock"));
    site.home.logged(&[&said, &socket]).await;
    assert_says(&daemon.stdout(), &["grpcurl -cacert"]);
    daemon.stop().await;
}
