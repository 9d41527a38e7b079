//! The file of a Unix socket: made with the right mode before anybody can connect, a stale one replaced, removed at the
//! end. What is no socket, or is served, or is no longer ours, is never touched.

use std::{
    ffi::OsString,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};

use super::{BACKLOG, UnixAddress, names};

/// Why there is no socket.
#[derive(Debug, Clone, Copy)]
pub(super) enum Failure {
    /// Somebody serves it.
    InUse,
    /// Something else is there.
    NotASocket,
    /// There is no such folder.
    NoFolder,
    /// There is no such group.
    NoGroup,
    /// The group may not be given away.
    GroupDenied,
    /// What the kernel says.
    Os(Errno),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Os(errno)
    }
}

/// A socket file that this process has made. Dropping it removes the file, if that is still the same.
#[derive(Debug)]
pub(super) struct SocketFile {
    folder: OwnedFd,
    name: OsString,
    /// Device and inode.
    identity: (u64, u64),
    /// Another program serves it from now on.
    is_left: Arc<AtomicBool>,
}

impl SocketFile {
    /// Leaves it to another program.
    pub(super) fn leave(&self) {
        self.is_left.store(true, Ordering::Relaxed);
    }
}

/// The file at `path` of a socket that another program has left, to which it may go back as long as it `is_left`.
pub(super) fn adopt(path: &Path, is_left: Arc<AtomicBool>) -> Option<SocketFile> {
    let (folder, name) = open_folder(path).ok()?;
    let file = open_entry(&folder, &name).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    Some(SocketFile {
        identity: identity(&stat),
        folder,
        name,
        is_left,
    })
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_left.load(Ordering::Relaxed) {
            return;
        }
        remove_if(&self.folder, &self.name, self.identity);
    }
}

/// Makes the socket and listens on it.
pub(super) fn listen(address: &UnixAddress) -> Result<(OwnedFd, SocketFile), Failure> {
    let group = address.group.as_deref().map(resolve_group).transpose()?;
    let (folder, name) = open_folder(&address.path)?;
    clear_way(&folder, &name)?;

    let socket = new_socket()?;
    let mode = Mode::from_raw_mode(address.mode);
    // Linux gives the file the mode of the unbound socket, so it is never more open than it is meant to be.
    rustix::fs::fchmod(&socket, mode)?;
    bind(&socket, &address.path, &folder, &name)?;

    let file = open_entry(&folder, &name)?;
    let guard = SocketFile {
        identity: identity(&rustix::fs::fstat(&file)?),
        folder,
        name,
        is_left: Arc::default(),
    };
    if let Some(group) = group {
        rustix::fs::chownat(&file, c"", None, Some(group), AtFlags::EMPTY_PATH).map_err(
            |errno| match errno {
                Errno::PERM => Failure::GroupDenied,
                other => Failure::Os(other),
            },
        )?;
    }
    // What the umask took away.
    rustix::fs::chmod(through_proc(&file), mode)?;
    // Only from here on does a connect succeed.
    rustix::net::listen(&socket, BACKLOG)?;
    Ok((socket, guard))
}

fn resolve_group(name: &str) -> Result<Gid, Failure> {
    let id = names::group_id(name)
        .map_err(|error| Failure::Os(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    id.map(Gid::from_raw).ok_or(Failure::NoGroup)
}

fn open_folder(path: &Path) -> Result<(OwnedFd, OsString), Failure> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Failure::Os(Errno::INVAL));
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::empty()) {
        Ok(folder) => Ok((folder, name.to_owned())),
        Err(Errno::NOENT | Errno::NOTDIR) => Err(Failure::NoFolder),
        Err(errno) => Err(errno.into()),
    }
}

/// The entry itself, never what a link points to.
fn open_entry(folder: &OwnedFd, name: &OsString) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::empty())
}

fn new_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// A way to an open file for calls that know only paths.
fn through_proc(file: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}

/// The path as it was given, so that tools show it; if it is too long, by way of its folder.
fn bind(socket: &OwnedFd, path: &Path, folder: &OwnedFd, name: &OsString) -> Result<(), Failure> {
    let address = SocketAddrUnix::new(path)
        .or_else(|_| SocketAddrUnix::new(through_proc(folder).join(name)))?;
    rustix::net::bind(socket, &address).map_err(|errno| match errno {
        Errno::ADDRINUSE => Failure::InUse,
        other => Failure::Os(other),
    })
}

/// Removes what a process left that is gone.
fn clear_way(folder: &OwnedFd, name: &OsString) -> Result<(), Failure> {
    let file = match open_entry(folder, name) {
        Err(Errno::NOENT) => return Ok(()),
        file => file?,
    };
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(Failure::NotASocket);
    }
    let probe = new_socket()?;
    match rustix::net::connect(&probe, &SocketAddrUnix::new(through_proc(&file))?) {
        Err(Errno::CONNREFUSED) => {
            remove_if(folder, name, identity(&stat));
            Ok(())
        }
        // Connected, its queue is full, or it is of another type: somebody serves it.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => Err(Failure::InUse),
        Err(errno) => Err(errno.into()),
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn remove_if(folder: &OwnedFd, name: &OsString, expected: (u64, u64)) {
    let found = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    if found.is_ok_and(|stat| identity(&stat) == expected) {
        // A file that stays is a stale one, which the next bind reports or replaces.
        let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
    }
}
