//! Servers die, and others come: the execution goes on, and nothing of it is lost or done twice.

use std::{
    env,
    fmt::Write,
    fs,
    io::{BufRead, BufReader, Read},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use remex_supervisor::{
    durable::{
        FolderLock, Link,
        message::{LinkRequest, Report, Stage, StdinPiece},
    },
    journal::DiskFolder,
    lifecycle::outcome::ExitReason,
    process::{TreeRecord, WindowSize},
};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    commands::{Command as Ours, Running, shell},
    scenarios::{
        marker::Marker,
        sweep::is_by_sweep,
        told::{Told, code},
    },
    server::{PATIENCE, Remains, Server, Spare, names, spawner},
};

/// Where the server that is to be killed has its executions.
const SERVER: &str = "REMEX_TEST_SERVER";

/// What nothing announces is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Says each line of a file and on its output once.
const LINES: u32 = 400;

fn lines(path: &Path) -> Ours {
    let text = format!(
        "i=0; while [ $i -lt {LINES} ]; do echo line $i; echo $i >>{}; i=$((i+1)); sleep .003; done; exit 7",
        path.display()
    );
    shell(text)
}

/// As many lines, each with `before` before its number.
fn numbered(before: &str) -> String {
    let mut lines = String::new();
    for line in 0..LINES {
        let _ = writeln!(lines, "{before}{line}");
    }
    lines
}

fn expected() -> String {
    numbered("line ")
}

/// The other process of the tests below: a server that starts something, says so, and waits for its end.
#[test]
fn be_a_server() {
    let Some(path) = env::var_os(SERVER).map(PathBuf::from) else {
        return;
    };
    let spare = Spare::in_folder(&path, "execution".into());
    let server = spare.start(&lines(&path.join("once")).order()).unwrap();
    let mut running = Running::of(server);
    running.until("its first lines", |told| told.text().contains("line 20\n"));
    println!("started");
    running.end();
}

