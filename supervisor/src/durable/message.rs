//! What a server and a supervisor tell each other. Pure.
//!
//! A packet is its length, the version of the protocol, a tag, and what the tag says, little-endian. What is behind the fields that
//! a side knows, and tags that it does not know, it ignores. [`Request::Hello`], [`Report::Welcome`] and the header are the
//! same in every version.

use std::time::SystemTime;

use bytes::Bytes;

use super::exit;
use crate::{
    codec::{Decoder, Encoder},
    lifecycle::{
        event::Exit,
        output::{Chunk, MAX_OUTPUT_BYTES, OutputStream},
        stdin::{StdinChunk, StdinError},
    },
    process::{NotStarted, WindowSize},
};

/// The version that is spoken here.
pub const VERSION: u16 = 1;

/// The first version of all, which is still spoken.
pub const OLDEST_VERSION: u16 = 1;

/// Most bytes of stdin in a packet.
pub const MAX_STDIN_BYTES: usize = 64 * 1024;

/// Longest packet.
pub const MAX_PACKET_BYTES: usize = MAX_OUTPUT_BYTES + 256;

const HEADER_BYTES: usize = 8;

/// To a supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The first on every link: the newest version that the server speaks.
    Hello {
        /// That version.
        newest: u16,
    },
    /// Which execution it will have; with its folder.
    Prepare {
        /// The execution's id, and the name of its folder.
        id: String,
    },
    /// What to run; with files in memory of the order and of its details, and its cgroup if it has one.
    Start,
    /// Who is there.
    Attached(Attached),
    /// A piece of stdin, at most [`MAX_STDIN_BYTES`] of it. One at a time.
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
    /// Asks for [`Report::Status`].
    GetStatus {
        /// To know the answer by.
        request: u32,
    },
    /// Its outcome has been taken note of.
    Release,
}

/// Who is attached, at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attached {
    /// How many callers.
    pub callers: u32,
    /// How many that only observe.
    pub observers: u32,
    /// The lowest sequence that every caller has been sent.
    pub sent: u64,
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

/// From a supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The answer to [`Request::Hello`].
    Welcome {
        /// The version that is spoken from now on. One that is newer than the server speaks: it is to be left alone.
        version: u16,
        /// The execution; empty before [`Request::Prepare`].
        id: String,
        /// How far it is.
        stage: Stage,
    },
    /// It waits for its order.
    Prepared,
    /// It cannot be prepared, and ends.
    Unfit {
        /// Why.
        why: String,
    },
    /// The command runs, and its journal says so.
    Started {
        /// The leader's process id.
        pid: i32,
        /// The event's time.
        time: SystemTime,
    },
    /// Nothing runs, and the supervisor ends.
    NotStarted(NotStarted),
    /// The piece of stdin has been accepted whole.
    StdinTaken {
        /// Up to this position.
        accepted: u64,
    },
    /// It has not.
    StdinRefused(StdinError),
    /// The answer to a signal or a size.
    Done {
        /// Which.
        request: u32,
        /// Whether there was something to do it to.
        done: bool,
    },
    /// The answer to [`Request::GetStatus`].
    Status {
        /// Which.
        request: u32,
        /// The answer.
        status: Status,
    },
    /// There are more events, or stdin was accepted.
    Grown {
        /// The last sequence that may be told.
        through: u64,
        /// Position up to which stdin has been accepted.
        stdin_accepted: u64,
    },
    /// The command's output waits.
    Blocked(BlockedBy),
    /// It does not any more.
    Unblocked,
    /// A piece of output that is stored nowhere.
    Output {
        /// Its sequence.
        sequence: u64,
        /// Its time.
        time: SystemTime,
        /// The output.
        chunk: Chunk,
    },
    /// The last event.
    Ended {
        /// Its sequence.
        sequence: u64,
        /// Its time.
        time: SystemTime,
        /// How it ended.
        exit: Exit,
        /// The journal has it; else the supervisor waits for [`Request::Release`].
        kept: bool,
    },
}

/// How far a supervisor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has no execution.
    Spare,
    /// It waits for its order.
    Ready,
    /// The command is on its way.
    Starting,
    /// It runs.
    Running,
    /// It has ended.
    Ended,
}

