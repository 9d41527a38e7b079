//! Where a supervisor dies if a test says so: at the point that a file in its execution's folder names. Nothing of it is in a
//! build without the feature `crash-points`.

use std::os::fd::BorrowedFd;

/// The steps of an execution, each when what it names is done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// There is an order.
    Ordered,
    /// The journal says that it may run from now on.
    Reserved,
    /// There is a child.
    Launched,
    /// It has executed its program.
    Executed,
    /// The journal says that it runs.
    Started,
    /// It has ended.
    Exited,
    /// The journal says so.
    Recorded,
}

/// The file's name, and what it says.
#[cfg(feature = "crash-points")]
const FILE: &str = "crash-at";

/// Dies, if the file in `folder` says that it is to happen now.
#[cfg(feature = "crash-points")]
pub(super) fn at(step: Step, folder: BorrowedFd<'_>) {
    use rustix::{
        fs::{Mode, OFlags, openat},
        process::{Signal, getpid, kill_process},
    };

    let name: &[u8] = match step {
        Step::Ordered => b"ordered",
        Step::Reserved => b"reserved",
        Step::Launched => b"launched",
        Step::Executed => b"executed",
        Step::Started => b"started",
        Step::Exited => b"exited",
        Step::Recorded => b"recorded",
    };
    let mut said = [0; 16];
    let file = openat(
        folder,
        FILE,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let length = file.and_then(|file| rustix::io::read(file, &mut said));
    if length.is_ok_and(|length| said[..length] == *name) {
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

#[cfg(not(feature = "crash-points"))]
pub(super) fn at(_: Step, _: BorrowedFd<'_>) {}
