//! A command as it will be executed: everything looked up and decided, so that what was checked is what runs. It crosses
//! to the zygote as it is, where a child of that does what it says.

use std::ffi::{CString, c_int, c_uint};

use rustix::process::{Resource, getrlimit};

use super::error::StartError;

/// Longest plan that crosses to another process: the kernel executes nothing longer.
pub(crate) const MAX_PLAN_BYTES: usize = 8 * 1024 * 1024;

/// Most arguments and variables together; also most groups of a user.
pub const MAX_STRINGS: usize = 65_536;

/// The user to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

/// One `prlimit64` call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rlimit {
    pub(crate) resource: c_uint,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// What a child does before it executes a program, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Relative to `directory` if it is relative.
    pub(crate) program: CString,
    pub(crate) argv: Vec<CString>,
    /// `NAME=VALUE` each.
    pub(crate) environment: Vec<CString>,
    /// `None`: the server's own.
    pub(crate) identity: Option<Identity>,
    pub(crate) directory: CString,
    /// Where `directory` cannot be entered, `/` will do.
    pub(crate) or_root: bool,
    pub(crate) limits: Vec<Rlimit>,
    pub(crate) niceness: Option<c_int>,
    /// fd 0 is a terminal that is to be the session's own.
    pub(crate) terminal: bool,
    /// Signals whose action is set to the default.
    pub(crate) reset: Vec<c_int>,
}

/// How much of arguments and environment the kernel takes from a child of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ArgumentRoom(usize);

impl ArgumentRoom {
    /// By this process's limit on its stack, which children inherit: a quarter of it, at least 128 KiB and at most three
    /// quarters of 8 MiB.
    pub(super) fn here() -> Self {
        let stack = getrlimit(Resource::Stack).current;
        let stack = stack.and_then(|bytes| usize::try_from(bytes).ok());
        Self(
            stack
                .map_or(usize::MAX, |bytes| bytes / 4)
                .clamp(128 * 1024, 6 * 1024 * 1024),
        )
    }

    /// Whether what `plan` executes fits.
    pub(super) fn check(self, plan: &Plan) -> Result<(), StartError> {
        let count = plan.argv.len().saturating_add(plan.environment.len());
        if count > MAX_STRINGS {
            return Err(StartError::TooLarge(format!(
                "arguments and environment are {count} strings, and {MAX_STRINGS} are taken; pass data on stdin"
            )));
        }
        let string = |string: &CString| string.as_bytes_with_nul().len();
        let strings: usize = plan.argv.iter().chain(&plan.environment).map(string).sum();
        let bytes = strings + string(&plan.program) + count * size_of::<usize>();
        if bytes > self.0 {
            return Err(StartError::TooLarge(format!(
                "arguments and environment take {bytes} bytes with their pointers, and the kernel takes {}; pass data on stdin",
                self.0
            )));
        }
        Ok(())
    }
}

impl Plan {
    /// For another process.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let flags = u32::from(self.or_root) | u32::from(self.terminal) << 1;
        put(&mut out, flags);
        put_string(&mut out, &self.program);
        put_string(&mut out, &self.directory);
        put_all(&mut out, &self.argv, put_string);
        put_all(&mut out, &self.environment, put_string);
        put_all(&mut out, &self.reset, |out, signal| {
            put(out, signal.cast_unsigned())
        });
        put_all(&mut out, &self.limits, |out, limit| {
            put(out, limit.resource);
            out.extend(limit.soft.to_le_bytes());
            out.extend(limit.hard.to_le_bytes());
        });
        put_all(&mut out, self.niceness.as_slice(), |out, niceness| {
            put(out, niceness.cast_unsigned());
        });
        put_all(&mut out, self.identity.as_slice(), |out, identity| {
            put(out, identity.uid);
            put(out, identity.gid);
            put_all(out, &identity.groups, |out, group| put(out, *group));
        });
        out
    }

    /// What [`Self::encode`] has made; `None` for anything else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let rest = &mut rest;
        let flags = take(rest)?;
        let plan = Self {
            or_root: flags & 1 != 0,
            terminal: flags & 2 != 0,
            program: take_string(rest)?,
            directory: take_string(rest)?,
            argv: take_all(rest, take_string)?,
            environment: take_all(rest, take_string)?,
            reset: take_all(rest, |rest| take(rest).map(u32::cast_signed))?,
            limits: take_all(rest, |rest| {
                Some(Rlimit {
                    resource: take(rest)?,
                    soft: take_u64(rest)?,
                    hard: take_u64(rest)?,
                })
            })?,
            niceness: take_all(rest, |rest| take(rest).map(u32::cast_signed))?.pop(),
            identity: take_all(rest, |rest| {
                Some(Identity {
                    uid: take(rest)?,
                    gid: take(rest)?,
                    groups: take_all(rest, take)?,
                })
            })?
            .pop(),
        };
        rest.is_empty().then_some(plan)
    }
}

