//! What remexd needs of the machine before it can keep a process tree together.

use std::io;

/// `/proc` is another file system, or none.
#[derive(Debug, thiserror::Error)]
pub enum NoProc {
    /// Nothing, or something else, is mounted there.
    #[error(
        "/proc is not mounted here, and without it no process tree can be kept together; mount it: mount -t proc proc /proc"
    )]
    Absent,
    /// It is there, and does not show this process.
    #[error("/proc does not show the processes of this machine: {0}")]
    Hidden(#[source] io::Error),
}

/// The magic number of procfs, as statfs(2) has it.
const PROC_MAGIC: rustix::fs::FsWord = 0x9fa0;

/// Asks for `/proc`.
pub fn check() -> Result<(), NoProc> {
    let found = rustix::fs::statfs("/proc").map_err(|_| NoProc::Absent)?;
    if found.f_type != PROC_MAGIC {
        return Err(NoProc::Absent);
    }
    std::fs::read("/proc/self/stat").map_err(NoProc::Hidden)?;
    Ok(())
}
