//! Writes a reply: what is in memory in one vectored write with what goes before it, what is spooled by sendfile behind it.
//! A client that takes no byte for too long is given up.

use std::{
    fs::File,
    io::{self, IoSlice},
    time::Duration,
};

use remex_daemon::net::Stream;
use tokio::{
    io::{AsyncWriteExt, Interest},
    time::timeout,
};

use crate::body::{Body, Piece};

/// Sent by one sendfile, so that one long reply does not keep its thread from the others.
const SENDFILE_BYTES: u64 = 1024 * 1024;

/// Writes `head`, `body` and `tail`. `TimedOut`: nothing was taken for `stall`.
pub(super) async fn reply(
    stream: &mut Stream,
    head: &[u8],
    body: &Body,
    tail: Option<u8>,
    stall: Duration,
) -> io::Result<()> {
    let in_memory = body.pieces.iter().map_while(|piece| match piece {
        Piece::Memory(bytes) => Some(&bytes[..]),
        Piece::File { .. } => None,
    });
    let mut first: Vec<&[u8]> = [head].into_iter().chain(in_memory).collect();
    let rest = &body.pieces[first.len() - 1..];
    let tail = tail.as_slice();
    if rest.is_empty() {
        first.push(tail);
        return gather(stream, &first, stall).await;
    }
    gather(stream, &first, stall).await?;
    for piece in rest {
        match piece {
            Piece::Memory(bytes) => gather(stream, &[bytes], stall).await?,
            Piece::File { .. } => {
                if let Some((file, bytes)) = piece.file() {
                    send_file(stream, file, bytes, stall).await?;
                }
            }
        }
    }
    gather(stream, &[tail], stall).await
}

/// Writes `parts`, as far as the socket takes them at once.
pub(super) async fn gather(
    stream: &mut Stream,
    parts: &[&[u8]],
    stall: Duration,
) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = parts
        .iter()
        .filter(|part| !part.is_empty())
        .map(|part| IoSlice::new(part))
        .collect();
    let mut slices = &mut slices[..];
    while !slices.is_empty() {
        match timeout(stall, stream.write_vectored(slices)).await?? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut slices, written),
        }
    }
    Ok(())
}

async fn send_file(stream: &Stream, file: &File, bytes: u64, stall: Duration) -> io::Result<()> {
    let mut offset = 0;
    while offset < bytes {
        let most = (bytes - offset).min(SENDFILE_BYTES);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let sent = match stream {
            Stream::Tcp(socket) => {
                let send = || Ok(rustix::fs::sendfile(socket, file, Some(&mut offset), most)?);
                timeout(stall, socket.async_io(Interest::WRITABLE, send)).await??
            }
            Stream::Unix(socket) => {
                let send = || Ok(rustix::fs::sendfile(socket, file, Some(&mut offset), most)?);
                timeout(stall, socket.async_io(Interest::WRITABLE, send)).await??
            }
        };
        if sent == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        tokio::task::consume_budget().await;
    }
    Ok(())
}
