//! The machine's resources used up: descriptors, and the disk under the state folder.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
};

use tokio::{net::TcpStream, process::Command};

use super::trial::{Trial, honest_call, turn};
use crate::{
    harness::{
        Daemon, Home, LOOK_AGAIN, Marker, eventually, soon,
        tools::{program, root},
    },
    supervision::support::{RequestExt, Server, shell},
};

/// Descriptors that remexd may have.
const DESCRIPTORS: u64 = 64;
/// It may keep so many of them back.
const RESERVE: u64 = 24;

/// Idle connections take every descriptor; what runs can be ended all the same.
async fn descriptors(flags: &[&str]) {
    skip_unless!(program("prlimit"));
    let turn = turn().await;
    let home = Home::new();
    let limit = format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}");
    let daemon = Daemon::spawn(&home, home.remexd_under(&["prlimit", &limit], flags)).await;
    let client = daemon.client().await;
    let trial = Trial::of(Server { daemon, client }, turn);
    let server = &trial.server;
    let (minds, ignores) = (Marker::new(), Marker::new());
    let minding = server
        .begin(shell(format!("echo ready; exec sleep {minds}")))
        .await;
    let text = format!(
        "trap '' TERM; setsid sleep {ignores} & echo ready; while :; do sleep {ignores}; done"
    );
    let mut ignoring = server.begin(shell(text.clone())).await;
    ignoring.until("ready").await;
    let mut timed_out = server
        .begin(shell(text).timeout(3000).kill_after(100))
        .await;
    timed_out.until("ready").await;

    let address = server.daemon.socket("grpc");
    let mut idle = Vec::new();
    for _ in 0..2 * DESCRIPTORS {
        idle.push(
            TcpStream::connect(address)
                .await
                .expect("a place in the backlog"),
        );
    }
    // What is kept back for such times, and for killing, is not taken.
    let mut last = 0;
    eventually("the shortage", || {
        let open = server.daemon.open_files();
        let is_full = open as u64 + RESERVE >= DESCRIPTORS && open == last;
        last = open;
        is_full.then_some(())
    })
    .await;

    minding.signal(15).await.expect("TERM is sent");
    assert_eq!(minding.end().await.ending().1, 15);
    minds.is_gone().await;
    timed_out.end().await;
    ignoring.signal(9).await.expect("KILL is sent");
    assert_eq!(ignoring.end().await.ending().1, 9);
    ignores.is_gone().await;
    drop(idle);
    // Those that waited in the backlog come and go, too; until they have, there may be no descriptor for a command.
    let is_served = async {
        while let Err(error) = server.client.run(remex_client::Command::new("true")).await {
            eprintln!("not yet: {error}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    soon("a call that is served", is_served).await;
    trial.stop().await;
}

#[tokio::test]
async fn descriptors_used_up() {
    long_only!();
    descriptors(&[]).await;
}

#[tokio::test]
async fn descriptors_used_up_by_sweep() {
    long_only!();
    descriptors(&["--containment", "sweep"]).await;
}

/// remexd with its state on a small file system of a mount namespace of its own.
fn on_small_disk(home: &Home) -> Command {
    let disk = home.path("disk");
    fs::create_dir(&disk).expect("a folder");
    let state = disk.join("state").display().to_string();
    let remexd = home.remexd(&["--state-dir", &state]);
    let remexd = remexd.as_std();
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg("mount -t tmpfs -o size=256k none \"$1\" && shift && exec \"$@\"")
        .arg("sh")
        .arg(disk)
        .arg(remexd.get_program())
        .args(remexd.get_args())
        .current_dir(home.folder())
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    command
}

#[tokio::test]
async fn disk_full() {
    skip_unless!(root());
    let turn = turn().await;
    let home = Home::new();
    let daemon = Daemon::spawn(&home, on_small_disk(&home)).await;
    let client = daemon.client().await;
    let trial = Trial::of(Server { daemon, client }, turn);
    let server = &trial.server;

    let pid = server.daemon.pid().as_raw_nonzero();
    let filler = format!("/proc/{pid}/root{}/filler", home.path("disk").display());
    let mut file = File::create(&filler).expect("its disk");
    let full = loop {
        if let Err(error) = file.write_all(&[0; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");

    // What needs no disk goes on, and what lingers is not forgotten for want of it while remexd runs.
    honest_call(&server.client).await;
    let marker = Marker::new();
    let record = server
        .run(shell(format!("sleep {marker} & echo out")))
        .await;
    assert_eq!((record.text().as_str(), record.ending().0), ("out\n", 0));
    let killed = server.begin(shell(format!("exec sleep {marker}"))).await;
    killed.signal(9).await.expect("KILL is sent");
    assert_eq!(killed.end().await.ending().1, 9);
    assert_eq!(marker.processes().len(), 1);
    marker.kill();

    fs::remove_file(&filler).expect("it was there");
    drop(file);
    soon("a call with room", honest_call(&server.client)).await;
    trial.stop().await;
}
