//! Stacks for children that share this memory.

#![expect(unsafe_code, reason = "a mapping is a raw pointer")]

use std::{ffi::c_void, io, ptr};

/// Bytes for the child between clone and exec; it calls a dozen syscalls and nothing deep.
const STACK_BYTES: usize = 64 * 1024;

/// The largest page size of the machines that `call` is written for.
const GUARD_BYTES: usize = 64 * 1024;

/// A mapped stack with a guard page below it.
#[derive(Debug)]
pub(super) struct Stack {
    map: *mut c_void,
    base: *mut c_void,
}

impl Stack {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: a new private mapping, placed by the kernel.
        let map = unsafe {
            libc::mmap(
                ptr::null_mut(),
                GUARD_BYTES + STACK_BYTES,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
                -1,
                0,
            )
        };
        if map == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: within the mapping.
        let base = unsafe { map.byte_add(GUARD_BYTES) };
        let stack = Self { map, base };
        // SAFETY: the upper part of the mapping made above.
        let result =
            unsafe { libc::mprotect(base, STACK_BYTES, libc::PROT_READ | libc::PROT_WRITE) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stack)
    }

    /// Its lowest address, and its size.
    pub(super) fn range(&self) -> (*mut c_void, usize) {
        (self.base, STACK_BYTES)
    }
}

// SAFETY: memory that this alone owns.
unsafe impl Send for Stack {}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; `Birth` forgets a stack that a child may be on.
        unsafe { libc::munmap(self.map, GUARD_BYTES + STACK_BYTES) };
    }
}
