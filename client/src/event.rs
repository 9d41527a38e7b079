//! What happens to an execution, as a program sees it. Pure: the one place where events leave protobuf.

use bytes::Bytes;
use remex::v1::{self, event::Kind, output};

use crate::Exit;

/// Something that happened to an execution. [`Event::Started`] is the first, [`Event::Exited`] the last.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It runs.
    Started {
        /// The process id of its leader, on the server's machine.
        pid: i32,
    },
    /// It wrote something, at most 64 KiB.
    Output {
        /// Where.
        stream: Stream,
        /// Position of the first byte in that stream.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
    /// Output that is no longer kept.
    Gap {
        /// Bytes of stdout that are missing.
        stdout_bytes: u64,
        /// Bytes of stderr that are missing.
        stderr_bytes: u64,
        /// Bytes of the terminal that are missing.
        terminal_bytes: u64,
    },
    /// It ended, and all of its output has been delivered.
    Exited(Exit),
    /// The connection was lost, and is looked for; only where that was [asked for](crate::Command::resume).
    Interrupted {
        /// Why.
        why: String,
    },
    /// It was found, and the events go on behind the last.
    Resumed,
}

/// Where a command wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stream {
    /// Its stdout.
    Stdout,
    /// Its stderr.
    Stderr,
    /// Its terminal.
    Terminal,
}

impl Stream {
    /// In small letters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Terminal => "terminal",
        }
    }
}

impl Event {
    /// How many bytes of output a [`Gap`](Self::Gap) stands for; `None` of other events.
    pub fn missing_bytes(&self) -> Option<u64> {
        match self {
            Self::Gap {
                stdout_bytes,
                stderr_bytes,
                terminal_bytes,
            } => {
                let bytes = stdout_bytes.saturating_add(*stderr_bytes);
                Some(bytes.saturating_add(*terminal_bytes))
            }
            _ => None,
        }
    }

    /// `None` for a kind of event that this version does not know.
    pub(crate) fn of(event: v1::Event) -> Option<Self> {
        Some(match event.kind? {
            Kind::Started(started) => Self::Started { pid: started.pid },
            Kind::Output(output) => Self::Output {
                stream: match output.stream() {
                    output::Stream::Stdout => Stream::Stdout,
                    output::Stream::Stderr => Stream::Stderr,
                    output::Stream::Terminal => Stream::Terminal,
                    output::Stream::Unspecified => return None,
                },
                offset: output.offset,
                data: output.data,
            },
            Kind::Gap(gap) => Self::Gap {
                stdout_bytes: gap.stdout_bytes,
                stderr_bytes: gap.stderr_bytes,
                terminal_bytes: gap.terminal_bytes,
            },
            Kind::Exited(exited) => Self::Exited(exited.exit.unwrap_or_default().into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::STATUS_FAILURE;

    #[test]
    fn an_end_without_an_exit_is_no_success() {
        let kind = Some(Kind::Exited(v1::Exited { exit: None }));
        let event = Event::of(v1::Event {
            kind,
            ..v1::Event::default()
        });
        match event {
            Some(Event::Exited(exit)) => assert_eq!(exit.status_code(), STATUS_FAILURE),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        assert_eq!(Event::of(v1::Event::default()), None);
        let kind = Some(Kind::Output(v1::Output {
            stream: 9,
            ..v1::Output::default()
        }));
        assert_eq!(
            Event::of(v1::Event {
                kind,
                ..v1::Event::default()
            }),
            None
        );
    }
}
