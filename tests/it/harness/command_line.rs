//! The command line `remex`, as a person or a script types it.

use std::process::{Output, Stdio};

use tokio::process::{Child, Command};

use super::{binaries::binary, soon};

/// `remex ARGS` at `server`, without stdin unless the caller gives it one.
pub(crate) fn remex(server: &str, args: &[&str]) -> Command {
    let mut command = Command::new(binary("remex"));
    command
        .args(args)
        .env("REMEX_SERVER", server)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Exit code, stdout and stderr.
pub(crate) async fn result(mut command: Command) -> (i32, String, String) {
    said(command.spawn().expect("remex runs")).await
}

/// The same, of one that runs.
pub(crate) async fn said(child: Child) -> (i32, String, String) {
    let output: Output = soon("remex's end", child.wait_with_output())
        .await
        .expect("a child");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (
        output.status.code().expect("an exit code"),
        text(output.stdout),
        text(output.stderr),
    )
}
