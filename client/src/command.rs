//! [`Command`]: what to run, as a program builds it up. Pure: it becomes a request and nothing more.

use std::{collections::HashMap, ffi::OsString, fmt, os::unix::ffi::OsStringExt, time::Duration};

use bytes::Bytes;
use remex::v1;
use uuid::Uuid;

/// A command to run on the server's machine.
///
/// ```
/// use std::time::Duration;
/// use remex_client::Command;
///
/// let sorted = Command::new("sort")
///     .arg("--reverse")
///     .current_dir("/srv")
///     .env("LC_ALL", "C")
///     .timeout(Duration::from_secs(30))
///     .stdin("b\na\n");
/// let listing = Command::shell("ls -l | head");
/// ```
#[derive(Clone, PartialEq)]
pub struct Command {
    program: Program,
    base: v1::Command,
    stdin: Bytes,
    labels: HashMap<String, String>,
    max_output_bytes: u64,
    durability: Durability,
}

/// What becomes of it without its caller.
#[derive(Clone, Default, PartialEq)]
struct Durability {
    request_id: String,
    on_disconnect: v1::OnDisconnect,
    grace: Option<Duration>,
    keep: Option<v1::Keep>,
    stdin_open: bool,
    resumes: bool,
}

#[derive(Clone, PartialEq)]
enum Program {
    Argv(Vec<OsString>),
    Shell(String),
}

