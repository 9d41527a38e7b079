//! Records as they are written: a function a kind, which appends a frame. Pure.

use std::time::{Duration, SystemTime};

use super::{
    fields::{put, put_bytes, put_flag, put_if, put_length},
    format::{Progress, SKIPPABLE, begin_frame, end_frame},
    record::{Lost, TOTALS, kind, stream_index},
    reservation::{Claim, Reservation},
};
use crate::{
    lifecycle::{
        event::{Event, EventKind, Exit},
        outcome::{Cause, ExitReason},
    },
    process::ExitStatus,
};

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

fn put_totals(to: &mut Vec<u8>, totals: Progress) {
    for (field, position) in (TOTALS..).zip(totals.positions) {
        put(to, field, position);
    }
    put(to, TOTALS + 3, totals.stdin_accepted);
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
