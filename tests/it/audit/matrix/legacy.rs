//! The old protocol, over TCP, over UDP, and through a gateway of its own, which is a caller like others.

use std::{fs, net::SocketAddr, path::Path};

use tokio::{io::AsyncWriteExt, net::UdpSocket};

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

async fn over_udp(address: SocketAddr, text: &str) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(text.as_bytes(), address).await.unwrap();
    let mut reply = vec![0; 64 * 1024];
    let length = soon("a reply", socket.recv(&mut reply)).await.unwrap();
    String::from_utf8_lossy(&reply[..length]).into_owned()
}

/// A client of one listener.
struct Row {
    /// Its name, such as `tcp-exec`.
    listener: &'static str,
    /// Whether a rule allows what the client wants.
    allowed: bool,
    /// For whom the client is taken.
    caller: &'static str,
    through: &'static str,
}

impl Row {
    fn is_echo(&self) -> bool {
        self.listener.ends_with("echo")
    }

    /// What is asked for. A command leaves `file`.
    fn text(&self, file: &Path) -> String {
        if self.is_echo() {
            format!("hello {SECRET}")
        } else {
            format!("touch {}; echo ran --password={SECRET}", file.display())
        }
    }

    async fn ask(&self, address: SocketAddr, text: &str) -> String {
        if self.listener.starts_with("udp") {
            return over_udp(address, text).await;
        }
        let mut client = Legacy::connect(address).await;
        if self.is_echo() {
            client.send(text).await;
            client.stream.shutdown().await.unwrap();
            String::from_utf8(client.rest().await).unwrap()
        } else {
            client.ask(text).await.text().to_owned()
        }
    }

    /// Asks the listener at `address` of a server with its files in `home`: the reply, and what is told of it, are those of what
    /// is allowed, or denied.
    async fn check(&self, home: &Home, address: SocketAddr) {
        let file = home.path("file");
        let text = self.text(&file);
        let reply = self.ask(address, &text).await;
        let lines = told(home, 1, is_decision).await;
        let line = &lines[0];
        assert_eq!(line["caller"], self.caller, "{line:#}");
        assert_eq!(line["through"], self.through, "{line:#}");
        if self.allowed {
            assert_eq!(line["outcome"], "allowed", "{line:#}");
            assert_eq!(line["rule"], "row", "{line:#}");
        } else {
            assert_eq!(line["outcome"], "denied", "{line:#}");
            assert_eq!(line["reason"], "POLICY_DENIED", "{line:#}");
            assert!(reply.contains("policy"), "{reply}");
        }
        if self.is_echo() {
            assert_eq!(line["rpc"], "Echo", "{line:#}");
            assert_eq!(reply == text.to_uppercase(), self.allowed, "{reply}");
        } else {
            assert_eq!(line["rpc"], "Start", "{line:#}");
            let shell = line["command"]["shell"].as_str().unwrap();
            assert!(shell.contains("--password=[redacted]"), "{shell}");
            assert_eq!(reply.starts_with("ran"), self.allowed, "{reply}");
        }
        let runs = self.allowed && !self.is_echo();
        assert_eq!(file.exists(), runs);
        told(home, usize::from(runs), is_end).await;
    }
}

/// The URL of a listener of this name.
fn url(listener: &str) -> String {
    let (transport, service) = listener.split_once('-').expect("a service");
    format!("{transport}://127.0.0.1:0/{service}")
}

/// Through the listeners of remexd itself. A rule for another one allows nothing.
async fn direct(listener: &'static str, allowed: bool) {
    skip_unless!(root());
    let home = Home::new();
    let other = match listener.split_once('-').expect("a service") {
        ("tcp", service) => format!("udp-{service}"),
        (_, service) => format!("tcp-{service}"),
    };
    let named = if allowed { listener } else { &other };
    let rule = policy(&format!("users = ['root']\nlisteners = ['{named}']"));
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
            &url(listener),
            "--legacy",
            &url(&other),
        ],
    )
    .await;
    let row = Row {
        listener,
        allowed,
        caller: "unix:0",
        through: listener,
    };
    row.check(&home, daemon.socket(listener)).await;
    daemon.stop().await;
    look_for_secrets(&home, [SECRET].into_iter());
}

/// Through a gateway that has a token, for a client that has nothing.
async fn proxied(listener: &'static str, allowed: bool) {
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
    let flags = ["--ca", &ca, "--token-file", &token_file];
    let upstream = daemon.url("grpc");
    let gateway = Gateway::start_with(&site.home, upstream, &[&url(listener)], &flags).await;
    let row = Row {
        listener,
        allowed,
        caller: "token:gateway",
        through: "gateway tcp",
    };
    row.check(&site.home, gateway.socket(listener)).await;
    drop(gateway);
    let home = site.home.clone();
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
    tcp_echo: direct("tcp-echo");
    udp_echo: direct("udp-echo");
    proxied_tcp: proxied("tcp-exec");
    proxied_udp: proxied("udp-exec");
    proxied_tcp_echo: proxied("tcp-echo");
    proxied_udp_echo: proxied("udp-echo");
}

/// Where there is no policy, too.
#[tokio::test]
async fn echo_of_the_old_protocol_is_told_without_a_policy() {
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
