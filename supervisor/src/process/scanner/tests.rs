//! What a pass does to processes that change between its look and its signals.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use super::{
    super::{clone::Cloned, leader::Leader},
    *,
};

/// A member that waits for a line, leaves the process group and the session, and tells of each TERM until USR1 ends it;
/// and a leader that TERM ends.
const LEAVES: &str = r#"
    exec 3<&0
    (
        read -r line <&3
        exec setsid sh -c '
            trap "echo term" TERM
            trap "echo end; exit" USR1
            echo left
            while :; do read -r line <&3; done
        '
    ) &
    echo begun
    exec sleep 1000
"#;

/// A tree, its leader, and how it is talked to.
struct Tree {
    leader: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    sweep: Arc<Sweep>,
    leaders: Leaders,
    scanner: Scanner,
}

impl Tree {
    fn start(text: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let instance = format!("scanner-{process}-{next}");
        let tag = format!("{instance}.1");
        let mut leader = Command::new("sh")
            .args(["-c", text])
            .env(table::TAG, &tag)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let pid = i32::try_from(leader.id()).unwrap();
        let leaders = Leaders::default();
        let pidfd = signal::open(pid).unwrap();
        let guarded = leaders.guard(|| Ok(Leader::new(Cloned { pid, pidfd }, Instant::now())));
        drop(guarded.unwrap());
        let sweep = Arc::new(Sweep::new(pid, tag));
        let mut scanner = Scanner::new(&instance, ProcessTable::open().unwrap());
        scanner.take_up(Arc::clone(&sweep));
        Self {
            stdin: leader.stdin.take().unwrap(),
            stdout: BufReader::new(leader.stdout.take().unwrap()),
            leader,
            sweep,
            leaders,
            scanner,
        }
    }

    #[track_caller]
    fn says(&mut self, expected: &str) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), expected);
    }

    /// The members as a pass sees them.
    fn members(&mut self) -> Vec<Entry> {
        let (_, mut seen) = self.scanner.see();
        seen.members.remove(&0).unwrap_or_default()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for entry in self.members() {
            let table = &self.scanner.table;
            signal::send(libc::SIGKILL, entry.pid, || table.is_same(&entry));
        }
        let _ = self.leader.wait();
    }
}

/// Sends USR1 to the member outside the leader's process group.
fn end_the_one_outside(tree: &mut Tree) {
    let leader = tree.sweep.leader();
    let members = tree.members();
    let outside = members.iter().find(|entry| entry.group != leader).unwrap();
    signal::process(outside.pid, libc::SIGUSR1).unwrap();
}

#[test]
fn who_leaves_the_process_group_between_the_look_and_the_signal_gets_it_once() {
    let mut tree = Tree::start(LEAVES);
    tree.says("begun");
    tree.sweep.signal(libc::SIGTERM);
    let (jobs, seen) = tree.scanner.see();
    tree.stdin.write_all(b"now\n").unwrap();
    tree.says("left");
    tree.scanner.act(&jobs, &seen, &tree.leaders);
    tree.says("term");
    while tree.scanner.is_asked() {
        tree.scanner.pass(&tree.leaders);
    }
    end_the_one_outside(&mut tree);
    tree.says("end");
}

#[test]
fn who_is_begotten_and_leaves_between_the_look_and_the_signal_gets_it_once() {
    let text = LEAVES.replace("exec 3<&0", "exec 3<&0; echo ready; read -r line <&3");
    let mut tree = Tree::start(&text);
    tree.says("ready");
    tree.sweep.signal(libc::SIGTERM);
    let (jobs, seen) = tree.scanner.see();
    tree.stdin.write_all(b"fork\nnow\n").unwrap();
    let mut said = Vec::new();
    for _ in 0..2 {
        let mut line = String::new();
        tree.stdout.read_line(&mut line).unwrap();
        said.push(line);
    }
    said.sort();
    assert_eq!(said, ["begun\n", "left\n"]);
    tree.scanner.act(&jobs, &seen, &tree.leaders);
    // Nothing but passes that nobody asked for anew.
    while tree.scanner.is_asked() {
        tree.scanner.pass(&tree.leaders);
    }
    tree.says("term");
    end_the_one_outside(&mut tree);
    tree.says("end");
}

#[test]
fn what_a_handler_begins_is_left_to_end_by_itself() {
    // What left the process group within a tick of the signal may have done so before it, so that gets it.
    let text = r#"
        trap 'sleep .02; setsid sh -c "echo tidying; read -r line; echo tidied"; exit' TERM
        echo begun
        while :; do read -r line; done
    "#;
    let mut tree = Tree::start(text);
    tree.says("begun");
    tree.sweep.signal(libc::SIGTERM);
    tree.scanner.pass(&tree.leaders);
    tree.says("tidying");
    for _ in 0..3 {
        tree.sweep.look();
        tree.scanner.pass(&tree.leaders);
    }
    tree.stdin.write_all(b"go on\n").unwrap();
    tree.says("tidied");
}
