//! The ways to call a server, and why each may be denied.

use std::{fs, io, net::SocketAddr, thread};

use http::Request;
use rustix::{process::Uid, thread::set_thread_uid};
use serde_json::json;
use tokio::net::{TcpStream, UnixStream};

use super::calls::{Call, Target};
use crate::{
    harness::{
        Daemon, Home,
        http2::{Answer, Http2},
        soon,
        tools::OTHER_USER,
    },
    tls::{
        jwt::{AUDIENCE, ISSUER, Signer, claims, claims_but, now},
        site::{Authority, Leaf, Site},
        stream::stream,
        tokens::new_token,
    },
};

/// How a call comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Own,
    Other,
    Unix,
    Tls,
    Mutual,
    Token,
    Jwt,
}

/// Why it is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// No rule of the policy is about its caller.
    NoRule,
    /// `--users` does not name its user.
    NotLetIn,
    /// It shows nothing, where something is needed.
    NoCredential,
    /// It shows what is wrong, or no longer good.
    Wrong,
}

impl Way {
    pub(super) fn caller(self) -> &'static str {
        match self {
            Self::Own | Self::Unix => "unix:0",
            Self::Other => "unix:65534",
            Self::Tls => "ip:127.0.0.1",
            Self::Mutual => "dns:runner.example",
            Self::Token => "token:ci",
            Self::Jwt => "jwt:ada@example.org",
        }
    }

    pub(super) fn through(self) -> &'static str {
        if self == Self::Unix {
            "grpc unix"
        } else {
            "grpc tcp"
        }
    }

    fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Mutual | Self::Token | Self::Jwt)
    }

    /// Whom a rule has to be about.
    fn who(self) -> String {
        match self {
            Self::Own | Self::Unix => "users = ['root']".to_owned(),
            Self::Other => format!("users = ['{OTHER_USER}']"),
            Self::Tls => "networks = ['127.0.0.0/8']".to_owned(),
            Self::Mutual | Self::Token | Self::Jwt => {
                format!("identities = ['{}']", self.caller())
            }
        }
    }
}

impl Denied {
    /// What `call` is answered; `None`: it is not denied.
    pub(super) fn reason(self, call: &Call) -> Option<&'static str> {
        match self {
            Self::NoRule => (!call.is_open()).then_some("POLICY_DENIED"),
            Self::NotLetIn => Some("PEER_NOT_ALLOWED"),
            Self::NoCredential | Self::Wrong => Some("TOKEN_INVALID"),
        }
    }

    pub(super) fn caller(self, way: Way) -> &'static str {
        match self {
            Self::NoRule | Self::NotLetIn => way.caller(),
            // Who has proven nothing is whom the kernel says.
            Self::NoCredential | Self::Wrong => "unix:0",
        }
    }

    /// Calls are denied, and not their connection.
    pub(super) fn is_of_calls(self) -> bool {
        self != Self::NotLetIn
    }
}

/// A server, and what a caller of it shows.
pub(super) struct Server {
    pub(super) home: Home,
    way: Way,
    daemon: Daemon,
    site: Site,
    leaf: Option<Leaf>,
    bearer: Option<String>,
    secrets: Vec<String>,
}

/// A policy that allows `who` everything.
pub(super) fn policy(who: &str) -> String {
    format!(
        "[[rule]]\nname = 'row'\ndecision = 'allow'\n{who}\nshell = true\nprograms = 'any'\narguments = 'any'\n\
         environment = 'any'\nforce.isolation = 'off'\n"
    )
}

impl Server {
    /// One that allows everything to who comes by `way`, unless that is `denied`.
    pub(super) async fn start(way: Way, denied: Option<Denied>) -> Self {
        let site = Site::new();
        let home = site.home.clone();
        let who = match denied {
            Some(Denied::NoRule) => "identities = ['token:nobody']".to_owned(),
            _ => way.who(),
        };
        let policy = site.put("policy", &policy(&who));
        let log = site.at("audit");
        let mut flags = vec!["--audit-log", &log, "--policy", &policy];
        let (token, line) = new_token(&["ci"]).await;
        let signer = Signer::new("one");
        let shown = Shown::of(way, denied, &site, &signer, &token);
        let daemon = if way.is_tls() {
            let (ca, tokens) = (site.at("ca.pem"), site.put("tokens", &line));
            let jwks = site.put("jwks", &json!({"keys": [signer.jwk()]}).to_string());
            flags.extend(["--tls-client-ca", &ca, "--tokens", &tokens]);
            flags.extend(["--jwks", &jwks, "--jwt-issuer", ISSUER]);
            flags.extend(["--jwt-audience", AUDIENCE]);
            if way == Way::Tls && denied != Some(Denied::NoCredential) {
                flags.push("--allow-unauthenticated");
            }
            site.start(&flags).await
        } else {
            let socket = format!("unix:{}", site.at("grpc.sock"));
            flags.extend(["--listen", "127.0.0.1:0", "--listen", &socket]);
            let users = format!("0,{OTHER_USER}");
            if denied != Some(Denied::NotLetIn) {
                flags.extend(["--users", &users]);
            }
            Daemon::start_in(&home, &flags).await
        };
        let hash = line.split_once("sha256:").map(|(_, hash)| hash.to_owned());
        let key = fs::read_to_string(home.path("server.key")).expect("a key");
        let key = key.lines().nth(1).expect("its first line").to_owned();
        let secrets = [token, hash.expect("a hash"), key];
        Self {
            home,
            way,
            daemon,
            site,
            secrets: secrets.into_iter().chain(shown.bearer.clone()).collect(),
            leaf: shown.leaf,
            bearer: shown.bearer,
        }
    }

