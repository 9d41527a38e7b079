//! Terminals: what is typed, sizes, signals by key, hanging up; through Interact, with no local terminal.

use std::fs;

use remex::{
    error::Reason as Refusal,
    v1::{ResizeRequest, StartRequest, Terminal, exit::Reason},
};
use remex_client::{Command, Event, ExitReason, Interaction, Signal};
use rustix::process::Pid;

use super::support::{RequestExt, Server, argv, count, shell};
use crate::harness::{Marker, eventually, soon};

/// A command on a terminal, and what was seen on it.
struct Typist {
    interaction: Interaction,
    seen: String,
}

impl Typist {
    async fn start(server: &Server, command: Command) -> Self {
        let command = command.terminal(24, 80, "xterm");
        let interaction = server.client.interact(command);
        Self {
            interaction: soon("a start", interaction).await.unwrap(),
            seen: String::new(),
        }
    }

    async fn types(&mut self, keys: &'static str) {
        let stdin = self.interaction.stdin.as_mut().unwrap();
        soon("room to type", stdin.write(keys)).await.unwrap();
    }

    /// Reads until `text` is on the terminal, and forgets what came up to its end.
    async fn sees(&mut self, text: &str) {
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            match soon(text, self.interaction.next()).await.unwrap() {
                Some(Event::Output { data, .. }) => self.seen += &String::from_utf8_lossy(&data),
                Some(Event::Exited(exit)) => panic!("no {text:?}: {:?}, {exit:?}", self.seen),
                _ => {}
            }
        }
    }

    async fn ends(mut self) -> remex_client::Exit {
        loop {
            match soon("the end", self.interaction.next()).await.unwrap() {
                Some(Event::Exited(exit)) => return exit,
                Some(_) => {}
                None => panic!("no exit"),
            }
        }
    }
}

