//! Whether the client of a running command is still there. Its FIN alone does not tell: netcat -N half-closes and waits. A
//! reset does, and on this machine so does the kernel, which knows whether any process still holds the client's socket.

use std::io;

use remex_daemon::net::{Backoff, PeerStream, TcpInfo, peer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::sleep;

use super::connection::Connection;

/// Returns when the client has gone; takes what it sends meanwhile, up to `most` bytes pending. Cancel-safe.
pub(super) async fn until_gone(connection: &mut Connection, most: usize) {
    while !connection.half_closed && connection.pending.len() < most {
        if connection.readable().await.is_err() || connection.fill(most).is_err() {
            return;
        }
    }
    // Nothing is read any more, so nothing tells of itself. Soon at first: a close orphans the socket a moment after its FIN
    // is sent.
    let mut backoff = Backoff::default();
    while !is_gone(connection) {
        sleep(backoff.fail()).await;
    }
}

fn is_gone(connection: &Connection) -> bool {
    match &connection.stream {
        PeerStream::Unix(stream) => {
            let mut fds = [PollFd::new(stream, PollFlags::empty())];
            let polled = poll(&mut fds, Some(&Timespec::default()));
            polled.is_ok() && fds[0].revents().contains(PollFlags::HUP)
        }
        PeerStream::Tcp(stream) => {
            let closed = TcpInfo::of(stream).is_ok_and(|info| info.is_closed());
            // A kernel that cannot be asked says nothing against the client.
            closed || (connection.caller.is_local() && peer_gone(stream).unwrap_or(false))
        }
    }
}

fn peer_gone(stream: &tokio::net::TcpStream) -> io::Result<bool> {
    peer::tcp_peer_gone(stream.peer_addr()?, stream.local_addr()?)
}
