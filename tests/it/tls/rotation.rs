//! Certificates and CAs that are replaced while calls are made: none fails that should succeed, and whoever is not to be let
//! in any more goes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use remex::{
    error::Reason,
    v1::{EchoRequest, echo_request},
};
use remex_client::{Client, Command, CredentialFiles};
use rustix::process::Signal;
use tokio::task::JoinSet;
use tonic::Status;

use super::site::{Authority, Site, assert_unconnected, connect, cut, known_as};
use crate::{
    harness::{Daemon, LOOK_AGAIN, eventually, soon},
    supervision::support::count,
};

/// Within which a revoked caller's calls end.
const A_MINUTE: Duration = Duration::from_mins(1);

/// Who may call whatever the policy says, who in every second one of them, and who in none.
const ALWAYS: [&str; 2] = ["dns:runner.example", "token:ci"];
const AT_TIMES: &str = "dns:at-times.example";

/// The policy of a round.
fn policy(lets_in: bool) -> String {
    let callers = ALWAYS.iter().chain(lets_in.then_some(&AT_TIMES));
    let rules = callers.map(|caller| {
        format!("[[rule]]\nname = '{caller}'\ndecision = 'allow'\nidentities = ['{caller}']\nrpcs = ['Echo']\n")
    });
    rules.collect()
}

async fn try_echo(client: &Client) -> Result<(), Status> {
    let request = EchoRequest {
        content: Some(echo_request::Content::Text("x".into())),
    };
    let answer = soon("an echo", client.echo().echo(request)).await;
    answer.map(drop)
}

/// What a caller of the load is answered.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Served,
    Denied,
}

async fn expect(client: &Client, answer: Answer) {
    match (try_echo(client).await, answer) {
        (Ok(()), Answer::Served) => {}
        (Err(status), Answer::Denied) => {
            assert_eq!(Reason::of(&status), Some(Reason::PolicyDenied), "{status}");
        }
        (Ok(()), Answer::Denied) => panic!("a call succeeded that should fail"),
        (Err(status), Answer::Served) => panic!("a call failed that should succeed: {status}"),
    }
}

