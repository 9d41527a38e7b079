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
    /// What the server ended it for.
    pub cause: Option<Cause>,
}

/// What the server ended a command for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its time was over.
    Timeout,
    /// The server shut down.
    Shutdown,
    /// The client was taken to be gone.
    Disconnect,
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
            cause: match exit.reason {
                ExitReason::Timeout => Some(Cause::Timeout),
                ExitReason::Shutdown => Some(Cause::Shutdown),
                ExitReason::Disconnect => Some(Cause::Disconnect),
                _ => None,
            },
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
        format!("(no output, {how})\n")
    }

    /// The line that says so where a command did not end by itself, for wires that tell no status.
    pub fn ended(&self) -> Option<String> {
        let why = match (self.cause, self.signal) {
            (Some(Cause::Timeout), _) => "its timeout".to_owned(),
            (Some(Cause::Shutdown), _) => "the server's shutdown".to_owned(),
            (Some(Cause::Disconnect), _) => "the loss of its client".to_owned(),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => return None,
        };
        Some(format!("[remex: the command was ended by {why}]"))
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
    fn pitfall_64_a_killed_command_never_looks_like_success() {
        use v1::{Signal as S, exit::Reason as R};
        let by = |why: &str| Some(format!("[remex: the command was ended by {why}]"));
        for (ending, text, ended) in [
            (
                ending(Some(-1), S::Kill, R::Self_),
                "(no output, signal SIGKILL)\n",
                by("signal SIGKILL"),
            ),
            (
                ending(Some(-1), S::Term, R::Signal),
                "(no output, signal SIGTERM)\n",
                by("signal SIGTERM"),
            ),
            (
                ending(Some(-1), S::Term, R::Timeout),
                "(no output, signal SIGTERM)\n",
                by("its timeout"),
            ),
            // It may catch the signal and exit with any code.
            (
                ending(Some(0), S::Unspecified, R::Timeout),
                "(no output, exit code 0)\n",
                by("its timeout"),
            ),
            (
                ending(Some(0), S::Unspecified, R::Shutdown),
                "(no output, exit code 0)\n",
                by("the server's shutdown"),
            ),
            (
                ending(Some(-1), S::Kill, R::Disconnect),
                "(no output, signal SIGKILL)\n",
                by("the loss of its client"),
            ),
            (
                ending(None, S::Unspecified, R::LostExit),
                "(no output, exit code unknown)\n",
                None,
            ),
        ] {
            assert_eq!(ending.no_output(), text);
            assert_eq!(ending.ended(), ended);
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
            assert_eq!(
                ending.no_output(),
                format!("(no output, exit code {code})\n")
            );
            assert_eq!(ending.ended(), None);
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