fn put(out: &mut Vec<u8>, number: u32) {
    out.extend(number.to_le_bytes());
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    // Nothing that is executed comes near it, and what did would not be decoded.
    put(out, u32::try_from(length).unwrap_or(u32::MAX));
}

fn put_string(out: &mut Vec<u8>, string: &CString) {
    put_length(out, string.as_bytes().len());
    out.extend(string.as_bytes());
}

fn put_all<T>(out: &mut Vec<u8>, all: &[T], put_one: impl Fn(&mut Vec<u8>, &T)) {
    put_length(out, all.len());
    for one in all {
        put_one(out, one);
    }
}

fn take(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u32::from_le_bytes(*bytes))
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    let (bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u64::from_le_bytes(*bytes))
}

fn take_string(rest: &mut &[u8]) -> Option<CString> {
    let length = usize::try_from(take(rest)?).ok()?;
    let (bytes, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    CString::new(bytes).ok()
}

fn take_all<T>(rest: &mut &[u8], take_one: impl Fn(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let count = usize::try_from(take(rest)?).ok()?;
    if count > MAX_STRINGS {
        return None;
    }
    (0..count).map(|_| take_one(rest)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan() -> Plan {
        Plan {
            program: c"/bin/sh".into(),
            argv: vec![c"sh".into(), c"".into()],
            environment: vec![c"A=1".into()],
            identity: Some(Identity {
                uid: 1,
                gid: 2,
                groups: vec![2, 3],
            }),
            directory: c"/".into(),
            or_root: true,
            limits: vec![Rlimit {
                resource: 7,
                soft: 9,
                hard: u64::MAX,
            }],
            niceness: Some(-5),
            terminal: false,
            reset: vec![13],
        }
    }

    #[test]
    fn a_plan_arrives_as_it_was_sent_or_not_at_all() {
        let bytes = plan().encode();
        assert_eq!(Plan::decode(&bytes), Some(plan()));
        for length in 0..bytes.len() {
            assert_eq!(Plan::decode(&bytes[..length]), None, "{length}");
        }
        assert_eq!(Plan::decode(&[&bytes[..], b"x"].concat()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_plan_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            if let Some(plan) = Plan::decode(&bytes) {
                prop_assert_eq!(Plan::decode(&plan.encode()), Some(plan));
            }
        }
    }

    #[test]
    fn pitfall_52_what_the_kernel_does_not_take_is_refused_before_any_work() {
        let check = |plan: &Plan| ArgumentRoom::here().check(plan);
        let mut many = plan();
        many.argv = vec![c"".into(); MAX_STRINGS - 1];
        assert!(check(&many).is_ok());
        many.argv.push(c"".into());
        assert!(matches!(check(&many), Err(StartError::TooLarge(_))));
        let mut exact = plan();
        let own = |plan: &Plan| {
            let strings = plan.argv.iter().chain(&plan.environment);
            let bytes: usize = strings
                .map(|string| string.as_bytes_with_nul().len() + 8)
                .sum();
            bytes + plan.program.as_bytes_with_nul().len()
        };
        exact.argv = vec![c"sh".into()];
        let ArgumentRoom(room) = ArgumentRoom::here();
        let left = room - own(&exact) - 9;
        exact.argv.push(CString::new(vec![b'x'; left]).unwrap());
        assert_eq!(own(&exact), room);
        assert!(check(&exact).is_ok());
        exact.argv[0] = c"sh2".into();
        assert!(matches!(check(&exact), Err(StartError::TooLarge(_))));
    }
}
