//! Processes that can be told from all others.

use std::{
    fmt, fs,
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::process::{Pid, Signal, kill_process};

/// An argument for `sleep`, of more than a day, that no other process has. Who has it is killed when it is dropped.
pub(crate) struct Marker(String);

impl Marker {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(format!("98764.{process:010}{next:05}"))
    }

    /// The living processes that have it.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        let has_it = |pid: &i32| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&arguments).contains(&self.0)
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(has_it).filter_map(Pid::from_raw).collect()
    }

    /// Asserts that nobody has it, at the very moment.
    #[track_caller]
    pub(crate) fn assert_gone(&self) {
        assert_eq!(self.processes(), [], "left behind");
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        for pid in self.processes() {
            // It may have ended meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
