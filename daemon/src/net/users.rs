//! Which local users may connect. The daemon's own user and root always may: they could read its memory anyway.

use std::{collections::BTreeSet, fmt, io};

use super::names;

/// The most names that one list may have.
const MAX_USERS: usize = 1000;
const ROOT: u32 = 0;

/// The local users that may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Users {
    everybody: bool,
    ids: BTreeSet<u32>,
}

/// The list of users is not usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsersError {
    /// Nothing between two commas.
    #[error("a user in the list is empty; separate names, numbers or * by single commas")]
    Empty,
    /// Nobody has that name.
    #[error("there is no user `{0}` on this machine")]
    Unknown(String),
    /// Too many.
    #[error("more than {MAX_USERS} users; use * for all")]
    TooMany,
    /// The user database failed.
    #[error("user `{name}` could not be looked up")]
    LookUp {
        /// Who was asked for.
        name: String,
        /// What came instead.
        source: io::Error,
    },
}

impl Users {
    /// The user that the daemon runs as, and root.
    pub fn daemon() -> Self {
        Self {
            everybody: false,
            ids: BTreeSet::from([ROOT, rustix::process::geteuid().as_raw()]),
        }
    }

    /// [`Self::daemon`] and those in `list`: names, numbers or `*` for all, separated by commas. It may block.
    pub fn parse(list: &str) -> Result<Self, UsersError> {
        let mut users = Self::daemon();
        for (count, name) in list.split(',').map(str::trim).enumerate() {
            if count == MAX_USERS {
                return Err(UsersError::TooMany);
            }
            match name {
                "" => return Err(UsersError::Empty),
                "*" => users.everybody = true,
                name => {
                    users.ids.insert(look_up(name)?);
                }
            }
        }
        Ok(users)
    }

    /// Whether processes of the user `uid` may connect.
    pub fn allows(&self, uid: u32) -> bool {
        self.everybody || self.ids.contains(&uid)
    }

    /// Who they are, for a sentence: `local users root (0), 1000 and 1001`.
    pub fn explain(&self) -> String {
        if self.everybody {
            return "all local users".to_owned();
        }
        let name = |id: &u32| match *id {
            ROOT => format!("root ({ROOT})"),
            id => id.to_string(),
        };
        let mut names: Vec<_> = self.ids.iter().map(name).collect();
        match names.pop() {
            Some(last) if names.is_empty() => format!("local user {last}"),
            Some(last) => format!("local users {} and {last}", names.join(", ")),
            None => "no local user".to_owned(),
        }
    }
}

fn look_up(name: &str) -> Result<u32, UsersError> {
    match names::user_id(name) {
        Ok(Some(uid)) => Ok(uid),
        Ok(None) => Err(UsersError::Unknown(name.to_owned())),
        Err(source) => Err(UsersError::LookUp {
            name: name.to_owned(),
            source,
        }),
    }
}

impl fmt::Display for Users {
    /// The numbers, or `*`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.everybody {
            return f.write_str("*");
        }
        for (index, id) in self.ids.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{id}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_user_and_root_are_always_in() {
        let own = rustix::process::geteuid().as_raw();
        for users in [Users::daemon(), Users::parse("4321").unwrap()] {
            assert!(users.allows(own) && users.allows(0));
            assert!(!users.allows(4322));
        }
    }

    #[test]
    fn who_they_are_is_told_in_words() {
        let users = |ids: &[u32]| Users {
            everybody: false,
            ids: ids.iter().copied().collect(),
        };
        assert_eq!(users(&[0]).explain(), "local user root (0)");
        assert_eq!(users(&[0, 5]).explain(), "local users root (0) and 5");
        assert_eq!(users(&[9, 0, 5]).explain(), "local users root (0), 5 and 9");
        assert_eq!(Users::parse("*").unwrap().explain(), "all local users");
    }

    #[test]
    fn lists_add() {
        let users = Users::parse("root, 4321").unwrap();
        assert!(users.allows(4321));
        assert!(users.to_string().contains("4321"));
        let users = Users::parse("4321,*").unwrap();
        assert!(users.allows(4322));
        assert_eq!(users.to_string(), "*");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |list: &str| Users::parse(list).unwrap_err();
        assert!(matches!(error(""), UsersError::Empty));
        assert!(matches!(error("0,,1"), UsersError::Empty));
        assert!(
            matches!(error("no-such-name"), UsersError::Unknown(name) if name == "no-such-name")
        );
        assert!(matches!(error("-1"), UsersError::Unknown(_)));
    }

    #[test]
    fn a_list_has_an_end() {
        let list = |count| vec!["1"; count].join(",");
        assert!(Users::parse(&list(MAX_USERS)).is_ok());
        assert!(matches!(
            Users::parse(&list(MAX_USERS + 1)),
            Err(UsersError::TooMany)
        ));
    }
}
