//! How a command ended, and the exit code that stands for it in a shell. Pure.

use std::time::Duration;

use remex::v1::{self, exit::Reason};

use crate::Signal;

/// Exit code of a command that its timeout ended, as timeout(1) has it.
pub const STATUS_TIMEOUT: u8 = 124;
/// Exit code of a failure that is not the command's own, as ssh(1) has it.
pub const STATUS_FAILURE: u8 = 255;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// The exit code; `None` if a signal ended it, or if nobody knows.
    pub code: Option<u8>,
    /// The signal that ended it.
    pub signal: Option<Signal>,
    /// Why it ended.
    pub reason: ExitReason,
    /// The kernel dumped its core.
    pub core_dumped: bool,
    /// The kernel killed a process of it for want of memory.
    pub oom_killed: bool,
    /// From its spawn to its end.
    pub wall_time: Duration,
    /// CPU time in user mode.
    pub user_time: Duration,
    /// CPU time in the kernel.
    pub system_time: Duration,
    /// The largest resident set of one process; `None` where it cannot be told.
    pub max_rss_bytes: Option<u64>,
}

/// Why a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExitReason {
    /// By itself.
    Own,
    /// Its timeout had passed.
    Timeout,
    /// Its last caller had gone.
    Disconnect,
    /// The server shut down.
    Shutdown,
    /// Of a signal that a caller had sent.
    Signal,
    /// It may or may not have run.
    LostStart,
    /// It ran, and nobody saw its end.
    LostExit,
    /// It was running when the machine went down.
    LostReboot,
    /// The server gave no reason, or one of a later version.
    Unknown,
}

impl ExitReason {
    /// In small letters, with `_`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "self",
            Self::Timeout => "timeout",
            Self::Disconnect => "disconnect",
            Self::Shutdown => "shutdown",
            Self::Signal => "signal",
            Self::LostStart => "lost_start",
            Self::LostExit => "lost_exit",
            Self::LostReboot => "lost_reboot",
            Self::Unknown => "unknown",
        }
    }

    fn of(number: i32) -> Self {
        match Reason::try_from(number) {
            Ok(Reason::Self_) => Self::Own,
            Ok(Reason::Timeout) => Self::Timeout,
            Ok(Reason::Disconnect) => Self::Disconnect,
            Ok(Reason::Shutdown) => Self::Shutdown,
            Ok(Reason::Signal) => Self::Signal,
            Ok(Reason::LostStart) => Self::LostStart,
            Ok(Reason::LostExit) => Self::LostExit,
            Ok(Reason::LostReboot) => Self::LostReboot,
            Ok(Reason::Unspecified) | Err(_) => Self::Unknown,
        }
    }
}

impl Exit {
    /// Whether the command ended by itself with code 0.
    pub fn success(&self) -> bool {
        self.status_code() == 0
    }

    /// The exit code that a shell would see: the command's own, 128+n if signal n ended it, [`STATUS_TIMEOUT`] if its
    /// timeout did, and [`STATUS_FAILURE`] if the server cut it off or its end is not known.
    pub fn status_code(&self) -> u8 {
        match self.reason {
            ExitReason::Timeout => STATUS_TIMEOUT,
            ExitReason::Disconnect
            | ExitReason::Shutdown
            | ExitReason::LostStart
            | ExitReason::LostExit
            | ExitReason::LostReboot => STATUS_FAILURE,
            ExitReason::Own | ExitReason::Signal | ExitReason::Unknown => {
                match (self.signal, self.code) {
                    (Some(signal), _) => 128 + signal.number(),
                    (None, Some(code)) => code,
                    (None, None) => STATUS_FAILURE,
                }
            }
        }
    }
}

impl From<v1::Exit> for Exit {
    fn from(exit: v1::Exit) -> Self {
        let usage = exit.usage.unwrap_or_default();
        Self {
            // Absent is unknown, never 0: a killed command must not look like a success.
            code: exit.code.and_then(|code| u8::try_from(code).ok()),
            signal: Signal::new(exit.signal),
            reason: ExitReason::of(exit.reason),
            core_dumped: exit.core_dumped,
            oom_killed: exit.oom_killed,
            wall_time: duration(exit.wall_time),
            user_time: duration(usage.user_time),
            system_time: duration(usage.system_time),
            max_rss_bytes: usage.max_rss_bytes,
        }
    }
}

fn duration(duration: Option<prost_types::Duration>) -> Duration {
    duration
        .and_then(|duration| duration.try_into().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: Option<i32>, signal: i32, reason: Reason) -> Exit {
        Exit::from(v1::Exit {
            code,
            signal,
            reason: reason.into(),
            ..v1::Exit::default()
        })
    }

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        for (code, signal, reason, status) in [
            (Some(0), 0, Reason::Self_, 0),
            (Some(1), 0, Reason::Self_, 1),
            (Some(44), 0, Reason::Self_, 44),
            (Some(124), 0, Reason::Self_, 124),
            (Some(255), 0, Reason::Self_, 255),
            (Some(-1), 11, Reason::Self_, 139),
            (Some(-1), 37, Reason::Self_, 165),
            (Some(-1), 15, Reason::Signal, 143),
            (Some(-1), 9, Reason::Signal, 137),
            (Some(-1), 15, Reason::Timeout, 124),
            (Some(0), 0, Reason::Timeout, 124),
            (Some(-1), 15, Reason::Disconnect, 255),
            (Some(0), 0, Reason::Disconnect, 255),
            (Some(0), 0, Reason::Shutdown, 255),
            (Some(-1), 0, Reason::LostStart, 255),
            (Some(-1), 0, Reason::LostExit, 255),
            (Some(-1), 0, Reason::LostReboot, 255),
            (None, 0, Reason::Self_, 255),
            (Some(-1), 0, Reason::Self_, 255),
            (Some(300), 0, Reason::Self_, 255),
            (Some(7), 0, Reason::Unspecified, 7),
            (None, 0, Reason::Unspecified, 255),
        ] {
            let exit = exit(code, signal, reason);
            assert_eq!(exit.status_code(), status, "{code:?} {signal} {reason:?}");
            assert_eq!(exit.success(), status == 0);
        }
    }

    #[test]
    fn a_reason_of_a_later_version_is_unknown() {
        assert_eq!(ExitReason::of(99), ExitReason::Unknown);
        assert_eq!(ExitReason::of(7).as_str(), "lost_exit");
    }
}
