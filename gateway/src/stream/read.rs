//! Takes the next command off a connection. Nothing marks its end, so this waits only where the segments leave a doubt.

use std::{io, time::Duration};

use bytes::BytesMut;
use remex_daemon::net::TcpInfo;
use tokio::{select, time::timeout};
use tokio_util::sync::CancellationToken;

use super::line::Line;
use crate::{
    limits::Limits,
    wire::{
        request,
        segment::{Arrival, Segments, arrival},
    },
};

/// What a client sent.
pub(super) enum Arrived {
    /// This.
    Bytes(BytesMut),
    /// The end.
    End,
    /// Nothing, for too long.
    Idle,
    /// Nothing, and the gateway stops.
    Stopped,
}

/// The most that is held of what has arrived: one byte more than the longest command.
pub(super) fn most_pending(limits: &Limits) -> usize {
    request::most_bytes(limits.request_bytes) + 1
}

/// The next command, or too much for one; after `idle` without any byte, none.
pub(super) async fn command(
    line: &mut Line,
    idle: Duration,
    limits: &Limits,
    stop: &CancellationToken,
) -> io::Result<Arrived> {
    let most = most_pending(limits);
    if let Some(nothing) = wait(line, idle, most, stop).await? {
        return Ok(nothing);
    }
    while line.pending.len() < most
        && !line.half_closed
        && let Some(wait) = may_go_on(line, limits)
    {
        match timeout(wait, line.readable()).await {
            Ok(ready) => ready?,
            Err(_) => break,
        }
        line.fill(most)?;
    }
    Ok(Arrived::Bytes(line.take()))
}

/// Whatever arrives next.
pub(super) async fn some(
    line: &mut Line,
    idle: Duration,
    most: usize,
    stop: &CancellationToken,
) -> io::Result<Arrived> {
    let nothing = wait(line, idle, most, stop).await?;
    Ok(nothing.unwrap_or_else(|| Arrived::Bytes(line.take())))
}

/// Waits until something is pending; or else says what came instead.
async fn wait(
    line: &mut Line,
    idle: Duration,
    most: usize,
    stop: &CancellationToken,
) -> io::Result<Option<Arrived>> {
    // What came in the meantime, such as while the last command ran.
    line.fill(most)?;
    while line.pending.is_empty() {
        if line.half_closed {
            return Ok(Some(Arrived::End));
        }
        select! {
            biased;
            () = stop.cancelled() => return Ok(Some(Arrived::Stopped)),
            ready = timeout(idle, line.readable()) => match ready {
                Ok(ready) => ready?,
                Err(_) => return Ok(Some(Arrived::Idle)),
            }
        }
        line.fill(most)?;
    }
    Ok(None)
}

/// How long the rest of what has arrived is waited for, if there may be one.
fn may_go_on(line: &Line, limits: &Limits) -> Option<Duration> {
    let info = TcpInfo::of(line.stream.tcp()?).ok()?;
    let segments = Segments {
        rcv_mss: info.rcv_mss,
        snd_mss: info.snd_mss,
        total_retrans: info.total_retrans,
        loopback: line.caller.is_local(),
    };
    match arrival(line.pending.len(), segments) {
        Arrival::Complete => None,
        Arrival::Wait => Some(limits.segment_wait),
        Arrival::WaitLong => Some(limits.segment_wait_lossy),
    }
}
