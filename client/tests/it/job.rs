//! `remex run` as a job of a shell that has a terminal: in front, in the background, stopped, continued.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command},
    time::{Duration, Instant},
};

use rustix::{
    process::{Pid, Signal, kill_process_group},
    termios::{LocalModes, tcgetattr},
};

use crate::{
    cli::{PATIENCE, wait_until},
    fake::Fake,
    terminal::{terminal, wait_readable},
};

/// A shell on a terminal of its own, whose jobs are its own too.
struct Shell {
    near: File,
    far: OwnedFd,
    child: Child,
    seen: String,
}

impl Shell {
    /// Runs `script`, in which `remex` is the binary under test.
    fn start(server: &Fake, script: &str) -> Self {
        let (near, far) = terminal();
        let script = format!(
            "remex() {{ {} \"$@\"; }}; {script}",
            env!("CARGO_BIN_EXE_remex")
        );
        let mut shell = Command::new("setsid");
        shell
            .args(["--ctty", "bash", "-c", &script])
            .env("REMEX_SERVER", server.endpoint.to_string())
            .env("REMEX", env!("CARGO_BIN_EXE_remex"))
            .stdin(far.try_clone().unwrap())
            .stdout(far.try_clone().unwrap())
            .stderr(far.try_clone().unwrap());
        Self {
            near,
            far,
            child: shell.spawn().unwrap(),
            seen: String::new(),
        }
    }

    fn types(&mut self, keys: &str) {
        self.near.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the terminal shows `text`, and forgets all before its end.
    fn sees(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            wait_readable(&self.near, end, &format_args!("{text:?}: {:?}", self.seen));
            let mut bytes = [0; 4096];
            let count = self.near.read(&mut bytes).unwrap();
            self.seen
                .push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.far).unwrap().local_modes;
        !modes.contains(LocalModes::ICANON)
    }

    fn becomes_raw(&self) {
        wait_until("the terminal raw", || self.is_raw());
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Its jobs hear of the hang-up.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn pitfall_59_a_client_that_timeout_runs_from_a_script_ends_in_time() {
    let server = Fake::start();
    for typed in ["", "typed ahead\n"] {
        let begin = Instant::now();
        let mut shell = Shell::start(
            &server,
            "timeout 2s $REMEX run -- sleep 60; echo \"[$?]\"; timeout 60s $REMEX run -- echo hi; echo \"<$?>\"",
        );
        shell.types(typed);
        shell.sees("[124]");
        assert!(begin.elapsed() >= Duration::from_secs(2));
        shell.sees("hi\r\n<0>");
    }
}

#[test]
fn pitfall_59_a_client_in_the_background_runs_and_ends() {
    let server = Fake::start();
    let mut shell = Shell::start(
        &server,
        "set -m; remex run -- echo hi & wait $!; echo \"[$?]\"; remex run -- sleep 60 & kill $!; wait $!; echo \"<$?>\"",
    );
    shell.types("typed ahead\n");
    shell.sees("hi\r\n");
    shell.sees("[0]");
    shell.sees("<143>");
}

#[test]
fn pitfall_59_a_client_that_was_stopped_ends_on_term() {
    let server = Fake::start();
    let mut shell = Shell::start(
        &server,
        "set -m; remex run --shell 'echo ready; exec cat'; echo \"[$?]\"; bg; sleep 0.5; kill %1; wait %1; echo \"<$?>\"",
    );
    shell.sees("ready");
    shell.types("\u{1a}");
    shell.sees("[148]");
    // In the background now, with something to read in front of it.
    shell.types("typed ahead\n");
    shell.sees("<143>");
}

#[test]
fn a_client_reads_once_it_is_in_front() {
    let server = Fake::start();
    let mut shell = Shell::start(
        &server,
        "set -m; remex run --shell 'echo re\"\"ady; read x; echo \"got $x\"' & read -r line; echo \"shell $line\"; fg >/dev/null; echo \"[$?]\"",
    );
    shell.sees("ready");
    shell.types("one\n");
    shell.sees("shell one");
    shell.types("two\n");
    shell.sees("got two");
    shell.sees("[0]");
}

#[test]
fn output_that_the_terminal_holds_up_does_not_stop_the_client() {
    let server = Fake::start();
    let mut shell = Shell::start(
        &server,
        "stty tostop; set -m; remex run -- echo late >/dev/tty & sleep 0.5; kill -0 $! && jobs; fg >/dev/null; echo \"[$?]\"",
    );
    shell.sees("Running");
    shell.sees("late");
    shell.sees("[0]");
}

#[test]
fn pitfall_59_a_terminal_is_not_set_from_its_background() {
    let server = Fake::start();
    let mut shell = Shell::start(
        &server,
        "set -m; remex run -t -- fake & read -r line; echo \"shell $line\"; fg >/dev/null; echo \"[$?]\"",
    );
    shell.sees("<30x90");
    assert!(!shell.is_raw());
    shell.types("one\n");
    shell.sees("shell one");
    shell.becomes_raw();
    shell.types("\u{3}");
    shell.sees("<\\x03>");
    shell.types("q");
    shell.sees("[3]");
    assert!(!shell.is_raw());
}

#[test]
fn pitfall_59_tilde_dot_leads_out_of_raw_mode() {
    let server = Fake::start();
    let mut shell = Shell::start(&server, "remex run -t -- fake; echo \"[$?]\"");
    shell.sees("<30x90");
    shell.becomes_raw();
    shell.types("~x");
    shell.sees("<~x>");
    shell.types("\r~~");
    shell.sees("~>");
    shell.types("\r~.");
    shell.sees("<signal 9>");
    shell.sees("ended by ~.");
    shell.sees("[255]");
    assert!(!shell.is_raw());
}

#[test]
fn pitfall_59_tilde_dot_is_read_behind_a_paste_that_nobody_reads() {
    let server = Fake::start();
    let mut shell = Shell::start(&server, "remex run -t -- fake; echo \"[$?]\"");
    shell.sees("<30x90");
    shell.becomes_raw();
    // Far more than may be on its way; the fake answers each piece, so it is the client that is asked to hold it.
    let mut near = shell.near.try_clone().unwrap();
    let paste = "x".repeat(1 << 20) + "\r~.";
    let pasting = std::thread::spawn(move || near.write_all(paste.as_bytes()));
    shell.sees("[255]");
    pasting.join().unwrap().unwrap();
}

#[test]
fn a_client_is_suspended_and_continued() {
    let server = Fake::start();
    let mut shell = Shell::start(
        &server,
        "set -m; remex run -t -- fake; echo \"[$?]\"; read -r line; echo \"shell $line\"; fg >/dev/null; echo \"<$?>\"",
    );
    shell.sees("<30x90");
    shell.becomes_raw();
    shell.types("\r~\u{1a}");
    shell.sees("[148]");
    assert!(!shell.is_raw());
    shell.types("one\n");
    shell.sees("shell one");
    shell.becomes_raw();
    // It tells its size anew: the window may have changed meanwhile.
    shell.sees("<30x90>");
    shell.types("q");
    shell.sees("<3>");
    assert!(!shell.is_raw());
}
