//! The kernel says EIO and ENOSPC to the real remexd and its supervisors, at each operation on files in turn: commands that
//! were started end, nothing runs twice, what cannot be kept is said, and the next remexd finds what the first has promised.
//! strace has the kernel say it.

use std::{fs, path::Path, process::Stdio};

use remex::{
    error::Reason as Refusal,
    v1::{Event, Keep, StartRequest, event::Kind, exit::Reason, keep::OnFull},
};
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};
use tonic::Status;

use super::support::{Events, detached, exit, started_id};
use crate::{
    harness::{
        eventually, soon,
        tools::{program, root},
    },
    supervision::support::{Server, is_long, shell},
};

/// The calls of each operation.
const OPERATIONS: [(&str, &str); 7] = [
    ("a write", "pwritev,pwritev2,pwrite64"),
    ("a sync", "fdatasync"),
    ("a folder's sync", "fsync"),
    ("a rename", "rename,renameat,renameat2"),
    ("a new folder", "mkdir,mkdirat"),
    ("room", "fallocate"),
    ("a cut", "ftruncate"),
];

/// Which of a process's or thread's calls fail.
const WHICH: [&str; 4] = ["1", "2", "3", "1+"];

/// More than a first segment, so that others are begun and the first goes.
const OUTPUT: usize = 3 << 20;

/// Has the kernel answer `calls` of remexd, of its zygote and of its supervisors with `errno`.
struct Faults {
    strace: Child,
}

impl Faults {
    async fn begin(server: &Server, calls: &str, errno: &str, which: &str) -> Self {
        let home = server.daemon.home();
        home.spares_are_there().await;
        let mut command = Command::new("strace");
        command
            .args(["-f", "-qq", "-e", "signal=none"])
            .arg("-o")
            .arg(home.path("faults"))
            .args(["-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={calls}:error={errno}:when={which}")])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let traced = family(server.daemon.pid());
        for pid in &traced {
            command.args(["-p", &pid.to_string()]);
        }
        let strace = command.spawn().expect("strace runs");
        let tracer = format!("TracerPid:\t{}\n", strace.id().expect("it runs"));
        for pid in traced {
            eventually("it is traced", || {
                let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
                    return Some(());
                };
                let statuses = threads.flatten().map(|thread| thread.path().join("status"));
                let mut statuses = statuses.filter_map(|path| fs::read_to_string(path).ok());
                statuses
                    .all(|status| status.contains(&tracer))
                    .then_some(())
            })
            .await;
        }
        Self { strace }
    }

    /// No more of them. Says how many there were.
    async fn end(mut self, log: &Path) -> usize {
        let pid = self.strace.id().expect("it runs").cast_signed();
        let pid = Pid::from_raw(pid).expect("a pid");
        rustix::process::kill_process(pid, Signal::TERM).expect("it runs");
        soon("strace's end", self.strace.wait())
            .await
            .expect("a child");
        let said = fs::read_to_string(log).unwrap_or_default();
        said.matches("(INJECTED)").count()
    }
}

/// A process, its children and theirs: remexd, its zygote, and the supervisors that that has made.
fn family(of: Pid) -> Vec<i32> {
    let of = of.as_raw_nonzero().get();
    let entries = fs::read_dir("/proc").expect("processes").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_of_it = |pid: &i32| {
        let parent = parent(*pid);
        *pid == of || parent == Some(of) || parent.and_then(self::parent) == Some(of)
    };
    pids.filter(is_of_it).collect()
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(1)?.parse().ok()
}

/// A request that leaves a line in a file of its own each time it runs.
fn request(server: &Server, index: usize) -> StartRequest {
    let ran = server.daemon.home().path(&format!("ran-{index}"));
    let text = format!(
        "echo ran >> {}; head -c {OUTPUT} /dev/zero; exit 7",
        ran.display()
    );
    let keep = Keep {
        max_bytes: 1 << 20,
        on_full: OnFull::DropOldest.into(),
        no_output: false,
    };
    StartRequest {
        request_id: format!("request-{index}"),
        keep: Some(keep),
        ..detached(shell(text))
    }
}

fn runs(server: &Server, index: usize) -> usize {
    let ran = server.daemon.home().path(&format!("ran-{index}"));
    let text = fs::read_to_string(ran).unwrap_or_default();
    text.lines().count()
}

/// What a caller was told of a start.
enum Told {
    Refused(Status),
    Ended(Vec<Event>),
}

fn ended_id(told: &Told) -> Option<String> {
    match told {
        Told::Ended(events) => events.first().map(started_id),
        Told::Refused(_) => None,
    }
}

