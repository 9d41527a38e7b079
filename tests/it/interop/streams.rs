//! What flows: output and stdin, as bytes, in megabytes, at once; and the same through a terminal.

use std::{
    fs::{self, File},
    io::{self, Read},
    process::Stdio,
};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::language::{Language, fed, finished, started};
use crate::{
    harness::{
        Daemon, soon,
        terminal::{resize, terminal},
        tools,
    },
    parity,
};

/// More than any window, buffer or default limit between a client and its command.
pub(crate) const MANY_BYTES: usize = 5_000_000;

/// Bytes of every value, none of which is where it would be if one were lost.
pub(crate) fn many_bytes() -> Vec<u8> {
    let bytes = (0..MANY_BYTES as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8);
    bytes.collect()
}

pub(crate) async fn what_a_local_shell_gives(language: &Language) {
    let daemon = Daemon::start(&[]).await;
    for text in parity::COMMANDS {
        let mut client = language.call(&daemon, "run", &[], &["/bin/sh", "-c", text]);
        let seen = parity::outcome("a client", &mut client).await;
        assert_eq!(seen, parity::local(&daemon, text).await, "{text:?}");
    }
    daemon.stop().await;
}

pub(crate) async fn megabytes_of_bytes_on_both_streams(language: &Language) {
    let daemon = Daemon::start(&[]).await;
    let file = daemon.home().path("bytes");
    fs::write(&file, many_bytes()).expect("a file");
    let text = "cat \"$0\" & head -c 1000000 \"$0\" >&2; wait; exit 3";
    let argv = ["sh", "-c", text, file.to_str().expect("a name")];
    let output = finished(language.call(&daemon, "run", &[], &argv)).await;
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout == many_bytes(), "{}", output.stdout.len());
    let fewer = &many_bytes()[..1_000_000];
    assert!(output.stderr == fewer, "{}", output.stderr.len());
    daemon.stop().await;
}

pub(crate) async fn megabytes_of_stdin(language: &Language) {
    let daemon = Daemon::start(&[]).await;
    let client = language.call(&daemon, "run", &[], &["cat"]);
    let output = fed(client, &many_bytes()).await;
    assert!(output.status.success(), "{:?}", output.status);
    assert!(output.stdout == many_bytes(), "{}", output.stdout.len());
    daemon.stop().await;
}

/// Each line comes back before the next is written, and the end of stdin is the end of the command.
pub(crate) async fn output_and_stdin_flow_at_once(language: &Language) {
    let daemon = Daemon::start(&[]).await;
    let mut client = started(language.call(&daemon, "run", &[], &["cat"]));
    let mut stdin = client.stdin.take().expect("its stdin");
    let mut lines = BufReader::new(client.stdout.take().expect("its stdout")).lines();
    for line in ["one", "two", "three"] {
        let typed = format!("{line}\n");
        stdin.write_all(typed.as_bytes()).await.expect("it reads");
        let seen = soon("a line", lines.next_line()).await.expect("text");
        assert_eq!(seen.as_deref(), Some(line));
    }
    drop(stdin);
    let status = soon("the end", client.wait()).await.expect("a status");
    assert!(status.success(), "{status}");
    daemon.stop().await;
}

/// The command's terminal has the size of the client's, and follows it.
pub(crate) async fn a_terminal_and_its_size(language: &Language) {
    const SCRIPT: &str =
        "stty size; trap 'stty size; exit 7' WINCH; echo ready; while :; do sleep 0.05; done";
    skip_unless!(tools::program("setsid"));
    let daemon = Daemon::start(&[]).await;
    let (master, slave) = terminal(31, 101);
    let end = || Stdio::from(slave.try_clone().expect("a descriptor"));

    let client = language.call(&daemon, "run", &["--terminal"], &["sh", "-c", SCRIPT]);
    // A session of its own, whose foreground the client is: that is told of a new size.
    let mut session = tokio::process::Command::new("setsid");
    session
        .arg("--ctty")
        .arg(client.as_std().get_program())
        .args(client.as_std().get_args())
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .kill_on_drop(true);
    let mut client = session.spawn().expect("a client");
    drop(session);
    drop(slave);

    let screen = tokio::task::spawn_blocking(move || {
        let seen = read_until(&master, String::new(), "ready");
        resize(&master, 42, 132);
        let seen = read_until(&master, seen, "42 132");
        // Without it the terminal would hang up.
        (master, seen)
    });
    let (_master, screen) = soon("the sizes", screen).await.expect("a screen");
    assert!(screen.contains("31 101"), "{screen:?}");
    let status = soon("the end", client.wait()).await.expect("a status");
    assert_eq!(status.code(), Some(7), "{screen:?}");
    daemon.stop().await;
}

/// What a terminal shows, `seen` first, until `text` is in it, or until nobody writes any more.
fn read_until(master: &File, mut seen: String, text: &str) -> String {
    let mut reader = master;
    let mut buffer = [0; 4096];
    while !seen.contains(text) {
        // A terminal that nobody holds ends with an error.
        let length: io::Result<usize> = reader.read(&mut buffer);
        let length = length.unwrap_or_else(|error| panic!("{error}: {seen:?}"));
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    seen
}
