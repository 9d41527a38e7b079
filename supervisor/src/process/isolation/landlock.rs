//! Landlock's system calls, which neither rustix nor libc has, and its rights. Answers are errnos, not `errno`: a child that
//! shares memory calls them too. The `landlock` crate allocates, and leaves out unasked what the kernel lacks.

#![expect(
    unsafe_code,
    reason = "neither rustix nor libc has functions for these system calls"
)]

use std::{
    ffi::{c_int, c_long},
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
    ptr,
};

use super::super::raw;

/// Rights on a file itself.
pub(super) const EXECUTE: u64 = 1;
pub(super) const WRITE_FILE: u64 = 1 << 1;
pub(super) const READ_FILE: u64 = 1 << 2;
pub(super) const TRUNCATE: u64 = 1 << 14;
pub(super) const IOCTL_DEVICE: u64 = 1 << 15;

/// Rights on a folder.
pub(super) const READ_FOLDER: u64 = 1 << 3;
const MAKE_CHARACTER_DEVICE: u64 = 1 << 6;
const MAKE_BLOCK_DEVICE: u64 = 1 << 11;
const LINK_ELSEWHERE: u64 = 1 << 13;

/// All rights of the first version: the 13 lowest bits.
const FIRST_VERSION: u64 = LINK_ELSEWHERE - 1;

/// What a rule on something that is no folder may grant.
pub(super) const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEVICE;

/// Rights on TCP ports.
pub(super) const BIND_TCP: u64 = 1;
pub(super) const CONNECT_TCP: u64 = 1 << 1;

/// Signals reach nobody outside.
const SCOPE_SIGNALS: u64 = 1 << 1;

/// The first version that knows truncation, without which a file can be emptied that must not be written.
pub(super) const FILES_ABI: u32 = 3;
/// The first version that knows TCP.
pub(super) const PORTS_ABI: u32 = 4;
const IOCTL_ABI: u32 = 5;
const SCOPE_ABI: u32 = 6;

/// To write what is below a folder, and to read it. A device that could be made would be a way to all others.
pub(super) const WRITE: u64 = (FIRST_VERSION | LINK_ELSEWHERE | TRUNCATE | IOCTL_DEVICE)
    & !(EXECUTE | MAKE_CHARACTER_DEVICE | MAKE_BLOCK_DEVICE);
/// To read it.
pub(super) const READ: u64 = READ_FILE | READ_FOLDER;

/// What a ruleset denies but for its rules: `struct landlock_ruleset_attr`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Handled {
    pub(super) files: u64,
    pub(super) ports: u64,
    pub(super) scope: u64,
}

/// Every right on files that version `abi` knows and that this one does.
pub(super) fn files_of(abi: u32) -> u64 {
    let since = [
        (2, LINK_ELSEWHERE),
        (FILES_ABI, TRUNCATE),
        (IOCTL_ABI, IOCTL_DEVICE),
    ];
    let known = since.into_iter().filter(|(first, _)| abi >= *first);
    known.fold(FIRST_VERSION, |all, (_, right)| all | right)
}

/// What version `abi` can keep inside.
pub(super) fn scope_of(abi: u32) -> u64 {
    if abi >= SCOPE_ABI { SCOPE_SIGNALS } else { 0 }
}

/// The version of its interface; 0 where the kernel has none, or it is turned off.
pub fn landlock_abi() -> u32 {
    version().unwrap_or(0)
}

/// The same, or why there is none.
pub(super) fn version() -> Result<u32, c_int> {
    const ONLY_VERSION: usize = 1;
    let version = call(libc::SYS_landlock_create_ruleset, [0, 0, ONLY_VERSION, 0])?;
    Ok(u32::try_from(version).unwrap_or(0))
}

/// The number of a new ruleset, closed on exec.
pub(super) fn create(handled: &Handled) -> Result<RawFd, c_int> {
    let attributes = [ptr::from_ref(handled) as usize, size_of::<Handled>(), 0, 0];
    // An older kernel takes what it does not know if it is zero.
    call(libc::SYS_landlock_create_ruleset, attributes).map(raw::descriptor)
}

/// The same, owned.
pub(super) fn create_owned(handled: &Handled) -> io::Result<OwnedFd> {
    let fd = create(handled).map_err(io::Error::from_raw_os_error)?;
    // SAFETY: the kernel has made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Grants `access` to what `path`, a descriptor, stands for, and to what is below it.
pub(super) fn add_path(ruleset: RawFd, path: RawFd, access: u64) -> Result<(), c_int> {
    #[repr(C, packed)]
    struct PathBeneath {
        access: u64,
        parent: c_int,
    }
    const KIND: usize = 1;
    let rule = |access| PathBeneath {
        access,
        parent: path,
    };
    let add = |rule: &PathBeneath| {
        let arguments = [raw::int(ruleset), KIND, ptr::from_ref(rule) as usize, 0];
        call(libc::SYS_landlock_add_rule, arguments)
    };
    match add(&rule(access)) {
        // No folder, to which some of the rights mean nothing.
        Err(libc::EINVAL) if access & !OF_FILES != 0 => add(&rule(access & OF_FILES)),
        added => added,
    }
    .map(drop)
}

/// Grants `access` to a port.
pub(super) fn add_port(ruleset: RawFd, port: u16, access: u64) -> Result<(), c_int> {
    const KIND: usize = 2;
    // The kernel's struct landlock_net_port_attr.
    let rule = [access, u64::from(port)];
    let arguments = [raw::int(ruleset), KIND, rule.as_ptr() as usize, 0];
    call(libc::SYS_landlock_add_rule, arguments).map(drop)
}

/// Restricts the calling task to `ruleset`, for good.
pub(super) fn restrict(ruleset: RawFd) -> Result<(), c_int> {
    call(
        libc::SYS_landlock_restrict_self,
        [raw::int(ruleset), 0, 0, 0],
    )
    .map(drop)
}

fn call(number: c_long, [a, b, c, d]: [usize; 4]) -> raw::Answer {
    // SAFETY: the calls here read live structs of their callers, and act on rulesets and on this task alone.
    unsafe { raw::syscall(number, [a, b, c, d, 0, 0]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel's landlock.h counts them: ABI 1 has 13 rights, 2 has 14, 3 has 15, 5 has 16.
    #[test]
    fn each_version_knows_the_rights_of_its_time() {
        let counts = (1..=8).map(|abi| files_of(abi).count_ones());
        assert_eq!(counts.collect::<Vec<_>>(), [13, 14, 15, 15, 16, 16, 16, 16]);
        assert_eq!(scope_of(5), 0);
        assert_eq!(scope_of(6), SCOPE_SIGNALS);
    }

    #[test]
    fn no_way_to_write_executes_or_makes_devices() {
        assert_eq!(WRITE & (EXECUTE | 1 << 6 | 1 << 11), 0);
        assert_eq!(WRITE & READ, READ);
        assert_eq!(READ & (EXECUTE | WRITE_FILE | TRUNCATE), 0);
    }
}
