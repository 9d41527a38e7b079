//! What crosses between the server, the zygote and the zygote's children: packets, some of which carry descriptors.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{io::Errno, net::RecvFlags};

use crate::process::{
    child::Failure,
    clone::Cloned,
    plan::{MAX_PLAN_BYTES, Plan},
};
use crate::{
    codec::{Decoder, Encoder},
    packet,
};

/// Longest packet.
const MAX_PACKET_BYTES: usize = 16;

/// What the zygote is asked for.
pub(super) enum Request {
    /// A child of the server's.
    Child(ChildRequest),
    /// A supervisor.
    Supervisor(SupervisorRequest),
}

/// What a child is to be made of. Only the child reads the plan.
pub(super) struct ChildRequest {
    /// Where it is answered.
    pub(super) channel: OwnedFd,
    pub(super) plan: OwnedFd,
    pub(super) stdio: [OwnedFd; 3],
    /// The ruleset of Landlock that the plan names.
    pub(super) ruleset: Option<OwnedFd>,
    pub(super) cgroup: Option<OwnedFd>,
}

/// Where a supervisor is to be made.
pub(super) struct SupervisorRequest {
    /// Its first link.
    pub(super) link: OwnedFd,
    pub(super) cgroup: Option<OwnedFd>,
}

/// The packet of each kind of request.
const CHILD: [u8; 1] = [0];
const SUPERVISOR: [u8; 1] = [1];
/// A child whose plan names a ruleset, which comes before the cgroup.
const ISOLATED_CHILD: [u8; 1] = [2];

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

/// `plan` as a file in memory that nobody can change any more.
pub(super) fn write_plan(plan: &Plan) -> io::Result<OwnedFd> {
    let mut out = Encoder::default();
    plan.encode(&mut out);
    let bytes = out.into_bytes();
    if bytes.len() > MAX_PLAN_BYTES {
        return Err(Errno::TOOBIG.into());
    }
    packet::seal("plan", &bytes)
}

pub(super) fn read_plan(file: &OwnedFd) -> Option<Plan> {
    let bytes = packet::read_sealed(file, MAX_PLAN_BYTES)?;
    let mut from = Decoder::new(&bytes);
    Plan::decode(&mut from).filter(|_| from.is_at_end())
}

/// Asks for a child, without waiting for room.
pub(super) fn ask_for_child(
    socket: BorrowedFd<'_>,
    channel: &OwnedFd,
    plan: &OwnedFd,
    [stdin, stdout, stderr]: [BorrowedFd<'_>; 3],
    (ruleset, cgroup): (Option<BorrowedFd<'_>>, Option<BorrowedFd<'_>>),
) -> io::Result<()> {
    let mut fds = vec![channel.as_fd(), plan.as_fd(), stdin, stdout, stderr];
    fds.extend(ruleset.into_iter().chain(cgroup));
    let kind = if ruleset.is_some() {
        ISOLATED_CHILD
    } else {
        CHILD
    };
    packet::send(socket, &kind, &fds)
}

/// Asks for a supervisor, without waiting for room.
pub(super) fn ask_for_supervisor(
    socket: BorrowedFd<'_>,
    link: &OwnedFd,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut fds = vec![link.as_fd()];
    fds.extend(cgroup);
    packet::send(socket, &SUPERVISOR, &fds)
}

/// The next request; `None` when nobody can send one any more. One whose descriptors did not all arrive is dropped, and its
/// sender sees its channel end.
pub(super) fn next_request(socket: BorrowedFd<'_>) -> io::Result<Option<Request>> {
    loop {
        let (bytes, fds) = receive(socket, RecvFlags::empty())?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let mut fds = fds.into_iter();
        let mut next = || fds.next();
        if bytes == SUPERVISOR {
            if let Some(link) = next() {
                return Ok(Some(Request::Supervisor(SupervisorRequest {
                    link,
                    cgroup: next(),
                })));
            }
        } else if let (Some(channel), Some(plan), Some(stdin), Some(stdout), Some(stderr)) =
            (next(), next(), next(), next(), next())
        {
            return Ok(Some(Request::Child(ChildRequest {
                channel,
                plan,
                stdio: [stdin, stdout, stderr],
                ruleset: (bytes == ISOLATED_CHILD).then(&mut next).flatten(),
                cgroup: next(),
            })));
        }
    }
}

/// Says who the child is, or that there is none.
pub(super) fn send_born(channel: BorrowedFd<'_>, born: &io::Result<Cloned>) -> io::Result<()> {
    match born {
        Ok(cloned) => {
            let pidfd = [cloned.pidfd.as_fd()];
            packet::send(channel, &cloned.pid.to_le_bytes(), &pidfd)
        }
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            packet::send(channel, &errno.wrapping_neg().to_le_bytes(), &[])
        }
    }
}

/// Lets the child on its way.
pub(crate) fn go_on(channel: &OwnedFd) -> io::Result<()> {
    packet::send(channel.as_fd(), &[0], &[])
}

/// Waits for that; `false`: the server is gone.
pub(super) fn may_go_on(channel: BorrowedFd<'_>) -> bool {
    receive(channel, RecvFlags::empty()).is_ok_and(|(bytes, _)| !bytes.is_empty())
}

pub(super) fn send_failure(channel: BorrowedFd<'_>, failure: &Failure) -> io::Result<()> {
    let mut out = Encoder::default();
    failure.encode(&mut out);
    packet::send(channel, &out.into_bytes(), &[])
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
    if let Some(failure) = Failure::decode(&mut Decoder::new(&bytes)) {
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

fn receive(socket: BorrowedFd<'_>, flags: RecvFlags) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut buffer = [0; MAX_PACKET_BYTES];
    let (length, fds) = packet::receive(socket, flags, &mut buffer)?;
    Ok((buffer[..length].to_vec(), fds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::child::Step;

    #[test]
    fn answers_arrive_in_order() {
        let (ours, theirs) = packet::pair().unwrap();
        assert!(next_answer(&ours).is_none());
        let failure = Failure {
            step: Step::Exec,
            errno: libc::ENOENT,
            seen: None,
        };
        send_born(
            theirs.as_fd(),
            &Err(io::Error::from_raw_os_error(libc::EAGAIN)),
        )
        .unwrap();
        send_failure(theirs.as_fd(), &failure).unwrap();
        drop(theirs);
        match next_answer(&ours) {
            Some(Answer::NotBorn(error)) => assert_eq!(error.raw_os_error(), Some(libc::EAGAIN)),
            other => panic!("{other:?}"),
        }
        match next_answer(&ours) {
            Some(Answer::Failed(arrived)) => assert_eq!(arrived, failure),
            other => panic!("{other:?}"),
        }
        assert!(matches!(next_answer(&ours), Some(Answer::End)));
    }
}
