//! The disk is full: what runs waits for room, what is new is refused, the next remexd starts all the same, and with room again all of
//! it goes on.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::PathBuf,
    process::Stdio,
};

use remex::{
    error::Reason as Refusal,
    v1::{Execution, StartRequest},
};
use rustix::process::Signal;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use tonic::Status;

use super::support::{Events, detached, exit, from, output, started_id};
use crate::{
    harness::{Daemon, Home, soon, tools::root},
    supervision::support::{RequestExt, Server, argv, shell},
};

const OUTPUT: usize = 4 << 20;

/// Starts that find something prepared need no room.
const MOST_STARTS: usize = 20;

/// A file system of 16 MiB in a mount namespace of its own, for remexds one after the other.
struct SmallDisk {
    home: Home,
    holder: Child,
}

impl SmallDisk {
    async fn new() -> Self {
        let home = Home::new();
        fs::create_dir(home.path("disk")).expect("a folder");
        let text = "mount -t tmpfs -o size=16m none \"$1\" && echo mounted && exec sleep infinity";
        let mut holder = Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                text,
                "sh",
            ])
            .arg(home.path("disk"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("unshare runs");
        let mut lines = BufReader::new(holder.stdout.take().expect("its stdout")).lines();
        let line = soon("a disk", lines.next_line()).await.expect("a pipe");
        assert_eq!(line.as_deref(), Some("mounted"));
        Self { home, holder }
    }

    async fn serve(&self) -> Server {
        let holder = self.holder.id().expect("it runs").to_string();
        let state = self.home.path("disk/state").display().to_string();
        let wrapper = ["nsenter", "--mount", "--target", &holder];
        let remexd = self.home.remexd_under(&wrapper, &["--state-dir", &state]);
        let daemon = Daemon::spawn(&self.home, remexd).await;
        let client = daemon.client().await;
        Server { daemon, client }
    }

    fn ballast(&self) -> PathBuf {
        let holder = self.holder.id().expect("it runs");
        let path = self.home.path("disk/ballast");
        format!("/proc/{holder}/root{}", path.display()).into()
    }

    fn fill(&self) {
        let mut file = File::create(self.ballast()).expect("a file");
        loop {
            if let Err(error) = file.write_all(&[1; 4096]) {
                return assert_eq!(error.kind(), ErrorKind::StorageFull);
            }
        }
    }

    fn free(&self) {
        fs::remove_file(self.ballast()).expect("it is there");
    }
}

fn named(index: usize) -> StartRequest {
    StartRequest {
        request_id: format!("request-{index}"),
        ..detached(argv(["true"]))
    }
}

/// Its id, once it has ended.
async fn try_start(server: &Server, request: StartRequest) -> Result<String, Status> {
    let stream = soon("a start", server.exec().start(request)).await?;
    let all = Events::new(stream.into_inner()).end().await;
    assert_eq!(exit(&all).code, Some(0));
    Ok(started_id(&all[0]))
}

async fn blocked(server: &Server, id: &str) -> Execution {
    soon("a command that waits", async {
        loop {
            let record = server.get(id).await;
            if record.blocked {
                return record;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_full_disk_holds_up_and_refuses_and_loses_nothing() {
    skip_unless!(root());
    let disk = SmallDisk::new().await;
    let server = disk.serve().await;
    let text = format!("echo begins; read go; head -c {OUTPUT} /dev/zero; exit 6");
    let mut events = server
        .start_events(detached(shell(text).stdin_open()))
        .await;
    events.until("begins").await;
    let id = started_id(&events.all[0]);
    let before = try_start(&server, named(MOST_STARTS)).await.expect("room");
    disk.fill();
    server.write_to(&id, b"\n").await;
    // Though its caller reads along.
    let record = blocked(&server, &id).await;
    assert_eq!(record.storage_error, "");

    let mut refused = None;
    for index in 0..MOST_STARTS {
        if let Err(status) = try_start(&server, named(index)).await {
            refused = Some((index, status));
            break;
        }
    }
    let (refused_index, status) = refused.expect("nothing needs room");
    assert_eq!(Refusal::of(&status), Some(Refusal::StorageFull), "{status}");
    let plain = server.run(shell("echo here")).await;
    assert_eq!(plain.text(), "here\n");

    // The next remexd starts on the full disk, too.
    let Server { mut daemon, .. } = server;
    daemon.signal(Signal::KILL);
    daemon.wait().await;
    drop(daemon);
    let server = disk.serve().await;
    let record = blocked(&server, &id).await;
    assert_eq!(record.storage_error, "");
    // What has ended may go there, which makes room.
    server.delete(&before).await.expect("it needs no room");
    let reader = server.attach(from(&id, 0)).await;
    disk.free();
    let all = reader.end().await;
    assert_eq!(output(&all).len(), OUTPUT + "begins\n".len());
    assert_eq!(exit(&all).code, Some(6));
    // Nothing ran under an id that was refused.
    try_start(&server, named(refused_index))
        .await
        .expect("room");
    for index in 0..refused_index {
        try_start(&server, named(index))
            .await
            .expect("it is joined");
    }
    server.daemon.stop().await;
}
