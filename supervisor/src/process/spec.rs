//! What to run, checked and typed: nothing behind this re-validates.

use std::{ffi::CString, path::PathBuf, time::Duration};

use super::isolation::IsolationSpec;

/// Longest string that the kernel takes as one argument or environment variable, without its NUL (MAX_ARG_STRLEN).
pub const MAX_STRING_BYTES: usize = 131_071;

/// `kill_after` where none is given.
pub const DEFAULT_KILL_AFTER: Duration = Duration::from_secs(2);

/// Longest `kill_after`.
pub const MAX_KILL_AFTER: Duration = Duration::from_mins(1);

/// TERM where a terminal names none.
pub const DEFAULT_TERM: &str = "xterm-256color";

/// A command to run.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandSpec {
    /// Program and arguments; not empty.
    pub argv: Vec<CString>,
    /// The caller gave a text for the shell; `argv` holds it as its last.
    pub shell: bool,
    /// Absolute. `None`: the server's own, or the user's home.
    pub working_directory: Option<PathBuf>,
    /// `NAME=VALUE` each.
    pub environment: Vec<CString>,
    /// Passes on nothing of the server's environment.
    pub clear_environment: bool,
    /// What the server passes on of the call, `NAME=VALUE` each, as it does of its environment: no part of what was asked for.
    pub passed: Vec<CString>,
    /// The user to run as, by name or number.
    pub user: Option<String>,
    /// From the spawn; `None`: no bound.
    pub timeout: Option<Duration>,
    /// Between TERM and KILL.
    pub kill_after: Duration,
    /// A terminal of its own.
    pub terminal: Option<TerminalSpec>,
    /// What it may use.
    pub limits: ResourceLimits,
    /// What it may reach; `None`: whatever its user may.
    pub isolation: Option<IsolationSpec>,
}

impl CommandSpec {
    /// `argv`, and nothing else that is special.
    pub fn new(argv: Vec<CString>) -> Self {
        Self {
            argv,
            shell: false,
            working_directory: None,
            environment: Vec::new(),
            clear_environment: false,
            passed: Vec::new(),
            user: None,
            timeout: None,
            kill_after: DEFAULT_KILL_AFTER,
            terminal: None,
            limits: ResourceLimits::default(),
            isolation: None,
        }
    }

    /// What it takes in memory, with what the allocator adds to many small strings.
    pub fn cost(&self) -> usize {
        let strings = self.argv.iter();
        let strings = strings.chain(&self.environment).chain(&self.passed);
        let texts = [
            self.working_directory
                .as_ref()
                .map_or(0, |path| path.as_os_str().len()),
            self.user.as_ref().map_or(0, String::len),
        ];
        size_of::<Self>()
            + strings
                .map(|string| size_of::<CString>() + allocation(string.as_bytes_with_nul().len()))
                .sum::<usize>()
            + texts.into_iter().map(allocation).sum::<usize>()
            + self.isolation.as_ref().map_or(0, IsolationSpec::cost)
    }

    /// What was asked for, with the values of its environment blank, for records: they may be secrets, and large.
    #[must_use]
    pub fn without_values(mut self) -> Self {
        self.passed = Vec::new();
        for variable in &mut self.environment {
            let bytes = variable.as_bytes();
            let name = bytes.split(|&byte| byte == b'=').next().unwrap_or(bytes);
            // A part of what has no NUL has none.
            *variable = CString::new([name, b"="].concat()).unwrap_or_default();
        }
        self
    }
}

/// What an allocation of `bytes` takes: glibc's malloc rounds up to 16 with a header of 8, and gives no less than 32.
pub fn allocation(bytes: usize) -> usize {
    (bytes + 8).next_multiple_of(16).max(32)
}

/// A terminal's size and kind.
#[derive(Debug, Clone, PartialEq)]
pub struct TerminalSpec {
    /// Size in character cells.
    pub size: WindowSize,
    /// `TERM=…`
    pub term: CString,
}

/// Size in character cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Height.
    pub rows: u16,
    /// Width.
    pub columns: u16,
}

impl Default for WindowSize {
    fn default() -> Self {
        Self {
            rows: 24,
            columns: 80,
        }
    }
}

/// What a command may use; `None`: what the server itself may. Units as in `remex.v1.Limits`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of remex.v1.Limits")]
pub struct ResourceLimits {
    pub cpu_seconds: Option<u64>,
    pub address_space_bytes: Option<u64>,
    pub open_files: Option<u64>,
    pub file_size_bytes: Option<u64>,
    pub core_bytes: Option<u64>,
    pub user_processes: Option<u64>,
    pub niceness: Option<i32>,
    pub tree: TreeLimits,
}

/// ResourceLimits on the whole process tree, which cgroup v2's controllers apply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TreeLimits {
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
}

/// What a command's stdin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdinSpec {
    /// `/dev/null`.
    Null,
    /// A pipe that the server feeds; on a terminal, what is typed.
    Open,
}

impl StdinSpec {
    /// Of a command that gets the bytes `first`, and `more` if its caller likes.
    pub fn of(first: &[u8], more: bool) -> Self {
        if more || !first.is_empty() {
            Self::Open
        } else {
            Self::Null
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(argv: Vec<CString>, environment: Vec<CString>) -> CommandSpec {
        CommandSpec {
            environment,
            ..CommandSpec::new(argv)
        }
    }

    #[test]
    fn small_strings_cost_what_the_allocator_makes_of_them() {
        let small = spec(vec![CString::default(); 1000], Vec::new()).cost();
        assert!(small >= 1000 * (16 + 32), "{small}");
        let large = vec![b'x'; 100_000];
        let large = spec(vec![CString::new(large).unwrap()], Vec::new()).cost();
        assert!((100_000..101_000).contains(&large), "{large}");
    }

    #[test]
    fn a_record_keeps_the_names_of_variables_alone() {
        let environment = vec![c"A=secret=x".into(), c"B=".into()];
        let kept = spec(Vec::new(), environment).without_values();
        assert_eq!(kept.environment, [c"A=", c"B="].map(CString::from));
    }
}
