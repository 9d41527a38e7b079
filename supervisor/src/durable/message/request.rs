//! What a server tells a supervisor. Pure.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::PathBuf};

use bytes::Bytes;

use super::{Attached, Malformed, open, packet};
use crate::{
    codec::{Decoder, Encoder},
    lifecycle::stdin::StdinChunk,
    process::WindowSize,
};

/// To a supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkRequest {
    /// The first on every link: the newest version that the server speaks.
    Hello {
        /// That version.
        newest: u16,
    },
    /// Where the tree of its execution will be; with that cgroup. Before [`Self::Prepare`]; without, it is what descends from the
    /// supervisor.
    Place {
        /// The cgroup's path.
        path: PathBuf,
    },
    /// Which execution it will have; with its folder.
    Prepare {
        /// The execution's id, and the name of its folder.
        id: String,
    },
    /// What to run; with its ruleset of Landlock, if it has one.
    Start {
        /// The order. Empty: it is too long for a packet, and in a file in memory that comes before the ruleset.
        order: Bytes,
    },
    /// Who is there.
    Attached(Attached),
    /// A piece of stdin, at most [`MAX_STDIN_BYTES`](super::MAX_STDIN_BYTES) of it. One at a time.
    Stdin(StdinPiece),
    /// A signal, 1 to 64.
    Signal {
        /// To know the answer by.
        request: u32,
        /// Its number.
        number: i32,
    },
    /// The terminal's size.
    Resize {
        /// To know the answer by.
        request: u32,
        /// The new size.
        size: WindowSize,
    },
    /// Ends the execution.
    End(EndCause),
    /// Asks for [`Report::Status`](super::Report::Status).
    GetStatus {
        /// To know the answer by.
        request: u32,
    },
    /// Its outcome has been taken note of.
    Release,
}

/// A piece of stdin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StdinPiece {
    /// Position of the first byte; `None`: at the end.
    pub offset: Option<u64>,
    /// stdin ends after it.
    pub eof: bool,
    /// The bytes.
    pub data: Bytes,
}

/// Why a server ends an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum EndCause {
    Disconnect,
    Shutdown,
}

impl LinkRequest {
    /// As a packet of `version`.
    pub fn encode(&self, version: u16) -> Vec<u8> {
        let mut out = Encoder::default();
        let tag = match self {
            Self::Hello { newest } => {
                out.u16(*newest);
                1
            }
            Self::Prepare { id } => {
                out.str(id);
                2
            }
            Self::Start { order } => {
                out.raw(order);
                3
            }
            Self::Attached(attached) => {
                attached.encode(&mut out);
                4
            }
            Self::Stdin(piece) => {
                out.option(piece.offset, Encoder::u64);
                out.bool(piece.eof);
                out.bytes(&piece.data);
                5
            }
            Self::Signal { request, number } => {
                out.u32(*request);
                out.i32(*number);
                6
            }
            Self::Resize { request, size } => {
                out.u32(*request);
                out.u16(size.rows);
                out.u16(size.columns);
                7
            }
            Self::End(cause) => {
                out.u8(match cause {
                    EndCause::Disconnect => 0,
                    EndCause::Shutdown => 1,
                });
                8
            }
            Self::GetStatus { request } => {
                out.u32(*request);
                9
            }
            Self::Release => 10,
            Self::Place { path } => {
                out.bytes(path.as_os_str().as_bytes());
                11
            }
        };
        packet(version, tag, out)
    }

    /// What a packet says; `Ok(None)`: something that this version does not know.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let (tag, mut from) = open(bytes)?;
        Self::body(tag, &mut from).ok_or(Malformed)
    }

    #[expect(
        clippy::option_option,
        reason = "an unknown tag is told from missing fields"
    )]
    fn body(tag: u16, from: &mut Decoder<'_>) -> Option<Option<Self>> {
        Some(Some(match tag {
            1 => Self::Hello {
                newest: from.u16()?,
            },
            2 => Self::Prepare { id: from.string()? },
            3 => Self::Start {
                order: Bytes::copy_from_slice(from.rest()),
            },
            4 => Self::Attached(Attached::decode(from)?),
            5 => Self::Stdin(StdinPiece {
                offset: from.option(Decoder::u64)?,
                eof: from.bool()?,
                data: Bytes::copy_from_slice(from.bytes()?),
            }),
            6 => Self::Signal {
                request: from.u32()?,
                number: from.i32()?,
            },
            7 => Self::Resize {
                request: from.u32()?,
                size: WindowSize {
                    rows: from.u16()?,
                    columns: from.u16()?,
                },
            },
            8 => Self::End(match from.u8()? {
                0 => EndCause::Disconnect,
                1 => EndCause::Shutdown,
                _ => return None,
            }),
            9 => Self::GetStatus {
                request: from.u32()?,
            },
            10 => Self::Release,
            11 => Self::Place {
                path: OsStr::from_bytes(from.bytes()?).into(),
            },
            _ => return Some(None),
        }))
    }
}

impl From<StdinPiece> for StdinChunk {
    fn from(piece: StdinPiece) -> Self {
        Self {
            offset: piece.offset,
            data: piece.data,
            eof: piece.eof,
        }
    }
}
