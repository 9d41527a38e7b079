//! The user database: who a name or number is, and whether the server may become that user.

#![expect(unsafe_code, reason = "the user database is reached through libc")]

use std::{
    collections::BTreeSet,
    ffi::{CStr, CString, OsString, c_char},
    io,
    os::unix::ffi::OsStringExt,
    path::PathBuf,
    ptr,
};

use rustix::{process::Gid, thread::CapabilitySet};

use super::{error::StartError, plan::Identity};

/// Longest entry of the user database that is read; names and paths have limits far below.
const MAX_ENTRY_BYTES: usize = 64 * 1024;

/// More groups than this are an error of the database.
const MAX_GROUPS: usize = 65_536;

/// Where somebody without an entry in the user database is at home, and with which shell.
const NO_HOME: &str = "/";
const NO_SHELL: &str = "/bin/sh";

/// A user that a command may run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) name: OsString,
    pub(super) home: PathBuf,
    pub(super) shell: OsString,
}

impl User {
    /// The user that `text` names: a login name; failing that, a number, whether the database knows it or not; or
    /// `UID:GID`, which is in no other group. May take as long as the user database does.
    pub(super) fn find(text: &str) -> Result<Self, StartError> {
        let not_found = || StartError::UserNotFound {
            user: text.to_owned(),
        };
        let find = || -> io::Result<Option<Self>> {
            if let Some((uid, gid)) = text.split_once(':') {
                let (Some(uid), Some(gid)) = (number(uid), number(gid)) else {
                    return Ok(None);
                };
                let user = Self::by_uid(uid)?.unwrap_or_else(|| Self::unknown(uid));
                let groups = vec![gid];
                return Ok(Some(Self {
                    gid,
                    groups,
                    ..user
                }));
            }
            let Ok(name) = CString::new(text) else {
                return Ok(None);
            };
            let by_name = lookup(|entry, buffer, size, result| {
                // SAFETY: `lookup` gives a live entry, a buffer of that size and a place for the result.
                unsafe { libc::getpwnam_r(name.as_ptr(), entry, buffer, size, result) }
            })?;
            let user = match (by_name, number(text)) {
                (Some(user), _) => user,
                (None, Some(uid)) => match Self::by_uid(uid)? {
                    Some(user) => user,
                    None => return Ok(Some(Self::unknown(uid))),
                },
                (None, None) => return Ok(None),
            };
            let groups = user.read_groups()?;
            Ok(Some(Self { groups, ..user }))
        };
        find()
            .map_err(StartError::resources("read the user database"))?
            .ok_or_else(not_found)
    }

    fn by_uid(uid: u32) -> io::Result<Option<Self>> {
        lookup(|entry, buffer, size, result| {
            // SAFETY: `lookup` gives a live entry, a buffer of that size and a place for the result.
            unsafe { libc::getpwuid_r(uid, entry, buffer, size, result) }
        })
    }

    /// A number that the database does not know. Its group has the same one: 0 would be root's.
    fn unknown(uid: u32) -> Self {
        Self {
            uid,
            gid: uid,
            groups: vec![uid],
            name: uid.to_string().into(),
            home: NO_HOME.into(),
            shell: NO_SHELL.into(),
        }
    }

    fn read_groups(&self) -> io::Result<Vec<u32>> {
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

/// A user's or group's number. The last one means nobody: the kernel takes it for "unchanged".
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits)?;
    (number != u32::MAX).then_some(number)
}

/// Who the server itself is.
#[derive(Debug)]
pub(super) struct Own {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    may_switch: bool,
}

