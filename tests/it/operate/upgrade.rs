//! Another program in place of the remexd that runs: nobody is refused, and what is durable runs on.

use std::{
    fs,
    net::TcpStream,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::ExitStatusExt,
    },
    path::PathBuf,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use remex::v1::{EchoRequest, echo_request};
use remex_client::{Client, Command, Endpoint};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::Code;

use super::control::{ask, asked};
use crate::harness::{Daemon, Home, Marker, binaries::binary, eventually, soon};

/// Upgrades under load.
const UPGRADES: usize = 5;

/// Calls that come to their end between two of them.
const CALLS_BETWEEN: usize = 20;

/// A remexd that was installed in its home.
struct Installed {
    home: Home,
    program: PathBuf,
}

impl Installed {
    fn new() -> Self {
        let home = Home::new();
        let program = home.path("remexd");
        let this = Self { home, program };
        this.install();
        this
    }

    /// Puts another file of the same program in its place, as a package does.
    fn install(&self) {
        // Written by a process of its own: one that another test forks right now would hold the file open for writing, and
        // such a file cannot be executed.
        let new = self.home.path("remexd.new");
        let copied = std::process::Command::new("cp")
            .args([binary("remexd"), &new])
            .status();
        assert!(copied.expect("cp runs").success());
        fs::rename(new, &self.program).expect("a rename");
    }

    /// Puts a script there.
    fn install_script(&self, text: &str) {
        let new = self.home.path("remexd.new");
        fs::write(&new, text).expect("a file");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("its mode");
        fs::rename(new, &self.program).expect("a rename");
    }

    async fn start(&self, flags: &[&str]) -> Daemon {
        let command = self.home.service(flags);
        let command = command.as_std();
        let mut installed = tokio::process::Command::new(command.get_program());
        let arguments = command.get_args().map(|argument| {
            if argument == binary("remexd").as_os_str() {
                self.program.as_os_str()
            } else {
                argument
            }
        });
        installed
            .args(arguments)
            .current_dir(self.home.folder())
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        Daemon::spawn(&self.home, installed).await
    }

    async fn upgrade(&self) -> Output {
        ask(&self.home, &["upgrade"]).await
    }

    /// Whether the process of `daemon` executes the file that is installed.
    fn is_executed(&self, daemon: &Daemon) -> bool {
        let running = fs::metadata(format!("/proc/{}/exe", daemon.pid().as_raw_nonzero()));
        let (running, installed) = (running.expect("it runs"), fs::metadata(&self.program));
        running.ino() == installed.expect("the program").ino()
    }

    fn ready(&self) -> String {
        fs::read_to_string(self.home.path("ready")).expect("the ready file")
    }
}

async fn run(client: &Client, shell: &str) -> Result<String, remex_client::Error> {
    let outcome = soon("a run", client.run(Command::shell(shell))).await?;
    Ok(String::from_utf8(outcome.stdout.into()).expect("UTF-8"))
}

/// A caller that connects again when it is told that the server is away, until `stop`. How often it had to, is counted.
async fn call(endpoint: Endpoint, stop: Arc<AtomicBool>, calls: Arc<AtomicUsize>, is_run: bool) {
    let connect = async || {
        let connected = soon("a connection", Client::connect(&endpoint)).await;
        connected.expect("no connection is refused")
    };
    let mut client = connect().await;
    while !stop.load(Ordering::Relaxed) {
        let called = if is_run {
            run(&client, "echo x").await.map(drop)
        } else {
            let request = EchoRequest {
                content: Some(echo_request::Content::Text("x".into())),
            };
            let answered = soon("an echo", client.echo().echo(request)).await;
            answered.map(drop).map_err(Into::into)
        };
        match called {
            Ok(()) => drop(calls.fetch_add(1, Ordering::Relaxed)),
            Err(error) => {
                assert_eq!(error.code(), Code::Unavailable, "{error}");
                client = connect().await;
            }
        }
    }
}

