//! The old protocol, over TCP, over UDP, and through a gateway of its own, which is a caller like others.

use std::{fs, net::SocketAddr, path::Path};

use tokio::net::UdpSocket;

use super::{
    super::site::{is_decision, is_end, lines, told},
    ways::{look_for_secrets, policy},
};
use crate::{
    gateway::support::{Gateway, Legacy},
    harness::{Daemon, Home, eventually, soon, tools::root},
    tls::{site::Site, tokens::new_token},
};

const SECRET: &str = "s3cr3t-argument";

/// What is run, and leaves `file`.
fn command(file: &Path) -> String {
    format!("touch {}; echo ran --password={SECRET}", file.display())
}

async fn over_tcp(address: SocketAddr, text: &str) -> String {
    let mut client = Legacy::connect(address).await;
    client.ask(text).await.text().to_owned()
}

async fn over_udp(address: SocketAddr, text: &str) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(text.as_bytes(), address).await.unwrap();
    let mut reply = vec![0; 64 * 1024];
    let length = soon("a reply", socket.recv(&mut reply)).await.unwrap();
    String::from_utf8_lossy(&reply[..length]).into_owned()
}

/// That a reply, and what is told of it, are those of a command that is allowed, or denied.
async fn check(home: &Home, file: &Path, reply: &str, caller: &str, through: &str, allowed: bool) {
    let lines = told(home, 1, is_decision).await;
    let line = &lines[0];
    assert_eq!(line["caller"], caller, "{line:#}");
    assert_eq!(line["rpc"], "Start", "{line:#}");
    assert_eq!(line["through"], through, "{line:#}");
    assert_eq!(file.exists(), allowed);
    let shell = line["command"]["shell"].as_str().unwrap();
    assert!(shell.contains("--password=[redacted]"), "{shell}");
    if allowed {
        assert_eq!(line["outcome"], "allowed", "{line:#}");
        assert_eq!(line["rule"], "row", "{line:#}");
        assert!(reply.starts_with("ran"), "{reply}");
        told(home, 1, is_end).await;
    } else {
        assert_eq!(line["outcome"], "denied", "{line:#}");
        assert_eq!(line["reason"], "POLICY_DENIED", "{line:#}");
        assert!(reply.contains("policy"), "{reply}");
        assert!(!super::super::site::lines(home).iter().any(is_end));
    }
}

/// Through the listeners of remexd itself.
async fn direct(name: &'static str, allowed: bool) {
    skip_unless!(root());
    let home = Home::new();
    let other = if name == "tcp-exec" {
        "udp-exec"
    } else {
        "tcp-exec"
    };
    let listener = if allowed { name } else { other };
    let rule = policy(&format!("users = ['root']\nlisteners = ['{listener}']"));
    fs::write(home.path("policy"), rule).unwrap();
    let (policy, log) = (home.path("policy"), home.path("audit"));
    let daemon = Daemon::start_in(
        &home,
        &[
            "--policy",
            policy.to_str().unwrap(),
            "--audit-log",
            log.to_str().unwrap(),
            "--legacy",
            "tcp://127.0.0.1:0/exec",
            "--legacy",
            "udp://127.0.0.1:0/exec",
        ],
    )
    .await;
    let (file, address) = (home.path("file"), daemon.socket(name));
    let text = command(&file);
    let reply = if name == "tcp-exec" {
        over_tcp(address, &text).await
    } else {
        over_udp(address, &text).await
    };
    check(&home, &file, &reply, "unix:0", name, allowed).await;
    daemon.stop().await;
    look_for_secrets(&home, [SECRET].into_iter());
}

/// Through a gateway that has a token, for a client that has nothing.
async fn proxied(name: &'static str, allowed: bool) {
    skip_unless!(root());
    let site = Site::new();
    let (token, line) = new_token(&["gateway"]).await;
    let (tokens, ca) = (site.put("tokens", &line), site.at("ca.pem"));
    let token_file = site.put("token", &token);
    let who = if allowed {
        "token:gateway"
    } else {
        "token:other"
    };
    let policy = site.put("policy", &policy(&format!("identities = ['{who}']")));
    let log = site.at("audit");
    let flags = [
        "--tokens",
        &tokens,
        "--policy",
        &policy,
        "--audit-log",
        &log,
    ];
    let daemon = site.start(&flags).await;
    let urls = ["tcp://127.0.0.1:0/exec", "udp://127.0.0.1:0/exec"];
    let flags = ["--ca", &ca, "--token-file", &token_file];
    let gateway = Gateway::start_with(&site.home, daemon.url("grpc"), &urls, &flags).await;
    let (file, address) = (site.home.path("file"), gateway.socket(name));
    let text = command(&file);
    let reply = if name == "tcp-exec" {
        over_tcp(address, &text).await
    } else {
        over_udp(address, &text).await
    };
    let home = site.home.clone();
    check(
        &home,
        &file,
        &reply,
        "token:gateway",
        "gateway tcp",
        allowed,
    )
    .await;
    drop(gateway);
    daemon.stop().await;
    look_for_secrets(&home, [SECRET, &token].into_iter());
}

macro_rules! rows {
    ($($name:ident: $way:ident($listener:literal);)*) => {$(
        mod $name {
            #[tokio::test]
            async fn allowed() {
                super::$way($listener, true).await;
            }

            #[tokio::test]
            async fn denied() {
                super::$way($listener, false).await;
            }
        }
    )*};
}

rows! {
    tcp: direct("tcp-exec");
    udp: direct("udp-exec");
    proxied_tcp: proxied("tcp-exec");
    proxied_udp: proxied("udp-exec");
}

/// Echo is a call like others.
#[tokio::test]
async fn echo_of_the_old_protocol_is_told_too() {
    let home = Home::new();
    let log = home.path("audit");
    let flags = [
        "--audit-log",
        log.to_str().unwrap(),
        "--legacy",
        "udp://127.0.0.1:0/echo",
    ];
    let daemon = Daemon::start_in(&home, &flags).await;
    let reply = over_udp(daemon.socket("udp-echo"), "hello").await;
    assert_eq!(reply, "HELLO");
    let line = eventually("its line", || lines(&home).into_iter().next()).await;
    assert_eq!(line["rpc"], "Echo");
    assert_eq!(line["through"], "udp-echo");
    daemon.stop().await;
}
