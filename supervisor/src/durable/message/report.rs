//! What a supervisor tells a server. Pure.

use std::time::SystemTime;

use bytes::Bytes;

use super::{BlockedBy, Malformed, Stage, Status, open, packet};
use crate::{
    codec::{Decoder, Encoder},
    durable::exit,
    journal::JournalCosts,
    lifecycle::{
        event::Exit,
        output::{Chunk, OutputStream},
        stdin::StdinError,
    },
    process::NotStarted,
};

/// From a supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The answer to [`LinkRequest::Hello`](super::LinkRequest::Hello).
    Welcome {
        /// The version that is spoken from now on. One that is newer than the server speaks: it is to be left alone.
        version: u16,
        /// The execution; empty before [`LinkRequest::Prepare`](super::LinkRequest::Prepare).
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
    /// The answer to [`LinkRequest::GetStatus`](super::LinkRequest::GetStatus).
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
    /// What its journal has cost so far; in version 1, before the end.
    Costs(JournalCosts),
    /// The last event.
    Ended {
        /// Its sequence.
        sequence: u64,
        /// Its time.
        time: SystemTime,
        /// How it ended.
        exit: Exit,
        /// The journal has it; else the supervisor waits for [`LinkRequest::Release`](super::LinkRequest::Release).
        kept: bool,
        /// All that is to be known besides, so that the server need not read the journal; from version 2 on.
        summary: Option<Box<(Status, JournalCosts)>>,
    },
}

impl Report {
    /// As a packet of `version`.
    pub fn encode(&self, version: u16) -> Vec<u8> {
        let mut out = Encoder::default();
        let tag = self.put(version, &mut out);
        packet(version, tag, out)
    }

    fn put(&self, version: u16, out: &mut Encoder) -> u16 {
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
                put_refusal(*why, out);
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
                put_chunk(chunk, out);
                113
            }
            Self::Ended {
                sequence,
                time,
                exit,
                kept,
                summary,
            } => {
                out.u64(*sequence);
                out.time(*time);
                exit::encode(exit, out);
                out.bool(*kept);
                match summary.as_deref() {
                    Some((status, costs)) if version >= 2 => {
                        status.encode(out);
                        put_costs(*costs, out);
                        116
                    }
                    _ => 114,
                }
            }
            Self::Costs(costs) => {
                put_costs(*costs, out);
                115
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
            107 => Self::StdinRefused(take_refusal(from)?),
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
                chunk: take_chunk(from)?,
            },
            114 | 116 => Self::Ended {
                sequence: from.u64()?,
                time: from.time()?,
                exit: exit::decode(from)?,
                kept: from.bool()?,
                summary: if tag == 116 {
                    Some(Box::new((Status::decode(from)?, take_costs(from)?)))
                } else {
                    None
                },
            },
            115 => Self::Costs(take_costs(from)?),
            _ => return Some(None),
        }))
    }
}

fn put_costs(costs: JournalCosts, out: &mut Encoder) {
    out.u64(costs.written_bytes);
    out.u64(costs.syncs);
}

fn take_costs(from: &mut Decoder<'_>) -> Option<JournalCosts> {
    Some(JournalCosts {
        written_bytes: from.u64()?,
        syncs: from.u64()?,
    })
}

fn put_refusal(why: StdinError, out: &mut Encoder) {
    match why {
        StdinError::Closed { at } => {
            out.u8(0);
            out.u64(at);
        }
        StdinError::Hole { accepted, offset } => {
            out.u8(1);
            out.u64(accepted);
            out.u64(offset);
        }
    }
}

fn take_refusal(from: &mut Decoder<'_>) -> Option<StdinError> {
    match from.u8()? {
        0 => Some(StdinError::Closed { at: from.u64()? }),
        1 => Some(StdinError::Hole {
            accepted: from.u64()?,
            offset: from.u64()?,
        }),
        _ => None,
    }
}

fn put_chunk(chunk: &Chunk, out: &mut Encoder) {
    out.u8(match chunk.stream {
        OutputStream::Stdout => 0,
        OutputStream::Stderr => 1,
        OutputStream::Terminal => 2,
    });
    out.u64(chunk.offset);
    out.bytes(&chunk.data);
}

fn take_chunk(from: &mut Decoder<'_>) -> Option<Chunk> {
    Some(Chunk {
        stream: match from.u8()? {
            0 => OutputStream::Stdout,
            1 => OutputStream::Stderr,
            2 => OutputStream::Terminal,
            _ => return None,
        },
        offset: from.u64()?,
        data: Bytes::copy_from_slice(from.bytes()?),
    })
}
