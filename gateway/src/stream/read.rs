//! Takes the next command off a connection. Nothing marks its end, so this waits only where the segments leave a doubt.

use std::{io, time::Duration};

use bytes::{Buf, BytesMut};
use remex_daemon::net::TcpInfo;
use tokio::{
    select,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use crate::{
    limits::Limits,
    wire::{
        Foreign, Verdict, request,
        segment::{Arrival, Segments, arrival},
    },
};

/// What a client sent.
pub(super) enum Arrived {
    /// This.
    Bytes(BytesMut),
    /// Another protocol.
    Foreign(Foreign),
    /// The end.
    End,
    /// Nothing, for too long.
    Idle,
    /// Nothing, and the gateway stops.
    Stopped,
}

/// How the end of a message is found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// The most that is held of it.
    pub(super) most: usize,
    /// It is a command: segments that are full have more behind them.
    pub(super) segments: bool,
    /// The byte that ends it.
    pub(super) end: Option<u8>,
    /// How long more is waited for after each piece.
    pub(super) gather: Duration,
}

/// The most that is held of what has arrived: one byte more than the longest command.
pub(super) fn most_pending(limits: &Limits) -> usize {
    request::most_bytes(limits.request_bytes) + 1
}

/// The next message, or too much for one; after `idle` without any byte, none.
pub(super) async fn message(
    connection: &mut Connection,
    reading: Reading,
    idle: Duration,
    limits: &Limits,
    stop: &CancellationToken,
) -> io::Result<Arrived> {
    if let Some(nothing) = wait(connection, idle, reading.most, stop).await? {
        return Ok(nothing);
    }
    loop {
        let end = reading
            .end
            .and_then(|end| position(&connection.pending, end));
        let arrived = end.map_or(connection.pending.len(), |end| end + 1);
        let verdict = connection.guard.judge(&connection.pending[..arrived]);
        if let Verdict::Foreign(foreign) = verdict {
            return Ok(Arrived::Foreign(foreign));
        }
        if let Some(end) = end {
            match look_ahead(connection, reading.most, limits).await? {
                Ahead::Nothing => {}
                Ahead::More => continue,
                Ahead::Foreign(foreign) => return Ok(Arrived::Foreign(foreign)),
            }
            connection.guard.next();
            let message = connection.pending.split_to(end);
            connection.pending.advance(1);
            return Ok(Arrived::Bytes(message));
        }
        if reading.end.is_some() && connection.pending.len() < reading.most {
            match end_of_waiting(connection, idle, reading.most, stop).await? {
                Some(nothing) => return Ok(nothing),
                None => continue,
            }
        }
        let wait = may_go_on(connection, reading, verdict, limits);
        if let Some(wait) = wait
            && more(connection, wait, reading.most).await?
        {
            continue;
        }
        // A piece whose rest does not come is a command, unless no command begins like that.
        if verdict == Verdict::Piece
            && let Some(foreign) = connection.guard.without_rest(&connection.pending)
        {
            return Ok(Arrived::Foreign(foreign));
        }
        connection.guard.next();
        return Ok(Arrived::Bytes(connection.take()));
    }
}

/// What stands behind the mark of a message.
enum Ahead {
    /// Nothing that makes it anything else than a message.
    Nothing,
    /// It was not all there, and some more has arrived.
    More,
    /// It is all one request of another protocol, in which the mark is a byte like any other.
    Foreign(Foreign),
}

/// Judges a message with what has arrived behind its mark.
async fn look_ahead(
    connection: &mut Connection,
    most: usize,
    limits: &Limits,
) -> io::Result<Ahead> {
    let mut guard = connection.guard.clone();
    match guard.judge(&connection.pending) {
        Verdict::Clear => return Ok(Ahead::Nothing),
        Verdict::Foreign(foreign) => return Ok(Ahead::Foreign(foreign)),
        Verdict::Piece => {}
    }
    let may_go_on = !connection.half_closed && connection.pending.len() < most;
    if may_go_on && more(connection, limits.piece_wait, most).await? {
        return Ok(Ahead::More);
    }
    let foreign = guard.without_rest(&connection.pending);
    Ok(foreign.map_or(Ahead::Nothing, Ahead::Foreign))
}

fn position(bytes: &[u8], wanted: u8) -> Option<usize> {
    bytes.iter().position(|byte| *byte == wanted)
}

/// Waits for more of a message whose end is marked; or says what came instead. Without its mark it is none.
async fn end_of_waiting(
    connection: &mut Connection,
    idle: Duration,
    most: usize,
    stop: &CancellationToken,
) -> io::Result<Option<Arrived>> {
    if connection.half_closed {
        return Ok(Some(Arrived::End));
    }
    select! {
        biased;
        () = stop.cancelled() => Ok(Some(Arrived::Stopped)),
        more = more(connection, idle, most) => Ok((!more?).then_some(
            if connection.half_closed { Arrived::End } else { Arrived::Idle }
        )),
    }
}

/// Whether more arrived within `wait`.
async fn more(connection: &mut Connection, wait: Duration, most: usize) -> io::Result<bool> {
    let before = connection.pending.len();
    match timeout(wait, connection.readable()).await {
        Ok(ready) => ready?,
        Err(_) => return Ok(false),
    }
    connection.fill(most)?;
    // Readiness may be of what was taken already; then there is no end either, and the wait begins again.
    Ok(connection.pending.len() > before || !connection.half_closed)
}

/// Waits until something is pending; or else says what came instead.
async fn wait(
    connection: &mut Connection,
    idle: Duration,
    most: usize,
    stop: &CancellationToken,
) -> io::Result<Option<Arrived>> {
    // What came in the meantime, such as while the last command ran.
    connection.fill(most)?;
    connection.arrived = None;
    while connection.pending.is_empty() {
        if connection.half_closed {
            return Ok(Some(Arrived::End));
        }
        select! {
            biased;
            () = stop.cancelled() => return Ok(Some(Arrived::Stopped)),
            ready = timeout(idle, connection.readable()) => match ready {
                Ok(ready) => ready?,
                Err(_) => return Ok(Some(Arrived::Idle)),
            }
        }
        connection.fill(most)?;
        connection.arrived = Some(Instant::now());
    }
    Ok(None)
}

/// How long the rest of what has arrived is waited for, if there may be one.
fn may_go_on(
    connection: &Connection,
    reading: Reading,
    verdict: Verdict,
    limits: &Limits,
) -> Option<Duration> {
    if connection.half_closed || connection.pending.len() >= reading.most {
        return None;
    }
    let piece = (verdict == Verdict::Piece).then_some(limits.piece_wait);
    let segments = reading
        .segments
        .then(|| rest_of_segments(connection, limits))
        .flatten();
    let gather = (!reading.gather.is_zero()).then_some(reading.gather);
    piece.max(segments).max(gather)
}

fn rest_of_segments(connection: &Connection, limits: &Limits) -> Option<Duration> {
    let info = TcpInfo::of(connection.stream.tcp()?).ok()?;
    let segments = Segments {
        rcv_mss: info.rcv_mss,
        snd_mss: info.snd_mss,
        total_retrans: info.total_retrans,
        loopback: connection.caller.is_local(),
    };
    match arrival(connection.pending.len(), segments) {
        Arrival::Complete => None,
        Arrival::Wait => Some(limits.segment_wait),
        Arrival::WaitLong => Some(limits.segment_wait_lossy),
    }
}
