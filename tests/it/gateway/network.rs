//! Clients on another machine, over paths that lose, delay and reorder packets: each command runs as one, each reply is
//! whole, and whoever is gone is found out.

use std::time::Instant;

use remex_gateway::limits::Limits;

use super::{
    gone::holding,
    machines::{Machines, Path},
    support::count,
};
use crate::harness::{Daemon, Marker, eventually};

/// Lengths of commands: more than a segment, and far more.
const LENGTHS: [usize; 2] = [1500, 60 * 1024];
/// How many of each.
const COMMANDS: [(usize, usize); 2] = [(20, 500), (5, 100)];

async fn remexd() -> Daemon {
    let url = Machines::url("exec");
    Daemon::start(&["--allow-plaintext", "--legacy", &url]).await
}

/// A command of `bytes` bytes, and its output, which tells whether all of it was run as one.
fn command(bytes: usize) -> (String, String) {
    let (before, after) = ("printf %s ", " | wc -c");
    let middle = bytes - before.len() - after.len();
    let text = format!("{before}{}{after}", "x".repeat(middle));
    (text, format!("{middle}\n"))
}

async fn commands_and_replies_are_whole(machines: &Machines) {
    let daemon = remexd().await;
    let address = daemon.socket("tcp-exec");
    let mut client = machines.connect(address);
    for (bytes, (short, long)) in LENGTHS.into_iter().zip(COMMANDS) {
        let (text, expected) = command(bytes);
        for round in 0..count(short, long) {
            // What the kernel knows of segments, it has to learn anew on each connection.
            if round % 2 == 0 {
                client = machines.connect(address);
            }
            assert_eq!(client.ask(&text).await.text(), expected, "round {round}");
        }
    }
    let lines: Vec<_> = (1..=750_000).map(|line| line.to_string()).collect();
    let expected = lines.join("\n") + "\n";
    for _ in 0..count(1, 20) {
        assert!(client.ask("seq 1 750000").await.text() == expected);
    }
    daemon.stop().await;
}

#[test]
fn what_loss_takes_apart_is_put_together() {
    skip_unless!(Machines::possible());
    let machines = Machines::new(Path::Lossy);
    machines.on_server(commands_and_replies_are_whole(&machines));
    let lost = machines.lost_packets();
    assert!(lost > 0, "nothing was lost");
    eprintln!("{lost} packets were lost");
}

#[test]
fn what_comes_late_and_out_of_order_is_put_together() {
    skip_unless!(Machines::possible());
    let machines = Machines::new(Path::Reordering);
    machines.on_server(commands_and_replies_are_whole(&machines));
}

async fn killed(machines: &Machines, end: &str) {
    let daemon = remexd().await;
    let marker = Marker::new();
    let spawn = |client| machines.on_client(client);
    let mut client = holding(daemon.socket("tcp-exec"), end, &marker, spawn).await;
    let begin = Instant::now();
    client.kill().await.expect("it is killed");
    // A FIN may be a half-close, so it is the next probe that tells.
    marker.is_gone().await;
    let took = begin.elapsed();
    eprintln!("a client on another machine, killed with {end}: its tree is gone after {took:?}");
    daemon.stop().await;
}

#[test]
fn a_client_killed_on_another_machine_takes_its_tree_with_it() {
    skip_unless!(Machines::possible());
    let machines = Machines::new(Path::Lossy);
    machines.forget_soon();
    machines.on_server(killed(&machines, "fin"));
}

#[test]
fn a_client_that_resets_on_another_machine_takes_its_tree_with_it() {
    skip_unless!(Machines::possible());
    let machines = Machines::new(Path::Lossy);
    machines.on_server(killed(&machines, "rst"));
}

#[test]
fn connections_past_the_limit_of_an_address_are_reset() {
    skip_unless!(Machines::possible());
    let machines = Machines::new(Path::Narrow);
    machines.on_server(async {
        let daemon = remexd().await;
        let address = daemon.socket("tcp-exec");
        let mut clients = Vec::new();
        for _ in 0..Limits::DEFAULT.connections_per_address {
            let mut client = machines.connect(address);
            // Answered, it has been counted: connections are taken in one order and looked at in any.
            assert_eq!(client.ask("echo in").await.text(), "in\n");
            clients.push(client);
        }
        let mut late = machines.connect(address);
        assert_eq!(late.rest().await, b"");
        let first = &mut clients[0];
        assert_eq!(first.ask("echo first").await.text(), "first\n");
        eventually("a line of the log", || {
            let line = "beyond the limit of its peer";
            daemon.home().log().contains(line).then_some(())
        })
        .await;
        daemon.stop().await;
    });
}
