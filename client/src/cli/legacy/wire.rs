//! The wires of the old protocol as a client reads them: what stands before a reply's body. Pure.

use thiserror::Error;

use super::header::{self, Header, HeaderError};
use crate::cli::values::{Ack, Endian, WireArgs, WireName};

/// The longest header taken.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Bytes of an int32.
const INT32_BYTES: usize = 4;
/// The most digits that a length in decimal may have: those of the largest u64.
const DIGITS_MAX: usize = 20;

/// The layout of a server's replies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wire {
    JsonHeader {
        endian: Endian,
        /// `None`: any of the usual ones.
        size_key: Option<String>,
    },
    Length {
        endian: Endian,
    },
    AsciiLength {
        ack: Ack,
    },
    Raw,
}

/// An option that says nothing of the wire that was chosen.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum OptionError {
    #[error("--{option} goes with --wire {with}")]
    Misplaced {
        option: &'static str,
        with: &'static str,
    },
    #[error("a datagram has no wire: leave out --{0}")]
    Datagram(&'static str),
}

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

impl Wire {
    /// The wire that was typed.
    pub(super) fn new(args: &WireArgs) -> Result<Self, OptionError> {
        let name = args.wire.unwrap_or_default();
        let with = |option, given: bool, fits: bool, with| {
            if given && !fits {
                return Err(OptionError::Misplaced { option, with });
            }
            Ok(())
        };
        let counts = matches!(name, WireName::JsonHeader | WireName::Length);
        with(
            "endian",
            args.endian.is_some(),
            counts,
            "json-header and length",
        )?;
        let acks = name == WireName::AsciiLength;
        with("ack", args.ack.is_some(), acks, "ascii-length")?;
        let has_header = name == WireName::JsonHeader;
        with(
            "size-key",
            args.size_key.is_some(),
            has_header,
            "json-header",
        )?;
        let endian = args.endian.unwrap_or_default();
        Ok(match name {
            WireName::JsonHeader => Self::JsonHeader {
                endian,
                size_key: args.size_key.clone(),
            },
            WireName::Length => Self::Length { endian },
            WireName::AsciiLength => Self::AsciiLength {
                ack: args.ack.unwrap_or_default(),
            },
            WireName::Raw => Self::Raw,
        })
    }

