//! Every way to call, every call, allowed and denied: the right status and reason, nothing run where it is denied, one line each;
//! and no secret in any log.

mod calls;
mod elsewhere;
mod legacy;
mod ways;

use std::collections::BTreeMap;

use serde_json::Value;

use self::{
    calls::{CALLS, Call, Target},
    ways::{Denied, Server, Way},
};
use super::site::{is_decision, is_end, told};
use crate::harness::{soon, tools::root};

/// Denials that a caller gets lines for within a minute; with more calls than that, there is another server.
const LINES: usize = 9;

/// What is in no log.
const SECRETS: [&str; 3] = ["s3cr3t-argument", "s3cr3t-variable", "s3cr3t-stdin"];

/// Each call by `way`, whose caller a rule allows everything.
async fn allowed(way: Way) {
    skip_unless!(root());
    let server = Server::start(way, None).await;
    let mut target = Target::new(&server.home);
    for call in CALLS {
        let answer = server.answer(call, &target).await;
        let status = answer.get("grpc-status").unwrap_or("0");
        assert_eq!(status, "0", "{way:?} {}: {answer:?}", call.path);
        target.learn(call, &answer);
        if call.starts {
            soon("its file", target.has_run(call)).await;
        }
    }
    let lines = told(&server.home, CALLS.len(), is_decision).await;
    for (line, call) in lines.iter().zip(CALLS) {
        assert_eq!(line["rpc"], call.rpc(), "{line:#}");
        assert_eq!(line["outcome"], "allowed", "{line:#}");
        assert_eq!(line["caller"], way.caller(), "{line:#}");
        assert_eq!(line["through"], way.through(), "{line:#}");
        // What needs a rule has its name.
        let rule = (!call.is_open()).then_some("row");
        assert_eq!(line["rule"].as_str(), rule, "{line:#}");
    }
    told(
        &server.home,
        CALLS.iter().filter(|call| call.starts).count(),
        is_end,
    )
    .await;
    server.stop(&SECRETS).await;
}

/// Each call by `way`, whose caller is `denied`.
async fn denied(way: Way, denied: Denied) {
    skip_unless!(root());
    for calls in CALLS.chunks(LINES) {
        let server = Server::start(way, Some(denied)).await;
        let target = Target::new(&server.home);
        for call in calls {
            let answer = server.answer(call, &target).await;
            let reason = answer.get("remex-reason");
            let expected = denied.reason(call);
            assert_eq!(reason, expected, "{way:?} {}: {answer:?}", call.path);
            let status = match expected {
                None => "0",
                Some("TOKEN_INVALID") => "16",
                Some(_) => "7",
            };
            let found = answer.get("grpc-status").unwrap_or("0");
            assert_eq!(found, status, "{way:?} {}", call.path);
        }
        let lines = told(&server.home, calls.len(), is_decision).await;
        for (line, call) in lines.iter().zip(calls) {
            let reason = denied.reason(call);
            let outcome = if reason.is_some() {
                "denied"
            } else {
                "allowed"
            };
            assert_eq!(line["outcome"], outcome, "{line:#}");
            assert_eq!(line["reason"].as_str(), reason, "{line:#}");
            assert_eq!(line["caller"], denied.caller(way), "{line:#}");
            // A connection that is refused is, whatever would have come over it.
            let rpc = denied.is_of_calls().then(|| call.rpc());
            assert_eq!(line["rpc"].as_str(), rpc, "{line:#}");
        }
        assert!(!lines.iter().any(is_end), "something ran");
        assert!(target.has_run_nothing(), "something ran");
        server.stop(&SECRETS).await;
    }
}

/// A test for each way and for each reason why it is denied.
macro_rules! rows {
    ($($name:ident: $way:expr, $($denied:ident => $why:expr),*;)*) => {$(
        mod $name {
            use super::super::{Denied, Way};

            #[tokio::test]
            async fn allowed() {
                super::super::allowed($way).await;
            }

            $(#[tokio::test]
            async fn $denied() {
                super::super::denied($way, $why).await;
            })*
        }
    )*};
}

mod rows {
    rows! {
        loopback_own_user: Way::Own, denied_by_the_policy => Denied::NoRule;
        loopback_other_user: Way::Other,
            denied_by_the_policy => Denied::NoRule, denied_as_a_user => Denied::NotLetIn;
        unix_socket: Way::Unix, denied_by_the_policy => Denied::NoRule;
        tls: Way::Tls, denied_by_the_policy => Denied::NoRule, denied_without_a_credential => Denied::NoCredential;
        mutual_tls: Way::Mutual, denied_by_the_policy => Denied::NoRule;
        token: Way::Token, denied_by_the_policy => Denied::NoRule, denied_with_a_wrong_one => Denied::Wrong;
        jwt: Way::Jwt, denied_by_the_policy => Denied::NoRule, denied_with_an_expired_one => Denied::Wrong;
    }
}

/// A certificate of another CA gets no further than to its handshake.
#[tokio::test]
async fn mutual_tls_denied_in_its_handshake() {
    skip_unless!(root());
    let server = Server::start(Way::Mutual, Some(Denied::Wrong)).await;
    server.shake_hands_in_vain().await;
    let lines = told(&server.home, 1, is_decision).await;
    assert_eq!(lines[0]["outcome"], "denied", "{:#}", lines[0]);
    assert_eq!(lines[0]["reason"], "HANDSHAKE");
    let why = lines[0]["why"].as_str().unwrap();
    assert!(why.contains("certificate"), "{why}");
    server.stop(&SECRETS).await;
}

/// That the calls of the matrix are those of the API.
#[test]
fn every_call_is_in_the_matrix() {
    use prost::Message;
    let files = prost_types::FileDescriptorSet::decode(remex::FILE_DESCRIPTOR_SET);
    let mut missing = BTreeMap::<String, Value>::new();
    for file in files.unwrap().file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                if !CALLS.iter().any(|call: &Call| call.path == path) {
                    missing.insert(path, Value::Null);
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}
