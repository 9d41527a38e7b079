//! Every error as a status: one exhaustive match each, so that a new error cannot be forgotten.

use std::time::Duration;

use remex::error::Reason;
use remex_supervisor::{
    journal::OpenError,
    lifecycle::{event::Exit, stdin::StdinError},
    process::StartError,
};
use tonic::Status;

use crate::{
    durable::StoreError,
    execution::{AttachRefused, Cut, Ended, StartRefused},
    policy::gate::NotPermitted,
};

/// When to try again where the server is full.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) fn refused(refused: &StartRefused) -> Status {
    let message = refused.to_string();
    match refused {
        StartRefused::Draining => Reason::Draining.retry_after(RETRY_AFTER, message),
        StartRefused::TooMany(_) | StartRefused::Memory => {
            Reason::TooManyExecutions.retry_after(RETRY_AFTER, message)
        }
        StartRefused::NotPermitted(why) => not_permitted(why),
        StartRefused::Start(error) => start_error(error),
        StartRefused::StorageFull(_) | StartRefused::Untold(_) => {
            Reason::StorageFull.retry_after(RETRY_AFTER, message)
        }
        StartRefused::Storage(_) | StartRefused::LeftAlone => Reason::SpawnFailed.status(message),
        StartRefused::RequestIdConflict(field) => Reason::RequestIdConflict.field(*field, message),
        StartRefused::RequestIdRetired => Reason::RequestIdRetired.status(message),
        StartRefused::Attach(refused) => attach_refused(refused),
    }
}

/// What a rule would have to allow is told a program too.
pub(crate) fn not_permitted(why: &NotPermitted) -> Status {
    let message = why.to_string();
    match why {
        NotPermitted::Denied(denial) => Reason::PolicyDenied.with_metadata(
            message,
            [
                ("rule", denial.rule().to_owned()),
                ("needed", denial.needed()),
            ],
        ),
        NotPermitted::Script(_) | NotPermitted::Isolation(_) => {
            Reason::PolicyDenied.status(message)
        }
        NotPermitted::Unknown(_) => Reason::SpawnFailed.retry_after(RETRY_AFTER, message),
    }
}

/// Why nobody joins an execution.
pub(super) fn attach_refused(refused: &AttachRefused) -> Status {
    let message = refused.to_string();
    let positions = |first: u64, last: u64| {
        [
            ("first_sequence", first.to_string()),
            ("last_sequence", last.to_string()),
        ]
    };
    match refused {
        AttachRefused::NotDurable => Reason::NotDurable.status(message),
        AttachRefused::Journal(OpenError::PositionGone { first, last, .. }) => {
            Reason::PositionGone.with_metadata(message, positions(*first, *last))
        }
        AttachRefused::Journal(OpenError::PositionAhead { first, last, .. }) => {
            Reason::PositionAhead.with_metadata(message, positions(*first, *last))
        }
        AttachRefused::Journal(
            OpenError::Blank | OpenError::Unsupported(_) | OpenError::Used | OpenError::Storage(_),
        ) => Status::data_loss(format!(
            "what is kept of the execution cannot be read: {message}"
        )),
    }
}

/// Why a reader is told nothing any more.
pub(super) fn cut(cut: &Cut) -> Status {
    let message = cut.to_string();
    match cut {
        Cut::Draining => Reason::Draining.retry_after(RETRY_AFTER, message),
        Cut::HostLost => Status::internal(message),
        Cut::Unreadable(_) => Status::data_loss(message),
    }
}

/// Why a record is still there.
pub(super) fn not_deleted(error: &StoreError) -> Status {
    Status::internal(format!("the execution cannot be deleted: {error}"))
}

fn start_error(error: &StartError) -> Status {
    let message = error.to_string();
    match error {
        StartError::ProgramNotFound { .. } => Reason::ProgramNotFound.status(message),
        StartError::ProgramNotExecutable { .. } => Reason::ProgramNotExecutable.status(message),
        StartError::WorkingDirectory { .. } => Reason::WorkingDirectoryNotFound.status(message),
        StartError::UserNotFound { .. } => Reason::UserNotFound.status(message),
        StartError::UserSwitch { .. } => Reason::UserSwitchUnavailable.status(message),
        StartError::LimitUnavailable { limit, .. } => {
            Reason::LimitUnavailable.field(format!("command.limits.{limit}"), message)
        }
        StartError::IsolationUnavailable { field, .. } => {
            Reason::IsolationUnavailable.field(format!("command.isolation.{field}"), message)
        }
        StartError::TooLarge(_) => Reason::CommandTooLarge.status(message),
        // To try again at once would be held as well.
        StartError::Held { .. } => Reason::SpawnFailed.status(message),
        StartError::Resources { .. } => Reason::SpawnFailed.retry_after(RETRY_AFTER, message),
    }
}

