//! Names of users and groups, looked up as the C library does (files, LDAP, …). It may block: for start-up alone.
#![expect(unsafe_code, reason = "getpwnam_r and getgrnam_r of the C library")]

use std::{ffi::CString, io, mem::MaybeUninit, ptr};

/// Room for one entry's strings, to begin with.
const BUFFER_FIRST: usize = 4 * 1024;
/// A group's members are part of its entry, and some groups are large.
const BUFFER_MAX: usize = 4 * 1024 * 1024;

/// The number of the user called `name`; a number stands for itself. `None`: there is no such user.
pub(super) fn user_id(name: &str) -> io::Result<Option<u32>> {
    resolve(name, |name, buffer| {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: `name` ends with NUL; `entry` and `buffer` may be written to, for as long as `buffer` is said to be.
        let code = unsafe {
            libc::getpwnam_r(
                name.as_ptr(),
                entry.as_mut_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &raw mut found,
            )
        };
        // SAFETY: where not null, `found` is `entry`, which the call has filled.
        (code, unsafe { found.as_ref() }.map(|entry| entry.pw_uid))
    })
}

/// The number of the group called `name`; a number stands for itself. `None`: there is no such group.
pub fn group_id(name: &str) -> io::Result<Option<u32>> {
    resolve(name, |name, buffer| {
        let mut entry = MaybeUninit::<libc::group>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: as for getpwnam_r above.
        let code = unsafe {
            libc::getgrnam_r(
                name.as_ptr(),
                entry.as_mut_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &raw mut found,
            )
        };
        // SAFETY: where not null, `found` is `entry`, which the call has filled.
        (code, unsafe { found.as_ref() }.map(|entry| entry.gr_gid))
    })
}

/// (u32)-1 means "none" to the kernel, and is nobody's.
const NO_ID: u32 = u32::MAX;

fn resolve(
    name: &str,
    look_up: impl Fn(&CString, &mut [u8]) -> (i32, Option<u32>),
) -> io::Result<Option<u32>> {
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(name.parse().ok().filter(|id| *id != NO_ID));
    }
    let Ok(name) = CString::new(name) else {
        return Ok(None);
    };
    let mut buffer = vec![0; BUFFER_FIRST];
    loop {
        match look_up(&name, &mut buffer) {
            (0, id) => return Ok(id),
            // What C libraries say besides for "not found"; see getpwnam(3).
            (libc::ENOENT | libc::ESRCH, _) => return Ok(None),
            (libc::EINTR, _) => {}
            (libc::ERANGE, _) if buffer.len() < BUFFER_MAX => buffer.resize(buffer.len() * 2, 0),
            (code, _) => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(user_id("root").unwrap(), Some(0));
        assert_eq!(group_id("root").unwrap(), Some(0));
        assert_eq!(user_id("4321").unwrap(), Some(4321));
        assert_eq!(group_id("4321").unwrap(), Some(4321));
        for nobody in ["no-such-name", "", "4294967295", "4294967296", "-1", "a\0b"] {
            assert_eq!(user_id(nobody).unwrap(), None, "{nobody:?}");
            assert_eq!(group_id(nobody).unwrap(), None, "{nobody:?}");
        }
    }

    #[test]
    fn a_large_entry_gets_more_room() {
        let sizes = std::cell::RefCell::new(Vec::new());
        let result = resolve("name", |_, buffer| {
            sizes.borrow_mut().push(buffer.len());
            (libc::ERANGE, None)
        });
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ERANGE));
        assert_eq!(sizes.borrow().first(), Some(&BUFFER_FIRST));
        assert_eq!(sizes.borrow().last(), Some(&BUFFER_MAX));
    }
}