async fn start(server: &Server, request: StartRequest) -> Told {
    let stream = match soon("a start", server.exec().start(request)).await {
        Ok(response) => response.into_inner(),
        Err(status) => return Told::Refused(status),
    };
    let mut events = Events::new(stream);
    loop {
        match events.try_next().await {
            Ok(Some(_)) => {}
            Ok(None) => return Told::Ended(events.all),
            Err(status) if events.all.is_empty() => return Told::Refused(status),
            Err(status) => panic!("cut off: {status}"),
        }
    }
}

/// Bytes of stdout that were told or told to be missing.
fn accounted(events: &[Event]) -> u64 {
    let bytes = |event: &Event| match &event.kind {
        Some(Kind::Output(output)) => output.data.len() as u64,
        Some(Kind::Gap(gap)) => gap.stdout_bytes,
        _ => 0,
    };
    events.iter().map(bytes).sum()
}

/// Starts some executions while `calls` fail, and looks for them with the next remexd.
async fn fail(what: &str, calls: &str, errno: &str, which: &str) {
    let context = format!("{what}, {errno}, when={which}");
    let server = Server::start(&["--sync", "all"]).await;
    let faults = Faults::begin(&server, calls, errno, which).await;
    let mut all = Vec::new();
    // More than wait prepared.
    for index in 0..6 {
        let told = start(&server, request(&server, index)).await;
        if let Told::Refused(status) = &told {
            let reason = Refusal::of(status);
            let is_known = [Refusal::StorageFull, Refusal::SpawnFailed].map(Some);
            assert!(is_known.contains(&reason), "{context}: {status}");
            assert_eq!(runs(&server, index), 0, "{context}: {status}");
        }
        all.push((index, told));
    }
    // One is deleted, or that fails.
    if let Some(place) = all.iter().position(|(_, told)| ended_id(told).is_some()) {
        let (_, told) = all.remove(place);
        let _ = server.delete(&ended_id(&told).expect("it has ended")).await;
    }
    // Whoever needs no disk is served.
    let other = server.run(shell("echo here")).await;
    assert_eq!(other.text(), "here\n", "{context}");
    let log = server.daemon.home().path("faults");
    let injected = faults.end(&log).await;
    // Of some operations no process or thread does a second one.
    let is_certain = which.starts_with('1');
    assert!(injected > 0 || !is_certain, "{context}: nothing failed");
    let before = records(&server, &all, &context).await;
    let server = server.crash(&["--sync", "all"]).await;
    let after = records(&server, &all, &context).await;
    for ((index, _), (before, after)) in all.iter().zip(before.iter().zip(&after)) {
        let index = *index;
        // What was said to have failed is not forgotten.
        assert!(*before <= *after, "{context}: {index}");
        // Whoever asks again joins it, or it runs for the first time.
        let again = start(&server, request(&server, index)).await;
        assert!(matches!(again, Told::Ended(_)), "{context}: {index}");
        assert_eq!(runs(&server, index), 1, "{context}: {index}");
    }
    server.daemon.stop().await;
}

/// Holds what callers were told against the records; says of which something is said to have failed.
async fn records(server: &Server, all: &[(usize, Told)], context: &str) -> Vec<bool> {
    let mut has_failed = Vec::new();
    for &(index, ref told) in all {
        let Told::Ended(events) = told else {
            has_failed.push(false);
            continue;
        };
        assert_eq!(runs(server, index), 1, "{context}: {index}");
        assert_eq!(exit(events).code, Some(7), "{context}: {index}");
        let record = server.wait(&started_id(&events[0])).await;
        let failed = !record.storage_error.is_empty();
        if !failed {
            assert_eq!(record.stdout_bytes_total, OUTPUT as u64, "{context}");
            assert_eq!(accounted(events), OUTPUT as u64, "{context}");
        }
        let found = record.exit.expect("it has ended");
        let is_lost = failed && found.reason() == Reason::LostExit;
        assert!(
            is_lost || found.code == Some(7),
            "{context}: {index}: {found:?}"
        );
        has_failed.push(failed);
    }
    has_failed
}

/// Each of them in a long run; else the one in which there is nothing that can make room.
#[tokio::test]
async fn whatever_a_disk_refuses_nothing_runs_twice_and_what_is_lost_is_said() {
    skip_unless!(root());
    skip_unless!(program("strace"));
    for (what, calls) in OPERATIONS {
        for errno in ["EIO", "ENOSPC"] {
            for which in WHICH {
                if is_long() || (what, errno, which) == ("room", "ENOSPC", "1+") {
                    eprintln!("{what}: {errno}, when={which}");
                    fail(what, calls, errno, which).await;
                }
            }
        }
    }
}
