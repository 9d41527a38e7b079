//! Callers on another machine: what needs no rule needs an identity there.

use super::{
    super::site::{is_decision, told},
    LINES, SECRETS,
    calls::{CALLS, Target},
    ways::{ask, look_for_secrets, policy},
};
use crate::{
    gateway::machines::{Machines, Path, SERVER},
    harness::{Daemon, http2::Http2},
    tls::{
        site::{Leaf, Site},
        stream::over,
        tokens::new_token,
    },
};

/// What a caller shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    NothingUnencrypted,
    Nothing,
    Certificate,
    Token,
}

impl Shown {
    fn caller(self) -> &'static str {
        match self {
            Self::NothingUnencrypted | Self::Nothing => "ip:192.0.2.2",
            Self::Certificate => "dns:runner.example",
            Self::Token => "token:ci",
        }
    }

    fn is_identity(self) -> bool {
        matches!(self, Self::Certificate | Self::Token)
    }

    /// Whoever has no identity may do everything but this; and who has one, nothing.
    fn policy(self) -> String {
        policy(if self.is_identity() {
            "identities = ['token:nobody']"
        } else {
            "networks = ['192.0.2.0/24']"
        })
    }

    /// A server on `machines`, and what is not to be in its logs.
    async fn start(self, site: &Site) -> (Daemon, String) {
        let (token, line) = new_token(&["ci"]).await;
        let (ca, tokens) = (site.at("ca.pem"), site.put("tokens", &line));
        let (policy, log) = (site.put("policy", &self.policy()), site.at("audit"));
        let listen = format!("{SERVER}:0");
        let mut flags = vec!["--policy", &policy, "--audit-log", &log];
        let daemon = if self == Self::NothingUnencrypted {
            flags.extend(["--listen", &listen, "--allow-plaintext"]);
            Daemon::start_in(&site.home, &flags).await
        } else {
            flags.extend(["--tls-client-ca", &ca, "--tokens", &tokens]);
            if self == Self::Nothing {
                flags.push("--allow-unauthenticated");
            }
            site.start_at(&listen, &flags).await
        };
        (daemon, token)
    }
}

/// All that needs no rule, by a caller that shows this.
fn what_needs_no_rule(shown: Shown) {
    skip_unless!(Machines::possible());
    let machines = Machines::new(Path::Narrow);
    machines.on_server(async {
        let site = Site::new();
        let (daemon, token) = shown.start(&site).await;
        let target = Target::new(&site.home);
        let leaf: Option<Leaf> =
            (shown == Shown::Certificate).then(|| site.ca.client("runner.example"));
        let bearer = (shown == Shown::Token).then_some(&*token);
        let calls: Vec<_> = CALLS.iter().filter(|call| call.is_open()).collect();
        assert!((5..=LINES).contains(&calls.len()));
        let (status, reason, outcome) = if shown.is_identity() {
            ("0", None, "allowed")
        } else {
            ("7", Some("POLICY_DENIED"), "denied")
        };
        for call in &calls {
            let stream = machines.connect(daemon.socket("grpc")).stream;
            let http2 = if shown == Shown::NothingUnencrypted {
                Http2::over(stream).await
            } else {
                Http2::over(over(stream, &site, leaf.as_ref()).await.unwrap()).await
            };
            let answer = ask(http2.unwrap(), call, &target, bearer).await;
            let found = answer.get("grpc-status").unwrap_or("0");
            assert_eq!(found, status, "{shown:?} {}: {answer:?}", call.path);
            assert_eq!(answer.get("remex-reason"), reason, "{answer:?}");
        }
        let lines = told(&site.home, calls.len(), is_decision).await;
        for (line, call) in lines.iter().zip(calls) {
            assert_eq!(line["rpc"], call.rpc(), "{line:#}");
            assert_eq!(line["outcome"], outcome, "{line:#}");
            assert_eq!(line["reason"].as_str(), reason, "{line:#}");
            assert_eq!(line["caller"], shown.caller(), "{line:#}");
            assert_eq!(line["through"], "grpc tcp", "{line:#}");
            let from = line["from"].as_str().unwrap();
            assert!(from.starts_with("192.0.2.2:"), "{line:#}");
        }
        daemon.stop().await;
        look_for_secrets(&site.home, SECRETS.into_iter().chain([&*token]));
    });
}

#[test]
fn denied_to_whom_only_an_address_is_known_of() {
    what_needs_no_rule(Shown::Nothing);
}

#[test]
fn denied_to_whom_only_an_address_is_known_of_unencrypted() {
    what_needs_no_rule(Shown::NothingUnencrypted);
}

#[test]
fn allowed_with_a_certificate() {
    what_needs_no_rule(Shown::Certificate);
}

#[test]
fn allowed_with_a_token() {
    what_needs_no_rule(Shown::Token);
}
