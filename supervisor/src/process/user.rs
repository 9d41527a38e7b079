//! The user database: who a name or number is, and whether the server may become that user.

#![expect(unsafe_code, reason = "the user database is reached through libc")]

use std::{
    ffi::{CStr, CString, OsString, c_char},
    io,
    os::unix::ffi::OsStringExt,
    path::PathBuf,
    ptr,
};

use rustix::thread::CapabilitySet;

use super::{child::Identity, error::StartError};

/// Longest entry of the user database that is read; names and paths have limits far below.
const MAX_ENTRY_BYTES: usize = 64 * 1024;

/// More groups than this are an error of the database.
const MAX_GROUPS: usize = 65_536;

/// An entry of the user database.
#[derive(Debug)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) name: OsString,
    pub(super) home: PathBuf,
    pub(super) shell: OsString,
}

impl User {
    /// The user that `text` names: a login name or, failing that, a number.
    pub(super) fn find(text: &str) -> Result<Self, StartError> {
        let not_found = || StartError::UserNotFound {
            user: text.to_owned(),
        };
        let name = CString::new(text).map_err(|_| not_found())?;
        let by_name = lookup(|entry, buffer, size, result| {
            // SAFETY: `lookup` gives a live entry, a buffer of that size and a place for the result.
            unsafe { libc::getpwnam_r(name.as_ptr(), entry, buffer, size, result) }
        });
        let found = match (by_name, text.parse::<u32>()) {
            (Ok(None), Ok(uid)) => lookup(|entry, buffer, size, result| {
                // SAFETY: as above.
                unsafe { libc::getpwuid_r(uid, entry, buffer, size, result) }
            }),
            (by_name, _) => by_name,
        };
        found
            .map_err(StartError::resources("read the user database"))?
            .ok_or_else(not_found)
    }

    /// The identity to take on; `None` where the server is that user already and stays as it is.
    pub(super) fn identity(&self, text: &str) -> Result<Option<Identity>, StartError> {
        if may_switch() {
            let groups = self
                .groups()
                .map_err(StartError::resources("read the group database"))?;
            return Ok(Some(Identity {
                uid: self.uid,
                gid: self.gid,
                groups,
            }));
        }
        if rustix::process::geteuid().as_raw() == self.uid {
            return Ok(None);
        }
        Err(StartError::UserSwitch {
            user: text.to_owned(),
            why: "remexd runs without the right to switch users (CAP_SETUID, CAP_SETGID)".into(),
        })
    }

    fn groups(&self) -> io::Result<Vec<u32>> {
        let name = CString::new(self.name.clone().into_vec())?;
        let mut groups = vec![0; 64];
        loop {
            let mut count = libc::c_int::try_from(groups.len()).unwrap_or(libc::c_int::MAX);
            // SAFETY: `groups` has room for `count` ids.
            let result = unsafe {
                libc::getgrouplist(name.as_ptr(), self.gid, groups.as_mut_ptr(), &raw mut count)
            };
            let count = usize::try_from(count).unwrap_or(0);
            if result >= 0 {
                groups.truncate(count);
                return Ok(groups);
            }
            if groups.len() >= MAX_GROUPS {
                return Err(io::Error::other("the user is in too many groups"));
            }
            groups.resize(count.max(groups.len() * 2), 0);
        }
    }
}

/// Whether the server has the right to become another user.
pub fn may_switch() -> bool {
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID;
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

type Query<'a> = &'a mut libc::passwd;

fn lookup(
    query: impl Fn(Query<'_>, *mut c_char, usize, *mut *mut libc::passwd) -> libc::c_int,
) -> io::Result<Option<User>> {
    let mut buffer = vec![0 as c_char; 1024];
    loop {
        // SAFETY: a passwd of zeros holds null pointers, which are valid.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut result = ptr::null_mut();
        match query(
            &mut entry,
            buffer.as_mut_ptr(),
            buffer.len(),
            &raw mut result,
        ) {
            0 if result.is_null() => return Ok(None),
            // SAFETY: the call filled `entry` with strings in `buffer`, which is still alive.
            0 => return Ok(Some(unsafe { read(&entry) })),
            libc::ERANGE if buffer.len() < MAX_ENTRY_BYTES => buffer.resize(buffer.len() * 4, 0),
            // What glibc answers when a source of the database does not know the name.
            libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM => return Ok(None),
            errno => return Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// # Safety
///
/// The pointers of `entry` are null or live C strings.
unsafe fn read(entry: &libc::passwd) -> User {
    let text = |pointer: *const c_char| {
        if pointer.is_null() {
            return OsString::new();
        }
        // SAFETY: the caller vouches for the pointer.
        OsString::from_vec(unsafe { CStr::from_ptr(pointer) }.to_bytes().to_vec())
    };
    User {
        uid: entry.pw_uid,
        gid: entry.pw_gid,
        name: text(entry.pw_name),
        home: text(entry.pw_dir).into(),
        shell: text(entry.pw_shell),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let root = User::find("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(User::find("0").unwrap().name, root.name);
        assert!(root.groups().unwrap().contains(&0));
    }

    #[test]
    fn an_unknown_user_is_an_error() {
        for text in ["no-such-user-here", "4294967290", "", "a\0b"] {
            assert!(
                matches!(User::find(text), Err(StartError::UserNotFound { .. })),
                "{text:?}"
            );
        }
    }
}
