//! A command on a terminal.

use remex_supervisor::{lifecycle::outcome::ExitReason, process::WindowSize};

use super::{
    marker::Marker,
    told::{code, signal},
};
use crate::commands::{Command, shell};

fn on_terminal(text: impl Into<Vec<u8>>) -> Command {
    let mut command = shell(text);
    command.terminal = true;
    command.stdin_open = true;
    command
}

#[test]
fn its_output_is_whole_and_its_exit_is_its_own() {
    let told = on_terminal("test -t 0 && test -t 1 && test -t 2 && seq 1 20000; exit 7").run();
    let lines: Vec<_> = (1..=20_000).map(|number: u32| number.to_string()).collect();
    let expected = lines.join("\r\n") + "\r\n";
    assert_eq!(told.terminal.len(), expected.len());
    assert!(told.terminal == expected.as_bytes());
    assert_eq!(told.ending(), (code(7), ExitReason::Own));
}

#[test]
fn what_is_typed_and_its_size() {
    let mut running =
        on_terminal("stty -echo; echo ready; read line; stty size; echo got $line; cat; echo end")
            .start();
    running.until_ready();
    let size = WindowSize {
        rows: 33,
        columns: 111,
    };
    assert!(running.resize(size));
    running.write(b"typed\n", false);
    running.until("it got the line", |told| told.text().contains("got typed"));
    running.write(b"", true);
    let told = running.end();
    assert_eq!(told.text(), "ready\r\n33 111\r\ngot typed\r\nend\r\n");
    assert_eq!(told.ending(), (code(0), ExitReason::Own));
}

#[test]
fn pipes_have_no_size() {
    let mut command = shell("echo ready; read line");
    command.stdin_open = true;
    let mut running = command.start();
    assert!(!running.resize(WindowSize::default()));
    running.until_ready();
    running.write(b"\n", true);
    assert_eq!(running.end().ending(), (code(0), ExitReason::Own));
}

#[test]
fn a_signal_reaches_the_foreground() {
    let mut running =
        on_terminal("trap 'exit 5' USR1; set -m; sh -c 'echo ready; exec sleep 1000'; echo $?")
            .start();
    running.until_ready();
    running.signal(10);
    let told = running.end();
    assert!(told.text().contains("138"), "{}", told.text());
    assert_eq!(told.ending(), (code(0), ExitReason::Own));
}

#[test]
fn who_else_has_the_terminal_does_not_hold_the_end_up() {
    let marker = Marker::new();
    let told = on_terminal(format!("sleep {marker} & echo out; exit 2")).run();
    assert_eq!(told.text(), "out\r\n");
    assert_eq!(told.ending(), (code(2), ExitReason::Own));
    let mut running = on_terminal(format!("echo ready; exec sleep {marker}")).start();
    running.until_ready();
    running.signal(9);
    assert_eq!(running.end().ending(), (signal(9), ExitReason::Signal));
}
