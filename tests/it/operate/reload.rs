//! What a reload changes, all of it or nothing, and that no call fails of it.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use remex::v1::{EchoRequest, echo_request};
use remex_client::{Client, Command, Endpoint};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket, UnixStream},
    task::JoinSet,
};

use super::control::{ask, asked};
use crate::{
    gateway::support::Legacy,
    harness::{
        Daemon, Home, Marker, eventually, soon,
        tools::{OTHER_USER, root},
    },
};

/// Reloads under load.
const RELOADS: usize = 20;

/// Calls that come to their end between two of them.
const CALLS_BETWEEN: usize = 20;

/// A remexd with a configuration of its own.
pub(super) struct Configured {
    pub(super) home: Home,
    pub(super) file: PathBuf,
}

impl Configured {
    fn new(text: &str) -> Self {
        let home = Home::new();
        let file = home.path("remexd.toml");
        let this = Self { home, file };
        this.write(text);
        this
    }

    pub(super) fn write(&self, text: &str) {
        fs::write(&self.file, text).expect("a file");
    }

    async fn start(&self) -> Daemon {
        let flags = ["--config", self.file.to_str().expect("UTF-8")];
        Daemon::spawn(&self.home, self.home.service(&flags)).await
    }

    /// What a reload with this text says that it has changed, and what it has not.
    async fn reload(&self, text: &str) -> String {
        self.write(text);
        asked(&self.home, &["reload"]).await
    }

    /// Where it says that it listens.
    pub(super) fn ready(&self) -> Vec<String> {
        let lines = fs::read_to_string(self.home.path("ready")).expect("the ready file");
        lines.lines().map(str::to_owned).collect()
    }

    pub(super) fn address(&self, name: &str) -> SocketAddr {
        let ready = self.ready();
        let found = ready.iter().find_map(|line| line.strip_prefix(name));
        let url = found.unwrap_or_else(|| panic!("no {name} in {ready:?}"));
        let (_, address) = url.split_once("://").expect("a URL");
        let address = address.trim_end_matches("/metrics");
        address.parse().expect("an address")
    }
}

async fn run(client: &Client) -> Result<(), String> {
    let outcome = soon("a run", client.run(Command::new("true"))).await;
    let outcome = outcome.map_err(|error| error.to_string())?;
    assert_eq!(outcome.exit.status_code(), 0);
    Ok(())
}

async fn echo(client: &Client) -> Result<(), String> {
    let request = EchoRequest {
        content: Some(echo_request::Content::Text("x".into())),
    };
    let answered = soon("an echo", client.echo().echo(request)).await;
    answered.map(drop).map_err(|error| error.to_string())
}

pub(super) async fn is_refused(address: SocketAddr) {
    soon("the end of a listener", async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(crate::harness::LOOK_AGAIN).await;
        }
    })
    .await;
}

/// Asks a listener of `echo`, as any other program of this machine does.
async fn legacy_echo(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(b"abc").await.expect("it is taken");
    let mut answer = [0; 3];
    soon("an echo", stream.read_exact(&mut answer))
        .await
        .expect("an answer");
    assert_eq!(&answer, b"ABC");
}

