//! Writes a reply: what is in memory in one vectored write with what goes before it, what is spooled by sendfile behind it.
//! A client that takes too little of it in a while is given up.

use std::{
    fs::File,
    io::{self, IoSlice},
    pin::pin,
    time::Duration,
};

use remex_daemon::net::PeerStream;
use tokio::{
    io::{AsyncWriteExt, Interest},
    time::{Instant, timeout_at},
};

use crate::{
    body::{Body, Piece},
    limits::Limits,
};

/// Sent by one sendfile, so that one long reply does not keep its thread from the others.
const SENDFILE_BYTES: u64 = 1024 * 1024;

/// Writes `head`, `body` and `tail`. `TimedOut`: too little was taken.
pub(super) async fn reply(
    stream: &mut PeerStream,
    head: &[u8],
    body: &Body,
    tail: Option<u8>,
    pace: Pace,
) -> io::Result<()> {
    let mut pace = Window::new(pace.memory_only(body.is_in_memory()));
    let in_memory = body.pieces.iter().map_while(|piece| match piece {
        Piece::Memory(bytes) => Some(&bytes[..]),
        Piece::File { .. } => None,
    });
    let mut first: Vec<&[u8]> = [head].into_iter().chain(in_memory).collect();
    let rest = &body.pieces[first.len() - 1..];
    let tail = tail.as_slice();
    if rest.is_empty() {
        first.push(tail);
        return write(stream, &first, &mut pace).await;
    }
    write(stream, &first, &mut pace).await?;
    for piece in rest {
        match piece {
            Piece::Memory(bytes) => write(stream, &[bytes], &mut pace).await?,
            Piece::File { .. } => {
                if let Some((file, bytes)) = piece.file() {
                    send_file(stream, file, bytes, &mut pace).await?;
                }
            }
        }
    }
    write(stream, &[tail], &mut pace).await
}

/// Writes `parts`, as far as the socket takes them at once.
pub(super) async fn gather(stream: &mut PeerStream, parts: &[&[u8]], pace: Pace) -> io::Result<()> {
    write(stream, parts, &mut Window::new(pace)).await
}

/// What a client has to take: so much in each window, or all that is left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    window: Duration,
    least_bytes: u64,
    least_spooled_bytes: u64,
}

impl Pace {
    pub(super) fn of(limits: &Limits) -> Self {
        Self {
            window: limits.write_stall,
            least_bytes: limits.least_bytes,
            least_spooled_bytes: limits.least_spooled_bytes,
        }
    }

    /// What is spooled holds disk that others wait for.
    fn memory_only(mut self, in_memory: bool) -> Self {
        if !in_memory {
            self.least_bytes = self.least_spooled_bytes;
        }
        self
    }
}

/// Where a client is in its pace.
struct Window {
    pace: Pace,
    ends: Instant,
    taken_bytes: u64,
}

impl Window {
    fn new(pace: Pace) -> Self {
        Self {
            pace,
            ends: Instant::now() + pace.window,
            taken_bytes: 0,
        }
    }

    /// What `step` takes, in time. `TimedOut`: less was taken in this window than has to be.
    async fn take<T>(
        &mut self,
        step: impl Future<Output = io::Result<T>>,
        bytes: impl Fn(&T) -> u64,
    ) -> io::Result<T> {
        let mut step = pin!(step);
        loop {
            match timeout_at(self.ends, &mut step).await {
                Ok(taken) => {
                    let taken = taken?;
                    self.taken_bytes = self.taken_bytes.saturating_add(bytes(&taken));
                    return Ok(taken);
                }
                Err(_) if self.taken_bytes < self.pace.least_bytes => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(_) => {
                    self.ends = Instant::now() + self.pace.window;
                    self.taken_bytes = 0;
                }
            }
        }
    }
}

async fn write(stream: &mut PeerStream, parts: &[&[u8]], pace: &mut Window) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = parts
        .iter()
        .filter(|part| !part.is_empty())
        .map(|part| IoSlice::new(part))
        .collect();
    let mut slices = &mut slices[..];
    while !slices.is_empty() {
        let written = pace.take(stream.write_vectored(slices), |count| *count as u64);
        match written.await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut slices, written),
        }
    }
    Ok(())
}

async fn send_file(
    stream: &PeerStream,
    file: &File,
    bytes: u64,
    pace: &mut Window,
) -> io::Result<()> {
    let mut offset = 0;
    while offset < bytes {
        let most = (bytes - offset).min(SENDFILE_BYTES);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let sent = match stream {
            PeerStream::Tcp(socket) => {
                let send = || Ok(rustix::fs::sendfile(socket, file, Some(&mut offset), most)?);
                let sent = socket.async_io(Interest::WRITABLE, send);
                pace.take(sent, |count| *count as u64).await?
            }
            PeerStream::Unix(socket) => {
                let send = || Ok(rustix::fs::sendfile(socket, file, Some(&mut offset), most)?);
                let sent = socket.async_io(Interest::WRITABLE, send);
                pace.take(sent, |count| *count as u64).await?
            }
        };
        if sent == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        tokio::task::consume_budget().await;
    }
    Ok(())
}