#[tokio::test]
async fn pitfall_10_all_that_was_written_to_a_terminal_is_delivered() {
    let server = Server::start(&[]).await;
    for _ in 0..count(5, 100) {
        let record = server.run(argv(["seq", "1", "50000"]).on_terminal()).await;
        let lines = record.text().lines().count();
        assert_eq!(lines, 50_000);
        assert!(record.terminal.ends_with(b"\r\n50000\r\n"));
        assert!(record.stdout.is_empty() && record.stderr.is_empty());
        assert_eq!(record.ending(), (0, 0, Reason::Self_));
    }
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_10_a_terminal_has_its_size_and_follows_a_resize() {
    let server = Server::start(&[]).await;
    let text = "trap 'stty size' WINCH; stty size; echo $TERM; while :; do sleep 0.01; done";
    let request = shell(text).with(|command| {
        command.terminal = Some(Terminal {
            rows: 30,
            columns: 90,
            term: "vt100".into(),
        });
    });
    let mut running = server.begin(request).await;
    running.until("30 90\r\nvt100\r\n").await;
    let resize = ResizeRequest {
        execution_id: running.id.clone(),
        rows: 40,
        columns: 100,
    };
    soon("a resize", server.exec().resize(resize))
        .await
        .unwrap();
    running.until("40 100\r\n").await;
    running.signal(9).await.unwrap();
    running.end().await;

    let running = server.begin(argv(["sleep", "1000"])).await;
    let resize = ResizeRequest {
        execution_id: running.id.clone(),
        rows: 40,
        columns: 100,
    };
    let refused = soon("a resize", server.exec().resize(resize)).await;
    assert_eq!(
        Refusal::of(&refused.unwrap_err()),
        Some(Refusal::NoTerminal)
    );
    running.signal(9).await.unwrap();
    running.end().await;
    server.daemon.stop().await;
}

async fn hang_up(server: Server) {
    // The leader ends by itself: those behind it get HUP.
    let home = server.daemon.home();
    let (ready, hup) = (home.path("trapped"), home.path("hung-up"));
    let text = format!(
        "(trap 'echo x >{hup}; exit' HUP; echo x >{ready}; while :; do sleep 0.01; done) &
        while [ ! -e {ready} ]; do sleep 0.01; done; echo done",
        hup = hup.display(),
        ready = ready.display(),
    );
    let record = server.run(shell(text).on_terminal()).await;
    // The shell may have something to say of it.
    assert!(record.terminal.starts_with(b"done\r\n"), "{record:?}");
    eventually("HUP", || hup.exists().then_some(())).await;
    // The caller goes: all of it goes, whatever it thinks of HUP.
    let marker = Marker::new();
    let text = format!("trap '' HUP; setsid sleep {marker} & echo ready; sleep {marker}");
    let mut running = server.begin(shell(text).on_terminal()).await;
    running.until("ready").await;
    drop(running);
    marker.is_gone().await;
    fs::remove_file(ready).unwrap();
    server.daemon.stop().await;
}

with_each_containment! {
    pitfall_10_a_terminal_is_hung_up => hang_up;
}

/// As programs do on their way out, before they exit.
#[tokio::test]
async fn a_command_may_let_go_of_its_terminal_and_take_it_again() {
    let server = Server::start(&[]).await;
    let away = "exec 0<&- 1>&- 2>&-; sleep 0.1";
    for (after, seen) in [("", ""), ("echo again >/dev/tty;", "again\r\n")] {
        let text = format!("{away}; {after} {away}; exit 7");
        let record = server.run(shell(text).on_terminal()).await;
        assert_eq!(record.text(), seen);
        assert_eq!(record.ending(), (7, 0, Reason::Self_));
    }
    server.daemon.stop().await;
}

#[tokio::test]
async fn keys_do_what_they_do_on_a_terminal() {
    let server = Server::start(&[]).await;
    // Ctrl-D ends what reads.
    let mut typist = Typist::start(&server, Command::new("cat")).await;
    typist.types("abc\n").await;
    typist.sees("abc\r\nabc\r\n").await;
    typist.types("\x04").await;
    let exit = typist.ends().await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
    // Ctrl-C and Ctrl-\ end what runs in the foreground.
    for (key, signal) in [("\x03", Signal::INT), ("\x1c", Signal::QUIT)] {
        let command = Command::shell("echo ready; exec sleep 1000");
        let mut typist = Typist::start(&server, command).await;
        typist.sees("ready").await;
        typist.types(key).await;
        let exit = typist.ends().await;
        assert_eq!((exit.signal, exit.code), (Some(signal), None));
        assert_eq!(exit.reason, ExitReason::Own);
    }
    server.daemon.stop().await;
}

/// Waits until the job is what runs in the foreground of its terminal: what is typed from now on goes there.
async fn has_the_terminal(marker: &Marker) {
    eventually("the job in the foreground", || {
        let processes = marker.processes();
        let mut jobs = processes
            .iter()
            .filter(|process| process.command_line.starts_with("sleep"));
        jobs.any(|job| in_foreground(job.pid)).then_some(())
    })
    .await;
}

/// Of /proc/PID/stat: whether its process group is its terminal's.
fn in_foreground(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let stat = stat.unwrap_or_default();
    let Some((_, rest)) = stat.rsplit_once(") ") else {
        return false;
    };
    let fields: Vec<_> = rest.split(' ').collect();
    let (state, group, foreground) = (fields[0], fields[2], fields[5]);
    group == foreground && state != "T"
}

#[tokio::test]
async fn job_control_works() {
    let server = Server::start(&[]).await;
    let shell = Command::new("bash")
        .args(["--norc", "--noprofile", "-i"])
        .env("PS1", "$ ");
    let mut typist = Typist::start(&server, shell).await;
    typist.sees("$ ").await;
    let marker = Marker::new();
    let line: &'static str = Box::leak(format!("sleep {marker}\n").into_boxed_str());
    typist.types(line).await;
    has_the_terminal(&marker).await;
    typist.types("\x03").await;
    typist.sees("$ ").await;
    marker.is_gone().await;
    typist.types(line).await;
    has_the_terminal(&marker).await;
    typist.types("\x1a").await;
    typist.sees("Stopped").await;
    typist.types("jobs\n").await;
    typist.sees("Stopped").await;
    typist.types("bg\n").await;
    typist.sees("&").await;
    typist.types("fg\n").await;
    typist.sees(line.trim_end()).await;
    has_the_terminal(&marker).await;
    typist.types("\x03").await;
    typist.sees("$ ").await;
    marker.is_gone().await;
    // A signal goes to the foreground, not to the shell.
    typist.types("cat; echo \"[$?]\"\n").await;
    typist.sees("\r\n").await;
    typist.types("abc\n").await;
    typist.sees("abc\r\nabc\r\n").await;
    typist
        .interaction
        .control()
        .signal(Signal::TERM)
        .await
        .unwrap();
    typist.sees("[143]").await;
    typist.types("exit 7\n").await;
    assert_eq!(typist.ends().await.code, Some(7));
    server.daemon.stop().await;
}

#[tokio::test]
async fn stop_and_cont_reach_the_whole_tree() {
    let server = Server::start(&[]).await;
    let marker = Marker::new();
    let text = format!("setsid sleep {marker} & (setsid sleep {marker} &); echo ready; wait");
    for request in [shell(&text), shell(&text).on_terminal()] {
        let mut running = server.begin(request).await;
        running.until("ready").await;
        eventually("the tree", || {
            let processes = marker.processes();
            let asleep = processes
                .iter()
                .filter(|one| one.command_line.starts_with("sleep"));
            (asleep.count() == 2).then_some(())
        })
        .await;
        let states = || -> Vec<_> {
            let pids = marker.processes().into_iter();
            pids.filter_map(|one| super::support::state_of(one.pid.as_raw_nonzero().get()))
                .collect()
        };
        running.signal(19).await.unwrap();
        eventually("the stop", || {
            states().iter().all(|&state| state == 'T').then_some(())
        })
        .await;
        running.signal(18).await.unwrap();
        eventually("its end", || {
            states().iter().all(|&state| state != 'T').then_some(())
        })
        .await;
        running.signal(9).await.unwrap();
        running.end().await;
        marker.is_gone().await;
    }
    server.daemon.stop().await;
}

#[tokio::test]
async fn without_stdin_nothing_is_typed() {
    let server = Server::start(&[]).await;
    let request = StartRequest {
        ..shell("echo ready; cat").on_terminal().timeout(500)
    };
    let record = server.run(request).await;
    assert_eq!(record.terminal, b"ready\r\n");
    assert_eq!(record.exit().reason(), Reason::Timeout);
    server.daemon.stop().await;
}

/// As a session of sshd has them whose client is a terminal of today.
#[tokio::test]
async fn pitfall_59_a_terminal_has_the_modes_that_sshd_sets() {
    let server = Server::start(&[]).await;
    let record = server.run(argv(["stty", "-a"]).on_terminal()).await;
    let said = record.text();
    for mode in [
        "icrnl", "ixon", "iutf8", "-igncr", "-istrip", "-ixany", "-ixoff", "opost", "onlcr",
        "isig", "icanon", "iexten", "echo", "echoe", "echok", "echoctl", "echoke", "-echonl",
        "-noflsh", "-tostop", "cs8", "cread", "-parenb",
    ] {
        let has = said.split([' ', '\r', '\n', ';']).any(|word| word == mode);
        assert!(has, "no {mode}: {said}");
    }
    for key in [
        "intr = ^C",
        "quit = ^\\",
        "erase = ^?",
        "kill = ^U",
        "eof = ^D",
        "start = ^Q",
        "stop = ^S",
        "susp = ^Z",
        "rprnt = ^R",
        "werase = ^W",
        "lnext = ^V",
        "discard = ^O",
        "min = 1",
        "time = 0",
    ] {
        assert!(said.contains(key), "no {key}: {said}");
    }
    // What is erased is a character, not a byte of it.
    let request = shell("head -n 1").on_terminal().stdin("a\u{e9}\x7fb\n");
    let record = server.run(request).await;
    assert!(record.text().ends_with("ab\r\n"), "{record:?}");
    server.daemon.stop().await;
}

/// The first Ctrl-D behind an unfinished line only sends it.
#[tokio::test]
async fn pitfall_59_an_unfinished_line_is_followed_by_an_end() {
    let server = Server::start(&[]).await;
    for (typed, seen) in [("abc", "abcabc"), ("abc\n", "abc\r\nabc\r\n")] {
        let request = argv(["cat"]).on_terminal().stdin(typed);
        let record = server.run(request).await;
        assert_eq!(record.text(), seen);
        assert_eq!(record.ending(), (0, 0, Reason::Self_));
    }
    server.daemon.stop().await;
}
