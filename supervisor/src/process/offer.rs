//! What the machine offers for keeping process trees together, for whoever asks before anything runs.

use std::{fs, io, path::PathBuf};

use rustix::fs::{Access, access};

use super::own_cgroup::OwnCgroup;

/// The cgroup v2 that this process is in.
#[derive(Debug)]
pub struct CgroupOffer {
    /// Its folder.
    pub path: PathBuf,
    /// Whether groups can be made in it.
    pub writable: bool,
    /// The controllers that it has for groups below it.
    pub controllers: Vec<String>,
}

impl CgroupOffer {
    /// `Err` says why there is none.
    pub fn look() -> Result<Self, String> {
        let own = OwnCgroup::find()?;
        let path = own.path().to_owned();
        let controllers = fs::read_to_string(path.join("cgroup.controllers"));
        let controllers = controllers.map_err(|error| error.to_string())?;
        Ok(Self {
            writable: access(&path, Access::WRITE_OK).is_ok(),
            controllers: controllers.split_whitespace().map(str::to_owned).collect(),
            path,
        })
    }
}

/// Whether the kernel, and whoever filters its calls, has clone3.
#[expect(
    unsafe_code,
    reason = "neither rustix nor libc has a function for this system call"
)]
pub fn clone3_offer() -> io::Result<()> {
    // SAFETY: arguments of no bytes are refused by the kernel before it reads them, and nothing is made.
    let made =
        unsafe { libc::syscall(libc::SYS_clone3, std::ptr::null::<libc::c_void>(), 0_usize) };
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // It was there to refuse them.
        Some(libc::EINVAL) if made == -1 => Ok(()),
        _ => Err(error),
    }
}