pub(super) fn stdin_error(error: StdinError) -> Status {
    let message = error.to_string();
    match error {
        StdinError::Closed { at } => {
            Reason::StdinClosed.with_metadata(message, [("stdin_accepted_bytes", at.to_string())])
        }
        StdinError::Hole { accepted, .. } => Reason::StdinHole
            .with_metadata(message, [("stdin_accepted_bytes", accepted.to_string())]),
    }
}

/// Whoever writes is told at once: the message has been read.
pub(super) fn stdin_memory() -> Status {
    Reason::TooManyExecutions.retry_after(
        RETRY_AFTER,
        "stdin that commands have not read takes all the memory that there is for it; try again when they have, or in \
         smaller chunks",
    )
}

pub(super) fn ended(Ended: Ended) -> Status {
    Reason::ExecutionEnded.status("the execution has ended")
}

/// Output that is missing never goes with an exit.
pub(super) fn complete(exit: &Exit) -> Result<(), Status> {
    if exit.outcome.output_cut {
        return Err(Reason::OutputCut.status(
            "the server shut down before all output of the command could be sent; it ran, so do not retry it blindly",
        ));
    }
    Ok(())
}

pub(super) fn not_found(id: &str) -> Status {
    Reason::ExecutionNotFound.status(format!("there is no execution {id:?}"))
}

#[cfg(test)]
mod tests {
    use std::io;

    use tonic_types::StatusExt;

    use super::*;

    #[test]
    fn every_error_has_its_reason() {
        let text = String::new;
        let source = || io::Error::other("why");
        let table = [
            (
                StartError::ProgramNotFound {
                    program: text(),
                    searched: text(),
                },
                Reason::ProgramNotFound,
            ),
            (
                StartError::ProgramNotExecutable {
                    program: text(),
                    why: text(),
                },
                Reason::ProgramNotExecutable,
            ),
            (
                StartError::WorkingDirectory {
                    path: "/".into(),
                    source: source(),
                },
                Reason::WorkingDirectoryNotFound,
            ),
            (
                StartError::UserNotFound { user: text() },
                Reason::UserNotFound,
            ),
            (
                StartError::UserSwitch {
                    user: text(),
                    why: text(),
                },
                Reason::UserSwitchUnavailable,
            ),
            (
                StartError::LimitUnavailable {
                    limit: "x",
                    why: text(),
                },
                Reason::LimitUnavailable,
            ),
            (
                StartError::IsolationUnavailable {
                    field: "x",
                    why: text(),
                },
                Reason::IsolationUnavailable,
            ),
            (StartError::TooLarge(text()), Reason::CommandTooLarge),
            (
                StartError::Resources {
                    step: "x",
                    source: source(),
                },
                Reason::SpawnFailed,
            ),
            (StartError::Held { what: "x" }, Reason::SpawnFailed),
        ];
        for (error, reason) in table {
            let is_retried = matches!(error, StartError::Resources { .. });
            let status = refused(&StartRefused::Start(error));
            assert_eq!(Reason::of(&status), Some(reason));
            // What ran, or was held, is not to be tried again at once.
            assert_eq!(status.get_details_retry_info().is_some(), is_retried);
        }
        assert_eq!(
            Reason::of(&refused(&StartRefused::Draining)),
            Some(Reason::Draining)
        );
        assert_eq!(
            Reason::of(&refused(&StartRefused::TooMany(1))),
            Some(Reason::TooManyExecutions)
        );
        assert_eq!(
            Reason::of(&stdin_error(StdinError::Closed { at: 1 })),
            Some(Reason::StdinClosed)
        );
        let hole = StdinError::Hole {
            accepted: 0,
            offset: 1,
        };
        assert_eq!(Reason::of(&stdin_error(hole)), Some(Reason::StdinHole));
    }
}
