//! The kinds of records, and their fields. Pure.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::{
    error::{BadRecord, Unsupported},
    fields::{Field, Fields, Malformed, put, put_bytes, put_flag, put_if, put_length},
    format::{
        BODY_HEAD_BYTES, FRAME_HEAD_BYTES, Progress, SKIPPABLE, begin_frame, end_frame,
        time as time_of,
    },
    reservation::{Claim, Reservation},
};
use crate::{
    lifecycle::{
        event::{Event, EventKind, Exit},
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

/// Appends the frame of an event as it is stored whole, but for an output's bytes, which follow it.
pub(super) fn put_event(to: &mut Vec<u8>, marker: u32, event: &Event, totals: Progress) {
    let begin = |to: &mut Vec<u8>, kind| begin_frame(to, (kind, 0), event.sequence, event.time);
    match &event.kind {
        EventKind::Started { pid } => {
            let start = begin(to, kind::STARTED);
            put(to, 1, u64::from(pid.unsigned_abs()));
            end_frame(to, start, marker, &[]);
        }
        EventKind::Output(chunk) => {
            let start = begin(to, kind::OUTPUT);
            put(to, 1, stream_index(chunk.stream) as u64);
            put(to, 2, chunk.offset);
            put_length(to, 3, chunk.data.len());
            end_frame(to, start, marker, &chunk.data);
        }
        EventKind::Exited(exit) => {
            let start = begin(to, kind::EXITED);
            put_exit(to, exit);
            put_totals(to, totals);
            end_frame(to, start, marker, &[]);
        }
    }
}

/// Appends the frame of a reservation.
pub(super) fn put_reservation(to: &mut Vec<u8>, marker: u32, reservation: &Reservation) {
    let start = begin_frame(to, (kind::RESERVED, 0), 0, reservation.time);
    if let Some(claim) = &reservation.claim {
        let mut bytes = Vec::new();
        claim.encode(&mut bytes);
        put_bytes(to, 1, &bytes);
    }
    put_bytes(to, 2, &reservation.boot_id);
    put_bytes(to, 3, &reservation.details);
    end_frame(to, start, marker, &[]);
}

/// Appends the frame of a claim, which is all of a file.
pub(super) fn put_claim(to: &mut Vec<u8>, marker: u32, claim: &Claim, time: SystemTime) {
    let start = begin_frame(to, (kind::CLAIM, 0), 0, time);
    let mut bytes = Vec::new();
    claim.encode(&mut bytes);
    put_bytes(to, 1, &bytes);
    end_frame(to, start, marker, &[]);
}

/// Appends the frame that says that nothing ran.
pub(super) fn put_not_started(to: &mut Vec<u8>, marker: u32, time: SystemTime) {
    let start = begin_frame(to, (kind::NOT_STARTED, 0), 0, time);
    end_frame(to, start, marker, &[]);
}

/// Appends the frame of events from `first_sequence` to `sequence` that are not stored.
pub(super) fn put_gap(
    to: &mut Vec<u8>,
    marker: u32,
    (first_sequence, sequence): (u64, u64),
    time: SystemTime,
    bytes: [u64; 3],
) {
    let start = begin_frame(to, (kind::GAP, 0), sequence, time);
    put(to, 1, first_sequence);
    for (field, bytes) in (2..).zip(bytes) {
        put(to, field, bytes);
    }
    end_frame(to, start, marker, &[]);
}

/// Appends the frame that says that the end was not seen.
pub(super) fn put_lost(
    to: &mut Vec<u8>,
    marker: u32,
    (sequence, time): (u64, SystemTime),
    lost: Lost,
    totals: Progress,
) {
    let start = begin_frame(to, (kind::LOST, 0), sequence, time);
    let number = match lost {
        Lost::Start => 1,
        Lost::Exit => 2,
        Lost::Reboot => 3,
    };
    put(to, 1, number);
    put_totals(to, totals);
    end_frame(to, start, marker, &[]);
}

/// Appends the frame of a position of stdin.
pub(super) fn put_stdin(
    to: &mut Vec<u8>,
    marker: u32,
    (sequence, time): (u64, SystemTime),
    position: u64,
) {
    let start = begin_frame(to, (kind::STDIN_ACCEPTED, SKIPPABLE), sequence, time);
    put(to, 1, position);
    end_frame(to, start, marker, &[]);
}

fn put_exit(to: &mut Vec<u8>, exit: &Exit) {
    match exit.outcome.status {
        Some(ExitStatus::Code(code)) => put(to, 1, u64::from(code)),
        Some(ExitStatus::Signal {
            number,
            core_dumped,
        }) => {
            put(to, 2, u64::from(number.unsigned_abs()));
            put_flag(to, 3, core_dumped);
        }
        None => {}
    }
    let reason = match exit.outcome.reason {
        ExitReason::Own => 1,
        ExitReason::Ended(Cause::Timeout) => 2,
        ExitReason::Ended(Cause::Disconnect) => 3,
        ExitReason::Ended(Cause::Shutdown) => 4,
        ExitReason::Signal => 5,
        ExitReason::Lost => 6,
    };
    put(to, 4, reason);
    put_flag(to, 5, exit.outcome.unkillable);
    put_flag(to, 6, exit.outcome.output_cut);
    put(to, 7, nanos(exit.wall_time));
    put(to, 8, nanos(exit.usage.user));
    put(to, 9, nanos(exit.usage.system));
    put_if(to, 10, exit.usage.max_rss_bytes);
    put_flag(to, 11, exit.oom_killed);
    put_flag(to, 12, exit.output_left_open);
}

/// The first of the fields that say how far an execution had come when it ended.
const TOTALS: u8 = 32;

fn put_totals(to: &mut Vec<u8>, totals: Progress) {
    for (field, position) in (TOTALS..).zip(totals.positions) {
        put(to, field, position);
    }
    put(to, TOTALS + 3, totals.stdin_accepted);
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

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