    /// Nothing was said of a wire, as it has to be for datagrams.
    pub(super) fn none(args: &WireArgs) -> Result<(), OptionError> {
        let given = [
            ("wire", args.wire.is_some()),
            ("endian", args.endian.is_some()),
            ("ack", args.ack.is_some()),
            ("size-key", args.size_key.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(OptionError::Datagram(option)),
            None => Ok(()),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::JsonHeader { .. } => "json-header",
            Self::Length { .. } => "length",
            Self::AsciiLength { .. } => "ascii-length",
            Self::Raw => "raw",
        }
    }

    /// The end of the connection is the end of the reply, so the server has to be told that no other command comes.
    pub(super) fn ends_with_connection(&self) -> bool {
        matches!(self, Self::Raw)
    }

    /// The server sends the body when the length has been acknowledged.
    pub(super) fn acknowledges(&self) -> bool {
        matches!(self, Self::AsciiLength { ack: Ack::Wait })
    }

    /// What `received` begins with, and how many bytes of it that is; `None`: more has to come.
    pub(super) fn head(&self, received: &[u8]) -> Result<Option<(Head, usize)>, HeadError> {
        match self {
            Self::JsonHeader { endian, size_key } => {
                json_header(received, *endian, size_key.as_deref())
            }
            Self::Length { endian } => length(received, *endian),
            Self::AsciiLength { .. } => ascii_length(received),
            Self::Raw => Ok(Some((Head::of(None), 0))),
        }
    }
}

impl Head {
    fn of(body_bytes: Option<u64>) -> Self {
        Self {
            body_bytes,
            md5: None,
            status: Some(0),
        }
    }
}

fn int32(bytes: [u8; INT32_BYTES], endian: Endian) -> i32 {
    match endian {
        Endian::Little => i32::from_le_bytes(bytes),
        Endian::Big => i32::from_be_bytes(bytes),
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
    let length = usize::try_from(int32(*length, endian))
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
    Ok(Some((head, INT32_BYTES + length)))
}

fn length(received: &[u8], endian: Endian) -> Result<Option<(Head, usize)>, HeadError> {
    let Some((length, _)) = received.split_first_chunk() else {
        return Ok(None);
    };
    let length = u64::try_from(int32(*length, endian)).map_err(|_| HeadError::Length("length"))?;
    Ok(Some((Head::of(Some(length)), INT32_BYTES)))
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
    use super::*;

    const LITTLE: Endian = Endian::Little;

    fn json() -> Wire {
        Wire::JsonHeader {
            endian: LITTLE,
            size_key: None,
        }
    }

    /// The head of `reply`, which has to be the same however much of its body has come, and not there before it is whole.
    fn head(wire: &Wire, reply: &[u8], len: usize) -> Head {
        for cut in 0..len {
            assert_eq!(wire.head(&reply[..cut]), Ok(None), "cut at {cut}");
        }
        for cut in len..reply.len() {
            let (head, used) = wire.head(&reply[..cut]).unwrap().unwrap();
            assert_eq!((head, used), wire.head(reply).unwrap().unwrap());
        }
        let (head, used) = wire.head(reply).unwrap().unwrap();
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
        };
        assert_eq!(head(&big, b"\0\0\0\x08{\"n\": 1}b", 12).body_bytes, Some(1));
        for (endian, reply) in [
            (LITTLE, b"\x01\x02\x03\x04body"),
            (Endian::Big, b"\x04\x03\x02\x01body"),
        ] {
            let wire = Wire::Length { endian };
            assert_eq!(head(&wire, reply, 4), Head::of(Some(0x0403_0201)));
        }
        assert_eq!(head(&Wire::Raw, b"body", 0), Head::of(None));
    }

    #[test]
    fn a_decimal_length_is_what_one_read_brings() {
        let wire = Wire::AsciiLength { ack: Ack::Wait };
        assert_eq!(wire.head(b""), Ok(None));
        for (received, length, len) in [
            (&b"0"[..], 0, 1),
            (b"1024", 1024, 4),
            // The pause was lost on the way.
            (b"5hello", 5, 1),
            (b"18446744073709551615", u64::MAX, 20),
        ] {
            assert_eq!(wire.head(received), Ok(Some((Head::of(Some(length)), len))));
        }
    }

    #[test]
    fn what_is_no_head_is_refused() {
        let ascii = Wire::AsciiLength { ack: Ack::Pause };
        let no_length = Err(HeadError::Length("ascii-length"));
        assert_eq!(ascii.head(b"hello"), no_length);
        assert_eq!(ascii.head(b"-5"), no_length);
        assert_eq!(ascii.head(b"18446744073709551616"), no_length);
        let length = Wire::Length { endian: LITTLE };
        assert_eq!(
            length.head(b"\xff\xff\xff\xff"),
            Err(HeadError::Length("length"))
        );
        for length in [-1, 0, 1, i32::try_from(HEADER_BYTES_MAX).unwrap() + 1] {
            let begun = length.to_le_bytes();
            assert_eq!(json().head(&begun), Err(HeadError::HeaderLength));
        }
        let longest = i32::try_from(HEADER_BYTES_MAX).unwrap().to_le_bytes();
        assert_eq!(json().head(&longest), Ok(None));
    }

    #[test]
    fn options_of_another_wire_are_refused() {
        let given = WireArgs {
            wire: None,
            endian: Some(Endian::Big),
            ack: None,
            size_key: None,
        };
        let of = |wire| {
            Wire::new(&WireArgs {
                wire,
                ..given.clone()
            })
        };
        let endian = Endian::Big;
        assert_eq!(of(Some(WireName::Length)), Ok(Wire::Length { endian }));
        assert!(of(None).is_ok());
        for wire in [WireName::AsciiLength, WireName::Raw] {
            let said = of(Some(wire)).unwrap_err().to_string();
            assert_eq!(said, "--endian goes with --wire json-header and length");
        }
        let ack = WireArgs {
            ack: Some(Ack::Wait),
            ..given.clone()
        };
        assert!(Wire::new(&ack).is_err());
        let key = WireArgs {
            wire: Some(WireName::Length),
            size_key: Some("size".to_owned()),
            ..given.clone()
        };
        assert!(Wire::new(&key).is_err());
        assert_eq!(Wire::none(&given), Err(OptionError::Datagram("endian")));
        assert_eq!(Wire::none(&WireArgs::default()), Ok(()));
    }
}
