//! One connection: what has arrived and is not taken yet, whether the client has half-closed, and whether it is owed
//! something. A connection that is dropped while it owes is reset: clients take an end in mid-reply for a pause, for ever.

use std::{io, mem, os::fd::AsFd, time::Duration};

use bytes::{BufMut, BytesMut};
use remex_daemon::net::{Caller, PeerStream};
use rustix::net::{RecvFlags, sockopt};
use socket2::{SockRef, TcpKeepalive};
use tokio::{io::AsyncWriteExt, time::Instant};

use crate::{
    limits::{KEEPALIVE, KEEPALIVE_PROBES, LINGER_BYTES},
    wire::{Acknowledgement, Guard},
};

/// Room that is made for a read, if less is left.
const READ_BYTES: usize = 8 * 1024;

/// A connection.
pub(super) struct Connection {
    pub(super) stream: PeerStream,
    pub(super) caller: Box<Caller>,
    /// Arrived, and no command yet. Without memory of its own while it is empty.
    pub(super) pending: BytesMut,
    /// When what is pending began to arrive; `None`: it was there before anybody waited for it.
    pub(super) arrived: Option<Instant>,
    /// Judges what arrives.
    pub(super) guard: Guard,
    /// What the client of `ack=wait` acknowledges with.
    pub(super) acknowledgement: Acknowledgement,
    /// The client sends nothing more.
    pub(super) half_closed: bool,
    owes: bool,
}

impl Connection {
    pub(super) fn new(stream: PeerStream, caller: Box<Caller>) -> Self {
        if let Some(tcp) = stream.tcp() {
            let keepalive = TcpKeepalive::new()
                .with_time(KEEPALIVE)
                .with_interval(KEEPALIVE)
                .with_retries(KEEPALIVE_PROBES);
            // Without it a client that vanished is found when it is next written to.
            if let Err(error) = SockRef::from(tcp).set_tcp_keepalive(&keepalive) {
                tracing::debug!(%caller, %error, "cannot probe a connection");
            }
        }
        Self {
            stream,
            caller,
            pending: BytesMut::new(),
            arrived: None,
            guard: Guard::default(),
            acknowledgement: Acknowledgement::default(),
            half_closed: false,
            owes: false,
        }
    }

    /// From here the client waits for something.
    pub(super) fn owes(&mut self) {
        self.owes = true;
    }

    /// It has got all of it.
    pub(super) fn owes_nothing(&mut self) {
        self.owes = false;
    }

    /// Ends it at once, whatever was sent is lost.
    pub(super) fn reset(mut self) {
        self.owes();
    }

    /// Waits until something has arrived, if only the end. Cancel-safe.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match &self.stream {
            PeerStream::Tcp(stream) => stream.readable().await,
            PeerStream::Unix(stream) => stream.readable().await,
        }
    }

    /// Takes what has arrived, up to `most` bytes pending, without waiting.
    pub(super) fn fill(&mut self, most: usize) -> io::Result<()> {
        while self.pending.len() < most && !self.half_closed {
            let room = most - self.pending.len();
            if self.pending.capacity() == self.pending.len() {
                self.pending.reserve(room.min(READ_BYTES));
            }
            match self.read(room) {
                Ok(0) => self.half_closed = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.pending.is_empty() {
            self.pending = BytesMut::new();
        }
        Ok(())
    }

    fn read(&mut self, room: usize) -> io::Result<usize> {
        let mut pending = (&mut self.pending).limit(room);
        let read = match &self.stream {
            PeerStream::Tcp(stream) => stream.try_read_buf(&mut pending),
            PeerStream::Unix(stream) => stream.try_read_buf(&mut pending),
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.read_unannounced(room),
            read => read,
        }
    }

    /// The runtime may not have heard yet of what has arrived, and then does not even look.
    fn read_unannounced(&mut self, room: usize) -> io::Result<usize> {
        let before = self.pending.len();
        let spare = (self.pending.capacity() - before).min(room);
        self.pending.resize(before + spare, 0);
        let read = rustix::net::recv(
            self.stream.as_fd(),
            &mut self.pending[before..],
            RecvFlags::DONTWAIT,
        );
        let count = read.map_or(0, |(count, _)| count);
        self.pending.truncate(before + count);
        Ok(read.map(|_| count)?)
    }

    /// What is pending, with its memory.
    pub(super) fn take(&mut self) -> BytesMut {
        mem::take(&mut self.pending)
    }

    /// Says the end, and reads and drops what the client still sends for a while: closing on unread bytes would reset the
    /// connection, and the reply could be lost with it.
    pub(super) async fn linger(mut self, time: Duration) {
        let draining = async {
            self.stream.shutdown().await?;
            let mut dropped = 0;
            while !self.half_closed && dropped < LINGER_BYTES {
                self.readable().await?;
                self.fill(READ_BYTES)?;
                dropped += self.take().len();
            }
            Ok::<_, io::Error>(())
        };
        // However it ends, the connection is closed now.
        let _ = tokio::time::timeout(time, draining).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.owes
            && let Some(tcp) = self.stream.tcp()
        {
            // It fails only on what is no socket; then closing is all there is.
            let _ = sockopt::set_socket_linger(tcp, Some(Duration::ZERO));
        }
    }
}