    async fn connect(&self) -> io::Result<Http2> {
        let address = self.daemon.socket("grpc");
        let over = match self.way {
            Way::Own => Http2::over(TcpStream::connect(address).await?).await,
            Way::Other => Http2::over(of_other_user(address).await?).await,
            Way::Unix => Http2::over(UnixStream::connect(self.home.path("grpc.sock")).await?).await,
            Way::Tls | Way::Mutual | Way::Token | Way::Jwt => {
                let leaf = self.leaf.as_ref();
                Http2::over(stream(address, &self.site, leaf).await?).await
            }
        };
        over.map_err(io::Error::other)
    }

    /// The answer to `call`, on a connection of its own.
    pub(super) async fn answer(&self, call: &Call, target: &Target) -> Answer {
        let http2 = self.connect().await.expect("a connection");
        ask(http2, call, target, self.bearer.as_deref()).await
    }

    /// That a certificate of another CA is of no use.
    pub(super) async fn shake_hands_in_vain(&self) {
        // By TLS 1.3, a client hears of it after its own part is done.
        if let Ok(mut http2) = self.connect().await {
            let request = Request::post("http://localhost/")
                .body(())
                .expect("a request");
            let asked = soon("an end", http2.try_ask(request)).await;
            assert!(asked.is_err(), "it was let in");
        }
    }

    /// Ends it, and looks for `secrets`, and for what callers were known by, in all that it has written.
    pub(super) async fn stop(self, secrets: &[&str]) {
        let home = self.home;
        self.daemon.stop().await;
        let secrets = secrets.iter().copied();
        let secrets = secrets.chain(self.secrets.iter().map(String::as_str));
        look_for_secrets(&home, secrets);
    }
}

/// The answer to `call` on a connection, with a token if there is one.
pub(super) async fn ask(
    mut http2: Http2,
    call: &Call,
    target: &Target,
    token: Option<&str>,
) -> Answer {
    let mut request = Request::post(format!("http://localhost{}", call.path))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let (request, body) = (request.body(()).expect("a request"), (call.body)(target));
    if call.goes_on {
        http2.begin(request, body).await
    } else {
        http2.ask(request, body).await
    }
}

/// That none of `secrets` is in anything that servers at `home` have written for people.
pub(super) fn look_for_secrets<'a>(home: &Home, secrets: impl Iterator<Item = &'a str>) {
    let logs = ["log", "stdout", "audit", "gateway-log"];
    let logs = logs.map(|name| {
        (
            name,
            fs::read_to_string(home.path(name)).unwrap_or_default(),
        )
    });
    assert!(!logs[0].1.is_empty() && !logs[2].1.is_empty());
    for secret in secrets {
        assert!(secret.len() > 8, "{secret:?} may be anything");
        for (name, log) in &logs {
            assert!(!log.contains(secret), "a secret in {name}: {secret}");
        }
    }
}

/// What a caller shows.
#[derive(Default)]
struct Shown {
    leaf: Option<Leaf>,
    bearer: Option<String>,
}

impl Shown {
    fn of(way: Way, denied: Option<Denied>, site: &Site, signer: &Signer, token: &str) -> Self {
        let is_wrong = denied == Some(Denied::Wrong);
        match way {
            Way::Own | Way::Other | Way::Unix | Way::Tls => Self::default(),
            Way::Mutual => {
                let other = is_wrong.then(|| Authority::new("other CA"));
                let ca = other.as_ref().unwrap_or(&site.ca);
                Self {
                    leaf: Some(ca.client("runner.example")),
                    bearer: None,
                }
            }
            Way::Token => Self {
                leaf: None,
                bearer: Some(if is_wrong {
                    token.chars().rev().collect()
                } else {
                    token.to_owned()
                }),
            },
            Way::Jwt => {
                let expired = claims_but(&json!({"exp": now() - 60}));
                let claims = if is_wrong { expired } else { claims() };
                Self {
                    leaf: None,
                    bearer: Some(signer.sign(&claims)),
                }
            }
        }
    }
}

/// A connection that another user has made.
async fn of_other_user(address: SocketAddr) -> io::Result<TcpStream> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // Sockets belong to the user of the thread that makes them.
    thread::spawn(move || {
        set_thread_uid(Uid::from_raw(OTHER_USER)).expect("root");
        let stream = std::net::TcpStream::connect(address);
        let _ = sender.send(stream);
    });
    let stream = receiver.await.map_err(io::Error::other)??;
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}
