//! The wires of the old protocol: how a server lays out its replies. The gateway writes them, `remex legacy` reads them.
//! Pure.

/// Bytes of a length, on the wires whose length is an int32.
pub const LENGTH_BYTES: usize = 4;
/// The longest body that an int32 can announce.
pub const MOST_LENGTH: u64 = 2_147_483_647;

/// Keys under which a JSON header has the size of the body: the usual one, and what else servers write.
pub const SIZE_KEYS: [&str; 3] = ["total_size", "data_size", "size"];

/// The other keys of a JSON header.
pub mod key {
    /// The digest of the body, 32 hexadecimal digits.
    pub const MD5: &str = "md5";
    /// What a client may call the body.
    pub const FILENAME: &str = "filename";
    /// Bytes of stdout in the body.
    pub const STDOUT_SIZE: &str = "stdout_size";
    /// Bytes behind them: stderr.
    pub const STDERR_SIZE: &str = "stderr_size";
    /// The exit code, or null.
    pub const EXIT_CODE: &str = "exit_code";
    /// The signal that ended the command, or null.
    pub const SIGNAL: &str = "signal";
    /// Whether output is missing.
    pub const TRUNCATED: &str = "truncated";
    /// The server's id of what ran.
    pub const EXECUTION_ID: &str = "execution_id";

    /// All of them: no size goes by one of these.
    pub const ALL: [&str; 8] = [
        MD5,
        FILENAME,
        STDOUT_SIZE,
        STDERR_SIZE,
        EXIT_CODE,
        SIGNAL,
        TRUNCATED,
        EXECUTION_ID,
    ];
}

/// How the replies of a stream (TCP, Unix socket) are laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wire {
    /// int32 length of a JSON header, the header, the body.
    JsonHeader {
        /// Byte order of the length.
        endian: Endian,
        /// The header's key for the body's size; `None`: the usual one, and to a reader any of [`SIZE_KEYS`].
        size_key: Option<String>,
        /// What the header's `filename` is; no reader of ours looks at it.
        filename: Filename,
    },
    /// int32 length of the body, the body.
    Length {
        /// Byte order of the length.
        endian: Endian,
    },
    /// Decimal length of the body as a segment of its own, then the body.
    AsciiLength {
        /// What stands between the two.
        ack: Ack,
    },
    /// The body.
    Raw {
        /// The byte behind it, for clients that look for one.
        reply_end: Option<u8>,
    },
}

/// A wire by its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum WireName {
    /// The length of a JSON header, the header, the output.
    #[default]
    JsonHeader,
    /// The length of the output, the output.
    Length,
    /// The length in decimal, an acknowledgement or a pause, the output.
    AsciiLength,
    /// The output, to the end of the connection.
    Raw,
}

/// The order of a length's bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Endian {
    /// The lowest first, as `struct.pack('i')` has it on every common machine.
    #[default]
    Little,
    /// The highest first: network order.
    Big,
}

/// How length and body are kept apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Ack {
    /// The client acknowledges the length, with any text.
    #[default]
    Wait,
    /// The server pauses.
    Pause,
}

/// What the header's `filename` is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Filename {
    /// Always the same.
    #[default]
    Fixed,
    /// The last word of the command: clients that fetch files save them under it.
    LastWord,
}

impl WireName {
    /// Each with its name, in their order.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("json-header", Self::JsonHeader),
        ("length", Self::Length),
        ("ascii-length", Self::AsciiLength),
        ("raw", Self::Raw),
    ];
}

