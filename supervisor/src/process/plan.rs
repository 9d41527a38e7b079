//! A command as it will be executed: everything looked up and decided, so that what was checked is what runs. It crosses
//! to the zygote as it is, where a child of that does what it says.

use std::ffi::{CString, c_int, c_uint};

use rustix::process::{Resource, getrlimit};

use super::error::StartError;

/// Longest plan that crosses to another process: the kernel executes nothing longer.
pub(crate) const MAX_PLAN_BYTES: usize = 8 * 1024 * 1024;

/// Most arguments, variables or groups of a plan.
const MAX_ITEMS: usize = 128 * 1024;

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

/// What execve(2) takes of arguments, variables and their pointers: a quarter of the stack that children may have, between
/// 128 KiB and 6 MiB.
pub fn argument_bytes() -> usize {
    const MIN: u64 = 128 * 1024;
    const MAX: u64 = 6 * 1024 * 1024;
    let stack = getrlimit(Resource::Stack).current;
    let bytes = stack.map_or(MAX, |stack| stack / 4).clamp(MIN, MAX);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

impl Plan {
    /// Whether the kernel takes its arguments and variables, of which it takes `room` bytes.
    pub(super) fn check(&self, room: usize) -> Result<(), StartError> {
        let string = |string: &CString| string.as_bytes_with_nul().len();
        let strings: usize = self.argv.iter().chain(&self.environment).map(string).sum();
        let count = self.argv.len() + self.environment.len();
        let bytes = strings + string(&self.program) + count * size_of::<usize>();
        if bytes <= room {
            return Ok(());
        }
        Err(StartError::TooLarge(format!(
            "arguments and environment take {bytes} bytes with their pointers, and the kernel takes {room}; pass data on stdin"
        )))
    }

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
            put(out, signal.cast_unsigned());
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
    if count > MAX_ITEMS {
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
        // "/bin/sh", "sh", "", "A=1", and three pointers.
        let bytes = 8 + 3 + 1 + 4 + 3 * size_of::<usize>();
        assert!(plan().check(bytes).is_ok());
        let refused = plan().check(bytes - 1);
        assert!(matches!(refused, Err(StartError::TooLarge(_))));
    }
}