impl Command {
    /// `program`, looked up in the command's PATH unless there is a slash in it, and run without a shell.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self::of(Program::Argv(vec![program.into()]))
    }

    /// `text`, run by `/bin/sh -c`.
    pub fn shell(text: impl Into<String>) -> Self {
        Self::of(Program::Shell(text.into()))
    }

    fn of(program: Program) -> Self {
        Self {
            program,
            base: v1::Command::default(),
            stdin: Bytes::new(),
            labels: HashMap::new(),
            max_output_bytes: 0,
            durability: Durability::default(),
        }
    }

    /// Adds an argument; to a shell's text, its next parameter: `$1` and on.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        if let Program::Shell(text) = &mut self.program {
            let shell = ["/bin/sh".into(), "-c".into(), std::mem::take(text).into()];
            self.program = Program::Argv(shell.into_iter().chain(["sh".into()]).collect());
        }
        if let Program::Argv(argv) = &mut self.program {
            argv.push(arg.into());
        }
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Adds a variable to the environment that the server passes on.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.base.environment.insert(name.into(), value.into());
        self
    }

    /// Drops the environment that the server passes on.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.base.clear_environment = true;
        self
    }

    /// Runs it in this folder, an absolute path.
    #[must_use]
    pub fn current_dir(mut self, folder: impl Into<String>) -> Self {
        self.base.working_directory = folder.into();
        self
    }

    /// Runs it as this user, a name or a number.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.base.user = user.into();
        self
    }

    /// Ends it after this time. Zero: no bound.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.base.timeout = Some(duration(timeout));
        self
    }

    /// Time between TERM and KILL when the server ends it: 2 s unless set, at most 1 min.
    #[must_use]
    pub fn kill_after(mut self, pause: Duration) -> Self {
        self.base.kill_after = Some(duration(pause));
        self
    }

    /// Gives it a terminal of this size and kind; 0 and "" mean 24, 80 and "xterm-256color".
    #[must_use]
    pub fn terminal(mut self, rows: u16, columns: u16, term: impl Into<String>) -> Self {
        self.base.terminal = Some(v1::Terminal {
            rows: rows.into(),
            columns: columns.into(),
            term: term.into(),
        });
        self
    }

    /// Takes its output to the end of file, as ssh does: the execution is over when all that it left in the background has
    /// closed its output, too. Without this, that is waited for only as long as it keeps writing, and at most 1 s.
    #[must_use]
    pub fn drain_to_eof(mut self) -> Self {
        self.base.drain = v1::command::Drain::Eof.into();
        self
    }

    /// Gives it `data` on stdin, and then the end of it. Without this, stdin is empty; with
    /// [`Client::interact`](crate::Client::interact), more may follow.
    #[must_use]
    pub fn stdin(mut self, data: impl Into<Bytes>) -> Self {
        self.stdin = data.into();
        self
    }

    /// Adds a label: a key of 1 to 63 characters of `[a-z0-9._/-]`, a value of up to 256 bytes.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// How many bytes of stdout and of stderr [`Client::run`](crate::Client::run) answers with: 1 MiB each unless set,
    /// at most 16 MiB.
    #[must_use]
    pub fn max_output_bytes(mut self, bytes: u64) -> Self {
        self.max_output_bytes = bytes;
        self
    }

    /// What happens to it when its last caller goes: it is killed, unless this or [`Self::request_id`] says otherwise.
    #[must_use]
    pub fn on_disconnect(mut self, what: v1::OnDisconnect) -> Self {
        self.durability.on_disconnect = what;
        self
    }

    /// How long [`OnDisconnect::Grace`](v1::OnDisconnect::Grace) waits for somebody to attach: 60 s unless set.
    #[must_use]
    pub fn disconnect_grace(mut self, grace: Duration) -> Self {
        self.durability.grace = Some(grace);
        self
    }

    /// An id of the caller's own, of at most 1,024 bytes. The same command under the same id is never run twice: whoever
    /// asks for it again joins it from its first event, or gets its result.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.durability.request_id = id.into();
        self
    }

    /// How much of its output is kept for those who attach later; only if it outlives its caller.
    #[must_use]
    pub fn keep(mut self, keep: v1::Keep) -> Self {
        self.durability.keep = Some(keep);
        self
    }

    /// Keeps its stdin open after what [`Self::stdin`] gave, for those who attach to it.
    /// [`Client::interact`](crate::Client::interact) implies it.
    #[must_use]
    pub fn stdin_open(mut self) -> Self {
        self.durability.stdin_open = true;
        self
    }

    /// Rides through lost connections, and through a restart of the server: the call looks for the server for up to
    /// [`RESUME_TIMEOUT`](crate::RESUME_TIMEOUT), and goes on at the exact next event, and at the exact next byte of stdin.
    /// The command gets an id if it has none, so that it is never run twice, and a grace, if nothing else was said of its
    /// callers' going. A signal that was on its way when the connection was lost may have been lost with it.
    #[must_use]
    pub fn resume(mut self) -> Self {
        let durability = &mut self.durability;
        durability.resumes = true;
        if durability.request_id.is_empty() {
            durability.request_id = Uuid::now_v7().to_string();
        }
        if durability.on_disconnect == v1::OnDisconnect::Unspecified {
            durability.on_disconnect = v1::OnDisconnect::Grace;
        }
        self
    }

    /// Whether it is to be joined, rather than run again, by whoever asks for it under the same id.
    pub(crate) fn has_request_id(&self) -> bool {
        !self.durability.request_id.is_empty()
    }

    /// Whether it has a terminal.
    pub(crate) fn has_terminal(&self) -> bool {
        self.base.terminal.is_some()
    }

    /// Whether it rides through lost connections.
    pub(crate) fn resumes(&self) -> bool {
        self.durability.resumes
    }

    /// What of it a server may be too old to heed.
    pub(crate) fn features(&self) -> Vec<&'static str> {
        let given = [
            ("user", !self.base.user.is_empty()),
            ("drain", self.base.drain != 0),
            ("durable", self.durability.is_given()),
        ];
        let given = given.into_iter().filter(|(_, is_given)| *is_given);
        given.map(|(name, _)| name).collect()
    }

    /// Bytes of stdin that go out with it.
    pub(crate) fn stdin_bytes(&self) -> u64 {
        self.stdin.len() as u64
    }

    fn into_parts(self) -> Parts {
        let mut command = self.base;
        match self.program {
            Program::Shell(text) => command.shell = text,
            Program::Argv(argv) if argv.iter().all(|arg| arg.to_str().is_some()) => {
                let argv = argv.into_iter().filter_map(|arg| arg.into_string().ok());
                command.argv = argv.collect();
            }
            Program::Argv(argv) => {
                command.argv_raw = argv.into_iter().map(|arg| arg.into_vec().into()).collect();
            }
        }
        Parts {
            command,
            stdin: self.stdin,
            labels: self.labels,
            max_output_bytes: self.max_output_bytes,
            durability: self.durability,
        }
    }
}

impl Durability {
    /// Whether any of it has to be heeded.
    fn is_given(&self) -> bool {
        !self.request_id.is_empty()
            || self.on_disconnect != v1::OnDisconnect::Unspecified
            || self.grace.is_some()
            || self.keep.is_some()
    }
}

/// A command as the API has it, and what goes with it.
struct Parts {
    command: v1::Command,
    stdin: Bytes,
    labels: HashMap<String, String>,
    max_output_bytes: u64,
    durability: Durability,
}

/// Shows the program alone: arguments, environment and stdin may hold secrets.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = match &self.program {
            Program::Argv(argv) => argv.first().map(OsString::as_os_str),
            Program::Shell(_) => Some("/bin/sh".as_ref()),
        };
        f.debug_struct("Command")
            .field("program", &program)
            .finish_non_exhaustive()
    }
}

