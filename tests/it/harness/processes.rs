//! Which processes are there: what a command leaves behind is found by an argument that no other process has.

use std::{
    fmt, fs,
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A number of seconds to give to `sleep`: more than a day, and a fraction that is this marker's alone. Processes that
/// have it are killed when it is dropped.
pub(crate) struct Marker(String);

/// A process that has the marker among its arguments.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) command_line: String,
}

impl Marker {
    pub(crate) fn new() -> Self {
        let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(format!("98765.{process:010}{next:05}"))
    }

    /// The processes that have it now.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        entries
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                let arguments = fs::read(entry.path().join("cmdline")).ok()?;
                let command_line = String::from_utf8_lossy(&arguments).replace('\0', " ");
                let pid = Pid::from_raw(pid)?;
                command_line
                    .contains(&self.0)
                    .then_some(Process { pid, command_line })
            })
            .collect()
    }

    /// Kills the processes that have it.
    pub(crate) fn kill(&self) {
        for process in self.processes() {
            let _ = kill_process(process.pid, Signal::KILL);
        }
    }

    /// Waits until a process has it.
    pub(crate) async fn appears(&self) {
        eventually("a process with the marker", || {
            (!self.processes().is_empty()).then_some(())
        })
        .await;
    }

    /// Asserts that no process has it. A kill takes effect a moment after it was sent.
    pub(crate) async fn is_gone(&self) {
        eventually("the end of the processes with the marker", || {
            self.processes().is_empty().then_some(())
        })
        .await;
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        for process in self.processes() {
            eprintln!("left behind: {process:?}");
            let _ = kill_process(process.pid, Signal::KILL);
        }
    }
}