impl Endian {
    /// Each with its name.
    pub const NAMES: [(&'static str, Self); 2] = [("little", Self::Little), ("big", Self::Big)];

    /// A length as it is sent.
    pub fn int32(self, number: i32) -> [u8; LENGTH_BYTES] {
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }

    /// A length as it came.
    pub fn number(self, int32: [u8; LENGTH_BYTES]) -> i32 {
        match self {
            Self::Little => i32::from_le_bytes(int32),
            Self::Big => i32::from_be_bytes(int32),
        }
    }
}

impl Ack {
    /// Each with its name.
    pub const NAMES: [(&'static str, Self); 2] = [("wait", Self::Wait), ("pause", Self::Pause)];
}

impl Filename {
    /// Each with its name.
    pub const NAMES: [(&'static str, Self); 2] =
        [("output.txt", Self::Fixed), ("last-word", Self::LastWord)];
}

impl Wire {
    /// As it is typed.
    pub fn name(&self) -> &'static str {
        let name = match self {
            Self::JsonHeader { .. } => WireName::JsonHeader,
            Self::Length { .. } => WireName::Length,
            Self::AsciiLength { .. } => WireName::AsciiLength,
            Self::Raw { .. } => WireName::Raw,
        };
        WireName::NAMES[name as usize].0
    }

    /// Whether a reply has a header beside its body, with its digest and how its command ended.
    pub fn has_header(&self) -> bool {
        matches!(self, Self::JsonHeader { .. })
    }

    /// Whether nothing but the body tells that a reply is there, and where it ends.
    pub fn is_bare(&self) -> bool {
        matches!(self, Self::Raw { .. })
    }

    /// Whether a reply is named after its command's last word.
    pub fn names_last_word(&self) -> bool {
        matches!(
            self,
            Self::JsonHeader {
                filename: Filename::LastWord,
                ..
            }
        )
    }

    /// What stands behind the body.
    pub fn tail(&self) -> Option<u8> {
        match self {
            Self::Raw { reply_end } => *reply_end,
            Self::JsonHeader { .. } | Self::Length { .. } | Self::AsciiLength { .. } => None,
        }
    }

    /// The longest body that a reply can announce.
    pub fn most_body_bytes(&self) -> u64 {
        match self {
            Self::Length { .. } => MOST_LENGTH,
            Self::JsonHeader { .. } | Self::AsciiLength { .. } | Self::Raw { .. } => u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_comes_back_as_it_was_sent() {
        assert_eq!(Endian::Little.int32(0x0102_0304), [4, 3, 2, 1]);
        assert_eq!(Endian::Big.int32(0x0102_0304), [1, 2, 3, 4]);
        for (_, endian) in Endian::NAMES {
            for number in [0, 1, -1, i32::MAX, i32::MIN] {
                assert_eq!(endian.number(endian.int32(number)), number);
            }
        }
        assert_eq!(u64::try_from(i32::MAX), Ok(MOST_LENGTH));
    }

    /// One of each kind, and what is asked of it.
    fn wires() -> [Wire; 5] {
        [
            json_header(Filename::Fixed),
            Wire::Length {
                endian: Endian::Big,
            },
            Wire::AsciiLength { ack: Ack::Pause },
            Wire::Raw { reply_end: None },
            Wire::Raw {
                reply_end: Some(0x04),
            },
        ]
    }

    fn json_header(filename: Filename) -> Wire {
        Wire::JsonHeader {
            size_key: None,
            endian: Endian::Big,
            filename,
        }
    }

    #[test]
    fn only_a_json_header_carries_more_than_a_length() {
        let json = [true, false, false, false, false];
        assert_eq!(wires().map(|wire| wire.has_header()), json);
        assert!(json_header(Filename::LastWord).names_last_word());
        assert_eq!(wires().map(|wire| wire.names_last_word()), [false; 5]);
    }

    #[test]
    fn only_raw_is_bare_and_may_have_a_tail() {
        let raw = [false, false, false, true, true];
        assert_eq!(wires().map(|wire| wire.is_bare()), raw);
        let tails = [None, None, None, None, Some(0x04)];
        assert_eq!(wires().map(|wire| wire.tail()), tails);
    }

    #[test]
    fn only_an_int32_bounds_a_body() {
        let most = [u64::MAX, 2_147_483_647, u64::MAX, u64::MAX, u64::MAX];
        assert_eq!(wires().map(|wire| wire.most_body_bytes()), most);
    }

    #[test]
    fn a_wire_has_its_name() {
        for (index, (_, name)) in WireName::NAMES.into_iter().enumerate() {
            assert_eq!(name as usize, index);
        }
        assert_eq!(Wire::Raw { reply_end: None }.name(), "raw");
    }

    #[test]
    fn no_size_goes_by_another_key() {
        assert!(SIZE_KEYS.iter().all(|size| !key::ALL.contains(size)));
    }

    #[cfg(feature = "cli")]
    #[test]
    fn names_are_those_of_the_command_line() {
        fn same<T: clap::ValueEnum + PartialEq + std::fmt::Debug>(names: &[(&str, T)]) {
            for (name, value) in names {
                assert_eq!(T::from_str(name, false).as_ref(), Ok(value), "{name}");
            }
            assert_eq!(names.len(), T::value_variants().len());
        }
        same(&WireName::NAMES);
        same(&Endian::NAMES);
        same(&Ack::NAMES);
    }
}
