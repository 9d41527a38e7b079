//! The floor: `floor.c`, which spawns, reads and waits, and does nothing else.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use crate::{SHELL_TEXT, support::Outcome};

/// The local floor, in a small process of its own.
pub(crate) struct Floor {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Floor {
    /// Compiles it in `folder` and starts it; its commands get `environment`.
    pub(crate) fn start(folder: &Path, environment: &[(String, String)]) -> Outcome<Self> {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/exec/floor.c");
        let program = folder.join("floor");
        let built = Command::new("cc")
            .args(["-O2", "-pthread", "-D_GNU_SOURCE", "-o"])
            .arg(&program)
            .arg(source)
            .status()?;
        if !built.success() {
            return Err("the floor could not be compiled".into());
        }
        let mut child = Command::new(program)
            .args(["/bin/sh", "-c", SHELL_TEXT])
            // What the loader and the shell read of it costs time, too.
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        Ok(Self {
            child,
            stdin,
            lines: BufReader::new(stdout).lines(),
        })
    }

    /// How long each of `count` commands takes, by each of `threads`.
    pub(crate) fn run(&mut self, count: u32, threads: u32) -> Outcome<Vec<Duration>> {
        writeln!(self.stdin, "{count} {threads}")?;
        let lines = self.lines.by_ref().take((count * threads) as usize);
        let times = lines.map(|line| Ok(Duration::from_nanos(line?.parse()?)));
        times.collect()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
