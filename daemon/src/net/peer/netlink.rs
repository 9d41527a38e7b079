//! One netlink socket, one question at a time. The kernel answers within the send, so nothing here ever waits, and
//! an answer counts only if it carries the sequence number of the question.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Mutex, PoisonError},
};

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType,
    netlink::SocketAddrNetlink,
};

/// `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;
/// Larger than any answer to what is asked here.
const ANSWER_MAX: usize = 4 * 1024;
/// Answers to earlier questions that are passed over, should there be any.
const STALE_MAX: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;

/// A netlink socket, opened at the first question and kept.
pub(super) struct Netlink {
    protocol: Option<Protocol>,
    open: Mutex<Option<Open>>,
}

struct Open {
    fd: OwnedFd,
    sequence: u32,
}

/// What the kernel said, without its header.
pub(super) struct Answer(Vec<u8>);

impl Answer {
    /// The `N` bytes at `offset`.
    pub(super) fn bytes<const N: usize>(&self, offset: usize) -> io::Result<[u8; N]> {
        self.0
            .get(offset..offset + N)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "short netlink answer"))
    }
}

impl Answer {
    /// The `N` bytes of the attribute `kind`, behind a message that ends at `offset`; `None`: it has none.
    pub(super) fn attribute<const N: usize>(
        &self,
        mut offset: usize,
        kind: u16,
    ) -> Option<[u8; N]> {
        const HEADER: usize = 4;
        loop {
            let length = usize::from(u16::from_ne_bytes(self.bytes(offset).ok()?));
            let found = u16::from_ne_bytes(self.bytes(offset + 2).ok()?);
            if length < HEADER {
                return None;
            }
            if found == kind {
                return (length == HEADER + N).then(|| self.bytes(offset + HEADER).ok())?;
            }
            offset += length.next_multiple_of(HEADER);
        }
    }
}

impl Netlink {
    /// `None`: NETLINK_ROUTE.
    pub(super) const fn new(protocol: Option<Protocol>) -> Self {
        Self {
            protocol,
            open: Mutex::new(None),
        }
    }

    /// Sends a message of type `kind` and returns the answer; a refusal is the error that the kernel gives.
    pub(super) fn ask(&self, kind: u16, body: &[u8]) -> io::Result<Answer> {
        let mut slot = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = match slot.take() {
            Some(open) => open,
            None => Open::new(self.protocol)?,
        };
        // A socket that failed is not put back: the next question gets a new one.
        let answer = open.ask(kind, body)?;
        *slot = Some(open);
        drop(slot);
        verdict(answer)
    }

    /// Opens the socket now, so that it is there when descriptors have run out.
    pub(super) fn prepare(&self) -> io::Result<()> {
        let mut slot = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some(Open::new(self.protocol)?);
        }
        Ok(())
    }
}

impl Open {
    fn new(protocol: Option<Protocol>) -> io::Result<Self> {
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        // Connected to the kernel: no other process can put an answer in.
        rustix::net::connect(&fd, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// The answer's type and body.
    fn ask(&mut self, kind: u16, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        self.sequence = self.sequence.wrapping_add(1);
        let message = encode(kind, self.sequence, body);
        rustix::net::send(&self.fd, &message, SendFlags::empty())?;
        let mut buffer = [0; ANSWER_MAX];
        for _ in 0..STALE_MAX {
            let (read, _) = rustix::net::recv(&self.fd, &mut buffer, RecvFlags::DONTWAIT)?;
            if let Some(answer) = decode(&buffer[..read], self.sequence) {
                return Ok(answer);
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}

fn encode(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message.extend_from_slice(&sequence.to_ne_bytes());
    message.extend_from_slice(&0_u32.to_ne_bytes());
    message.extend_from_slice(body);
    message
}

/// The type and body of the message, if it answers the question numbered `sequence`.
fn decode(message: &[u8], sequence: u32) -> Option<(u16, Vec<u8>)> {
    let (length, rest) = message.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first_chunk::<2>()?;
    let (answered, _) = rest.get(2..)?.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
    (u32::from_ne_bytes(*answered) == sequence).then_some(())?;
    let body = message.get(HEADER..length)?;
    Some((u16::from_ne_bytes(*kind), body.to_vec()))
}

fn verdict((kind, body): (u16, Vec<u8>)) -> io::Result<Answer> {
    let answer = Answer(body);
    if kind != NLMSG_ERROR {
        return Ok(answer);
    }
    let code = i32::from_ne_bytes(answer.bytes(0)?);
    Err(io::Error::from_raw_os_error(code.wrapping_neg()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_a_round_trip() {
        let message = encode(20, 7, b"body");
        assert_eq!(decode(&message, 7), Some((20, b"body".to_vec())));
        assert_eq!(decode(&message, 8), None);
    }

    #[test]
    fn messages_cut_anywhere_are_none() {
        let message = encode(20, 7, b"body");
        for end in 0..message.len() {
            assert_eq!(decode(&message[..end], 7), None, "cut at {end}");
        }
        let mut lying = message;
        lying[0] = 3;
        assert_eq!(decode(&lying, 7), None, "shorter than its own header");
    }

    #[test]
    fn attributes_are_found_or_not_there() {
        let attribute = |kind: u16, value: &[u8]| {
            let length = u16::try_from(4 + value.len()).unwrap();
            let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
            bytes.extend_from_slice(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let bytes = [vec![9; 3], attribute(8, b"x"), attribute(21, &[7; 8])].concat();
        for length in 0..bytes.len() {
            let cut = Answer(bytes[..length].to_vec());
            assert_eq!(cut.attribute::<8>(3, 21), None, "{length}");
        }
        let whole = Answer(bytes);
        assert_eq!(whole.attribute(3, 21), Some([7; 8]));
        assert_eq!(whole.attribute::<4>(3, 21), None, "of another size");
        assert_eq!(whole.attribute::<8>(3, 22), None);
        assert_eq!(Answer(vec![0; 8]).attribute::<8>(0, 21), None, "of no size");
    }

    #[test]
    fn refusals_are_errors() {
        let refusal = |code: i32| verdict((NLMSG_ERROR, code.to_ne_bytes().to_vec()));
        let code = |result: io::Result<Answer>| result.err().and_then(|error| error.raw_os_error());
        assert_eq!(code(refusal(-libc::ENOENT)), Some(libc::ENOENT));
        assert!(verdict((NLMSG_ERROR, vec![1])).is_err());
        assert!(verdict((20, vec![1])).is_ok_and(|answer| answer.bytes::<2>(0).is_err()));
    }
}