/// What the command's output waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockedBy {
    /// A reader: no more of it is kept.
    Keep,
    /// Room on disk.
    Disk,
}

/// How an execution is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// How far it is.
    pub stage: Stage,
    /// The leader's process id; 0 before it runs.
    pub pid: i32,
    /// The last event's sequence.
    pub last_sequence: u64,
    /// The last one that may be told.
    pub through: u64,
    /// The earliest output that is kept.
    pub first_kept: u64,
    /// Position up to which stdin has been accepted.
    pub stdin_accepted: u64,
    /// Bytes that were read of stdout, or the terminal.
    pub stdout_bytes: u64,
    /// Bytes that were read of stderr.
    pub stderr_bytes: u64,
    /// What the journal takes.
    pub stored_bytes: u64,
    /// What its output waits for.
    pub blocked: Option<BlockedBy>,
    /// Why nothing is stored any more; empty: it is.
    pub storage_error: String,
    /// Who is attached.
    pub attached: Attached,
}

impl Request {
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
            Self::Start => 3,
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
            3 => Self::Start,
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
            _ => return Some(None),
        }))
    }
}

impl Report {
    /// As a packet of `version`.
    pub fn encode(&self, version: u16) -> Vec<u8> {
        let mut out = Encoder::default();
        let tag = self.put(&mut out);
        packet(version, tag, out)
    }

    fn put(&self, out: &mut Encoder) -> u16 {
        match self {
            Self::Welcome { version, id, stage } => {
                out.u16(*version);
                out.str(id);
                out.u8(stage.number());
                101
            }
            Self::Prepared => 102,
            Self::Unfit { why } => {
                out.str(why);
                103
            }
            Self::Started { pid, time } => {
                out.i32(*pid);
                out.time(*time);
                104
            }
            Self::NotStarted(why) => {
                why.encode(out);
                105
            }
            Self::StdinTaken { accepted } => {
                out.u64(*accepted);
                106
            }
            Self::StdinRefused(why) => {
                match why {
                    StdinError::Closed { at } => {
                        out.u8(0);
                        out.u64(*at);
                    }
                    StdinError::Hole { accepted, offset } => {
                        out.u8(1);
                        out.u64(*accepted);
                        out.u64(*offset);
                    }
                }
                107
            }
            Self::Done { request, done } => {
                out.u32(*request);
                out.bool(*done);
                108
            }
            Self::Status { request, status } => {
                out.u32(*request);
                status.encode(out);
                109
            }
            Self::Grown {
                through,
                stdin_accepted,
            } => {
                out.u64(*through);
                out.u64(*stdin_accepted);
                110
            }
            Self::Blocked(by) => {
                out.u8(by.number());
                111
            }
            Self::Unblocked => 112,
            Self::Output {
                sequence,
                time,
                chunk,
            } => {
                out.u64(*sequence);
                out.time(*time);
                out.u8(stream_number(chunk.stream));
                out.u64(chunk.offset);
                out.bytes(&chunk.data);
                113
            }
            Self::Ended {
                sequence,
                time,
                exit,
                kept,
            } => {
                out.u64(*sequence);
                out.time(*time);
                exit::encode(exit, out);
                out.bool(*kept);
                114
            }
        }
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
            101 => Self::Welcome {
                version: from.u16()?,
                id: from.string()?,
                stage: Stage::from_number(from.u8()?)?,
            },
            102 => Self::Prepared,
            103 => Self::Unfit {
                why: from.string()?,
            },
            104 => Self::Started {
                pid: from.i32()?,
                time: from.time()?,
            },
            105 => Self::NotStarted(NotStarted::decode(from)?),
            106 => Self::StdinTaken {
                accepted: from.u64()?,
            },
            107 => Self::StdinRefused(match from.u8()? {
                0 => StdinError::Closed { at: from.u64()? },
                1 => StdinError::Hole {
                    accepted: from.u64()?,
                    offset: from.u64()?,
                },
                _ => return None,
            }),
            108 => Self::Done {
                request: from.u32()?,
                done: from.bool()?,
            },
            109 => Self::Status {
                request: from.u32()?,
                status: Status::decode(from)?,
            },
            110 => Self::Grown {
                through: from.u64()?,
                stdin_accepted: from.u64()?,
            },
            111 => Self::Blocked(BlockedBy::from_number(from.u8()?)?),
            112 => Self::Unblocked,
            113 => Self::Output {
                sequence: from.u64()?,
                time: from.time()?,
                chunk: Chunk {
                    stream: stream(from.u8()?)?,
                    offset: from.u64()?,
                    data: Bytes::copy_from_slice(from.bytes()?),
                },
            },
            114 => Self::Ended {
                sequence: from.u64()?,
                time: from.time()?,
                exit: exit::decode(from)?,
                kept: from.bool()?,
            },
            _ => return Some(None),
        }))
    }
}

