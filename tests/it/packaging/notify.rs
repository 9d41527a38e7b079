//! What a service manager hears, by sd_notify(3).

use std::{net::TcpStream, path::Path, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    net::UnixDatagram,
    process::{Child, Command},
};

use crate::harness::{Daemon, Home, binaries::binary, soon};

/// Half of it is how often the watchdog is told.
const WATCHDOG: Duration = Duration::from_millis(100);

fn managed(mut command: Command, socket: &Path, watchdog: Duration) -> Command {
    command
        .env("NOTIFY_SOCKET", socket)
        .env("WATCHDOG_USEC", watchdog.as_micros().to_string());
    command
}

/// The next thing that is told, but for the watchdog.
async fn next_news(manager: &UnixDatagram) -> String {
    soon("news", async {
        loop {
            let text = receive(manager).await;
            if text != "WATCHDOG=1" {
                return text;
            }
        }
    })
    .await
}

async fn receive(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    let bytes = manager.recv(&mut buffer).await.expect("a notification");
    String::from_utf8_lossy(&buffer[..bytes]).trim().to_owned()
}

/// A daemon that writes `ready`, from its start to its end.
async fn assert_is_told_all(mut command: Command, home: &Home, ready: &Path) {
    let socket = home.path("notify");
    let manager = UnixDatagram::bind(&socket).expect("a socket");
    command = managed(command, &socket, WATCHDOG);
    let mut daemon: Child = command
        .arg("--ready-file")
        .arg(ready)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs");

    assert_eq!(next_news(&manager).await, "READY=1");
    // By then it serves, and has said where.
    let lines = std::fs::read_to_string(ready).expect("the ready file");
    let (_, address) = lines.trim().split_once("://").expect("an address");
    TcpStream::connect(address).expect("it serves");

    for _ in 0..3 {
        let told = soon("the watchdog", receive(&manager)).await;
        assert_eq!(told, "WATCHDOG=1");
    }
    let pid = daemon.id().expect("it runs").cast_signed();
    kill_process(Pid::from_raw(pid).expect("a pid"), Signal::TERM).expect("it runs");
    assert_eq!(next_news(&manager).await, "STOPPING=1");
    let status = soon("its exit", daemon.wait()).await.expect("a child");
    assert_eq!(status.code(), Some(0), "{status}");
}

#[tokio::test]
async fn remexd_tells_its_start_its_life_and_its_drain() {
    let home = Home::new();
    assert_is_told_all(home.remexd(&[]), &home, &home.path("ready")).await;
}

#[tokio::test]
async fn the_gateway_tells_its_start_its_life_and_its_drain() {
    let home = Home::new();
    let mut gateway = Command::new(binary("remex-gateway"));
    gateway
        .args(["--legacy", "tcp://127.0.0.1:0/echo"])
        .kill_on_drop(true);
    assert_is_told_all(gateway, &home, &home.path("ready")).await;
}

/// The microseconds of `CLOCK_MONOTONIC` at which a reload began, as `news` says.
fn reloading_since(news: &str) -> u128 {
    let (state, time) = news.split_once('\n').unwrap_or_else(|| panic!("{news}"));
    assert_eq!(state, "RELOADING=1");
    let time = time.strip_prefix("MONOTONIC_USEC=").expect("its time");
    time.parse().expect("a number")
}

fn monotonic() -> u128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u128::try_from(now.tv_sec).expect("since the boot");
    seconds * 1_000_000 + u128::try_from(now.tv_nsec).expect("less than a second") / 1000
}

/// What a manager hears of reloads of a daemon that is `started` without a terminal: each begins behind its cause, and
/// ends, whether or not anything could be made of it.
async fn assert_reloads_are_told(manager: &UnixDatagram, pid: Pid, file: &Path, valid: &str) {
    assert_eq!(next_news(manager).await, "READY=1");
    for text in [valid, "nonsense\n", valid] {
        std::fs::write(file, text).expect("a file");
        let asked = monotonic();
        kill_process(pid, Signal::HUP).expect("it runs");
        let since = reloading_since(&next_news(manager).await);
        assert!((asked..=monotonic()).contains(&since), "{asked} {since}");
        assert_eq!(next_news(manager).await, "READY=1");
    }
}

#[tokio::test]
async fn a_manager_hears_of_each_reload_of_remexd() {
    let home = Home::new();
    let manager = UnixDatagram::bind(home.path("notify")).expect("a socket");
    let (file, valid) = (
        home.path("remexd.toml"),
        "listen = [\"127.0.0.1:0\"]\nno-legacy = true\n",
    );
    std::fs::write(&file, valid).expect("a file");
    let command = home.service(&["--config", file.to_str().expect("UTF-8")]);
    let command = managed(command, &home.path("notify"), WATCHDOG);
    let daemon = Daemon::spawn(&home, command).await;
    assert_reloads_are_told(&manager, daemon.pid(), &file, valid).await;
    // To be asked by `remexd reload` is the same.
    let mut reload = Command::new(binary("remexd"));
    reload
        .args(["reload", "--state-dir"])
        .arg(home.path("state"));
    let reloaded = soon("a reload", reload.output()).await.expect("it runs");
    assert!(reloaded.status.success(), "{reloaded:?}");
    reloading_since(&next_news(&manager).await);
    assert_eq!(next_news(&manager).await, "READY=1");
    daemon.stop().await;
}

/// Its socket is full from the first moments on, as that of a manager that hangs.
#[tokio::test]
async fn a_manager_that_does_not_read_holds_up_nothing() {
    let home = Home::new();
    let socket = home.path("notify");
    let manager = UnixDatagram::bind(&socket).expect("a socket");
    let often = Duration::from_millis(2);
    let daemon = Daemon::spawn(&home, managed(home.remexd(&[]), &socket, often)).await;
    let client = daemon.client().await;
    // As many runs as fill the queue of any kernel's default, at one message a millisecond.
    for _ in 0..50 {
        let outcome = client.run(remex_client::Command::new("true")).await;
        assert_eq!(outcome.expect("it runs").exit.status_code(), 0);
    }
    daemon.stop().await;
    drop(manager);
}

/// Commands are no part of the service that the manager watches.
#[tokio::test]
async fn commands_do_not_get_the_managers_socket() {
    let home = Home::new();
    let socket = home.path("notify");
    let _manager = UnixDatagram::bind(&socket).expect("a socket");
    let daemon = Daemon::spawn(&home, managed(home.remexd(&[]), &socket, WATCHDOG)).await;
    let client = daemon.client().await;
    let outcome = client.run(remex_client::Command::new("env")).await;
    let environment = outcome.expect("it runs").stdout;
    let environment = String::from_utf8_lossy(&environment);
    assert!(environment.contains("PATH="), "{environment}");
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC"] {
        assert!(!environment.contains(name), "{environment}");
    }
    daemon.stop().await;
}
