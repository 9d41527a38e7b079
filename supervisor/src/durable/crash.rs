//! Where a process dies if a test says so: a supervisor at the point that the file `crash-at` in its execution's folder names; a
//! server at the one that `crash-at` beside those folders names, be it a point of its own, or of a supervisor, which then kills it.
//! Nothing of it is in a build without the feature `crash-points`.

use std::os::fd::BorrowedFd;

/// The steps of an execution, each when what it names is done: a start's in the server, then a supervisor's.
#[derive(Debug, Clone, Copy)]
pub enum CrashPoint {
    /// The server has a supervisor for it.
    Taken,
    /// Its request id is taken.
    Claimed,
    /// Its order was sent.
    Sent,
    /// The server was told what became of the order.
    Answered,
    /// It is in the server's records.
    Followed,
    /// The supervisor has the order.
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

/// A server is at `point` of one of the executions whose folders are in `folders`.
#[cfg(feature = "crash-points")]
pub fn server_at(point: CrashPoint, folders: BorrowedFd<'_>) {
    armed::server_at(point, folders);
}

/// The supervisor of the execution in `folder`, to which `server` is connected, is at `point`.
#[cfg(feature = "crash-points")]
pub(super) fn supervisor_at(
    point: CrashPoint,
    folder: BorrowedFd<'_>,
    server: Option<BorrowedFd<'_>>,
) {
    armed::supervisor_at(point, folder, server);
}

/// Nothing.
#[cfg(not(feature = "crash-points"))]
pub fn server_at(_: CrashPoint, _: BorrowedFd<'_>) {}

#[cfg(not(feature = "crash-points"))]
pub(super) fn supervisor_at(_: CrashPoint, _: BorrowedFd<'_>, _: Option<BorrowedFd<'_>>) {}

#[cfg(feature = "crash-points")]
mod armed {
    use std::os::fd::{BorrowedFd, OwnedFd};

    use rustix::{
        event::{PollFd, PollFlags, poll},
        fs::{AtFlags, Mode, OFlags, openat, unlinkat},
        net::sockopt::socket_peercred,
        process::{PidfdFlags, Signal, getpid, kill_process, pidfd_open, pidfd_send_signal},
    };

    use super::CrashPoint;

    const FILE: &str = "crash-at";
    const FILE_OF_SERVER: &str = "../crash-at";

    pub(super) fn server_at(point: CrashPoint, folders: BorrowedFd<'_>) {
        if names(folders, FILE, point) && unlinkat(folders, FILE, AtFlags::empty()).is_ok() {
            die();
        }
    }

    pub(super) fn supervisor_at(
        point: CrashPoint,
        folder: BorrowedFd<'_>,
        server: Option<BorrowedFd<'_>>,
    ) {
        if names(folder, FILE, point) {
            die();
        }
        if let Some(server) = server
            && names(folder, FILE_OF_SERVER, point)
            && let Ok(server) = peer(server)
            && unlinkat(folder, FILE_OF_SERVER, AtFlags::empty()).is_ok()
        {
            kill(&server);
        }
    }

    /// Whether the file says that it is to happen now. Whoever can remove a server's file has it happen: once.
    fn names(folder: BorrowedFd<'_>, file: &str, point: CrashPoint) -> bool {
        let name = format!("{point:?}").to_lowercase();
        let mut said = [0; 16];
        let file = openat(
            folder,
            file,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let length = file.and_then(|file| rustix::io::read(file, &mut said));
        length.is_ok_and(|length| said[..length] == *name.as_bytes())
    }

    fn die() {
        let _ = kill_process(getpid(), Signal::KILL);
    }

    /// The process at the other end, if it lives.
    fn peer(socket: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
        pidfd_open(socket_peercred(socket)?.pid, PidfdFlags::empty())
    }

    /// Returns when nothing is done by it any more.
    fn kill(process: &OwnedFd) {
        if pidfd_send_signal(process, Signal::KILL).is_ok() {
            let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], None);
        }
    }
}