/// Starts that process, which is killed when it has said that its command runs.
fn start_and_kill(path: &Path) {
    let mut server = Command::new(env::current_exe().unwrap())
        .args(["survival::be_a_server", "--exact", "--nocapture"])
        .env(SERVER, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    until_line(&mut server, "started");
    server.kill().unwrap();
    server.wait().unwrap();
}

pub(crate) fn until_line(child: &mut Child, wanted: &str) {
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut all = String::new();
    while !all.contains(wanted) {
        let read = said.read_line(&mut all).unwrap();
        assert!(read > 0, "it ended: {all}");
    }
}

/// Waits for what nothing announces.
#[track_caller]
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "never {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

#[test]
fn pitfall_21_a_server_that_is_killed_leaves_it_running_and_another_takes_it_up() {
    let dir = tempfile::tempdir().unwrap();
    start_and_kill(dir.path());
    let mut server = Server::find(&dir.path().join("execution"));
    assert!(FolderLock::take(server.folder.as_fd()).unwrap().is_none());
    server.greet(Stage::Running);
    let tree = TreeRecord::read(server.folder.as_fd()).unwrap().unwrap();
    assert!(tree.is_of(server.folder.as_fd()).unwrap());
    server.remains = Some(Remains { tree, home: None });
    let path = server.path.clone();
    let told = Running::of(server).end();
    assert_eq!(told.text(), expected());
    assert_eq!(told.ending(), (code(7), ExitReason::Own));
    let once = fs::read_to_string(dir.path().join("once")).unwrap();
    assert_eq!(once, numbered(""));
    // Nobody is there any more, and that is to be seen.
    let folder = DiskFolder::open(&path).unwrap();
    until("free", || {
        FolderLock::take(folder.as_fd()).unwrap().is_some()
    });
    let gone = Link::connect(folder.as_fd()).unwrap_err();
    assert_eq!(gone.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn one_that_ends_while_nobody_is_there_has_all_of_it_in_its_journal() {
    let dir = tempfile::tempdir().unwrap();
    start_and_kill(dir.path());
    let path = dir.path().join("execution");
    let folder = DiskFolder::open(&path).unwrap();
    until("its end", || {
        FolderLock::take(folder.as_fd()).unwrap().is_some()
    });
    assert!(!names(&folder).iter().any(|name| name.ends_with(".socket")));
    let reader = remex_supervisor::journal::Reader::open(folder, 0, u64::MAX).unwrap();
    let told = Told::of(&crate::server::read_all(reader));
    assert_eq!(told.text(), expected());
    assert_eq!(told.ending(), (code(7), ExitReason::Own));
}

#[test]
fn the_last_server_that_says_hello_is_listened_to() {
    let mut command = shell("echo ready; read line; echo got $line");
    command.stdin_open = true;
    let mut running = command.start();
    running.until_ready();
    let mut other = Server::find(&running.server.path);
    other.greet(Stage::Running);
    while let Some(report) = running.server.report() {
        assert!(matches!(report, Report::Grown { .. }), "{report:?}");
    }
    let mut other = Running::of(other);
    other.write(b"it\n", true);
    assert_eq!(other.end().text(), "ready\ngot it\n");
}

/// A server that has connected and said nothing does nobody any harm, nor do many of them.
#[test]
fn who_says_nothing_is_not_listened_to() {
    let mut command = shell("echo ready; read line; echo got $line");
    command.stdin_open = true;
    let mut running = command.start();
    running.until_ready();
    let mut mute = Vec::new();
    while mute.len() < 20 {
        match Link::connect(running.server.folder.as_fd()) {
            Ok(link) => mute.push(link),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
    running.write(b"it\n", true);
    assert_eq!(running.end().text(), "ready\ngot it\n");
}

#[test]
fn stdin_goes_on_at_the_exact_byte() {
    let mut command = shell("exec cat");
    command.stdin_open = true;
    command.stdin = b"0123456789".to_vec();
    let mut server = Spare::new().start(&command.order()).unwrap();
    let remains = server.remains.take();
    let mut expected = command.stdin.clone();
    let data: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
    expected.extend(&data[..1_000_000]);
    let mut sent = 0;
    // Each server dies with a piece of it on its way, taken or not.
    while expected.len() as u64 > sent {
        server = {
            let (path, mut next) = (server.path.clone(), None);
            drop(server);
            until("reachable", || {
                Link::connect(DiskFolder::open(&path).unwrap().as_fd()).is_ok()
            });
            next.get_or_insert(Server::find(&path));
            next.unwrap()
        };
        server.greet(Stage::Running);
        server.send(&LinkRequest::GetStatus { request: 7 });
        let accepted = match server.next() {
            Some(Report::Status { request: 7, status }) => status.stdin_accepted,
            other => panic!("{other:?}"),
        };
        assert!(accepted >= sent && accepted <= expected.len() as u64);
        for _ in 0..4 {
            // What is known already, and what is new.
            let from = usize::try_from(accepted.max(sent)).unwrap();
            let to = expected.len().min(from + 50_000);
            let begin = from.saturating_sub(10);
            let piece = StdinPiece {
                offset: Some(begin as u64),
                eof: to == expected.len(),
                data: expected[begin..to].to_vec().into(),
            };
            server.send(&LinkRequest::Stdin(piece));
            match server.next() {
                Some(Report::StdinTaken { accepted }) => sent = accepted,
                other => panic!("{other:?}"),
            }
            if sent == expected.len() as u64 {
                break;
            }
        }
    }
    server.remains = remains;
    let told = Running::of(server).end();
    assert!(told.stdout == expected, "some byte differs");
}

#[test]
fn a_hole_in_stdin_is_refused_and_the_execution_goes_on() {
    let mut command = shell("exec cat");
    command.stdin_open = true;
    let mut running = command.start();
    running.write(b"abc", false);
    running.until_taken();
    let piece = |offset, data: &'static [u8]| {
        LinkRequest::Stdin(StdinPiece {
            offset: Some(offset),
            eof: false,
            data: bytes::Bytes::from_static(data),
        })
    };
    running.server.send(&piece(4, b"x"));
    let refused = running.until_report(|report| match report {
        Report::StdinRefused(why) => Some(*why),
        _ => None,
    });
    let hole = remex_supervisor::lifecycle::stdin::StdinError::Hole {
        accepted: 3,
        offset: 4,
    };
    assert_eq!(refused, hole);
    running.write(b"d", true);
    assert_eq!(running.end().text(), "abcd");
}

#[test]
fn a_terminal_stays_with_its_supervisor() {
    let mut command = shell("stty -echo; echo ready; read line; stty size; echo got $line");
    command.terminal = true;
    command.stdin_open = true;
    let mut running = command.start();
    running.until_ready();
    let path = running.server.path.clone();
    let remains = running.server.remains.take();
    drop(running);
    let mut server = Server::find(&path);
    server.remains = remains;
    server.greet(Stage::Running);
    let mut running = Running::of(server);
    assert!(running.resize(WindowSize {
        rows: 11,
        columns: 22
    }));
    // A size of nothing leaves it as it is.
    assert!(!running.resize(WindowSize {
        rows: 0,
        columns: 22
    }));
    running.write(b"typed\n", false);
    let told = running.end();
    assert_eq!(told.text(), "ready\r\n11 22\r\ngot typed\r\n");
    assert_eq!(told.ending(), (code(0), ExitReason::Own));
}

#[test]
fn signals_that_are_meant_for_others_do_not_end_it() {
    let mut command = shell(
        "echo ready; read line; kill -l $(($(cut -d' ' -f1 /proc/self/stat) * 0 + 1)); exec cat /proc/self/status",
    );
    command.stdin_open = true;
    let mut running = command.start();
    running.until_ready();
    let supervisor = Pid::from_raw(running.server.supervisor().unwrap()).unwrap();
    for signal in [
        Signal::HUP,
        Signal::INT,
        Signal::QUIT,
        Signal::TERM,
        Signal::USR1,
        Signal::USR2,
        Signal::PIPE,
        Signal::ALARM,
        Signal::TSTP,
        Signal::TTIN,
        Signal::TTOU,
    ] {
        kill_process(supervisor, signal).unwrap();
    }
    let stat = fs::read_to_string(format!("/proc/{supervisor}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // A session of its own.
    assert_eq!(fields[3], supervisor.to_string());
    running.write(b"\n", true);
    let told = running.end();
    assert_eq!(told.ending(), (code(0), ExitReason::Own));
    // Its command ignores and blocks none of them.
    for mask in ["SigBlk", "SigIgn", "SigCgt"] {
        let none = format!("{mask}:\t0000000000000000\n");
        assert!(told.text().contains(&none), "{}", told.text());
    }
}

/// What a supervisor that dies leaves is killed by whoever has its lock.
#[test]
fn pitfall_22_a_dead_supervisors_lock_is_free_and_its_tree_can_be_killed() {
    let marker = Marker::new();
    let text = format!(
        "setsid sleep {marker} & (setsid sleep {marker} &) & echo ready; exec sleep {marker}"
    );
    let mut running = shell(text).start();
    running.until_ready();
    until("all of them", || marker.processes().len() == 3);
    let server = &mut running.server;
    let supervisor = Pid::from_raw(server.supervisor().unwrap()).unwrap();
    assert!(FolderLock::take(server.folder.as_fd()).unwrap().is_none());
    kill_process(supervisor, Signal::KILL).unwrap();
    while server.report().is_some() {}
    let mut lock = None;
    until("free", || {
        FolderLock::take(server.folder.as_fd()).unwrap().is_some()
    });
    lock.replace(FolderLock::take(server.folder.as_fd()).unwrap().unwrap());
    assert_eq!(server.supervisor(), None);
    let tree = TreeRecord::read(server.folder.as_fd()).unwrap().unwrap();
    assert!(tree.is_of(server.folder.as_fd()).unwrap());
    until("gone", || spawner().kill_durable(&tree));
    marker.assert_gone();
}

#[test]
fn pitfall_11_orphans_of_its_tree_are_reaped_while_it_runs() {
    let mut command =
        shell("i=0; while [ $i -lt 50 ]; do (true &); i=$((i+1)); done; echo ready; read line");
    command.stdin_open = true;
    let mut running = command.start();
    running.until_ready();
    let supervisor = running.server.supervisor().unwrap();
    let leader = running.leader().unwrap();
    until("alone with its leader", || {
        let children = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children"));
        children.unwrap().trim() == leader.to_string()
    });
    running.write(b"\n", true);
    running.end();
}

/// The start of a server kills what one before it has left, but no durable execution.
#[test]
fn the_start_of_another_server_leaves_it_alone() {
    let mut command = shell("echo ready; read line; echo got $line");
    command.stdin_open = true;
    let mut running = command.start();
    running.until_ready();
    let other = Command::new(env::current_exe().unwrap())
        .args(["survival::be_the_next_server", "--exact", "--nocapture"])
        .env(NEXT, format!("durable-{}", std::process::id()))
        .env(STATE, crate::server::state_dir())
        .output()
        .unwrap();
    assert!(other.status.success(), "{other:?}");
    running.write(b"it\n", true);
    assert_eq!(running.end().text(), "ready\ngot it\n");
}

/// The instance, and its state folder.
const NEXT: &str = "REMEX_TEST_NEXT";
const STATE: &str = "REMEX_TEST_STATE";

#[test]
fn be_the_next_server() {
    let (Some(instance), Some(state)) = (env::var_os(NEXT), env::var_os(STATE)) else {
        return;
    };
    // A copy, since the other server is still there.
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(state).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    crate::server::begin(copy.path(), instance.into_string().unwrap(), is_by_sweep());
}

/// Reads to the end, which tells that nobody else holds it.
#[test]
fn it_holds_nothing_of_the_servers_open() {
    let (mut read, write) = std::io::pipe().unwrap();
    // Inheritable, as a library may leave it.
    rustix::io::fcntl_setfd(&write, rustix::io::FdFlags::empty()).unwrap();
    let mut command = shell("echo ready; read line");
    command.stdin_open = true;
    let mut running = command.start();
    running.until_ready();
    let open: Vec<_> = fs::read_dir(format!("/proc/{}/fd", running.server.supervisor().unwrap()))
        .unwrap()
        .flatten()
        .map(|entry| fs::read_link(entry.path()).unwrap_or_default())
        .collect();
    // 0 to 3, folder, lock, journal, listener, link, children, /proc; three streams, the leader, what kills its group.
    assert!(open.len() <= 20, "{open:?}");
    drop(write);
    let mut all = Vec::new();
    read.read_to_end(&mut all).unwrap();
    running.write(b"\n", true);
    running.end();
}