/// A packet that is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a packet that is not of this protocol")]
pub struct Malformed;

fn packet(version: u16, tag: u16, body: Encoder) -> Vec<u8> {
    let body = body.into_bytes();
    let mut out = Encoder::default();
    // What is longer than any packet is not sent.
    out.u32(u32::try_from(HEADER_BYTES + body.len()).unwrap_or(u32::MAX));
    out.u16(version);
    out.u16(tag);
    out.raw(&body);
    out.into_bytes()
}

/// The tag of a packet, and what is behind its header. The version says what the packet may hold, and nothing that is known has
/// changed from one to the next.
fn open(bytes: &[u8]) -> Result<(u16, Decoder<'_>), Malformed> {
    let mut from = Decoder::new(bytes);
    let header = (from.u32(), from.u16(), from.u16());
    match header {
        (Some(length), Some(OLDEST_VERSION..), Some(tag))
            if usize::try_from(length) == Ok(bytes.len()) =>
        {
            Ok((tag, from))
        }
        _ => Err(Malformed),
    }
}

impl Attached {
    fn encode(self, out: &mut Encoder) {
        out.u32(self.callers);
        out.u32(self.observers);
        out.u64(self.sent);
    }

    fn decode(from: &mut Decoder<'_>) -> Option<Self> {
        Some(Self {
            callers: from.u32()?,
            observers: from.u32()?,
            sent: from.u64()?,
        })
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

impl Stage {
    fn number(self) -> u8 {
        match self {
            Self::Spare => 0,
            Self::Ready => 1,
            Self::Starting => 2,
            Self::Running => 3,
            Self::Ended => 4,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Spare,
            1 => Self::Ready,
            2 => Self::Starting,
            3 => Self::Running,
            4 => Self::Ended,
            _ => return None,
        })
    }
}

impl BlockedBy {
    fn number(self) -> u8 {
        match self {
            Self::Keep => 0,
            Self::Disk => 1,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Keep),
            1 => Some(Self::Disk),
            _ => None,
        }
    }
}

impl Status {
    fn encode(&self, out: &mut Encoder) {
        out.u8(self.stage.number());
        out.i32(self.pid);
        for number in [
            self.last_sequence,
            self.through,
            self.first_kept,
            self.stdin_accepted,
            self.stdout_bytes,
            self.stderr_bytes,
            self.stored_bytes,
        ] {
            out.u64(number);
        }
        out.option(self.blocked, |out, by| out.u8(by.number()));
        out.str(&self.storage_error);
        self.attached.encode(out);
    }

    fn decode(from: &mut Decoder<'_>) -> Option<Self> {
        Some(Self {
            stage: Stage::from_number(from.u8()?)?,
            pid: from.i32()?,
            last_sequence: from.u64()?,
            through: from.u64()?,
            first_kept: from.u64()?,
            stdin_accepted: from.u64()?,
            stdout_bytes: from.u64()?,
            stderr_bytes: from.u64()?,
            stored_bytes: from.u64()?,
            blocked: from.option(|from| BlockedBy::from_number(from.u8()?))?,
            storage_error: from.string()?,
            attached: Attached::decode(from)?,
        })
    }
}

fn stream_number(stream: OutputStream) -> u8 {
    match stream {
        OutputStream::Stdout => 0,
        OutputStream::Stderr => 1,
        OutputStream::Terminal => 2,
    }
}

fn stream(number: u8) -> Option<OutputStream> {
    Some(match number {
        0 => OutputStream::Stdout,
        1 => OutputStream::Stderr,
        2 => OutputStream::Terminal,
        _ => return None,
    })
}
