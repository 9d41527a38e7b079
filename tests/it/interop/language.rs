//! How the client of each language is called.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{Output, Stdio},
};

use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};

use crate::harness::{Daemon, binaries::binary, examples::example, soon, tools::Missing};

/// A language whose client has been built.
pub(crate) struct Language {
    /// The client, as it is typed: its program and what stands before its verb.
    client: Vec<OsString>,
}

impl Language {
    pub(crate) fn of(name: &'static str) -> Result<Self, Missing> {
        let built = |file: &str| -> Result<PathBuf, Missing> { Ok(example(name)?.join(file)) };
        let client: Vec<OsString> = match name {
            "python" => vec![
                built(".venv/bin/python")?.into(),
                built("client.py")?.into(),
            ],
            "go" => vec![built("bin/client")?.into()],
            "typescript" => vec!["node".into(), built("dist/client.js")?.into()],
            // With neither threads nor a compiler for what is over in a second.
            "java" => [
                "java",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-jar",
            ]
            .map(Into::into)
            .into_iter()
            .chain([built("target/client.jar")?.into()])
            .collect(),
            "cpp" => vec![built("build/client")?.into()],
            "rust" => vec![binary("client").into()],
            other => panic!("no language {other}"),
        };
        Ok(Self { client })
    }

    /// A call of `verb`, with its flags, that runs `argv` at `server`.
    pub(crate) fn at(&self, server: &str, verb: &str, flags: &[&str], argv: &[&str]) -> Command {
        let mut command = Command::new(&self.client[0]);
        command
            .args(&self.client[1..])
            .args([verb, "--server", server])
            .args(flags)
            .arg("--")
            .args(argv)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// The same at the address where `daemon` serves.
    pub(crate) fn call(
        &self,
        daemon: &Daemon,
        verb: &str,
        flags: &[&str],
        argv: &[&str],
    ) -> Command {
        self.at(&daemon.socket("grpc").to_string(), verb, flags, argv)
    }
}

/// What came of `command`, to which `stdin` was written whole.
pub(crate) async fn fed(mut command: Command, stdin: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("a client");
    let mut pipe = child.stdin.take().expect("its stdin");
    let feed = async {
        // A client that reads no more has its reasons, which the test looks at.
        let _ = pipe.write_all(stdin).await;
        drop(pipe);
    };
    let (output, ()) = soon("a client", async {
        tokio::join!(child.wait_with_output(), feed)
    })
    .await;
    output.expect("its output")
}

/// What came of `command`, which has no stdin.
pub(crate) async fn finished(mut command: Command) -> Output {
    soon("a client", command.output()).await.expect("a client")
}

/// Its exit code and, as text, its stdout and stderr.
pub(crate) fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output.status.code(), stdout, stderr)
}

/// A client whose stdin stays open until it is dropped.
pub(crate) fn started(mut command: Command) -> Child {
    command.stdin(Stdio::piped()).spawn().expect("a client")
}