#[tokio::test]
async fn listeners_come_and_go_and_the_others_stay() {
    let first = "listen = [\"127.0.0.1:0\"]\nlegacy = [\"tcp://127.0.0.1:0/echo\"]\n";
    let site = Configured::new(first);
    let daemon = site.start().await;
    let (grpc, legacy) = (site.address("grpc"), site.address("tcp-echo"));
    let standing = daemon.client().await;
    let socket = site.home.path("grpc.sock");
    let second = format!(
        "listen = [\"127.0.0.1:0\", \"unix:{}\"]\n\
         legacy = [\"udp://127.0.0.1:0/echo\", \"tcp://127.0.0.1:0/echo\", \"tcp://localhost:0/exec\"]\n\
         metrics = \"127.0.0.1:0\"\n",
        socket.display()
    );
    let said = site.reload(&second).await;
    assert_eq!(said, "changed: listen\nchanged: legacy\nchanged: metrics\n");
    // What was there before is the same.
    assert_eq!(
        (site.address("grpc"), site.address("tcp-echo")),
        (grpc, legacy)
    );
    let unix = Client::connect(&Endpoint::Unix(socket.clone())).await;
    run(&unix.expect("a connection")).await.unwrap();
    legacy_echo(legacy).await;
    let mut exec = Legacy::connect(site.address("tcp-exec")).await;
    assert_eq!(exec.ask("echo here").await.text(), "here\n");
    let (metrics, udp) = (site.address("metrics"), site.address("udp-echo"));
    let scrape = super::scraper::Scrape::of(&format!("http://{metrics}/metrics")).await;
    let name =
        format!("remex_legacy_requests_total{{listener=\"tcp://{legacy}\",service=\"tcp-echo\"}}");
    assert_eq!(scrape.count(&name), 1);
    let ours = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    ours.send_to(b"abc", udp).await.unwrap();
    let mut answer = [0; 3];
    soon("an echo", ours.recv(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"ABC");
    let status = asked(&site.home, &["status"]).await;
    assert!(
        site.ready().iter().all(|line| status.contains(line)),
        "{status}"
    );

    let said = site.reload(first).await;
    assert_eq!(said, "changed: listen\nchanged: legacy\nchanged: metrics\n");
    assert_eq!(site.ready().len(), 2, "{:?}", site.ready());
    is_refused(metrics).await;
    eventually("the end of the Unix socket", || {
        (!socket.exists()).then_some(())
    })
    .await;
    assert!(UnixStream::connect(&socket).await.is_err());
    // An idle connection of a listener that is no more ends.
    assert!(exec.rest().await.is_empty());
    run(&standing).await.unwrap();
    assert_eq!(
        (site.address("grpc"), site.address("tcp-echo")),
        (grpc, legacy)
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_leaves_everything_as_it_was() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let first =
        "listen = [\"127.0.0.1:0\"]\nlegacy = [\"tcp://127.0.0.1:0/echo\"]\nmax-executions = 7\n";
    let site = Configured::new(first);
    let daemon = site.start().await;
    let before = site.ready();
    let free = site.home.path("free.sock");
    let port = taken.local_addr().unwrap();
    for (key, wrong) in [
        (
            "--legacy",
            format!(
                "legacy = [\"tcp://{port}/echo\"]\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]",
                free.display()
            ),
        ),
        (
            "--listen",
            format!(
                "legacy = [\"udp://127.0.0.1:0/time\"]\nlisten = [\"unix:{}\", \"{port}\"]",
                free.display()
            ),
        ),
        (
            "--metrics",
            format!(
                "no-legacy = true\nlisten = [\"unix:{}\"]\nmetrics = \"{port}\"",
                free.display()
            ),
        ),
    ] {
        site.write(&format!(
            "{wrong}\nmax-executions = 9\nlog-level = \"off\"\n"
        ));
        let output = ask(&site.home, &["reload"]).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{stderr}");
        let named = format!("port {}", port.port());
        assert!(stderr.contains(key) && stderr.contains(&named), "{stderr}");
        assert!(!free.exists(), "what could be bound is let go of");
        assert_eq!(site.ready(), before);
        let status = asked(&site.home, &["status", "--json"]).await;
        let status: Value = serde_json::from_str(&status).expect("JSON");
        assert_eq!(status["max_executions"], 7);
        run(&daemon.client().await).await.unwrap();
        legacy_echo(site.address("tcp-echo")).await;
    }
    // An address that this very daemon has in another spelling is said to be its own.
    let port = site.address("tcp-echo").port();
    site.write(&format!(
        "listen = [\"127.0.0.1:0\"]\nlegacy = [\"tcp://127.0.0.1:{port}/echo\"]\n"
    ));
    let output = ask(&site.home, &["reload"]).await;
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    legacy_echo(site.address("tcp-echo")).await;
    daemon.stop().await;
}

#[tokio::test]
async fn as_many_run_as_the_file_says_last() {
    let text = |most: usize| {
        format!("listen = [\"127.0.0.1:0\"]\nno-legacy = true\nmax-executions = {most}\n")
    };
    let site = Configured::new(&text(1));
    let daemon = site.start().await;
    let client = daemon.client().await;
    let marker = Marker::new();
    let sleep = || Command::new("sleep").arg(marker.to_string());
    let one = soon("a start", client.start(sleep())).await.unwrap();
    let error = run(&client).await.unwrap_err();
    assert!(error.contains("1 executions run already"), "{error}");
    assert_eq!(site.reload(&text(2)).await, "changed: max-executions\n");
    let two = soon("a start", client.start(sleep())).await.unwrap();
    assert!(run(&client).await.is_err());
    // Fewer end nothing.
    assert_eq!(site.reload(&text(1)).await, "changed: max-executions\n");
    assert_eq!(marker.processes().len(), 2);
    drop(two);
    eventually("the end of the one", || {
        (marker.processes().len() == 1).then_some(())
    })
    .await;
    assert!(run(&client).await.is_err());
    drop(one);
    soon("a place", async { while run(&client).await.is_err() {} }).await;
    daemon.stop().await;
}

/// Sends a command from another user, and says what is answered until the end.
fn another_user(address: SocketAddr) -> tokio::process::Child {
    const SCRIPT: &str = r"exec 3<>/dev/tcp/127.0.0.1/$1; echo abc >&3; cat <&3";
    let mut bash = tokio::process::Command::new("bash");
    bash.uid(OTHER_USER)
        .gid(OTHER_USER)
        .current_dir("/")
        .args(["-c", SCRIPT, "bash", &address.port().to_string()])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true);
    bash.spawn().expect("bash runs")
}

#[tokio::test]
async fn users_are_let_in_and_shown_out() {
    skip_unless!(root());
    let text = |users: &str| {
        format!(
            "listen = [\"127.0.0.1:0\"]\nlegacy = [\"tcp://127.0.0.1:0/echo\"]\nusers = \"{users}\"\n"
        )
    };
    let site = Configured::new(&text("root"));
    let daemon = site.start().await;
    let address = site.address("tcp-echo");
    let refused = soon("an answer", another_user(address).wait_with_output()).await;
    let refused = String::from_utf8_lossy(&refused.unwrap().stdout).into_owned();
    assert!(
        refused.contains("65534") && refused.contains("--users"),
        "{refused}"
    );
    let said = site.reload(&text("65534")).await;
    assert_eq!(said, "changed: legacy\nchanged: users\n");
    let mut served = another_user(address);
    let mut answer = [0; 4];
    let mut stdout = served.stdout.take().expect("a pipe");
    soon("an echo", stdout.read_exact(&mut answer))
        .await
        .unwrap();
    assert_eq!(&answer, b"ABC\n");
    // Its connection, and its right, end with the next reload; those of the daemon's own user go on.
    let mut own = TcpStream::connect(address).await.unwrap();
    site.reload(&text("root")).await;
    soon("the end of its connection", served.wait())
        .await
        .unwrap();
    own.write_all(b"abc").await.unwrap();
    let mut answer = [0; 3];
    soon("an echo", own.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"ABC");
    daemon.stop().await;
}

/// Callers of every kind, until `stop`.
fn load(
    site: &Configured,
    daemon: &Arc<Daemon>,
    stop: &Arc<AtomicBool>,
    calls: &Arc<AtomicUsize>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for number in 0..4 {
        let (daemon, stop, calls) = (Arc::clone(daemon), Arc::clone(stop), Arc::clone(calls));
        tasks.spawn(async move {
            let mut client = daemon.client().await;
            while !stop.load(Ordering::Relaxed) {
                if number % 2 == 0 {
                    client = daemon.client().await;
                }
                let called = if number < 2 {
                    echo(&client).await
                } else {
                    run(&client).await
                };
                called.unwrap();
                calls.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let (tcp, udp) = (site.address("tcp-exec"), site.address("udp-echo"));
    let (stop, calls) = (Arc::clone(stop), Arc::clone(calls));
    tasks.spawn(async move {
        let ours = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut standing = Legacy::connect(tcp).await;
        while !stop.load(Ordering::Relaxed) {
            let mut new = Legacy::connect(tcp).await;
            assert_eq!(new.ask("echo new").await.text(), "new\n");
            assert_eq!(standing.ask("echo old").await.text(), "old\n");
            ours.send_to(b"abc", udp).await.unwrap();
            soon("an echo", ours.recv(&mut [0; 3])).await.unwrap();
            calls.fetch_add(3, Ordering::Relaxed);
        }
    });
    tasks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_of_a_reload() {
    let text = |round: usize, home: &Home| {
        let odd = round % 2;
        let extra = home.path("extra.sock");
        let listen = if odd == 1 {
            format!(", \"unix:{}\"", extra.display())
        } else {
            String::new()
        };
        let charset = ["utf-8", "gbk"][odd];
        let users = ["root", "*"][odd];
        format!(
            "listen = [\"127.0.0.1:0\"{listen}]\n\
             legacy = [\"tcp://127.0.0.1:0/exec?charset={charset}\", \"udp://127.0.0.1:0/echo\"]\n\
             users = \"{users}\"\nmax-executions = {}\nlog-level = \"info\"\ndrain-timeout = \"{}s\"\n",
            100 + odd,
            5 + odd,
        )
    };
    let site = Configured::new("");
    site.write(&text(0, &site.home));
    let daemon = Arc::new(site.start().await);
    let (stop, calls) = (Arc::default(), Arc::default());
    let mut tasks = load(&site, &daemon, &stop, &calls);
    for round in 1..=RELOADS {
        let before = calls.load(Ordering::Relaxed);
        let said = site.reload(&text(round, &site.home)).await;
        assert_eq!(said.lines().count(), 5, "{said}");
        soon("calls after it", async {
            while calls.load(Ordering::Relaxed) < before + CALLS_BETWEEN {
                if let Some(ended) = tasks.try_join_next() {
                    ended.expect("no call fails");
                }
                tokio::time::sleep(crate::harness::LOOK_AGAIN).await;
            }
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = soon("the end of the callers", tasks.join_next()).await {
        ended.expect("no call fails");
    }
    Arc::into_inner(daemon).expect("nobody else").stop().await;
}

/// Whom a listener refuses is told, whether it came with a reload or serves another thing on a socket since; the file of the
/// audit log stays what it was at the start.
#[tokio::test]
async fn listeners_that_come_have_the_audit_log_told_whom_they_refuse() {
    let site = Configured::new("");
    let log = site.home.path("audit");
    let text = |legacy: &str, log: &Path| {
        format!("listen = [\"127.0.0.1:0\"]\nlegacy = [{legacy}]\naudit-log = {log:?}\n")
    };
    site.write(&text("\"tcp://127.0.0.1:0/echo\"", &log));
    let daemon = site.start().await;
    let socket = site.address("tcp-echo");
    refused_as_foreign(socket).await;
    site.reload(&text("\"tcp://127.0.0.1:0/exec\"", &log)).await;
    assert_eq!(site.address("tcp-exec"), socket);
    refused_as_foreign(socket).await;
    let another = site.home.path("another");
    let both = "\"tcp://localhost:0/echo\", \"tcp://127.0.0.1:0/exec\"";
    let said = site.reload(&text(both, &another)).await;
    assert!(
        said.lines().any(|line| line.ends_with(" audit-log")),
        "{said}"
    );
    refused_as_foreign(site.address("tcp-echo")).await;
    daemon.stop().await;
    assert!(!another.exists());
    let lines = fs::read_to_string(&log).expect("the audit log");
    let lines = lines.lines().map(serde_json::from_str::<Value>);
    let refused: Vec<_> = lines
        .map(|line| line.expect("JSON"))
        .filter(|line| line["reason"] == "CROSS_PROTOCOL")
        .map(|line| line["through"].clone())
        .collect();
    assert_eq!(refused, ["tcp-echo", "tcp-exec", "tcp-echo"]);
}

/// Speaks HTTP to a listener of the old protocol.
async fn refused_as_foreign(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).await.expect("it is taken");
    let mut answer = Vec::new();
    // Reset or closed.
    let _ = soon("the end of it", stream.read_to_end(&mut answer)).await;
}
