//! How a command ended, in the terms of the old protocol. Pure.

use remex_client::{Exit, ExitReason, Reason, Signal};

/// What a shell says of a program that does not exist.
const NOT_FOUND: u8 = 127;
/// What a shell says of a program that cannot be executed.
const NOT_EXECUTABLE: u8 = 126;

/// How a command ended. The default is what nobody knows: a killed command never looks like success.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ending {
    /// `None` where there is none.
    pub exit_code: Option<u8>,
    /// What killed it, if a signal did.
    pub signal: Option<Signal>,
    /// Its timeout ended it.
    pub timed_out: bool,
}

impl Ending {
    /// What a blank command ends with: success, as in a shell.
    pub fn success() -> Self {
        Self::code(0)
    }

    fn code(code: u8) -> Self {
        Self {
            exit_code: Some(code),
            ..Self::default()
        }
    }

    /// From an execution's end.
    pub fn of(exit: &Exit) -> Self {
        Self {
            exit_code: exit.code,
            signal: exit.signal,
            timed_out: exit.reason == ExitReason::Timeout,
        }
    }

    /// From why it could not be run: 127 and 126 as a shell has it, none for what has no such number.
    pub fn of_refusal(reason: Option<Reason>) -> Self {
        match reason {
            Some(Reason::ProgramNotFound) => Self::code(NOT_FOUND),
            Some(Reason::ProgramNotExecutable) => Self::code(NOT_EXECUTABLE),
            _ => Self::default(),
        }
    }

    /// What stands for empty output where an empty reply would hang the client.
    pub fn no_output(&self) -> String {
        let how = match (self.exit_code, self.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "exit code unknown".to_owned(),
        };
        let why = if self.timed_out { ", timed out" } else { "" };
        format!("(no output, {how}{why})")
    }
}

#[cfg(test)]
mod tests {
    use remex::v1;

    use super::*;

    fn ending(code: Option<i32>, signal: v1::Signal, reason: v1::exit::Reason) -> Ending {
        Ending::of(&Exit::from(v1::Exit {
            code,
            signal: signal.into(),
            reason: reason.into(),
            ..v1::Exit::default()
        }))
    }

    #[test]
    fn a_killed_command_never_looks_like_success() {
        use v1::{Signal as S, exit::Reason as R};
        for (ending, text) in [
            (
                ending(Some(-1), S::Kill, R::Self_),
                "(no output, signal SIGKILL)",
            ),
            (
                ending(Some(-1), S::Term, R::Timeout),
                "(no output, signal SIGTERM, timed out)",
            ),
            (
                ending(None, S::Unspecified, R::LostExit),
                "(no output, exit code unknown)",
            ),
        ] {
            assert_eq!(ending.exit_code, None);
            assert_eq!(ending.no_output(), text);
        }
    }

    #[test]
    fn codes_arrive_as_they_are() {
        for code in [0, 1, 4, 5, 44, 255] {
            let ending = ending(
                Some(code.into()),
                v1::Signal::Unspecified,
                v1::exit::Reason::Self_,
            );
            assert_eq!(ending, Ending::code(code));
            assert_eq!(ending.no_output(), format!("(no output, exit code {code})"));
        }
    }

    #[test]
    fn refusals_have_the_shells_codes() {
        for (reason, code) in [
            (Some(Reason::ProgramNotFound), Some(127)),
            (Some(Reason::ProgramNotExecutable), Some(126)),
            (Some(Reason::Draining), None),
            (None, None),
        ] {
            assert_eq!(Ending::of_refusal(reason).exit_code, code);
        }
    }
}
