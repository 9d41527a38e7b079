//! Every way in which remex itself fails: one line on stderr, and the exit code by the contract's rule.

use std::{fmt, io, process::ExitCode};

use remex_client::{ConnectError, Error, Exit, ExitReason, Reason, STATUS_FAILURE, Signal};
use tonic::Status;

use super::{escape, print};

/// Exit code if the program does not exist, as a shell has it.
pub(crate) const STATUS_NOT_FOUND: u8 = 127;
/// Exit code if the program cannot be executed, as a shell has it.
pub(crate) const STATUS_NOT_EXECUTABLE: u8 = 126;

/// Why remex exits without having done what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    /// `None` if there is nobody to tell.
    message: Option<String>,
}

impl Failure {
    /// A failure of remex itself.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            status: STATUS_FAILURE,
            message: Some(message.into()),
        }
    }

    /// The end of a local command by `signal`, silent as that is.
    pub(crate) fn signal(signal: Signal) -> Self {
        Self {
            status: 128 + signal.number(),
            message: None,
        }
    }

    /// stdin cannot be read. The command must not take that for an end, so it is not left running.
    pub(crate) fn stdin(error: &io::Error) -> Self {
        Self::new(format!(
            "cannot read stdin: {error}; the command was ended; -n gives it none"
        ))
    }

    /// stdin of a command that goes on without this side cannot be read.
    pub(crate) fn stdin_of(error: &io::Error, id: &str) -> Self {
        Self::new(format!(
            "cannot read stdin: {error}; the command goes on: `remex attach -n {id}` joins it"
        ))
    }

    /// The same, said in other words.
    pub(crate) fn saying(self, message: String) -> Self {
        Self {
            message: Some(message),
            ..self
        }
    }

    /// The same, of one of several things that were named.
    pub(crate) fn about(mut self, what: &str) -> Self {
        self.message = self.message.map(|message| format!("{what}: {message}"));
        self
    }

    /// Output could not be written. If its reader has gone, a local command would have died of SIGPIPE.
    pub(crate) fn stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::signal(Signal::PIPE);
        }
        Self::new(format!("cannot write the output: {error}"))
    }

    /// The call broke while its command ran. What the server did on purpose has its own words.
    pub(crate) fn while_running(error: Error) -> Self {
        if error.reason().is_some() {
            return error.into();
        }
        Self::new(format!(
            "{error}; the command ends with the connection, so check what it did before you run it again"
        ))
    }

    /// The call broke, and the command goes on without it.
    pub(crate) fn while_attached(error: Error, id: &str) -> Self {
        match error.reason() {
            None | Some(Reason::Draining) => Self::new(format!(
                "{error}; the command goes on by itself: `remex attach {id}` joins it again"
            )),
            Some(_) => error.into(),
        }
    }

    /// Prints the line, and answers with the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if self.message.is_some() {
            print::note(&self.to_string());
        }
        ExitCode::from(self.status)
    }
}

/// On one line, with control characters escaped: servers and addresses have their say in it.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message.as_deref().unwrap_or_default();
        f.write_str(&escape::line(&without_numbers(message)))
    }
}

/// The kernel's words for an error say it; their number does not.
fn without_numbers(message: &str) -> String {
    let mut parts = message.split(" (os error ");
    let mut said = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let behind = part.split_once(')').map_or(part, |(_, behind)| behind);
        said.push_str(behind);
    }
    said
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::new(format!("{error} (--server or REMEX_SERVER says where)"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error.reason() {
            Some(Reason::ProgramNotFound) => STATUS_NOT_FOUND,
            Some(Reason::ProgramNotExecutable) => STATUS_NOT_EXECUTABLE,
            _ => STATUS_FAILURE,
        };
        match error {
            Error::Connect(error) => error.into(),
            error => {
                let message = known(&error).unwrap_or_else(|| error.to_string());
                Self {
                    status,
                    message: Some(message),
                }
            }
        }
    }
}

/// What a caller of a subcommand does about it, where the server's words are for those who program.
fn known(error: &Error) -> Option<String> {
    let reason = error.reason()?;
    let said = match reason {
        Reason::ExecutionNotFound => "there is no such execution; see `remex ps -a`",
        Reason::ExecutionEnded => "it has ended; see `remex ps -a`",
        Reason::NotDurable => {
            "its output is not kept, since it ends with its caller; `remex start` and `remex run --resume` run what can be attached to"
        }
        Reason::PositionGone => {
            "output behind that position is no longer kept; without --after, what is kept is shown"
        }
        Reason::PositionAhead => {
            "it has not got that far; --after takes a sequence that was seen of this execution"
        }
        Reason::StorageFull => {
            "the server has no room for another one that outlives its caller; `remex rm` makes some, and so does time"
        }
        Reason::ExecutionRunning => "it runs; end it first with `remex kill`",
        _ => return None,
    };
    Some(format!("{said} ({reason})"))
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Error::from(status).into()
    }
}

