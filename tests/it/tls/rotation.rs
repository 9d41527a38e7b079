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
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Interval, interval},
};
use tonic::Status;

use super::{
    site::{Authority, Site, assert_unconnected, connect, cut, known_as},
    tokens::new_token,
};
use crate::{
    harness::{Daemon, LOOK_AGAIN, eventually, soon},
    supervision::support::{count, is_long},
};

/// Within which a revoked caller's calls end.
const A_MINUTE: Duration = Duration::from_mins(1);

/// Calls a second of a long run, and those that there are at least.
const RATE: u32 = 1000;
const LEAST_RATE: f64 = 950.0;

/// Who may call whatever the policy says, and who in every second one of them.
const ALWAYS: [&str; 3] = ["dns:runner.example", "token:ci", "token:guest"];
const AT_TIMES: &str = "dns:at-times.example";

/// What a caller is answered.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Served,
    /// By the policy.
    Denied,
    /// For its token.
    Unknown,
}

async fn try_echo(client: &Client) -> Result<(), Status> {
    let request = EchoRequest {
        content: Some(echo_request::Content::Text("x".into())),
    };
    let answer = soon("an echo", client.echo().echo(request)).await;
    answer.map(drop)
}

async fn expect(client: &Client, expected: Answer) {
    let answer = match try_echo(client).await {
        Ok(()) => Answer::Served,
        Err(status) => match Reason::of(&status) {
            Some(Reason::PolicyDenied) => Answer::Denied,
            Some(Reason::TokenInvalid) => Answer::Unknown,
            _ => panic!("a call failed: {status}"),
        },
    };
    assert_eq!(answer, expected);
}

/// What is called until `stop`, and how often it was.
#[derive(Clone)]
struct Load {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    /// When the next call of all is due; `None`: as soon as there is an answer.
    due: Option<Arc<Mutex<Interval>>>,
}

impl Load {
    /// [`RATE`] calls a second in a long run.
    fn new() -> Self {
        let due = is_long().then(|| interval(Duration::from_secs(1) / RATE));
        Self {
            stop: Arc::default(),
            calls: Arc::default(),
            due: due.map(Mutex::new).map(Arc::new),
        }
    }

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
                if let Some(due) = &load.due {
                    due.lock().await.tick().await;
                }
                if is_new {
                    client = connect(&daemon, files.clone()).await.unwrap();
                }
                expect(&client, answer).await;
                load.calls.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}

/// A server, and the files that are replaced under it.
struct Rotation {
    site: Site,
    daemon: Arc<Daemon>,
    /// It comes beside the site's own CA, and goes.
    other: Authority,
    /// The lines of two tokens: the second goes, and comes again.
    tokens: [String; 2],
    guest: CredentialFiles,
    foreign: CredentialFiles,
    /// A connection that stands.
    at_times: Client,
}

/// Who is let in beside those that always are.
#[derive(Clone, Copy)]
struct LetIn {
    at_times: bool,
    foreign: bool,
    guest: bool,
}

impl LetIn {
    fn policy(self) -> String {
        let callers = ALWAYS.iter().chain(self.at_times.then_some(&AT_TIMES));
        let rules = callers.map(|caller| {
            format!("[[rule]]\nname = '{caller}'\ndecision = 'allow'\nidentities = ['{caller}']\nrpcs = ['Echo']\n")
        });
        rules.collect()
    }
}

impl Rotation {
    /// And what shows the first token.
    async fn start() -> (Self, CredentialFiles) {
        let (site, other) = (Site::new(), Authority::new("next CA"));
        let (ci, ci_line) = new_token(&["ci"]).await;
        let (guest, guest_line) = new_token(&["guest"]).await;
        let all = LetIn {
            at_times: true,
            foreign: true,
            guest: true,
        };
        let ca = site.put("clients.pem", &site.ca.pem);
        let tokens = site.put("tokens", &ci_line);
        let rules = site.put("policy", &all.policy());
        let flags = [
            "--tls-client-ca",
            &ca,
            "--tokens",
            &tokens,
            "--policy",
            &rules,
            // Each frame of each call would be logged.
            "--log-level",
            "info",
        ];
        let daemon = Arc::new(site.start(&flags).await);
        let at_times = site.showing("at-times", &site.ca.client("at-times.example"));
        let bearer = |name: &str, token: &str| CredentialFiles {
            token: Some(site.put(name, token).into()),
            ..site.anonymous()
        };
        let (ci, guest) = (bearer("ci-token", &ci), bearer("guest-token", &guest));
        let rotation = Self {
            at_times: connect(&daemon, at_times).await.unwrap(),
            foreign: site.showing("foreign", &other.client("runner.example")),
            daemon,
            other,
            tokens: [ci_line, guest_line],
            guest,
            site,
        };
        (rotation, ci)
    }

