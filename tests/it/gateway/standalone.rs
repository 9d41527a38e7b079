//! The gateway as a process of its own, whose server is killed under it: every client is told, nothing is repeated, and
//! the connections are good again when the server is back.

use std::{fs, time::Duration};

use rustix::process::{Pid, Signal};

use super::support::{Gateway, Legacy, count};
use crate::harness::{Daemon, Home, Marker, eventually, soon};

const CLIENTS: usize = 50;
const LISTENER: &str = "tcp://127.0.0.1:0/exec";
/// How long the gateway is watched for spinning.
const WATCHED: Duration = Duration::from_secs(1);

/// A command that leaves a line in `runs-N`, each time it is run, and then takes for ever.
fn marked(number: usize, marker: &Marker) -> String {
    format!("echo run >>runs-{number}; sleep {marker}")
}

fn runs(home: &Home, number: usize) -> usize {
    let path = home.path(&format!("runs-{number}"));
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

/// The time that the processors have given to a process.
fn processor_time(pid: Pid) -> Duration {
    let path = format!("/proc/{}/schedstat", pid.as_raw_nonzero());
    let text = fs::read_to_string(path).expect("the process lives");
    let nanoseconds = text
        .split_whitespace()
        .next()
        .and_then(|text| text.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

async fn start_commands(clients: &mut [Legacy], home: &Home, marker: &Marker, runs_each: usize) {
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(marked(number, marker)).await;
    }
    eventually("the start of all commands", || {
        (0..CLIENTS)
            .all(|number| runs(home, number) == runs_each)
            .then_some(())
    })
    .await;
}

/// Asks until the server answers again; what the gateway says until then is in the client's own wire, too.
async fn recovered(client: &mut Legacy) {
    soon("the recovery", async {
        loop {
            let reply = client.ask("echo back").await;
            if reply.header["exit_code"] == 0 {
                return assert_eq!(reply.text(), "back\n");
            }
            assert!(reply.text().starts_with("remex: "), "{}", reply.text());
        }
    })
    .await;
}

/// `listen` is where remexd serves, before and after.
async fn survives_kills(home: Home, listen: &str, upstream: &str) {
    let flags = ["--listen", listen];
    let mut daemon = Daemon::start_in(&home, &flags).await;
    let gateway = Gateway::start(&home, upstream, &[LISTENER]).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Legacy::connect(gateway.socket("tcp-exec")).await);
    }
    for round in 1..=count(1, 10) {
        let marker = Marker::new();
        start_commands(&mut clients, &home, &marker, round).await;
        daemon.signal(Signal::KILL);
        daemon.wait().await;
        for client in &mut clients {
            let reply = client.reply().await.expect("an answer");
            assert!(reply.text().contains("not known"), "{}", reply.text());
            assert!(reply.header["exit_code"].is_null(), "{}", reply.header);
        }
        let before = processor_time(gateway.pid());
        let refused = clients[0].ask("echo away").await;
        assert!(refused.text().starts_with("remex: "), "{}", refused.text());
        tokio::time::sleep(WATCHED).await;
        let spent = processor_time(gateway.pid()).saturating_sub(before);
        assert!(spent < WATCHED / 2, "the gateway spins: {spent:?}");

        daemon = Daemon::start_in(&home, &flags).await;
        for client in &mut clients {
            recovered(client).await;
        }
        for number in 0..CLIENTS {
            assert_eq!(runs(&home, number), round, "of client {number}");
        }
    }
    daemon.stop().await;
}

#[tokio::test]
async fn kills_of_the_server_are_told_over_a_unix_socket() {
    let home = Home::new();
    let address = format!("unix:{}", home.path("socket").display());
    survives_kills(home, &address, &address).await;
}

#[tokio::test]
async fn kills_of_the_server_are_told_over_tcp() {
    // An address of this process's own, so that nobody takes the port between two servers.
    let [.., high, low] = std::process::id().to_be_bytes();
    let host = format!("127.99.{high}.{low}");
    let free = std::net::TcpListener::bind((host.as_str(), 0)).expect("a port");
    let address = free.local_addr().expect("an address").to_string();
    drop(free);
    survives_kills(Home::new(), &address, &format!("http://{address}")).await;
}

#[tokio::test]
async fn a_gateway_may_start_before_its_server() {
    let home = Home::new();
    let address = format!("unix:{}", home.path("socket").display());
    let gateway = Gateway::start(&home, &address, &[LISTENER]).await;
    eventually("a line that says so at start", || {
        let log = fs::read_to_string(home.path("gateway-log")).expect("a log");
        log.contains("the server is away").then_some(())
    })
    .await;
    let mut client = Legacy::connect(gateway.socket("tcp-exec")).await;
    let reply = client.ask("echo early").await;
    assert!(
        reply.text().starts_with("remex: cannot connect to "),
        "{}",
        reply.text()
    );
    let daemon = Daemon::start_in(&home, &["--listen", &address]).await;
    recovered(&mut client).await;
    // Information alone: the command is the gateway's.
    eventually("the line of the command", || {
        let line = "through=gateway unix for 127.0.0.1";
        home.log().contains(line).then_some(())
    })
    .await;
    daemon.stop().await;
}