impl From<Command> for v1::RunRequest {
    fn from(command: Command) -> Self {
        let Parts {
            command,
            stdin,
            labels,
            max_output_bytes,
            durability,
        } = command.into_parts();
        Self {
            command: Some(command),
            stdin_data: stdin,
            labels,
            max_output_bytes,
            request_id: durability.request_id,
            on_disconnect: durability.on_disconnect.into(),
            disconnect_grace: durability.grace.map(duration),
            keep: durability.keep,
            ..Self::default()
        }
    }
}

impl From<Command> for v1::StartRequest {
    fn from(command: Command) -> Self {
        let Parts {
            command,
            stdin,
            labels,
            durability,
            ..
        } = command.into_parts();
        Self {
            command: Some(command),
            stdin_data: stdin,
            labels,
            request_id: durability.request_id,
            on_disconnect: durability.on_disconnect.into(),
            disconnect_grace: durability.grace.map(duration),
            keep: durability.keep,
            stdin_open: durability.stdin_open,
            ..Self::default()
        }
    }
}

/// As protobuf has it, which ends 10,000 years from now: more is no bound for anybody.
fn duration(duration: Duration) -> prost_types::Duration {
    const LONGEST: Duration = Duration::from_hours(87_660_000);
    let duration = duration.min(LONGEST);
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_becomes_the_request_it_reads_as() {
        let command = Command::new("sort")
            .args(["-r", "-u"])
            .env("A", "1")
            .current_dir("/srv")
            .user("build")
            .timeout(Duration::from_millis(1500))
            .label("job", "7")
            .stdin("b\na\n")
            .max_output_bytes(9);
        let request = v1::RunRequest::from(command);
        assert_eq!(request.stdin_data, "b\na\n");
        assert_eq!(request.labels["job"], "7");
        assert_eq!(request.max_output_bytes, 9);
        let command = request.command.unwrap();
        assert_eq!(command.argv, ["sort", "-r", "-u"]);
        assert_eq!((command.shell.as_str(), command.argv_raw.len()), ("", 0));
        assert_eq!(command.environment["A"], "1");
        assert_eq!(command.working_directory, "/srv");
        assert_eq!(command.user, "build");
        let timeout = command.timeout.unwrap();
        assert_eq!((timeout.seconds, timeout.nanos), (1, 500_000_000));
    }

    #[test]
    fn a_shell_text_may_have_parameters() {
        let plain = v1::StartRequest::from(Command::shell("echo $1")).command;
        assert_eq!(plain.unwrap().shell, "echo $1");
        let given = v1::StartRequest::from(Command::shell("echo $1").arg("x")).command;
        assert_eq!(given.unwrap().argv, ["/bin/sh", "-c", "echo $1", "sh", "x"]);
    }

    #[test]
    fn arguments_that_are_not_utf8_go_as_bytes() {
        let command = Command::new("cat").arg(OsString::from_vec(vec![0xff]));
        let command = v1::StartRequest::from(command).command.unwrap();
        assert!(command.argv.is_empty());
        assert_eq!(command.argv_raw, [&b"cat"[..], &[0xff]]);
    }

    #[test]
    fn secrets_are_not_shown() {
        let command = Command::new("x")
            .arg("SECRET")
            .env("A", "SECRET")
            .stdin("SECRET");
        assert!(!format!("{command:?}").contains("SECRET"));
        assert!(!format!("{:?}", Command::shell("SECRET")).contains("SECRET"));
    }

    #[test]
    fn what_rides_has_an_id_of_its_own_and_a_grace() {
        let request = |command: Command| v1::StartRequest::from(command);
        let [one, other] = [(); 2].map(|()| request(Command::new("x").resume()));
        assert_ne!(one.request_id, "");
        assert_ne!(one.request_id, other.request_id);
        assert_eq!(one.on_disconnect(), v1::OnDisconnect::Grace);
        // The same command is the same request.
        let command = Command::new("x").resume();
        assert_eq!(request(command.clone()), request(command));
        let given = Command::new("x")
            .request_id("mine")
            .on_disconnect(v1::OnDisconnect::Detach)
            .resume();
        let given = request(given);
        assert_eq!(given.request_id, "mine");
        assert_eq!(given.on_disconnect(), v1::OnDisconnect::Detach);
    }

    #[test]
    fn any_duration_fits() {
        assert_eq!(duration(Duration::MAX).seconds, 315_576_000_000);
    }
}
