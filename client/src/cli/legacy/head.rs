//! What stands before a reply's body, as a client reads it on each wire. Pure.

use remex_client::wire::{Endian, LENGTH_BYTES, Wire};
use thiserror::Error;

use super::header::{self, Header, HeaderError};

/// The longest header taken.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// The most digits that a length in decimal may have: those of the largest u64.
const DIGITS_MAX: usize = 20;

/// What stands before a reply's body says this.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of the body; `None`: all that comes, to the end of the connection.
    pub(super) body_bytes: Option<u64>,
    /// The body's digest, on a wire that has one.
    pub(super) md5: Option<[u8; 16]>,
    /// The exit code to end with; `None`: the command has none. 0 where the wire does not tell.
    pub(super) status: Option<u8>,
}

/// An answer does not begin as one of its wire.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum HeadError {
    #[error(
        "the answer does not begin with the length of a header; check that the server speaks json-header"
    )]
    HeaderLength,
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(
        "the answer does not begin with the length of the output; check that the server speaks {0}"
    )]
    Length(&'static str),
}

impl Head {
    /// What `received` begins with, and how many bytes of it that is; `None`: more has to come.
    pub(super) fn read(wire: &Wire, received: &[u8]) -> Result<Option<(Self, usize)>, HeadError> {
        match wire {
            Wire::JsonHeader {
                endian, size_key, ..
            } => json_header(received, *endian, size_key.as_deref()),
            Wire::Length { endian } => length(received, *endian),
            Wire::AsciiLength { .. } => ascii_length(received),
            Wire::Raw { .. } => Ok(Some((Self::of(None), 0))),
        }
    }

    /// Nothing stands before what a datagram brings.
    pub(super) fn of_datagram() -> Self {
        Self::of(None)
    }

    fn of(body_bytes: Option<u64>) -> Self {
        Self {
            body_bytes,
            md5: None,
            status: Some(0),
        }
    }
}

fn json_header(
    received: &[u8],
    endian: Endian,
    size_key: Option<&str>,
) -> Result<Option<(Head, usize)>, HeadError> {
    let Some((length, rest)) = received.split_first_chunk() else {
        return Ok(None);
    };
    // `{}` is the shortest.
    let length = usize::try_from(endian.number(*length))
        .ok()
        .filter(|length| (2..=HEADER_BYTES_MAX).contains(length))
        .ok_or(HeadError::HeaderLength)?;
    let Some(header) = rest.get(..length) else {
        return Ok(None);
    };
    let Header {
        body_bytes,
        md5,
        status,
    } = header::parse(header, size_key)?;
    let head = Head {
        body_bytes: Some(body_bytes),
        md5,
        status,
    };
    Ok(Some((head, LENGTH_BYTES + length)))
}

fn length(received: &[u8], endian: Endian) -> Result<Option<(Head, usize)>, HeadError> {
    let Some((length, _)) = received.split_first_chunk() else {
        return Ok(None);
    };
    let length = u64::try_from(endian.number(*length)).map_err(|_| HeadError::Length("length"))?;
    Ok(Some((Head::of(Some(length)), LENGTH_BYTES)))
}

/// The digits have no end mark: they are what one read brings, as for every client of this wire.
fn ascii_length(received: &[u8]) -> Result<Option<(Head, usize)>, HeadError> {
    if received.is_empty() {
        return Ok(None);
    }
    let digits = received.iter().take_while(|byte| byte.is_ascii_digit());
    let digits = digits.take(DIGITS_MAX + 1).count();
    let length = str::from_utf8(&received[..digits])
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or(HeadError::Length("ascii-length"))?;
    Ok(Some((Head::of(Some(length)), digits)))
}

#[cfg(test)]
mod tests {
    use remex_client::wire::{Ack, Filename};

    use super::*;

    const LITTLE: Endian = Endian::Little;

    fn json() -> Wire {
        Wire::JsonHeader {
            endian: LITTLE,
            size_key: None,
            filename: Filename::Fixed,
        }
    }

    /// The head of `reply`, which has to be the same however much of its body has come, and not there before it is whole.
    fn head(wire: &Wire, reply: &[u8], len: usize) -> Head {
        for cut in 0..len {
            assert_eq!(Head::read(wire, &reply[..cut]), Ok(None), "cut at {cut}");
        }
        for cut in len..reply.len() {
            let (head, used) = Head::read(wire, &reply[..cut]).unwrap().unwrap();
            assert_eq!((head, used), Head::read(wire, reply).unwrap().unwrap());
        }
        let (head, used) = Head::read(wire, reply).unwrap().unwrap();
        assert_eq!(used, len);
        head
    }

    #[test]
    fn heads_are_read_wherever_they_are_cut() {
        let reply = b"\x16\0\0\0{\"total_size\": 123456}body";
        assert_eq!(head(&json(), reply, 26).body_bytes, Some(123_456));
        let big = Wire::JsonHeader {
            endian: Endian::Big,
            size_key: Some("n".to_owned()),
            filename: Filename::Fixed,
        };
        assert_eq!(head(&big, b"\0\0\0\x08{\"n\": 1}b", 12).body_bytes, Some(1));
        for (endian, reply) in [
            (LITTLE, b"\x01\x02\x03\x04body"),
            (Endian::Big, b"\x04\x03\x02\x01body"),
        ] {
            let wire = Wire::Length { endian };
            assert_eq!(head(&wire, reply, 4), Head::of(Some(0x0403_0201)));
        }
        let raw = Wire::Raw { reply_end: None };
        assert_eq!(head(&raw, b"body", 0), Head::of(None));
    }

    #[test]
    fn a_decimal_length_is_what_one_read_brings() {
        let wire = &Wire::AsciiLength { ack: Ack::Wait };
        assert_eq!(Head::read(wire, b""), Ok(None));
        for (received, length, len) in [
            (&b"0"[..], 0, 1),
            (b"1024", 1024, 4),
            // The pause was lost on the way.
            (b"5hello", 5, 1),
            (b"18446744073709551615", u64::MAX, 20),
        ] {
            assert_eq!(
                Head::read(wire, received),
                Ok(Some((Head::of(Some(length)), len)))
            );
        }
    }

    #[test]
    fn what_is_no_head_is_refused() {
        let ascii = Wire::AsciiLength { ack: Ack::Pause };
        let no_length = Err(HeadError::Length("ascii-length"));
        assert_eq!(Head::read(&ascii, b"hello"), no_length);
        assert_eq!(Head::read(&ascii, b"-5"), no_length);
        assert_eq!(Head::read(&ascii, b"18446744073709551616"), no_length);
        let length = Wire::Length { endian: LITTLE };
        assert_eq!(
            Head::read(&length, b"\xff\xff\xff\xff"),
            Err(HeadError::Length("length"))
        );
        for length in [-1, 0, 1, i32::try_from(HEADER_BYTES_MAX).unwrap() + 1] {
            let begun = length.to_le_bytes();
            assert_eq!(Head::read(&json(), &begun), Err(HeadError::HeaderLength));
        }
        let longest = i32::try_from(HEADER_BYTES_MAX).unwrap().to_le_bytes();
        assert_eq!(Head::read(&json(), &longest), Ok(None));
    }
}
