//! Certificates and CAs that are replaced while calls are made: none fails that should succeed, and whoever is not to be let
//! in any more goes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use remex::v1::{EchoRequest, echo_request};
use remex_client::{Client, Command, CredentialFiles};
use rustix::process::Signal;
use tokio::task::JoinSet;

use super::site::{Authority, Site, assert_unconnected, connect, cut, known_as};
use crate::{
    harness::{Daemon, LOOK_AGAIN, eventually, soon},
    supervision::support::count,
};

/// Within which a revoked caller's calls end.
const A_MINUTE: Duration = Duration::from_mins(1);

async fn echo(client: &Client) {
    let request = EchoRequest {
        content: Some(echo_request::Content::Text("x".into())),
    };
    let answer = soon("an echo", client.echo().echo(request)).await;
    answer.expect("a call that should succeed");
}

/// Calls on a connection that stands, and on one that is new each time, until `stop`.
fn load(
    daemon: &Arc<Daemon>,
    files: &CredentialFiles,
    stop: &Arc<AtomicBool>,
    calls: &Arc<AtomicUsize>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for is_new in [true, false, false, false] {
        let (daemon, files) = (Arc::clone(daemon), files.clone());
        let (stop, calls) = (Arc::clone(stop), Arc::clone(calls));
        tasks.spawn(async move {
            let mut client = connect(&daemon, files.clone()).await.unwrap();
            while !stop.load(Ordering::Relaxed) {
                if is_new {
                    client = connect(&daemon, files.clone()).await.unwrap();
                }
                echo(&client).await;
                calls.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tasks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_certificates_are_replaced() {
    let site = Site::new();
    let other = Authority::new("next CA");
    let ca = site.put("clients.pem", &site.ca.pem);
    let (_, line) = super::tokens::new_token(&["ci"]).await;
    let tokens = site.put("tokens", &line);
    let flags = ["--tls-client-ca", &ca, "--tokens", &tokens];
    let daemon = Arc::new(site.start(&flags).await);
    let files = site.showing("client", &site.ca.client("runner.example"));
    let (stop, calls) = (Arc::default(), Arc::default());
    let tasks = load(&daemon, &files, &stop, &calls);
    let read_again = || site.home.log().matches("were read again").count();
    for round in 1..=count(10, 100) {
        let before = calls.load(Ordering::Relaxed);
        site.put_leaf("server", &site.ca.server(&["localhost", "127.0.0.1"]));
        // The other CA comes beside the one, and goes.
        let both = format!("{}{}", other.pem, site.ca.pem);
        site.put(
            "clients.pem",
            if round % 2 == 0 { &site.ca.pem } else { &both },
        );
        site.put("tokens", &format!("# {round}\n{line}\n"));
        let reads = read_again();
        daemon.signal(Signal::HUP);
        eventually("the new files", || (read_again() > reads).then_some(())).await;
        eventually("calls after that", || {
            (calls.load(Ordering::Relaxed) > before + 8).then_some(())
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    // Each panics with the first call that failed.
    soon("the end of the load", tasks.join_all()).await;
    eprintln!("{} calls", calls.load(Ordering::Relaxed));
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
