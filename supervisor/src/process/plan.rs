//! A command as it will be executed: everything looked up and decided, so that what was checked is what runs. It crosses
//! to the zygote as it is, where a child of that does what it says.

use std::{
    ffi::{CString, c_int, c_uint},
    os::fd::OwnedFd,
};

use rustix::process::{Resource, getrlimit};

use super::{error::StartError, isolation::confine::Confinement};
use crate::codec::{Decoder, Encoder};

/// Longest plan that crosses to another process: the kernel executes nothing longer.
pub(crate) const MAX_PLAN_BYTES: usize = 8 * 1024 * 1024;

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

/// What tells a file from every other one, and from itself after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
    /// When it, its mode or its name was changed last.
    pub(crate) changed: (i64, u32),
}

impl FileId {
    /// No file's.
    pub(crate) const NONE: Self = Self {
        device: (0, 0),
        inode: 0,
        changed: (0, 0),
    };
}

/// A file that somebody has judged: it is executed, or nothing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Absolute, and without links.
    pub(crate) path: CString,
    pub(crate) id: FileId,
    /// A script, whose interpreter has to find it by its path.
    pub(crate) by_path: bool,
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
    /// What it gives up.
    pub(crate) confinement: Option<Confinement>,
    /// What `program` has to be, and then `directory` is without links too; `None`: whatever is there.
    pub(crate) judged: Option<Judged>,
}

/// A plan, and what goes with it that is no bytes.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    /// The ruleset of Landlock that its confinement names.
    pub(crate) ruleset: Option<OwnedFd>,
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

    /// Whether a ruleset of Landlock comes along.
    pub(crate) fn has_ruleset(&self) -> bool {
        let confinement = self.confinement.as_ref();
        confinement.is_some_and(|confinement| confinement.has_ruleset)
    }

    /// For another process.
    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.bool(self.or_root);
        out.bool(self.terminal);
        out.c_str(&self.program);
        out.c_str(&self.directory);
        out.list(&self.argv, |out, string| out.c_str(string));
        out.list(&self.environment, |out, string| out.c_str(string));
        out.list(&self.reset, |out, signal| out.i32(*signal));
        out.list(&self.limits, |out, limit| {
            out.u32(limit.resource);
            out.u64(limit.soft);
            out.u64(limit.hard);
        });
        out.option(self.niceness, Encoder::i32);
        out.option(self.identity.as_ref(), |out, identity| {
            out.u32(identity.uid);
            out.u32(identity.gid);
            out.list(&identity.groups, |out, group| out.u32(*group));
        });
        out.option(self.confinement.as_ref(), |out, confinement| {
            confinement.encode(out);
        });
        out.option(self.judged.as_ref(), |out, judged| {
            let FileId {
                device,
                inode,
                changed,
            } = judged.id;
            out.c_str(&judged.path);
            out.bool(judged.by_path);
            out.u32(device.0);
            out.u32(device.1);
            out.u64(inode);
            out.u64(changed.0.cast_unsigned());
            out.u32(changed.1);
        });
    }

    /// What [`Self::encode`] has put; `None` for anything else.
    pub(crate) fn decode(from: &mut Decoder<'_>) -> Option<Self> {
        Some(Self {
            or_root: from.bool()?,
            terminal: from.bool()?,
            program: from.c_string()?,
            directory: from.c_string()?,
            argv: from.list(Decoder::c_string)?,
            environment: from.list(Decoder::c_string)?,
            reset: from.list(Decoder::i32)?,
            limits: from.list(|from| {
                Some(Rlimit {
                    resource: from.u32()?,
                    soft: from.u64()?,
                    hard: from.u64()?,
                })
            })?,
            niceness: from.option(Decoder::i32)?,
            identity: from.option(|from| {
                Some(Identity {
                    uid: from.u32()?,
                    gid: from.u32()?,
                    groups: from.list(Decoder::u32)?,
                })
            })?,
            confinement: from.option(Confinement::decode)?,
            judged: from.option(|from| {
                Some(Judged {
                    path: from.c_string()?,
                    by_path: from.bool()?,
                    id: FileId {
                        device: (from.u32()?, from.u32()?),
                        inode: from.u64()?,
                        changed: (from.u64()?.cast_signed(), from.u32()?),
                    },
                })
            })?,
        })
    }
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
            confinement: Some(Confinement {
                has_ruleset: true,
                own_network: false,
                filter: vec![1, u64::MAX],
            }),
            judged: Some(Judged {
                path: c"/usr/bin/dash".into(),
                id: FileId {
                    device: (8, 1),
                    inode: 7,
                    changed: (-1, 5),
                },
                by_path: false,
            }),
        }
    }

    fn encoded(plan: &Plan) -> Vec<u8> {
        let mut out = Encoder::default();
        plan.encode(&mut out);
        out.into_bytes()
    }

    fn decoded(bytes: &[u8]) -> Option<Plan> {
        let mut from = Decoder::new(bytes);
        Plan::decode(&mut from).filter(|_| from.is_at_end())
    }

    #[test]
    fn a_plan_arrives_as_it_was_sent_or_not_at_all() {
        let bytes = encoded(&plan());
        assert_eq!(decoded(&bytes), Some(plan()));
        for length in 0..bytes.len() {
            assert_eq!(decoded(&bytes[..length]), None, "{length}");
        }
        assert_eq!(decoded(&[&bytes[..], b"x"].concat()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_plan_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            if let Some(plan) = decoded(&bytes) {
                prop_assert_eq!(decoded(&encoded(&plan)), Some(plan));
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
