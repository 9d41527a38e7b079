//! TCP_INFO of an own socket.
#![expect(
    unsafe_code,
    reason = "getsockopt(TCP_INFO), which rustix does not have"
)]

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd},
};

/// `TCP_CLOSE`.
const CLOSED: u8 = 7;

/// What the kernel knows of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpInfo {
    /// The state, as the kernel numbers it.
    pub state: u8,
    /// The largest segment seen lately, in bytes.
    pub rcv_mss: u32,
    /// The largest segment that is sent, in bytes.
    pub snd_mss: u32,
    /// Segments that had to be sent again, those of the handshake among them.
    pub total_retrans: u32,
    /// Segments with data that have come.
    pub data_segs_in: u32,
}

impl TcpInfo {
    /// Of the TCP socket `socket`.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        // SAFETY: all its fields are numbers, for which zero is a value.
        let mut info: libc::tcp_info = unsafe { mem::zeroed() };
        let mut length = libc::socklen_t::try_from(size_of_val(&info)).map_err(io::Error::other)?;
        // SAFETY: the kernel writes at most `length` bytes, the size of `info`; both live through the call.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                (&raw mut info).cast(),
                &raw mut length,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            state: info.tcpi_state,
            rcv_mss: info.tcpi_rcv_mss,
            snd_mss: info.tcpi_snd_mss,
            total_retrans: info.tcpi_total_retrans,
            data_segs_in: info.tcpi_data_segs_in,
        })
    }

    /// Whether nothing is left of the connection, as after a reset. A half-closed one is not closed.
    pub fn is_closed(&self) -> bool {
        self.state == CLOSED
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_reset_closes_and_a_half_close_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let info = TcpInfo::of(&server).unwrap();
        assert!(!info.is_closed() && info.snd_mss > 0 && info.rcv_mss > 0);

        client.shutdown(Shutdown::Write).unwrap();
        assert!(!TcpInfo::of(&server).unwrap().is_closed());

        // Unread data turns a close into a reset.
        rustix::net::send(&server, b"x", rustix::net::SendFlags::empty()).unwrap();
        drop(client);
        assert!(TcpInfo::of(&server).unwrap().is_closed());
    }

    #[test]
    fn other_sockets_have_none() {
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(TcpInfo::of(&socket).is_err());
    }
}
