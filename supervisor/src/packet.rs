//! Packets between processes of one machine, some of which carry descriptors; and files in memory for what is too long
//! for one.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
};

/// Most descriptors of a packet.
pub(crate) const MAX_FDS: usize = 7;

/// A pair of sockets that keep packets whole and in order.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// Sends a packet without waiting for room.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let sent =
        rustix::io::retry_on_intr(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags));
    Ok(sent.map(drop)?)
}

/// Receives a packet into `buffer`, and returns its length, 0 at the end, and its descriptors. What of it is longer than the
/// buffer is lost.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    flags: RecvFlags,
    buffer: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let length = loop {
        let mut into = [IoSliceMut::new(buffer)];
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        match recvmsg(socket, &mut into, &mut control, flags) {
            Err(Errno::INTR) => {}
            received => break received?.bytes,
        }
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    Ok((length, fds))
}

/// The next packet, at most `most` bytes of it, empty at the end, and its descriptors; without waiting for one. Takes no more memory than
/// has come.
pub(crate) fn receive_whole(
    socket: BorrowedFd<'_>,
    most: usize,
) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    loop {
        let waiting = rustix::io::ioctl_fionread(socket)?;
        let waiting = usize::try_from(waiting).unwrap_or(most).min(most);
        let flags = RecvFlags::DONTWAIT;
        if waiting > 0 {
            let mut buffer = vec![0; waiting];
            let (length, fds) = receive(socket, flags, &mut buffer)?;
            buffer.truncate(length);
            return Ok((buffer, fds));
        }
        // The end, or nothing; or something that has come since.
        let (length, _) = receive(socket, flags | RecvFlags::PEEK, &mut [0])?;
        if length == 0 {
            return Ok((Vec::new(), Vec::new()));
        }
    }
}

/// `bytes` as a file in memory that nobody can change any more.
pub(crate) fn seal(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, rest))?;
        rest = &rest[written..];
    }
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW;
    fcntl_add_seals(&file, seals)?;
    Ok(file)
}

/// What [`seal`] has put into `file`; `None` where it is more than `most`, or cannot be read.
pub(crate) fn read_sealed(file: impl AsFd, most: usize) -> Option<Vec<u8>> {
    let size = usize::try_from(rustix::fs::fstat(&file).ok()?.st_size).ok()?;
    if size > most {
        return None;
    }
    let mut bytes = vec![0; size];
    let mut read = 0;
    while read < size {
        let more = rustix::io::pread(&file, &mut bytes[read..], read as u64).ok()?;
        if more == 0 {
            return None;
        }
        read += more;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_any_length_arrive_one_by_one() {
        let (ours, theirs) = pair().unwrap();
        let nothing = receive_whole(theirs.as_fd(), 100_000).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        let long = vec![b'x'; 70_000];
        send(ours.as_fd(), b"short", &[ours.as_fd()]).unwrap();
        send(ours.as_fd(), &long, &[]).unwrap();
        drop(ours);
        let (packet, fds) = receive_whole(theirs.as_fd(), 100_000).unwrap();
        assert_eq!((&packet[..], fds.len()), (&b"short"[..], 1));
        drop(fds);
        assert_eq!(receive_whole(theirs.as_fd(), 100_000).unwrap().0, long);
        assert!(receive_whole(theirs.as_fd(), 100_000).unwrap().0.is_empty());
    }

    #[test]
    fn packets_arrive_whole_with_their_descriptors() {
        let (ours, theirs) = pair().unwrap();
        let file = seal("test", b"sealed").unwrap();
        send(ours.as_fd(), b"one", &[file.as_fd()]).unwrap();
        send(ours.as_fd(), b"two", &[]).unwrap();
        drop(ours);
        let mut buffer = [0; 16];
        let (length, fds) = receive(theirs.as_fd(), RecvFlags::empty(), &mut buffer).unwrap();
        assert_eq!((&buffer[..length], fds.len()), (&b"one"[..], 1));
        assert_eq!(read_sealed(&fds[0], 6).unwrap(), b"sealed");
        assert_eq!(read_sealed(&fds[0], 5), None);
        let (length, fds) = receive(theirs.as_fd(), RecvFlags::empty(), &mut buffer).unwrap();
        assert_eq!((&buffer[..length], fds.len()), (&b"two"[..], 0));
        let (length, _) = receive(theirs.as_fd(), RecvFlags::empty(), &mut buffer).unwrap();
        assert_eq!(length, 0);
    }
}