/// What is called until `stop`, and how often it was.
#[derive(Clone, Default)]
struct Load {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Load {
    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Calls on a connection that stands, or on one that is new each time.
    fn spawn(
        &self,
        tasks: &mut JoinSet<()>,
        daemon: &Arc<Daemon>,
        files: &CredentialFiles,
        is_new: bool,
        answer: Answer,
    ) {
        let (load, daemon, files) = (self.clone(), Arc::clone(daemon), files.clone());
        tasks.spawn(async move {
            let mut client = connect(&daemon, files.clone()).await.unwrap();
            while !load.stop.load(Ordering::Relaxed) {
                if is_new {
                    client = connect(&daemon, files.clone()).await.unwrap();
                }
                expect(&client, answer).await;
                load.calls.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_or_succeeds_wrongly_while_everything_is_replaced() {
    let site = Site::new();
    let other = Authority::new("next CA");
    let ca = site.put("clients.pem", &site.ca.pem);
    let (token, line) = super::tokens::new_token(&["ci"]).await;
    let (tokens, rules) = (site.put("tokens", &line), site.put("policy", &policy(true)));
    let flags = [
        "--tls-client-ca",
        &ca,
        "--tokens",
        &tokens,
        "--policy",
        &rules,
    ];
    let daemon = Arc::new(site.start(&flags).await);
    let certificate = |name: &str| site.showing(name, &site.ca.client(&format!("{name}.example")));
    let (runner, never) = (certificate("runner"), certificate("never"));
    let bearer = site.bearing(&token, site.anonymous());
    let at_times = connect(&daemon, certificate("at-times")).await.unwrap();
    let (load, mut tasks) = (Load::default(), JoinSet::new());
    for (files, is_new, answer) in [
        (&runner, true, Answer::Served),
        (&runner, false, Answer::Served),
        (&runner, false, Answer::Served),
        (&bearer, true, Answer::Served),
        (&bearer, false, Answer::Served),
        (&never, true, Answer::Denied),
        (&never, false, Answer::Denied),
    ] {
        load.spawn(&mut tasks, &daemon, files, is_new, answer);
    }
    let times = |said: &str| site.home.log().matches(said).count();
    let read_again = || (times("were read again"), times("the policy was read again"));
    let begun = Instant::now();
    for round in 1..=count(10, 100) {
        let before = load.calls();
        site.put_leaf("server", &site.ca.server(&["localhost", "127.0.0.1"]));
        // The other CA comes beside the one, and goes.
        let both = format!("{}{}", other.pem, site.ca.pem);
        let lets_in = round % 2 == 0;
        site.put("clients.pem", if lets_in { &site.ca.pem } else { &both });
        site.put("tokens", &format!("# {round}\n{line}\n"));
        site.put("policy", &policy(lets_in));
        let reads = read_again();
        daemon.signal(Signal::HUP);
        eventually("the new files", || {
            let now = read_again();
            (now.0 > reads.0 && now.1 > reads.1).then_some(())
        })
        .await;
        // On a connection that stands, from the very next call on.
        let answer = if lets_in {
            Answer::Served
        } else {
            Answer::Denied
        };
        expect(&at_times, answer).await;
        eventually("calls after that", || {
            (load.calls() > before + 14 || tasks.is_empty()).then_some(())
        })
        .await;
    }
    load.stop.store(true, Ordering::Relaxed);
    // Each panics with the first call that was answered wrongly.
    soon("the end of the load", tasks.join_all()).await;
    let (calls, seconds) = (load.calls(), begun.elapsed().as_secs_f64());
    eprintln!("{calls} calls in {seconds:.1} s");
    drop(at_times);
    let daemon = Arc::into_inner(daemon).expect("nobody else has it");
    daemon.stop().await;
}

/// One whose CA is not taken any more: its connection is told to go, and what it runs ends within a minute.
#[tokio::test]
async fn a_client_that_was_rotated_out_goes() {
    let site = Site::new();
    let next = Authority::new("next CA");
    let ca = site.put("clients.pem", &site.ca.pem);
    let daemon = site.start(&["--tls-client-ca", &ca]).await;
    let old = site.showing("old", &site.ca.client("old.example"));
    let new = site.showing("new", &next.client("new.example"));
    let client = connect(&daemon, old.clone()).await.unwrap();
    let mut running = client
        .start(Command::new("sleep").arg("600"))
        .await
        .unwrap();
    assert_unconnected(known_as(&daemon, new.clone()).await, &["none of the CAs"]);

    site.put("clients.pem", &next.pem);
    let begin = Instant::now();
    soon("the next CA", async {
        while known_as(&daemon, new.clone()).await.is_err() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await;
    assert_unconnected(known_as(&daemon, old).await, &["none of the CAs"]);
    // On the connection that stands, too: it has been told to go, so that a further call needs another one.
    soon("a refusal", async {
        loop {
            match client.run(Command::new("true")).await {
                // That the connection was lost before, which a call may be told first, is another matter.
                Err(error) if error.to_string().contains("none of the CAs") => return,
                Err(error) => assert!(error.never_ran(), "{error}"),
                Ok(_) => {}
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await;
    let ended = tokio::time::timeout(A_MINUTE + A_MINUTE, cut(&mut running)).await;
    ended.expect("its stream is cut").unwrap_err();
    assert!(begin.elapsed() <= A_MINUTE, "{:?}", begin.elapsed());
    soon("the end of the command", async {
        while site.executions().await.iter().any(|one| one.exit.is_none()) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await;
    daemon.stop().await;
}

/// A certificate whose key is another's is not taken, and whoever calls meanwhile is served as before.
#[tokio::test]
async fn a_broken_certificate_keeps_the_old_one() {
    let site = Site::new();
    let daemon = site.start_mutual().await;
    let files = site.showing("client", &site.ca.client("runner.example"));
    let foreign = Authority::new("foreign CA").server(&["127.0.0.1"]);
    site.put("server.pem", &foreign.pem);
    daemon.signal(Signal::HUP);
    eventually("the complaint", || {
        site.home
            .log()
            .contains("is not the key of the certificate")
            .then_some(())
    })
    .await;
    assert_eq!(
        known_as(&daemon, files.clone()).await.unwrap(),
        "dns:runner.example"
    );
    site.put("server.key", &foreign.key);
    soon("the new certificate", async {
        while known_as(&daemon, files.clone()).await.is_ok() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await;
    let refused = known_as(&daemon, files).await;
    assert_unconnected(refused, &["server's certificate"]);
    daemon.stop().await;
}
