//! What a command reads.

use remex_supervisor::lifecycle::outcome::ExitReason;

use super::told::code;
use crate::commands::shell;

const MIB: usize = 1 << 20;

#[test]
fn without_stdin_it_is_at_its_end() {
    let told = shell("cat; readlink /proc/self/fd/0").run();
    assert_eq!(told.text(), "/dev/null\n");
}

#[test]
fn whole() {
    // Less than a pipe holds, and more than anything on the way does.
    for bytes in [1, 60_000, 3 * MIB] {
        let mut command = shell("wc -c; exit 3");
        command.stdin = vec![b'x'; bytes];
        let told = command.run();
        assert_eq!(told.text().trim(), bytes.to_string());
        assert_eq!(told.ending(), (code(3), ExitReason::Own));
    }
}

#[test]
fn unread() {
    for text in ["exit 9", "exec <&-; exit 9", "head -c 1 >/dev/null; exit 9"] {
        let mut command = shell(text);
        command.stdin = vec![b'x'; 3 * MIB];
        assert_eq!(command.run().ending(), (code(9), ExitReason::Own), "{text}");
    }
}

#[test]
fn open_and_unused() {
    let mut command = shell("exit 8");
    command.stdin_open = true;
    assert_eq!(command.run().ending(), (code(8), ExitReason::Own));
}

#[test]
fn open_piece_by_piece() {
    let mut command = shell("echo ready; while read line; do echo got $line; done; echo end");
    command.stdin_open = true;
    command.stdin = b"first\n".to_vec();
    let mut running = command.start();
    running.until("the first", |told| told.text().contains("got first"));
    running.write(b"second\n", false);
    running.until("the second", |told| told.text().contains("got second"));
    running.end_stdin();
    let told = running.end();
    assert_eq!(told.text(), "ready\ngot first\ngot second\nend\n");
    assert_eq!(told.ending(), (code(0), ExitReason::Own));
}

/// A caller's KILL is not behind what the command does not read.
#[test]
fn unread_and_killed() {
    let mut command = shell("echo ready; exec sleep 1000");
    command.stdin = vec![b'x'; 3 * MIB];
    command.stdin_open = true;
    let mut running = command.start();
    running.until_ready();
    running.write(&b"y".repeat(60_000), false);
    running.signal(9);
    assert_eq!(running.end().ending().1, ExitReason::Signal);
}