    /// Replaces everything, and returns once it is read.
    async fn replace(&self, round: usize, let_in: LetIn) {
        let site = &self.site;
        site.put_leaf("server", &site.ca.server(&["localhost", "127.0.0.1"]));
        let both = format!("{}{}", self.other.pem, site.ca.pem);
        let cas = if let_in.foreign { &both } else { &site.ca.pem };
        site.put("clients.pem", cas);
        let [ci, guest] = &self.tokens;
        let guest = if let_in.guest { &**guest } else { "" };
        site.put("tokens", &format!("# {round}\n{ci}\n{guest}\n"));
        site.put("policy", &let_in.policy());
        let times = |said: &str| site.home.log().matches(said).count();
        let read_again = || (times("were read again"), times("the policy was read again"));
        let reads = read_again();
        self.daemon.signal(Signal::HUP);
        eventually("the new files", || {
            let now = read_again();
            (now.0 > reads.0 && now.1 > reads.1).then_some(())
        })
        .await;
    }

    /// From the very next call on.
    async fn holds(&self, let_in: LetIn) {
        let answer = |is_let_in, otherwise| if is_let_in { Answer::Served } else { otherwise };
        expect(&self.at_times, answer(let_in.at_times, Answer::Denied)).await;
        let guest = connect(&self.daemon, self.guest.clone()).await.unwrap();
        expect(&guest, answer(let_in.guest, Answer::Unknown)).await;
        // By TLS 1.3, a client hears that its certificate is not taken once its own part is done.
        let foreign = match connect(&self.daemon, self.foreign.clone()).await {
            Ok(client) => try_echo(&client).await.map_err(|status| status.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match foreign {
            Ok(()) => assert!(let_in.foreign, "a client of a CA that is gone was served"),
            Err(why) => assert!(!let_in.foreign && why.contains("none of the CAs"), "{why}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_or_succeeds_wrongly_while_everything_is_replaced() {
    let (rotation, bearer) = Rotation::start().await;
    let Rotation { site, daemon, .. } = &rotation;
    let certificate = |name: &str| site.showing(name, &site.ca.client(&format!("{name}.example")));
    let (runner, never) = (certificate("runner"), certificate("never"));
    let (load, mut tasks) = (Load::new(), JoinSet::new());
    for (files, answer) in [
        (&runner, Answer::Served),
        (&bearer, Answer::Served),
        (&never, Answer::Denied),
    ] {
        load.spawn(&mut tasks, daemon, files, true, answer);
        for _ in 0..count(2, 16) {
            load.spawn(&mut tasks, daemon, files, false, answer);
        }
    }
    let begun = Instant::now();
    for round in 1..=count(10, 100) {
        let before = load.calls();
        let let_in = LetIn {
            at_times: round % 2 == 0,
            foreign: round % 2 == 1,
            // Seldom, since a wrong token is a guess.
            guest: round % 10 != 0,
        };
        rotation.replace(round, let_in).await;
        rotation.holds(let_in).await;
        let some = count(14, RATE as usize);
        eventually("calls after that", || {
            (load.calls() > before + some || tasks.is_empty()).then_some(())
        })
        .await;
    }
    load.stop.store(true, Ordering::Relaxed);
    let (calls, time) = (load.calls(), begun.elapsed());
    // Each panics with the first call that was answered wrongly.
    soon("the end of the load", tasks.join_all()).await;
    let rate = f64::from(u32::try_from(calls).unwrap()) / time.as_secs_f64();
    eprintln!("{calls} calls in {time:.1?}, {rate:.0} a second");
    assert!(!is_long() || rate >= LEAST_RATE, "{rate:.0} calls a second");
    let Rotation {
        daemon, at_times, ..
    } = rotation;
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
