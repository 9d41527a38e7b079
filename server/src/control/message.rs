//! What is asked and answered. Pure.

use std::path::PathBuf;

use remex_daemon::logging::LogLevel;
use serde::{Deserialize, Serialize};

/// The longest line of either side.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ask", deny_unknown_fields)]
pub enum Instruction {
    /// How it is.
    Status {},
    /// To take no new commands, and to end when those that run have ended, or have been ended.
    Drain {
        /// To kill them at once.
        kill: bool,
    },
    /// To read again what can be.
    Reload {},
    /// Which program it is, and what would be executed in its place.
    Program {},
    /// To execute that, and leave to it all that is listened on.
    Upgrade {},
    /// To log what is of this level or graver.
    LogLevel {
        /// The level.
        level: LogLevel,
    },
}

/// How a remexd is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Of the program that runs, which may not be the one that is installed.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// How long it has served.
    pub uptime_seconds: u64,
    /// Whether it takes no new commands any more.
    pub draining: bool,
    /// Commands that run.
    pub running: usize,
    /// How many may.
    pub max_executions: usize,
    /// How process trees are kept together.
    pub containment: String,
    /// Where it listens, as in the ready file.
    pub addresses: Vec<String>,
}

/// Which program a remexd is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningProgram {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// The file that it was started from, as whoever started it named it.
    pub file: PathBuf,
    /// Device and inode of what runs, which may have been replaced there since.
    pub identity: (u64, u64),
    /// What it was called with, without its name.
    pub arguments: Vec<String>,
    /// Where it is.
    pub directory: PathBuf,
}

/// What came of reading everything again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The keys whose new values hold now.
    pub changed: Vec<String>,
    /// Those whose new values hold from the next start on.
    pub needs_restart: Vec<String>,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answered {
    /// How it is.
    Status(DaemonStatus),
    /// What was asked has begun; the connection ends when the process does.
    Draining,
    /// Which program it is.
    Program(RunningProgram),
    /// What was asked has begun; the connection ends when another program is executed, or the process ends.
    Upgrading,
    /// What has changed.
    Reloaded(Reloaded),
    /// It is done.
    Done,
    /// It is not, for this reason, and all is as it was.
    Refused(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_the_same_in_every_version() {
        for (instruction, line) in [
            (Instruction::Status {}, r#"{"ask":"status"}"#),
            (
                Instruction::Drain { kill: true },
                r#"{"ask":"drain","kill":true}"#,
            ),
            (Instruction::Reload {}, r#"{"ask":"reload"}"#),
            (Instruction::Program {}, r#"{"ask":"program"}"#),
            (Instruction::Upgrade {}, r#"{"ask":"upgrade"}"#),
            (
                Instruction::LogLevel {
                    level: LogLevel::Debug,
                },
                r#"{"ask":"log-level","level":"debug"}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&instruction).unwrap(), line);
            let read: Instruction = serde_json::from_str(line).unwrap();
            assert_eq!(read, instruction);
        }
        assert!(serde_json::from_str::<Instruction>(r#"{"ask":"explode"}"#).is_err());
        assert_eq!(serde_json::to_string(&Answered::Done).unwrap(), r#""done""#);
    }
}