impl Own {
    pub(super) fn read() -> io::Result<Self> {
        let groups = rustix::process::getgroups()?;
        Ok(Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            groups: groups.into_iter().map(Gid::as_raw).collect(),
            may_switch: may_switch(),
        })
    }

    pub(super) fn uid(&self) -> u32 {
        self.uid
    }

    /// User, group, and all groups.
    pub(super) fn ids(&self) -> (u32, u32, &[u32]) {
        (self.uid, self.gid, &self.groups)
    }

    /// Whether the server has the right to become another user.
    pub(super) fn may_switch(&self) -> bool {
        self.may_switch
    }

    /// The identity to take on to be `user`, whom the caller calls `text`; `None` where the server is that already, or as
    /// much of it as it may be.
    pub(super) fn becomes(&self, user: &User, text: &str) -> Result<Option<Identity>, StartError> {
        let groups = |gid, groups: &[u32]| -> BTreeSet<u32> {
            groups.iter().copied().chain([gid]).collect()
        };
        let is_same = (self.uid, self.gid) == (user.uid, user.gid)
            && groups(self.gid, &self.groups) == groups(user.gid, &user.groups);
        if is_same {
            return Ok(None);
        }
        if self.may_switch {
            return Ok(Some(Identity {
                uid: user.uid,
                gid: user.gid,
                groups: user.groups.clone(),
            }));
        }
        if self.uid == user.uid && (!text.contains(':') || self.gid == user.gid) {
            return Ok(None);
        }
        Err(StartError::UserSwitch {
            user: text.to_owned(),
            why: "remexd runs without the right to switch users (CAP_SETUID, CAP_SETGID)".into(),
        })
    }
}

/// A user as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub uid: u32,
    /// Its first group.
    pub gid: u32,
    /// All of its groups.
    pub groups: Vec<u32>,
}

/// Who `text` is, as for [`super::CommandSpec::user`]. May take as long as the user database does.
pub fn account(text: &str) -> Result<Account, StartError> {
    let User {
        uid, gid, groups, ..
    } = User::find(text)?;
    Ok(Account { uid, gid, groups })
}

/// The groups of the user `uid`; of one that the database does not know, none. May take as long as that does.
pub fn groups_of(uid: u32) -> io::Result<Vec<u32>> {
    match User::by_uid(uid)? {
        Some(user) => user.read_groups(),
        None => Ok(Vec::new()),
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
        groups: Vec::new(),
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
        assert!(root.groups.contains(&0));
    }

    #[test]
    fn a_number_that_the_database_does_not_know_is_a_user() {
        let user = User::find("4123456789").unwrap();
        assert_eq!((user.uid, user.gid), (4_123_456_789, 4_123_456_789));
        assert_eq!(user.groups, [4_123_456_789]);
        assert_eq!(user.home.to_str(), Some("/"));
        assert_eq!(user.shell, "/bin/sh");
    }

    #[test]
    fn a_user_and_a_group_by_their_numbers() {
        let user = User::find("0:7").unwrap();
        assert_eq!((user.uid, user.gid, &user.groups[..]), (0, 7, &[7][..]));
        assert_eq!(user.home, User::find("root").unwrap().home);
    }

    #[test]
    fn an_unknown_user_is_an_error() {
        for text in [
            "no-such-user-here",
            "4294967295",
            "4294967296",
            "",
            "a\0b",
            "0:",
            ":0",
            "0:a",
            "+0",
            "0:0:0",
            "0:4294967295",
        ] {
            assert!(
                matches!(User::find(text), Err(StartError::UserNotFound { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn the_user_that_the_server_is_needs_no_right() {
        let own = |may_switch| Own {
            uid: 0,
            gid: 0,
            groups: vec![],
            may_switch,
        };
        let root = User {
            groups: vec![0],
            ..User::find("0:0").unwrap()
        };
        for may_switch in [false, true] {
            assert_eq!(own(may_switch).becomes(&root, "root").unwrap(), None);
        }
        // Other groups are as far as it gets without the right to change them.
        let groups = User {
            groups: vec![0, 7],
            ..root.clone()
        };
        assert_eq!(own(false).becomes(&groups, "root").unwrap(), None);
        assert!(own(true).becomes(&groups, "root").unwrap().is_some());
        // But not where they were asked for.
        let other = User { gid: 7, ..root };
        let refused = own(false).becomes(&other, "0:7");
        assert!(matches!(refused, Err(StartError::UserSwitch { .. })));
    }
}
