//! Syscalls without libc's `errno`: a child that shares memory with a thread shares its thread-local storage too, and runs
//! beside it.

#![expect(unsafe_code, reason = "the syscall instruction itself")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::many_single_char_names,
    reason = "registers hold what they are given, whatever it means"
)]

use std::{
    arch::asm,
    ffi::{c_int, c_long, c_ulong},
};

/// What a syscall answers: a value, or the number of its error.
pub(crate) type Answer = Result<usize, i32>;

/// The request of ioctl(2), which is of another type in each libc.
pub(crate) const TIOCSCTTY: usize = libc::TIOCSCTTY as usize;

/// Calls the kernel.
///
/// # Safety
///
/// The arguments must be what the syscall `number` takes, and its effect must be sound.
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn syscall(number: c_long, arguments: [usize; 6]) -> Answer {
    let [a, b, c, d, e, f] = arguments;
    let mut result = number;
    // SAFETY: the kernel changes rax, rcx and r11, and what the caller vouches for.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer(result as isize)
}

/// Calls the kernel.
///
/// # Safety
///
/// The arguments must be what the syscall `number` takes, and its effect must be sound.
#[cfg(target_arch = "aarch64")]
pub(crate) unsafe fn syscall(number: c_long, arguments: [usize; 6]) -> Answer {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the kernel changes x0, and what the caller vouches for.
    unsafe {
        asm!(
            "svc #0",
            inlateout("x0") a => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            in("x5") f,
            in("x8") number,
            options(nostack),
        );
    }
    answer(result)
}

/// From what the kernel leaves in the register: the last 4,095 values are errors.
pub(crate) fn answer(result: isize) -> Answer {
    const LAST_ERROR: isize = -4095;
    match result {
        LAST_ERROR..0 => Err((result as i32).wrapping_neg()),
        _ => Ok(result as usize),
    }
}

/// A C int as a register holds it.
pub(crate) fn int(value: c_int) -> usize {
    value as isize as usize
}

/// A C unsigned long as a register holds it.
pub(crate) fn long(value: c_ulong) -> usize {
    value as usize
}

/// A descriptor that the kernel has answered.
pub(crate) fn descriptor(answer: usize) -> c_int {
    answer as c_int
}

/// Ends the calling process.
pub(crate) fn exit(code: u8) -> ! {
    loop {
        // SAFETY: ends this process alone.
        let _ = unsafe { syscall(libc::SYS_exit_group, [code.into(), 0, 0, 0, 0, 0]) };
    }
}
