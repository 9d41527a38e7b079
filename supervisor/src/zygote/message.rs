//! What crosses between the server, the zygote and the zygote's children: packets, some of which carry descriptors.

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
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, send, sendmsg,
        socketpair,
    },
};

use crate::process::{
    child::{Failure, Step},
    clone::Cloned,
    lookup::Seen,
    plan::{MAX_PLAN_BYTES, Plan},
};

/// Most descriptors of a packet: plan, channel, stdin, stdout, stderr, cgroup.
const MAX_FDS: usize = 6;

/// Longest packet.
const MAX_PACKET_BYTES: usize = 16;

/// What a child is to be made of. Only the child reads the plan.
pub(super) struct Request {
    pub(super) plan: OwnedFd,
    /// Where it is answered.
    pub(super) channel: OwnedFd,
    pub(super) stdio: [OwnedFd; 3],
    pub(super) cgroup: Option<OwnedFd>,
}

/// What a request is answered, in this order; then the channel ends, if the child executes its program.
#[derive(Debug)]
pub(crate) enum Answer {
    /// There is a child, which waits for [`go_on`].
    Born(Cloned),
    /// There is none.
    NotBorn(io::Error),
    /// The child could not execute its program.
    Failed(Failure),
    /// Nobody holds the other end any more.
    End,
}

/// A pair of sockets that keep packets whole and in order.
pub(super) fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// `plan` as a file in memory that nobody can change any more.
pub(super) fn write_plan(plan: &Plan) -> io::Result<OwnedFd> {
    let bytes = plan.encode();
    if bytes.len() > MAX_PLAN_BYTES {
        return Err(Errno::TOOBIG.into());
    }
    let file = memfd_create("plan", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, rest))?;
        rest = &rest[written..];
    }
    fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW,
    )?;
    Ok(file)
}

pub(super) fn read_plan(file: &OwnedFd) -> Option<Plan> {
    let size = usize::try_from(rustix::fs::fstat(file).ok()?.st_size).ok()?;
    if size > MAX_PLAN_BYTES {
        return None;
    }
    let mut bytes = vec![0; size];
    let mut read = 0;
    while read < size {
        let more = rustix::io::pread(file, &mut bytes[read..], read as u64).ok()?;
        if more == 0 {
            return None;
        }
        read += more;
    }
    Plan::decode(&bytes)
}

/// Sends a request without waiting for room.
pub(super) fn send_request(
    socket: BorrowedFd<'_>,
    plan: &OwnedFd,
    channel: &OwnedFd,
    [stdin, stdout, stderr]: [BorrowedFd<'_>; 3],
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut fds = vec![plan.as_fd(), channel.as_fd(), stdin, stdout, stderr];
    fds.extend(cgroup);
    send_packet(socket, &[0], &fds)
}

/// The next request; `None` when nobody can send one any more.
pub(super) fn next_request(socket: BorrowedFd<'_>) -> io::Result<Option<Request>> {
    loop {
        let (bytes, fds) = receive(socket, RecvFlags::empty())?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let mut fds = fds.into_iter();
        let mut next = || fds.next();
        // One whose descriptors did not all arrive is dropped, and its sender sees its channel end.
        if let (Some(plan), Some(channel), Some(stdin), Some(stdout), Some(stderr)) =
            (next(), next(), next(), next(), next())
        {
            return Ok(Some(Request {
                plan,
                channel,
                stdio: [stdin, stdout, stderr],
                cgroup: next(),
            }));
        }
    }
}

/// Says who the child is, or that there is none.
pub(super) fn send_born(channel: BorrowedFd<'_>, born: &io::Result<Cloned>) -> io::Result<()> {
    match born {
        Ok(cloned) => {
            let pidfd = [cloned.pidfd.as_fd()];
            send_packet(channel, &cloned.pid.to_le_bytes(), &pidfd)
        }
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            send_packet(channel, &errno.wrapping_neg().to_le_bytes(), &[])
        }
    }
}

/// Lets the child on its way.
pub(crate) fn go_on(channel: &OwnedFd) -> io::Result<()> {
    Ok(send(channel, &[0], SendFlags::NOSIGNAL | SendFlags::DONTWAIT).map(drop)?)
}

/// Waits for that; `false`: the server is gone.
pub(super) fn may_go_on(channel: BorrowedFd<'_>) -> bool {
    receive(channel, RecvFlags::empty()).is_ok_and(|(bytes, _)| !bytes.is_empty())
}

