//! How far a supervisor is, and what it does with requests there.

use std::time::Instant;

use super::{
    message::{Attached, EndCause, LinkRequest, Report, Stage},
    order,
    running::{Callers, Running},
};
use crate::{
    journal::Writer,
    process::solo::{Groundwork, Launching},
};

/// How far it is.
pub(super) enum State {
    /// It has no order.
    Waiting(Option<Box<(Writer, Groundwork)>>),
    Starting(Box<Starting>),
    Running(Box<Running>, Callers),
    /// What was the last report, and whether it has to be taken note of by a server.
    Ended {
        report: Report,
        is_kept: bool,
    },
    /// Nothing is left to be done.
    Over,
}

/// A command on its way.
pub(super) struct Starting {
    pub(super) launching: Launching,
    pub(super) order: order::Received,
    pub(super) writer: Writer,
    pub(super) callers: Callers,
    pub(super) attached: Attached,
    pub(super) end: Option<EndCause>,
    pub(super) give_up: Instant,
}

/// A request that cannot be meant: its server is not understood.
pub(super) struct NotNow;

impl State {
    pub(super) fn stage(&self, is_prepared: bool) -> Stage {
        match self {
            Self::Waiting(_) if is_prepared => Stage::Ready,
            Self::Waiting(_) => Stage::Spare,
            Self::Starting(_) => Stage::Starting,
            Self::Running(..) => Stage::Running,
            Self::Ended { .. } | Self::Over => Stage::Ended,
        }
    }

    pub(super) fn server_gone(&mut self) {
        match self {
            Self::Starting(starting) => {
                starting.callers.server_gone();
                starting.attached = Attached::default();
            }
            Self::Running(running, callers) => {
                callers.server_gone();
                running.server_gone();
            }
            Self::Waiting(_) | Self::Ended { .. } | Self::Over => {}
        }
    }

    /// Serves what concerns a command.
    pub(super) fn serve(&mut self, request: LinkRequest) -> Result<Option<Report>, NotNow> {
        if let Self::Ended { .. } | Self::Over = self {
            return Ok(self.serve_ended(&request));
        }
        match (request, self) {
            (LinkRequest::Attached(attached), Self::Starting(starting)) => {
                starting.callers.set(attached.callers);
                starting.attached = attached;
                Ok(None)
            }
            (LinkRequest::End(cause), Self::Starting(starting)) => {
                starting.end = Some(cause);
                Ok(None)
            }
            (
                LinkRequest::Signal { request, .. } | LinkRequest::Resize { request, .. },
                Self::Starting(_),
            ) => Ok(Some(Report::Done {
                request,
                done: false,
            })),
            (request, Self::Running(running, callers)) => {
                if let LinkRequest::Attached(attached) = &request {
                    callers.set(attached.callers);
                }
                serve_running(running, request)
            }
            _ => Err(NotNow),
        }
    }

    fn serve_ended(&mut self, request: &LinkRequest) -> Option<Report> {
        match request {
            LinkRequest::Signal { request, .. } | LinkRequest::Resize { request, .. } => {
                Some(Report::Done {
                    request: *request,
                    done: false,
                })
            }
            LinkRequest::Release => {
                *self = Self::Over;
                None
            }
            _ => None,
        }
    }
}

fn serve_running(running: &mut Running, request: LinkRequest) -> Result<Option<Report>, NotNow> {
    Ok(match request {
        LinkRequest::Attached(attached) => {
            running.set_attached(attached);
            None
        }
        LinkRequest::Stdin(piece) => running.take_stdin(piece).map_err(|()| NotNow)?,
        LinkRequest::Signal { request, number } => Some(Report::Done {
            request,
            done: running.signal(number),
        }),
        LinkRequest::Resize { request, size } => Some(Report::Done {
            request,
            done: running.resize(size),
        }),
        LinkRequest::End(cause) => {
            running.end(cause);
            None
        }
        LinkRequest::GetStatus { request } => Some(Report::Status {
            request,
            status: running.status(),
        }),
        LinkRequest::Hello { .. }
        | LinkRequest::Prepare { .. }
        | LinkRequest::Place { .. }
        | LinkRequest::Start { .. }
        | LinkRequest::Release => {
            return Err(NotNow);
        }
    })
}
