//! What a policy has to know of the machine: who users and groups are, and where links lead. It may take long.

use std::{
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
};

use remex_supervisor::process;

use super::rule::NamedUser;

/// Where names are looked up. Errors are phrases to be put behind the name.
pub trait Machine {
    /// The user of that name or number, or `UID:GID`.
    fn account(&self, name: &str) -> Result<NamedUser, String>;
    /// The number of a group.
    fn group(&self, name: &str) -> Result<u32, String>;
    /// The groups of a user.
    fn groups_of(&self, uid: u32) -> Result<Vec<u32>, String>;
    /// Where links lead from `path`; `None`: there is no such file.
    fn real(&self, path: &[u8]) -> Option<Vec<u8>>;
}

/// This machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn account(&self, name: &str) -> Result<NamedUser, String> {
        let found = process::account(name).map_err(|error| format!("is no user: {error}"))?;
        Ok(NamedUser {
            text: name.to_owned(),
            uid: found.uid,
            gid: found.gid,
        })
    }

    fn group(&self, name: &str) -> Result<u32, String> {
        match remex_daemon::net::group_id(name) {
            Ok(Some(gid)) => Ok(gid),
            Ok(None) => Err("is no group of this machine".to_owned()),
            Err(error) => Err(format!("is a group that cannot be looked up: {error}")),
        }
    }

    fn groups_of(&self, uid: u32) -> Result<Vec<u32>, String> {
        process::groups_of(uid).map_err(|error| format!("the groups of user {uid}: {error}"))
    }

    fn real(&self, path: &[u8]) -> Option<Vec<u8>> {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        let real = fs::canonicalize(path).ok()?;
        Some(real.into_os_string().into_vec())
    }
}
