//! The kinds of records, and what their fields say. Pure.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::{
    error::{BadRecord, Unsupported},
    fields::{Field, Fields, Malformed},
    format::{BODY_HEAD_BYTES, FRAME_HEAD_BYTES, Progress, SKIPPABLE, time as time_of},
    reservation::{Claim, Reservation},
};
use crate::{
    lifecycle::{
        event::Exit,
        outcome::{Cause, ExitReason, Outcome},
        output::{Chunk, OutputStream},
    },
    process::{ExitStatus, Usage},
};

/// The numbers of the kinds. A number is never given to another kind.
pub(super) mod kind {
    pub(crate) const RESERVED: u8 = 1;
    pub(crate) const NOT_STARTED: u8 = 2;
    pub(crate) const STARTED: u8 = 3;
    pub(crate) const OUTPUT: u8 = 4;
    pub(crate) const GAP: u8 = 5;
    pub(crate) const EXITED: u8 = 6;
    pub(crate) const LOST: u8 = 7;
    pub(crate) const STDIN_ACCEPTED: u8 = 8;
    /// Not of a journal: the content of a request id's file.
    pub(crate) const CLAIM: u8 = 9;
}

/// What is not known of an execution's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// It may or may not have run.
    Start,
    /// It ran, and nobody saw the end.
    Exit,
    /// It ran when the host went down.
    Reboot,
}

/// One record, as it is read.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// Of the event; of what is none, that of the last event before.
    pub(super) sequence: u64,
    pub(super) time: SystemTime,
    pub(super) content: Content,
}

/// What a record says.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Reserved(Box<Reservation>),
    NotStarted,
    Started {
        pid: i32,
    },
    Output(Chunk),
    /// Events from `first_sequence` on that were not stored.
    Gap {
        first_sequence: u64,
        bytes: [u64; 3],
    },
    Exited {
        exit: Exit,
        totals: Progress,
    },
    Lost {
        lost: Lost,
        totals: Progress,
    },
    StdinAccepted(u64),
    Claim(Box<Claim>),
    /// Of a kind that is not known, and may be skipped.
    Skipped,
}

impl Content {
    /// Whether it has a sequence of its own.
    pub(super) fn is_event(&self) -> bool {
        match self {
            Self::Started { .. }
            | Self::Output(_)
            | Self::Gap { .. }
            | Self::Exited { .. }
            | Self::Lost { .. } => true,
            Self::Reserved(_)
            | Self::NotStarted
            | Self::StdinAccepted(_)
            | Self::Claim(_)
            | Self::Skipped => false,
        }
    }
}

/// A stream's number in records and its index among positions.
pub(super) fn stream_index(stream: OutputStream) -> usize {
    match stream {
        OutputStream::Stdout => 0,
        OutputStream::Stderr => 1,
        OutputStream::Terminal => 2,
    }
}

/// The first of the fields that say how far an execution had come when it ended.
pub(super) const TOTALS: u8 = 32;

impl Record {
    /// What a whole frame, whose sum is right, says. Output is not copied.
    pub(super) fn decode(frame: &Bytes) -> Result<Self, BadRecord> {
        let body = frame.get(FRAME_HEAD_BYTES..).ok_or(BadRecord::Malformed)?;
        let (head, fields) = body
            .split_first_chunk::<BODY_HEAD_BYTES>()
            .ok_or(BadRecord::Malformed)?;
        let (kind, flags) = (head[0], head[1]);
        let eight = |at: usize| head[at..].first_chunk().copied().unwrap_or_default();
        let time = time_of(i64::from_le_bytes(eight(10)));
        let fields = Known { kind, fields };
        let content = match kind {
            kind::RESERVED => decode_reservation(fields, time)?,
            kind::NOT_STARTED => fields.each(|_| Ok(false)).map(|()| Content::NotStarted)?,
            kind::STARTED => decode_started(fields)?,
            kind::OUTPUT => decode_output(fields, frame)?,
            kind::GAP => decode_gap(fields)?,
            kind::EXITED => decode_exited(fields)?,
            kind::LOST => decode_lost(fields)?,
            kind::STDIN_ACCEPTED => decode_stdin(fields)?,
            kind::CLAIM => decode_claim(fields)?,
            _ if flags & SKIPPABLE != 0 => Content::Skipped,
            other => return Err(BadRecord::Unsupported(Unsupported::Record(other))),
        };
        Ok(Self {
            sequence: u64::from_le_bytes(eight(2)),
            time,
            content,
        })
    }
}

/// The fields of a record whose kind is known.
#[derive(Clone, Copy)]
struct Known<'a> {
    kind: u8,
    fields: &'a [u8],
}

