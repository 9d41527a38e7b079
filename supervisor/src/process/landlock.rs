//! Which Landlock the kernel has.

/// Asks for the version alone.
const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;

/// The version of its interface; 0 where the kernel has none, or it is turned off.
#[expect(
    unsafe_code,
    reason = "neither rustix nor libc has a function for this system call"
)]
pub fn landlock_abi() -> u32 {
    // SAFETY: with this flag the kernel is given no memory, makes no descriptor and only answers a number.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(version).unwrap_or(0)
}
