//! How a daemon ends, as its parent process sees it; the numbers are those of sysexits.h. Pure.

use std::process::ExitCode;

use super::{FileError, ReadyError};
use crate::net::{AddressError, BindError, UsersError};

/// Why a daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaemonExit {
    /// Drained after a signal; or `--check` found nothing wrong. 0.
    Success,
    /// A flag, a file or an address is wrong; nothing was bound. 64, EX_USAGE.
    Usage,
    /// A port, a socket or a folder cannot be had. 69, EX_UNAVAILABLE.
    Unavailable,
    /// A fault of the daemon itself. 70, EX_SOFTWARE.
    Internal,
    /// What was asked about is not allowed. 77, EX_NOPERM.
    Denied,
    /// A second signal cut the drain short. 128 and the signal's number, as shells count.
    Signal(u8),
}

impl DaemonExit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::Denied => 77,
            Self::Signal(number) => 128_u8.saturating_add(number),
        }
    }
}

impl From<DaemonExit> for ExitCode {
    fn from(exit: DaemonExit) -> Self {
        Self::from(exit.code())
    }
}

impl From<&AddressError> for DaemonExit {
    fn from(_: &AddressError) -> Self {
        Self::Usage
    }
}

impl From<&FileError> for DaemonExit {
    fn from(_: &FileError) -> Self {
        Self::Usage
    }
}

impl From<&UsersError> for DaemonExit {
    fn from(error: &UsersError) -> Self {
        match error {
            UsersError::Empty | UsersError::Unknown(_) | UsersError::TooMany => Self::Usage,
            UsersError::LookUp { .. } => Self::Unavailable,
        }
    }
}

impl From<&BindError> for DaemonExit {
    fn from(_: &BindError) -> Self {
        Self::Unavailable
    }
}

impl From<&ReadyError> for DaemonExit {
    fn from(_: &ReadyError) -> Self {
        Self::Unavailable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_contract() {
        let table = [
            (DaemonExit::Success, 0),
            (DaemonExit::Usage, 64),
            (DaemonExit::Unavailable, 69),
            (DaemonExit::Internal, 70),
            (DaemonExit::Denied, 77),
            (DaemonExit::Signal(2), 130),
            (DaemonExit::Signal(15), 143),
        ];
        for (exit, code) in table {
            assert_eq!(exit.code(), code);
        }
    }

    #[test]
    fn a_wrong_list_is_the_users_fault_and_a_silent_database_is_not() {
        assert_eq!(DaemonExit::from(&UsersError::Empty), DaemonExit::Usage);
        let failed = UsersError::LookUp {
            name: "alice".to_owned(),
            source: std::io::ErrorKind::TimedOut.into(),
        };
        assert_eq!(DaemonExit::from(&failed), DaemonExit::Unavailable);
    }
}
