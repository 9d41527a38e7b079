//! Signals, each in a process of its own: the first one drains, the second one ends it.

#![cfg(test)]

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use remex_daemon::{DaemonExit, shutdown};
use rustix::process::{Pid, Signal, kill_process};

/// Set in the process of its own.
const INSIDE: &str = "REMEX_TEST_SHUTDOWN";
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

struct Daemon {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    fn start(how: &str) -> Self {
        let mut child = Command::new(env::current_exe().expect("this test"))
            .args(["--exact", "inside", "--nocapture"])
            .env(INSIDE, how)
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test runs");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| send.send(line))
        });
        Self { child, lines }
    }

    fn wait_for(&self, what: &str) {
        while !self
            .lines
            .recv_timeout(PATIENCE)
            .expect(what)
            .contains(what)
        {}
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it is there");
    }

    /// The end of its output is the end of the process.
    fn status(&mut self) -> ExitStatus {
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        self.child.wait().expect("a child")
    }
}

fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").expect("a reader");
}

#[tokio::test]
async fn inside() {
    let Ok(how) = env::var(INSIDE) else {
        return;
    };
    let shutdown = shutdown::on_signals().expect("a handler");
    say("serving");
    shutdown.drain().cancelled().await;
    say("draining");
    match how.as_str() {
        "hangs" => std::future::pending().await,
        // Nobody takes part in the end but the thread that watches.
        "blocks" => thread::sleep(Duration::from_hours(1)),
        _ => {}
    }
}

#[test]
fn the_first_signal_drains() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let mut daemon = Daemon::start("drains");
        daemon.wait_for("serving");
        daemon.signal(signal);
        daemon.wait_for("draining");
        assert_eq!(daemon.status().code(), Some(0));
    }
}

#[test]
fn the_second_signal_ends_a_drain() {
    let table = [
        (Signal::TERM, Signal::INT, 130),
        (Signal::INT, Signal::TERM, 143),
        (Signal::TERM, Signal::TERM, 143),
        (Signal::QUIT, Signal::QUIT, 131),
    ];
    let table = ["hangs", "blocks"].map(|how| table.map(|row| (how, row)));
    for (how, (first, second, code)) in table.into_iter().flatten() {
        let mut daemon = Daemon::start(how);
        daemon.wait_for("serving");
        daemon.signal(first);
        daemon.wait_for("draining");
        daemon.signal(second);
        assert_eq!(daemon.status().code(), Some(code));
    }
    assert_eq!(DaemonExit::Signal(2).code(), 130);
}