impl<'a> Known<'a> {
    /// Has `take` look at each field; it says whether it knows it.
    fn each(
        self,
        mut take: impl FnMut(Field<'a>) -> Result<bool, BadRecord>,
    ) -> Result<(), BadRecord> {
        for field in Fields(self.fields) {
            let field = field?;
            if !take(field)? && field.is_needed {
                return Err(BadRecord::Unsupported(Unsupported::Field {
                    kind: self.kind,
                    field: field.number,
                }));
            }
        }
        Ok(())
    }

    /// That a field has a value that is not known.
    fn unsupported(self, field: u8, value: u64) -> BadRecord {
        BadRecord::Unsupported(Unsupported::Value {
            kind: self.kind,
            field,
            value,
        })
    }
}

fn decode_reservation(fields: Known<'_>, time: SystemTime) -> Result<Content, BadRecord> {
    let mut reservation = Reservation {
        claim: None,
        boot_id: [0; 16],
        time,
        details: Bytes::new(),
    };
    fields.each(|field| {
        match field.number {
            1 => reservation.claim = Some(Claim::decode(field.value)?),
            2 => reservation.boot_id = field.array()?,
            3 => reservation.details = Bytes::copy_from_slice(field.value),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(Content::Reserved(Box::new(reservation)))
}

fn decode_claim(fields: Known<'_>) -> Result<Content, BadRecord> {
    let mut claim = None;
    fields.each(|field| {
        if field.number == 1 {
            claim = Some(Claim::decode(field.value)?);
        }
        Ok(field.number == 1)
    })?;
    let claim = claim.ok_or(BadRecord::Malformed)?;
    Ok(Content::Claim(Box::new(claim)))
}

fn decode_started(fields: Known<'_>) -> Result<Content, BadRecord> {
    let mut pid = 0;
    fields.each(|field| {
        if field.number == 1 {
            pid = small(field.number()?)?;
        }
        Ok(field.number == 1)
    })?;
    Ok(Content::Started { pid })
}

fn decode_output(fields: Known<'_>, frame: &Bytes) -> Result<Content, BadRecord> {
    let mut stream = None;
    let mut offset = 0;
    let mut data = Bytes::new();
    fields.each(|field| {
        match field.number {
            1 => stream = Some(stream_of(field.number()?)?),
            2 => offset = field.number()?,
            3 => data = frame.slice_ref(field.value),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let stream = stream.ok_or(BadRecord::Malformed)?;
    Ok(Content::Output(Chunk {
        stream,
        offset,
        data,
    }))
}

fn stream_of(number: u64) -> Result<OutputStream, Malformed> {
    Ok(match number {
        0 => OutputStream::Stdout,
        1 => OutputStream::Stderr,
        2 => OutputStream::Terminal,
        _ => return Err(Malformed),
    })
}

fn decode_gap(fields: Known<'_>) -> Result<Content, BadRecord> {
    let mut first_sequence = 0;
    let mut bytes = [0; 3];
    fields.each(|field| {
        match field.number {
            1 => first_sequence = field.number()?,
            2..=4 => bytes[usize::from(field.number) - 2] = field.number()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(Content::Gap {
        first_sequence,
        bytes,
    })
}

fn decode_exited(fields: Known<'_>) -> Result<Content, BadRecord> {
    let mut exit = Exit {
        outcome: Outcome::LOST,
        wall_time: Duration::ZERO,
        usage: Usage::default(),
        oom_killed: false,
        output_left_open: false,
    };
    let mut totals = Progress::default();
    fields.each(|field| {
        if set_totals(&mut totals, &field)? {
            return Ok(true);
        }
        let number = || field.number();
        let outcome = &mut exit.outcome;
        match field.number {
            1 => {
                let code = u8::try_from(number()?).map_err(|_| Malformed)?;
                outcome.status = Some(ExitStatus::Code(code));
            }
            2 => {
                outcome.status = Some(ExitStatus::Signal {
                    number: small(number()?)?,
                    core_dumped: false,
                });
            }
            3 => {
                if let Some(ExitStatus::Signal { core_dumped, .. }) = &mut outcome.status {
                    *core_dumped = number()? != 0;
                }
            }
            4 => outcome.reason = reason_of(fields, number()?)?,
            5 => outcome.unkillable = number()? != 0,
            6 => outcome.output_cut = number()? != 0,
            7 => exit.wall_time = Duration::from_nanos(number()?),
            8 => exit.usage.user = Duration::from_nanos(number()?),
            9 => exit.usage.system = Duration::from_nanos(number()?),
            10 => exit.usage.max_rss_bytes = Some(number()?),
            11 => exit.oom_killed = number()? != 0,
            12 => exit.output_left_open = number()? != 0,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(Content::Exited { exit, totals })
}

fn reason_of(fields: Known<'_>, number: u64) -> Result<ExitReason, BadRecord> {
    Ok(match number {
        1 => ExitReason::Own,
        2 => ExitReason::Ended(Cause::Timeout),
        3 => ExitReason::Ended(Cause::Disconnect),
        4 => ExitReason::Ended(Cause::Shutdown),
        5 => ExitReason::Signal,
        6 => ExitReason::Lost,
        other => return Err(fields.unsupported(4, other)),
    })
}

fn decode_lost(fields: Known<'_>) -> Result<Content, BadRecord> {
    let mut lost = Lost::Exit;
    let mut totals = Progress::default();
    fields.each(|field| {
        if field.number == 1 {
            lost = match field.number()? {
                1 => Lost::Start,
                2 => Lost::Exit,
                3 => Lost::Reboot,
                other => return Err(fields.unsupported(1, other)),
            };
        }
        Ok(set_totals(&mut totals, &field)? || field.number == 1)
    })?;
    Ok(Content::Lost { lost, totals })
}

fn decode_stdin(fields: Known<'_>) -> Result<Content, BadRecord> {
    let mut position = 0;
    fields.each(|field| {
        if field.number == 1 {
            position = field.number()?;
        }
        Ok(field.number == 1)
    })?;
    Ok(Content::StdinAccepted(position))
}

fn set_totals(totals: &mut Progress, field: &Field<'_>) -> Result<bool, Malformed> {
    match field.number.checked_sub(TOTALS) {
        Some(index @ 0..=2) => totals.positions[usize::from(index)] = field.number()?,
        Some(3) => totals.stdin_accepted = field.number()?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// A process id or a signal: not negative.
fn small(number: u64) -> Result<i32, Malformed> {
    i32::try_from(number).map_err(|_| Malformed)
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
