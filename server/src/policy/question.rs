//! What is asked of a policy: who asks, and for what. Pure; all of it is known by the kernel, by credentials, or of what
//! would run, and nothing is taken from what a caller says of itself.

use std::net::SocketAddr;

use remex_daemon::net::{Caller, Identity};
use remex_supervisor::process::ResourceLimits;

/// A call that a rule can be about. GetServerInfo, health and reflection need none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[expect(missing_docs, reason = "the names are those of the API")]
pub enum Rpc {
    Run,
    Start,
    Interact,
    Attach,
    Wait,
    Write,
    Signal,
    Resize,
    Get,
    List,
    Delete,
    Echo,
    EchoStream,
}

impl Rpc {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Run,
        Self::Start,
        Self::Interact,
        Self::Attach,
        Self::Wait,
        Self::Write,
        Self::Signal,
        Self::Resize,
        Self::Get,
        Self::List,
        Self::Delete,
        Self::Echo,
        Self::EchoStream,
    ];

    /// Whether it may start a command.
    pub fn starts(self) -> bool {
        matches!(self, Self::Run | Self::Start | Self::Interact)
    }
}

/// What can be done to somebody else's execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnOthers {
    /// Get, List and Wait show it.
    See,
    /// Attach and Interact join it, Write and Resize reach it.
    Attach,
    /// Signal.
    Signal,
    /// Delete.
    Delete,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// Proven by a certificate or a token.
    pub identity: Option<Identity>,
    /// The user of a local process that has proven nothing else.
    pub uid: Option<u32>,
    /// That user's groups.
    pub groups: Vec<u32>,
    /// Where the connection comes from.
    pub address: Option<SocketAddr>,
    /// The listener of the old protocol, such as `tcp-exec`.
    pub listener: Option<&'static str>,
    /// It is in the cgroup of an execution, or nobody can tell that it is not.
    pub is_inside: bool,
}

impl Asker {
    /// `caller`, outside of any execution and in no groups.
    pub fn new(caller: &Caller) -> Self {
        Self {
            identity: caller.identity.clone(),
            uid: caller.uid,
            groups: Vec::new(),
            address: caller.address,
            listener: caller.listener,
            is_inside: false,
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// To make this call, about nothing but what is the caller's own.
    Call(Rpc),
    /// To run a command by this call.
    Command(Rpc, Box<AskedCommand>),
    /// To do something to another caller's execution.
    Others(OnOthers),
}

/// A command that somebody wants to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedCommand {
    /// It is a text for the shell.
    pub shell: bool,
    /// Which file its program is, as far as that is known.
    pub program: Program,
    /// Behind the program's name.
    pub arguments: Vec<Vec<u8>>,
    /// Where it is to run.
    pub directory: Directory,
    /// What is added to its environment: names and values.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whom it is to run as.
    pub user: RunAs,
    /// What it may use.
    pub limits: ResourceLimits,
}

/// A program, by as much as is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// Nobody has looked yet: every rule may be about it.
    Unknown,
    /// It was looked for, and cannot be run; this is its name, with or without a path.
    Absent(Vec<u8>),
    /// A file.
    File {
        /// The absolute path by which it was found. A link in it may lead elsewhere.
        named: Vec<u8>,
        /// The path of the file itself, without any link.
        real: Vec<u8>,
    },
}

/// A working directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directory {
    /// None was named.
    Unset,
    /// As it was named; nobody has looked yet.
    Named(Vec<u8>),
    /// The path of the folder itself, without any link.
    Real(Vec<u8>),
}

/// A user to run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunAs {
    /// None was named, and a rule may still force one.
    Unset,
    /// None was named, and none is forced: the server's own.
    Own {
        /// Its number.
        uid: u32,
    },
    /// As it was named; nobody has looked yet who that is.
    Named(String),
    /// As it was named, and who that is.
    Known {
        /// As it was named.
        text: String,
        /// Its number.
        uid: u32,
        /// Its first group.
        gid: u32,
    },
}

/// Who asks, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Who.
    pub asker: Asker,
    /// What.
    pub act: Act,
}

/// A variable that says nothing but in which language to speak, and on which terminal: it passes without a rule. Its value
/// names no file and has no format in it.
pub fn is_harmless(name: &[u8], value: &[u8]) -> bool {
    let is_locale = name.strip_prefix(b"LC_").is_some_and(|rest| {
        !rest.is_empty()
            && rest
                .iter()
                .all(|byte| byte.is_ascii_uppercase() || *byte == b'_')
    });
    (is_locale || name == b"LANG" || name == b"TERM")
        && !value.iter().any(|byte| matches!(byte, b'/' | b'%'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn language_and_terminal_pass_without_slash_and_percent() {
        for (name, value, passes) in [
            ("LANG", "de_DE.UTF-8", true),
            ("LC_ALL", "C", true),
            ("LC_TIME", "", true),
            ("TERM", "xterm-256color", true),
            ("LANG", "../../tmp/x", false),
            ("LC_ALL", "%n", false),
            ("TERM", "/tmp/x", false),
            ("LC_", "C", false),
            ("LC_all", "C", false),
            ("LC_ALL\n", "C", false),
            ("LANGUAGE", "de", false),
            ("TERMINFO", "x", false),
            ("TZ", "UTC", false),
            ("PATH", "x", false),
            ("LD_PRELOAD", "x", false),
        ] {
            let harmless = is_harmless(name.as_bytes(), value.as_bytes());
            assert_eq!(harmless, passes, "{name}={value}");
        }
    }
}
