//! What a child gives up, for itself and all that descends from it. Raw system calls on its own task, as `child.rs` has them.

#![expect(
    unsafe_code,
    reason = "raw syscalls between clone and exec, where nothing else is allowed"
)]

use std::{
    ffi::{c_int, c_long, c_ulong},
    os::fd::RawFd,
    ptr,
};

use super::{super::raw, landlock};
use crate::codec::{Decoder, Encoder};

/// Most instructions of a filter that the kernel takes.
const MAX_FILTER: usize = 4096;

/// Capabilities that root has in an isolated command, by their numbers: over the files and processes of users. With others it
/// could load modules, use devices, or enter namespaces, and so leave any isolation.
const KEPT: [c_ulong; 11] = [
    0,  // CHOWN
    1,  // DAC_OVERRIDE
    3,  // FOWNER
    4,  // FSETID
    5,  // KILL
    6,  // SETGID
    7,  // SETUID
    8,  // SETPCAP
    10, // NET_BIND_SERVICE
    18, // SYS_CHROOT
    31, // SETFCAP
];

/// What a child does to itself, in a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Confinement {
    /// A ruleset of Landlock comes along.
    pub(crate) has_ruleset: bool,
    /// A network namespace of its own.
    pub(crate) own_network: bool,
    /// A filter of system calls, each instruction as the kernel's `struct sock_filter` has it; empty: none.
    pub(crate) filter: Vec<u64>,
}

/// A part of a confinement, so that a failure says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    NoNewPrivileges,
    Ruleset,
    Network,
    Capabilities,
    Filter,
}

impl Part {
    /// All of them; a place in it is a part's number between processes.
    pub(crate) const ALL: [Self; 5] = [
        Self::NoNewPrivileges,
        Self::Ruleset,
        Self::Network,
        Self::Capabilities,
        Self::Filter,
    ];

    /// The field of the API that asks for it, or for most of it.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Network | Self::Filter => "network",
            Self::NoNewPrivileges | Self::Ruleset | Self::Capabilities => "read_paths",
        }
    }

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoNewPrivileges => "no_new_privs",
            Self::Ruleset => "the ruleset of Landlock",
            Self::Network => "a network namespace of its own",
            Self::Capabilities => "giving up capabilities",
            Self::Filter => "a filter of system calls (seccomp)",
        }
    }
}

impl Confinement {
    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.bool(self.has_ruleset);
        out.bool(self.own_network);
        out.list(&self.filter, |out, instruction| out.u64(*instruction));
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Option<Self> {
        Some(Self {
            has_ruleset: from.bool()?,
            own_network: from.bool()?,
            filter: from.list(Decoder::u64)?,
        })
    }

    /// The first part: of files and ports. `ruleset` is a descriptor of this task.
    pub(in super::super) fn restrict(&self, ruleset: Option<RawFd>) -> Result<(), (Part, c_int)> {
        no_new_privileges().map_err(|errno| (Part::NoNewPrivileges, errno))?;
        match ruleset {
            Some(ruleset) => landlock::restrict(ruleset).map_err(|errno| (Part::Ruleset, errno)),
            None if self.has_ruleset => Err((Part::Ruleset, libc::EBADF)),
            None => Ok(()),
        }
    }

    /// The second part, which takes root's rights: to be done before the user is another.
    pub(in super::super) fn leave_network(&self) -> Result<(), (Part, c_int)> {
        if self.own_network {
            leave_network().map_err(|errno| (Part::Network, errno))?;
        }
        Ok(())
    }

    /// The last part, after which there is nothing but the program to execute.
    pub(in super::super) fn filter(&self) -> Result<(), (Part, c_int)> {
        if self.filter.is_empty() {
            return Ok(());
        }
        filter(&self.filter).map_err(|errno| (Part::Filter, errno))
    }
}

/// Nothing that is executed from now on gets more rights than this task has: no set-user-id, no file capabilities.
pub(super) fn no_new_privileges() -> Result<(), c_int> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map(drop)
}

/// This task is alone in a network namespace, in which nothing is up.
pub(super) fn leave_network() -> Result<(), c_int> {
    let flags = libc::CLONE_NEWNET as usize;
    call(libc::SYS_unshare, [flags, 0, 0]).map(drop)
}

/// Filters the system calls of this task.
pub(super) fn filter(instructions: &[u64]) -> Result<(), c_int> {
    const SET_FILTER: usize = 1;
    if instructions.len() > MAX_FILTER {
        return Err(libc::EINVAL);
    }
    // The kernel's struct sock_fprog: a length, and where it is.
    let program = [instructions.len(), instructions.as_ptr() as usize];
    call(
        libc::SYS_seccomp,
        [SET_FILTER, 0, program.as_ptr() as usize],
    )
    .map(drop)
}

/// Has root, if that is what this task is, lose at exec all capabilities but the ones that an isolated command has.
pub(in super::super) fn drop_capabilities() -> Result<(), (Part, c_int)> {
    if call(libc::SYS_geteuid, [0; 3]) != Ok(0) {
        // exec takes them all.
        return Ok(());
    }
    for capability in 0..64 {
        if KEPT.contains(&capability) {
            continue;
        }
        match prctl(libc::PR_CAPBSET_READ, capability) {
            Ok(0) => {}
            Ok(_) => {
                let dropped = prctl(libc::PR_CAPBSET_DROP, capability);
                dropped.map_err(|errno| (Part::Capabilities, errno))?;
            }
            // There are no more.
            Err(_) => break,
        }
    }
    Ok(())
}

fn prctl(option: c_int, argument: c_ulong) -> raw::Answer {
    // The last three have to be zero.
    call(libc::SYS_prctl, [raw::int(option), raw::long(argument), 0])
}

fn call(number: c_long, [a, b, c]: [usize; 3]) -> raw::Answer {
    // SAFETY: the calls here act on this task alone, with values and live memory of their callers.
    unsafe { raw::syscall(number, [a, b, c, 0, 0, 0]) }
}

/// The calling task's descriptors are its own from now on, those up to `highest` copied.
pub(super) fn own_descriptors(highest: RawFd) -> Result<(), c_int> {
    let above = raw::int(highest).wrapping_add(1);
    let (all, unshare) = (u32::MAX as usize, libc::CLOSE_RANGE_UNSHARE as usize);
    call(libc::SYS_close_range, [above, all, unshare])
        .or_else(|_| call(libc::SYS_unshare, [libc::CLONE_FILES as usize, 0, 0]))
        .map(drop)
}

/// Opens what `path` stands for, without reading it. `resolve` is openat2's.
pub(super) fn open_path(path: &std::ffi::CStr, resolve: u64) -> Result<RawFd, c_int> {
    // The kernel's struct open_how: flags, mode, resolve.
    let flags = (libc::O_PATH | libc::O_CLOEXEC).cast_unsigned();
    let how = [u64::from(flags), 0, resolve];
    let arguments = [
        raw::int(libc::AT_FDCWD),
        path.as_ptr() as usize,
        ptr::from_ref(&how) as usize,
        size_of_val(&how),
        0,
        0,
    ];
    // SAFETY: a live string and a live struct.
    unsafe { raw::syscall(libc::SYS_openat2, arguments) }.map(raw::descriptor)
}

/// Closes a descriptor that [`open_path`] has opened.
pub(super) fn close(fd: RawFd) {
    let _ = call(libc::SYS_close, [raw::int(fd), 0, 0]);
}