/// The field of the request that the server blames, and for what.
pub(crate) fn field_of(error: &Error) -> Option<(String, String)> {
    match error {
        Error::Refused { status, .. } => remex::error::violation(status),
        _ => None,
    }
}

/// The exit code of a command; what is not the command's own doing is a failure that says so.
pub(crate) fn status_of(exit: &Exit) -> Result<u8, Failure> {
    let said = match exit.reason {
        ExitReason::Disconnect => {
            "the server ended the command because nobody was connected to it; run it again"
        }
        ExitReason::Shutdown => {
            "the server shut down and ended the command; run it again when the server is back"
        }
        ExitReason::LostStart => {
            "the server was lost while it started the command, which may or may not have run; check before you run it again"
        }
        ExitReason::LostExit => {
            "the command ran, and how it ended was lost; check what it did before you run it again"
        }
        ExitReason::LostReboot => {
            "the machine went down while the command ran; check what it did before you run it again"
        }
        _ if exit.code.is_none() && exit.signal.is_none() && exit.reason != ExitReason::Timeout => {
            "the server did not tell how the command ended; check what it did before you run it again"
        }
        _ => return Ok(exit.status_code()),
    };
    Err(Failure::new(said))
}

#[cfg(test)]
mod tests {
    use remex::v1;

    use super::*;

    #[test]
    fn every_reason_has_its_exit_code() {
        for &reason in Reason::ALL {
            let failure = Failure::from(reason.status("so it is"));
            let status = match reason {
                Reason::ProgramNotFound => 127,
                Reason::ProgramNotExecutable => 126,
                _ => 255,
            };
            assert_eq!(failure.status, status, "{reason}");
            let said = failure.to_string();
            let own = [
                "see `remex ps -a`",
                "end it first with `remex kill`",
                "`remex start` and",
                "without --after",
                "--after takes",
                "`remex rm` makes",
            ];
            let is_known = own.iter().any(|own| said.contains(own));
            assert!(is_known || said.starts_with("so it is ("), "{said}");
            assert!(said.ends_with(&format!("({reason})")), "{said}");
        }
        assert_eq!(Failure::from(Status::unavailable("gone")).status, 255);
    }

    #[test]
    fn only_ends_that_are_not_the_commands_own_are_failures() {
        use v1::exit::Reason as R;
        for (code, signal, reason, status) in [
            (3, 0, R::Self_, Some(3)),
            (-1, 9, R::Signal, Some(137)),
            (-1, 15, R::Timeout, Some(124)),
            (-1, 0, R::Timeout, Some(124)),
            (0, 0, R::Disconnect, None),
            (-1, 15, R::Shutdown, None),
            (-1, 0, R::LostStart, None),
            (-1, 0, R::LostExit, None),
            (-1, 0, R::LostReboot, None),
            (-1, 0, R::Self_, None),
        ] {
            let (code, reason) = (Some(code), reason.into());
            let exit = v1::Exit {
                code,
                signal,
                reason,
                ..v1::Exit::default()
            };
            assert_eq!(status_of(&exit.into()).ok(), status, "{reason}");
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_sigpipe() {
        let failure = Failure::stdout(&io::ErrorKind::BrokenPipe.into());
        assert_eq!((failure.status, failure.message), (141, None));
        assert_eq!(
            Failure::stdout(&io::ErrorKind::StorageFull.into()).status,
            255
        );
    }

    #[test]
    fn errors_of_the_kernel_have_words_and_no_numbers() {
        let error = io::Error::from_raw_os_error(2);
        let failure = Failure::new(format!("a: {error}; b: {error}"));
        let said = "a: No such file or directory; b: No such file or directory";
        assert_eq!(failure.to_string(), said);
    }

    #[test]
    fn a_servers_words_stay_on_the_line() {
        let failure = Failure::from(Status::internal("a\nb\u{1b}[2J"));
        assert_eq!(failure.to_string(), r"a\nb\u{1b}[2J (Internal)");
    }
}