pub(super) fn send_failure(channel: BorrowedFd<'_>, failure: &Failure) -> io::Result<()> {
    let (step, index) = match failure.step {
        Step::Session => (0, 0),
        Step::Terminal => (1, 0),
        Step::Stdio => (2, 0),
        Step::Limit(index) => (3, u8::try_from(index).unwrap_or(u8::MAX)),
        Step::Niceness => (4, 0),
        Step::Identity => (5, 0),
        Step::WorkingDirectory => (6, 0),
        Step::Exec => (7, 0),
    };
    let (seen, why) = match failure.seen {
        None => (0, 0),
        Some(Seen::Executable) => (1, 0),
        Some(Seen::Absent) => (2, 0),
        Some(Seen::Refused(errno)) => (3, errno),
        Some(Seen::Folder) => (4, 0),
        Some(Seen::NotExecutable) => (5, 0),
        Some(Seen::Unknown) => (6, 0),
    };
    let mut packet = vec![step, index, seen];
    packet.extend(failure.errno.to_le_bytes());
    packet.extend(why.to_le_bytes());
    send_packet(channel, &packet, &[])
}

fn failure(bytes: &[u8]) -> Option<Failure> {
    let (&[step, index, seen], numbers) = bytes.split_first_chunk()?;
    let (&errno, why) = numbers.split_first_chunk()?;
    let why = i32::from_le_bytes(why.try_into().ok()?);
    let step = match step {
        0 => Step::Session,
        1 => Step::Terminal,
        2 => Step::Stdio,
        3 => Step::Limit(index.into()),
        4 => Step::Niceness,
        5 => Step::Identity,
        6 => Step::WorkingDirectory,
        7 => Step::Exec,
        _ => return None,
    };
    let seen = match seen {
        1 => Some(Seen::Executable),
        2 => Some(Seen::Absent),
        3 => Some(Seen::Refused(why)),
        4 => Some(Seen::Folder),
        5 => Some(Seen::NotExecutable),
        6 => Some(Seen::Unknown),
        _ => None,
    };
    Some(Failure {
        step,
        errno: i32::from_le_bytes(errno),
        seen,
    })
}

/// What has been answered; `None`: nothing yet.
pub(crate) fn next_answer(channel: &OwnedFd) -> Option<Answer> {
    let (bytes, fds) = match receive(channel.as_fd(), RecvFlags::DONTWAIT) {
        Ok(packet) => packet,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
        // Reset by an end that was closed with our word unread.
        Err(_) => return Some(Answer::End),
    };
    if bytes.is_empty() {
        return Some(Answer::End);
    }
    if let Some(failure) = failure(&bytes) {
        return Some(Answer::Failed(failure));
    }
    let number = bytes.first_chunk().map(|bytes| i32::from_le_bytes(*bytes));
    Some(match (number, fds.into_iter().next()) {
        (Some(pid), Some(pidfd)) if pid > 0 => Answer::Born(Cloned { pid, pidfd }),
        (Some(errno), None) if errno < 0 => {
            Answer::NotBorn(io::Error::from_raw_os_error(errno.wrapping_neg()))
        }
        _ => Answer::NotBorn(io::Error::other("an answer without a process")),
    })
}

fn send_packet(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags).map(drop)?)
}

fn receive(socket: BorrowedFd<'_>, flags: RecvFlags) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = [0; MAX_PACKET_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let length = loop {
        let mut into = [IoSliceMut::new(&mut bytes)];
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
    Ok((bytes[..length].to_vec(), fds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_arrives_as_it_was_sent() {
        let (ours, theirs) = channel().unwrap();
        assert!(next_answer(&ours).is_none());
        for step in [
            Step::Session,
            Step::Terminal,
            Step::Stdio,
            Step::Limit(5),
            Step::Niceness,
            Step::Identity,
            Step::WorkingDirectory,
            Step::Exec,
        ] {
            for seen in [None, Some(Seen::Absent), Some(Seen::Unknown)] {
                let failure = Failure {
                    step,
                    errno: libc::ENOENT,
                    seen,
                };
                send_failure(theirs.as_fd(), &failure).unwrap();
                match next_answer(&ours) {
                    Some(Answer::Failed(arrived)) => assert_eq!(arrived, failure),
                    other => panic!("{other:?}"),
                }
            }
        }
        drop(theirs);
        assert!(matches!(next_answer(&ours), Some(Answer::End)));
    }
}
