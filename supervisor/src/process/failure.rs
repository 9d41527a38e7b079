//! The failure of a child on its way to its program: how it crosses to another process, and what it means there.

use std::io;

use super::{
    child::{Failure, Step},
    error::{StartError, no_switch},
    isolation::confine::Part,
    limits,
    lookup::{Seen, directory_error, exec_error},
    plan::Plan,
};
use crate::codec::{Decoder, Encoder};

impl Failure {
    /// For another process.
    pub(crate) fn encode(&self, out: &mut Encoder) {
        let (step, index) = match self.step {
            Step::Session => (0, 0),
            Step::Terminal => (1, 0),
            Step::Stdio => (2, 0),
            Step::Limit(index) => (3, u8::try_from(index).unwrap_or(u8::MAX)),
            Step::Niceness => (4, 0),
            Step::Identity => (5, 0),
            Step::WorkingDirectory => (6, 0),
            Step::Exec => (7, 0),
            Step::Isolation(part) => {
                let place = Part::ALL.iter().position(|one| *one == part);
                (
                    8,
                    place
                        .and_then(|place| u8::try_from(place).ok())
                        .unwrap_or(u8::MAX),
                )
            }
        };
        let (seen, why) = match self.seen {
            None => (0, 0),
            Some(Seen::Executable) => (1, 0),
            Some(Seen::Absent) => (2, 0),
            Some(Seen::Refused(errno)) => (3, errno),
            Some(Seen::Folder) => (4, 0),
            Some(Seen::NotExecutable) => (5, 0),
            Some(Seen::Unknown) => (6, 0),
        };
        out.raw(&[step, index, seen]);
        out.i32(self.errno);
        out.i32(why);
    }

    /// What [`Self::encode`] has put; `None` for anything else.
    pub(crate) fn decode(from: &mut Decoder<'_>) -> Option<Self> {
        let [step, index, seen] = from.array()?;
        let (errno, why) = (from.i32()?, from.i32()?);
        let step = match step {
            0 => Step::Session,
            1 => Step::Terminal,
            2 => Step::Stdio,
            3 => Step::Limit(index.into()),
            4 => Step::Niceness,
            5 => Step::Identity,
            6 => Step::WorkingDirectory,
            7 => Step::Exec,
            8 => Step::Isolation(*Part::ALL.get(usize::from(index))?),
            _ => return None,
        };
        let seen = match seen {
            0 => None,
            1 => Some(Seen::Executable),
            2 => Some(Seen::Absent),
            3 => Some(Seen::Refused(why)),
            4 => Some(Seen::Folder),
            5 => Some(Seen::NotExecutable),
            6 => Some(Seen::Unknown),
            _ => return None,
        };
        Some(Self { step, errno, seen })
    }

    /// What it means to the caller of the command that was to be run by `plan`, as `user`.
    pub(crate) fn meaning(self, plan: &Plan, user: Option<&str>) -> StartError {
        let Self { step, errno, seen } = self;
        let source = || io::Error::from_raw_os_error(errno);
        let why = source().to_string();
        let resources = |step| StartError::resources(step)(source());
        match step {
            Step::Session => resources("make a session"),
            Step::Terminal => resources("take the terminal"),
            Step::Stdio => resources("place the streams"),
            Step::Limit(index) => StartError::LimitUnavailable {
                limit: plan.limits.get(index).map_or("limit", limits::name),
                why,
            },
            Step::Niceness => StartError::LimitUnavailable {
                limit: "niceness",
                why,
            },
            Step::Identity => no_switch(user.unwrap_or_default(), &why),
            Step::WorkingDirectory => directory_error(&plan.directory, source()),
            Step::Isolation(part) => StartError::IsolationUnavailable {
                field: part.field(),
                why: format!("{}: {why}", part.name()),
            },
            Step::Exec => match exec_error(&plan.program, seen, errno) {
                StartError::ProgramNotExecutable { program, why }
                    if errno == libc::EACCES && plan.has_ruleset() =>
                {
                    let hint = "isolation.execute_paths has to hold it, and its interpreter if it is a script";
                    StartError::ProgramNotExecutable {
                        program,
                        why: format!("{why}; {hint}"),
                    }
                }
                error => error,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_arrives_as_it_was_sent() {
        for step in [
            Step::Session,
            Step::Terminal,
            Step::Stdio,
            Step::Limit(5),
            Step::Niceness,
            Step::Identity,
            Step::WorkingDirectory,
            Step::Exec,
            Step::Isolation(Part::NoNewPrivileges),
            Step::Isolation(Part::Filter),
        ] {
            for seen in [
                None,
                Some(Seen::Executable),
                Some(Seen::Absent),
                Some(Seen::Refused(libc::EACCES)),
                Some(Seen::Folder),
                Some(Seen::NotExecutable),
                Some(Seen::Unknown),
            ] {
                let failure = Failure {
                    step,
                    errno: libc::ENOENT,
                    seen,
                };
                let mut out = Encoder::default();
                failure.encode(&mut out);
                let bytes = out.into_bytes();
                let mut from = Decoder::new(&bytes);
                assert_eq!(Failure::decode(&mut from), Some(failure));
                assert!(from.is_at_end());
            }
        }
    }
}