/// Connects all the time, until `stop`.
fn knock(daemon: &Daemon, stop: &Arc<AtomicBool>) -> thread::JoinHandle<()> {
    let (address, legacy) = (daemon.socket("grpc"), daemon.socket("tcp-echo"));
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            TcpStream::connect(address).expect("no connection is refused");
            TcpStream::connect(legacy).expect("no connection is refused");
            thread::sleep(crate::harness::LOOK_AGAIN);
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_refused_and_what_is_durable_runs_on() {
    let site = Installed::new();
    let socket = site.home.path("grpc.sock");
    let unix = format!("unix:{}", socket.display());
    let flags = [
        "--listen",
        "127.0.0.1:0",
        "--listen",
        &unix,
        "--legacy",
        "tcp://127.0.0.1:0/echo",
        "--metrics",
        "127.0.0.1:0",
    ];
    let daemon = site.start(&flags).await;
    let (pid, ready) = (daemon.pid(), site.ready());
    let marker = Marker::new();
    let durable = run_detached(&daemon, &format!("echo begun; exec sleep {marker}")).await;
    let supervisor = site.home.supervisor_of(&durable).expect("its supervisor");

    let (stop, calls) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut tasks = JoinSet::new();
    for (endpoint, is_run) in [
        (daemon.endpoint(), false),
        (daemon.endpoint(), true),
        (Endpoint::Unix(socket.clone()), true),
    ] {
        tasks.spawn(call(
            endpoint,
            Arc::clone(&stop),
            Arc::clone(&calls),
            is_run,
        ));
    }
    let knocker = knock(&daemon, &stop);
    for _ in 0..UPGRADES {
        let before = calls.load(Ordering::Relaxed);
        site.install();
        assert!(!site.is_executed(&daemon));
        let upgraded = site.upgrade().await;
        let said = String::from_utf8_lossy(&upgraded.stderr);
        assert!(upgraded.status.success(), "{said}");
        assert!(site.is_executed(&daemon) && daemon.pid() == pid);
        assert_eq!(site.ready(), ready);
        soon("calls after it", async {
            while calls.load(Ordering::Relaxed) < before + CALLS_BETWEEN {
                if let Some(ended) = tasks.try_join_next() {
                    ended.expect("no call fails");
                }
                tokio::time::sleep(crate::harness::LOOK_AGAIN).await;
            }
        })
        .await;
        // Nobody has touched what is durable.
        assert_eq!(site.home.supervisor_of(&durable), Some(supervisor));
        assert_eq!(marker.processes().len(), 1);
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = soon("the end of the callers", tasks.join_next()).await {
        ended.expect("no call fails");
    }
    knocker.join().expect("no connection is refused");
    let client = daemon.client().await;
    let found = client.get(durable.clone()).await.expect("it is known");
    assert!(found.exit.is_none(), "{found:?}");
    marker.kill();
    daemon.stop().await;
    // The file of a socket goes with whoever served it last.
    assert!(!socket.exists());
}

/// Starts a durable execution, and returns its id.
async fn run_detached(daemon: &Daemon, shell: &str) -> String {
    let (code, stdout, stderr) = crate::harness::command_line::result(
        crate::harness::command_line::remex(daemon.url("grpc"), &["start", "--shell", shell]),
    )
    .await;
    assert_eq!(code, 0, "{stderr}");
    stdout.trim().to_owned()
}

#[tokio::test]
async fn a_program_that_cannot_serve_leaves_the_old_one_serving() {
    let site = Installed::new();
    let daemon = site.start(&["--listen", "127.0.0.1:0"]).await;
    let status = asked(&site.home, &["status"]).await;
    for (script, part) in [
        ("not a program", "cannot be executed"),
        (
            "#!/bin/sh\necho its own words >&2; exit 64\n",
            "its own words",
        ),
        ("#!/nowhere/at/all\n", "cannot be executed"),
    ] {
        site.install_script(script);
        let upgraded = site.upgrade().await;
        let said = String::from_utf8_lossy(&upgraded.stderr);
        assert!(!upgraded.status.success(), "{said}");
        assert!(
            said.contains(part) && said.contains("the old one serves"),
            "{said}"
        );
        assert_eq!(
            run(&daemon.client().await, "echo served").await.unwrap(),
            "served\n"
        );
    }
    let served = |status: &str| status.lines().last().map(str::to_owned);
    assert_eq!(
        served(&asked(&site.home, &["status"]).await),
        served(&status)
    );
    daemon.stop().await;
}

/// For a program: what serves then in one line, and nothing on stdout where that is the old one still.
#[tokio::test]
async fn what_serves_then_is_printed_as_json() {
    let site = Installed::new();
    let daemon = site.start(&["--listen", "127.0.0.1:0"]).await;
    let pid = daemon.pid().as_raw_nonzero().get();
    for _ in 0..2 {
        site.install();
        let printed = asked(&site.home, &["upgrade", "--json"]).await;
        let upgraded: Value = serde_json::from_str(&printed).expect("JSON");
        assert_eq!(upgraded, json!({"version": remex::VERSION, "pid": pid}));
        assert_eq!(printed.lines().count(), 1, "{printed}");
        assert!(site.is_executed(&daemon));
    }
    site.install_script("#!/bin/sh\necho no >&2; exit 64\n");
    let refused = ask(&site.home, &["upgrade", "--json"]).await;
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
    assert!(refused.stdout.is_empty(), "{refused:?}");
    daemon.stop().await;
}

/// It says that all is well, and cannot serve: the program before it does again, as it was called.
#[tokio::test]
async fn a_program_that_ends_before_it_serves_is_followed_by_the_old_one() {
    let site = Installed::new();
    let socket = site.home.path("grpc.sock");
    let unix = format!("unix:{}", socket.display());
    let daemon = site
        .start(&["--listen", "127.0.0.1:0", "--listen", &unix])
        .await;
    let (pid, ready) = (daemon.pid(), site.ready());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address");
    let program = binary("remexd").display();
    for _ in 0..2 {
        site.install_script(&format!(
            "#!/bin/sh\ncase \"$*\" in\n*--check*) exec {program} \"$@\" ;;\n*) exec {program} --metrics {taken} \"$@\" ;;\nesac\n"
        ));
        let upgraded = site.upgrade().await;
        let said = String::from_utf8_lossy(&upgraded.stderr);
        assert_eq!(upgraded.status.code(), Some(69), "{said}");
        assert!(said.contains("could not serve"), "{said}");
        assert!(site.home.log().contains("--metrics"), "{}", site.home.log());
        assert_eq!((daemon.pid(), site.ready()), (pid, ready.clone()));
        let endpoint = Endpoint::Unix(socket.clone());
        let client = Client::connect(&endpoint).await.expect("a connection");
        assert_eq!(run(&client, "echo served").await.unwrap(), "served\n");
    }
    // What is installed then serves.
    site.install();
    assert!(site.upgrade().await.status.success() && site.is_executed(&daemon));
    daemon.stop().await;
    assert!(!socket.exists());
}

/// It says that all is well, and is killed before it serves: nothing is left to go back to, which is said at once.
#[tokio::test]
async fn a_program_that_is_killed_before_it_serves_leaves_none() {
    let site = Installed::new();
    let mut daemon = site.start(&["--listen", "127.0.0.1:0"]).await;
    let marker = Marker::new();
    let durable = run_detached(&daemon, &format!("exec sleep {marker}")).await;
    let supervisor = site.home.supervisor_of(&durable).expect("its supervisor");
    site.install_script("#!/bin/sh\ncase \"$*\" in *--check*) ;; *) kill -KILL $$ ;; esac\n");
    let upgraded = site.upgrade().await;
    let said = String::from_utf8_lossy(&upgraded.stderr);
    assert_eq!(upgraded.status.code(), Some(69), "{said}");
    let pid = daemon.pid().as_raw_nonzero();
    let part = format!("process {pid} has ended before it served");
    assert!(said.contains(&part), "{said}");
    assert_eq!(daemon.wait().await.signal(), Some(Signal::KILL.as_raw()));
    // What is durable has not noticed, and whoever is started next finds it.
    assert_eq!(site.home.supervisor_of(&durable), Some(supervisor));
    site.install();
    let daemon = site.start(&["--listen", "127.0.0.1:0"]).await;
    let found = daemon.client().await.get(durable).await;
    assert!(found.expect("it is known").exit.is_none());
    daemon.stop().await;
}

#[tokio::test]
async fn a_drain_is_not_held_up_by_an_upgrade_nor_the_other_way_round() {
    let site = Installed::new();
    let mut daemon = site
        .start(&["--listen", "127.0.0.1:0", "--drain-timeout", "1h"])
        .await;
    let marker = Marker::new();
    let client = daemon.client().await;
    let running = soon(
        "a start",
        client.start(Command::new("sleep").arg(marker.to_string())),
    )
    .await
    .unwrap();
    let upgrading = tokio::spawn({
        let (home, program) = (site.home.clone(), site.program.clone());
        async move { Installed { home, program }.upgrade().await }
    });
    // It waits for the command.
    eventually("the end of the listener", || {
        let log = site.home.log();
        log.contains("the configuration was read again")
            .then_some(())
    })
    .await;
    assert!(!upgrading.is_finished());
    daemon.signal(Signal::TERM);
    drop(running);
    drop(client);
    assert_eq!(daemon.wait().await.code(), Some(0));
    let upgraded = soon("the answer", upgrading).await.expect("it is answered");
    assert!(!upgraded.status.success());
}

/// The next program adds to the audit log: each command has its decision and its end there, in whichever program it ran.
#[tokio::test]
async fn the_audit_log_goes_on_and_no_line_is_lost() {
    let site = Installed::new();
    let log = site.home.path("audit");
    let daemon = site
        .start(&["--audit-log", log.to_str().expect("UTF-8")])
        .await;
    run_detached(&daemon, "true").await;
    let mut runs = 1;
    for _ in 0..UPGRADES {
        let client = daemon.client().await;
        for _ in 0..CALLS_BETWEEN {
            run(&client, "true").await.expect("it runs");
            runs += 1;
        }
        drop(client);
        site.install();
        let upgraded = site.upgrade().await;
        assert!(upgraded.status.success(), "{upgraded:?}");
        assert!(site.is_executed(&daemon));
    }
    run(&daemon.client().await, "true").await.expect("it runs");
    runs += 1;
    daemon.stop().await;
    let lines = fs::read_to_string(&log).expect("the audit log");
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let starts = |line: &&Value| {
        line["event"] == "decision" && (line["rpc"] == "Run" || line["rpc"] == "Start")
    };
    assert_eq!(lines.iter().filter(starts).count(), runs, "{lines:#?}");
    let ends = lines.iter().filter(|line| line["event"] == "end");
    assert_eq!(ends.count(), runs, "{lines:#?}");
}
