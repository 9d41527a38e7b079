//! What of an isolation this machine can apply, tried out in a child of the server's: a container's filter of system calls may
//! take away any part of it.

use std::{ffi::c_int, io};

use super::{
    super::clone::{Cloner, Work},
    confine, landlock,
    sockets::{RETURN, instruction},
};

/// What can be applied here, or the error of what cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Support {
    /// Landlock's version.
    pub(super) landlock: Result<u32, c_int>,
    /// A network namespace.
    pub(super) namespace: Result<(), c_int>,
    /// A filter of system calls.
    pub(super) filter: Result<(), c_int>,
}

/// Lets every system call through.
const ALLOW: [u64; 1] = [instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW)];

impl Support {
    /// Finds out.
    pub(in super::super) fn find(cloner: &Cloner) -> io::Result<Self> {
        let unknown = Err(libc::EIO);
        let nothing = Self {
            landlock: Err(libc::EIO),
            namespace: unknown,
            filter: unknown,
        };
        cloner.run(nothing)
    }
}

impl Work for Support {
    fn run(&mut self) {
        // Those that the server has open, which this task shares, are not to be more.
        if let Err(errno) = confine::own_descriptors(2) {
            self.landlock = Err(errno);
        } else {
            self.landlock = try_landlock();
        }
        self.namespace = confine::leave_network();
        self.filter = confine::no_new_privileges().and_then(|()| confine::filter(&ALLOW));
    }
}

/// Its version, where each of its calls is let through.
fn try_landlock() -> Result<u32, c_int> {
    let version = landlock::version()?;
    let files = landlock::files_of(version);
    let ruleset = landlock::create(&landlock::Handled {
        files,
        ..landlock::Handled::default()
    })?;
    let root = confine::open_path(c"/", 0)?;
    landlock::add_path(ruleset, root, files)?;
    confine::no_new_privileges()?;
    landlock::restrict(ruleset)?;
    Ok(version)
}
