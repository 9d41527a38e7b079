//! How commands are spawned: beside spawns that are held, as other users, and with what they are given.

mod dead;
mod given;
mod held;
mod other_users;
mod stuck;

use std::{
    fs,
    time::{Duration, Instant},
};

use remex::{
    error::Reason as Refusal,
    v1::{StartRequest, exit::Reason},
};
use rustix::process::Pid;
use tokio::task::JoinHandle;

use super::support::{Server, argv, children_of, shell, stat_of};
use crate::harness::{eventually, soon};

/// A user that no database knows.
const STRANGER: u32 = 4_100_000_123;

/// By when others are served while spawns are held. It is milliseconds on a quiet machine.
const SERVED: Duration = Duration::from_secs(5);

/// Asks for `request` in a task of its own, which ends with what is answered, and how long that took.
fn ask(server: &Server, request: StartRequest) -> JoinHandle<(Option<Refusal>, Duration)> {
    let mut exec = server.exec();
    tokio::spawn(async move {
        let begin = Instant::now();
        let answer = soon("an answer", exec.start(request)).await;
        let refusal = answer.err().and_then(|status| Refusal::of(&status));
        (refusal, begin.elapsed())
    })
}

/// That a command runs, and soon.
async fn is_served(server: &Server) {
    let begin = Instant::now();
    let record = server.run(argv(["/bin/true"])).await;
    assert_eq!(record.ending(), (0, 0, Reason::Self_));
    let record = server.run(shell("exit 3")).await;
    assert_eq!(record.exit().code, Some(3));
    assert!(begin.elapsed() < SERVED, "{:?}", begin.elapsed());
}

/// Children of `parent` that run as `user`.
fn children_as(parent: Pid, user: u32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        let uid = uid.and_then(|uids| uids.split_whitespace().next()?.parse().ok());
        let stat = stat_of(pid).unwrap_or_default();
        let is_child = stat.split(' ').nth(1) == Some(&parent.as_raw_nonzero().to_string());
        is_child && uid == Some(user)
    })
    .collect()
}

async fn all_children_are_gone(pid: Pid) {
    let pid = pid.as_raw_nonzero().get();
    eventually("the end of all children", || {
        children_of(pid).is_empty().then_some(())
    })
    .await;
}
