//! Short runs by the hundred leave nothing: no zombie, no descriptor, no cgroup, no memory.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use futures_util::{StreamExt, stream};
use remex::v1::{RunRequest, exit::Reason};
use rustix::process::{Pid, Signal, kill_process};

use super::support::{Server, argv, children_of, count, ending, shell};
use crate::harness::{eventually, soon, tools};

/// Runs at a time.
const AT_ONCE: usize = 32;

/// Most cgroups that are made ahead of need.
const MAX_READY_CGROUPS: usize = 32;

/// RSS may grow by a tenth, and by what an allocator's arenas differ by.
const SLACK_BYTES: u64 = 4 << 20;

/// One of the runs: through Run or Start, to a success, a failure, a signal, a timeout or nothing at all.
async fn one(server: &Server, number: usize) {
    match number % 5 {
        0 => {
            let record = server.run(argv(["true"])).await;
            assert_eq!(record.ending(), (0, 0, Reason::Self_));
        }
        1 => {
            let request = RunRequest {
                command: shell("echo out; echo err >&2; exit 3").command,
                ..RunRequest::default()
            };
            let response = soon("a run", server.exec().run(request)).await.unwrap();
            let response = response.into_inner();
            assert_eq!(response.stdout_data, "out\n");
            assert_eq!(response.stderr_data, "err\n");
            assert_eq!(ending(&response.exit.unwrap()), (3, 0, Reason::Self_));
        }
        2 => {
            let record = server.run(shell("kill -9 $$")).await;
            assert_eq!(record.ending(), (-1, 9, Reason::Self_));
        }
        3 => {
            let running = server.begin(shell("cat; exec sleep 1000")).await;
            running.signal(9).await.unwrap();
            assert_eq!(running.end().await.ending(), (-1, 9, Reason::Signal));
        }
        _ => {
            server.refusal(argv(["/no/such/program"])).await;
        }
    }
}

async fn many(server: &Server, runs: usize) {
    stream::iter(0..runs)
        .map(|number| one(server, number))
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
}

/// What its descriptors are.
fn descriptors(server: &Server) -> Vec<String> {
    let folder = format!("/proc/{}/fd", server.daemon.pid().as_raw_nonzero());
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<_> = entries
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The folder with its cgroups, if it has one.
pub(super) fn cgroups(server: &Server) -> Option<PathBuf> {
    let record = server.daemon.home().path("state/containment");
    let base = fs::read_to_string(record).unwrap();
    base.starts_with('/').then(|| base.into())
}

fn is_populated(group: &Path) -> bool {
    fs::read_to_string(group.join("cgroup.events"))
        .is_ok_and(|events| events.contains("populated 1"))
}

fn folders_in(base: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(base).unwrap().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    folders.map(|entry| entry.path()).collect()
}

async fn leaves_nothing(server: Server) {
    // They have descriptors, too, and stay.
    server.daemon.home().spares_are_there().await;
    let before = descriptors(&server);
    let runs = count(320, 10_000);
    many(&server, runs / 4).await;
    let rss = server.daemon.rss_bytes();
    many(&server, runs - runs / 4).await;
    let grown = server.daemon.rss_bytes();
    assert!(
        grown <= rss + rss / 10 + SLACK_BYTES,
        "{rss} to {grown} bytes"
    );

    let pid = server.daemon.pid().as_raw_nonzero().get();
    eventually("the end of the last child", || {
        children_of(pid).is_empty().then_some(())
    })
    .await;
    // Used cgroups go a moment later. What is left is ready for the next commands, and held open; nothing is in any.
    let base = cgroups(&server);
    let is_group = |name: &String| {
        base.as_ref()
            .is_some_and(|base| name.starts_with(base.to_str().unwrap()))
    };
    let more: Vec<_> = descriptors(&server)
        .into_iter()
        .filter(|name| !before.contains(name) && !is_group(name))
        .collect();
    assert!(more.is_empty(), "{more:?}");
    if let Some(base) = &base {
        eventually("the removal of all used cgroups", || {
            let open: BTreeSet<_> = descriptors(&server).into_iter().filter(is_group).collect();
            let folders: Vec<_> = folders_in(base);
            let are_ready = folders
                .iter()
                .all(|path| open.contains(path.to_str().unwrap()) && !is_populated(path));
            (are_ready && folders.len() <= MAX_READY_CGROUPS).then_some(())
        })
        .await;
    }

    let base = cgroups(&server);
    server.daemon.stop().await;
    if let Some(base) = base {
        assert!(!base.exists(), "{}", base.display());
    }
}

with_each_containment! {
    pitfall_11_many_short_runs_leave_nothing => leaves_nothing;
}

/// In a container orphans fall to remexd, which reaps them, and never a leader before its supervision is over.
async fn as_first_process(flags: &[&str]) {
    skip_unless!(tools::root());
    let server = Server::start_first(flags).await;
    let outer = server.daemon.pid().as_raw_nonzero().get();
    let inner = children_of(outer)[0].0;
    // Each leaves an orphan that ends now, and one that ends while its leader's output is still drained.
    let text = "(setsid sleep 0.01 >/dev/null 2>&1 &); sleep 0.5 & exit 7";
    let codes: Vec<_> = stream::iter(0..count(40, 2_000))
        .map(async |_| server.run(shell(text)).await.ending())
        .buffer_unordered(8)
        .collect()
        .await;
    assert!(
        codes.iter().all(|ending| *ending == (7, 0, Reason::Self_)),
        "{codes:?}"
    );
    eventually("the end of all orphans", || {
        children_of(inner).is_empty().then_some(())
    })
    .await;
    let pid = Pid::from_raw(inner).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let Server { mut daemon, .. } = server;
    assert!(daemon.wait().await.success());
}

#[tokio::test]
async fn pitfall_11_orphans_are_reaped_by_the_first_process_by_default() {
    as_first_process(&[]).await;
}

#[tokio::test]
async fn pitfall_11_orphans_are_reaped_by_the_first_process_by_sweep() {
    as_first_process(&["--containment", "sweep"]).await;
}
