//! A request, from its bytes: the text of a command, or why it is none. After this nothing looks at the bytes again. Pure.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};
use thiserror::Error;

use super::guard::{self, Foreign};

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// To run this text: not blank, no NUL.
    Command(String),
    /// Nothing: white space only. The answer is empty, and nothing runs.
    Blank,
}

/// Why the bytes are no request. Nothing runs, and the connection ends with it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Another protocol; it gets no answer.
    #[error("this is {0}, not a command")]
    CrossProtocol(Foreign),
    /// Too long.
    #[error("the command is longer than {limit} bytes; put it into a script")]
    TooLong {
        /// The most that a listener takes.
        limit: usize,
    },
    /// A NUL, which no program can be given.
    #[error("the command contains a NUL byte")]
    Nul,
    /// Not text.
    #[error("the command is neither UTF-8 nor {charset}; set `charset` on the listener")]
    Undecodable {
        /// The listener's charset.
        charset: &'static str,
    },
}

/// Reads a request of at most `limit` bytes in UTF-8 or, failing that, `charset`.
pub fn parse(bytes: &[u8], charset: &'static Encoding, limit: usize) -> Result<Request, Refusal> {
    // First: what comes from another protocol must not be answered at all.
    if let Some(foreign) = guard::foreign(bytes) {
        return Err(Refusal::CrossProtocol(foreign));
    }
    let bytes = without_newline(bytes);
    if bytes.len() > limit {
        return Err(Refusal::TooLong { limit });
    }
    if bytes.contains(&0) {
        return Err(Refusal::Nul);
    }
    let text = decode(bytes, charset).ok_or(Refusal::Undecodable {
        charset: charset.name(),
    })?;
    if text.bytes().all(|byte| byte.is_ascii_whitespace()) {
        return Ok(Request::Blank);
    }
    Ok(Request::Command(text.into_owned()))
}

/// The bytes that may be read before a command is known to be too long: itself and the newline that may end it.
pub const fn most_bytes(limit: usize) -> usize {
    limit + 2
}

/// One newline at the end is how netcat, telnet and `println` send; it is no part of the command.
fn without_newline(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

/// UTF-8 first: hardly any text in another charset is valid UTF-8 by chance.
pub(crate) fn decode<'a>(bytes: &'a [u8], charset: &'static Encoding) -> Option<Cow<'a, str>> {
    UTF_8
        .decode_without_bom_handling_and_without_replacement(bytes)
        .or_else(|| charset.decode_without_bom_handling_and_without_replacement(bytes))
}

#[cfg(test)]
mod tests {
    use encoding_rs::GBK;
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 64;

    fn command(text: &str) -> Request {
        Request::Command(text.to_owned())
    }

    #[test]
    fn one_newline_is_no_part_of_the_command() {
        for (bytes, text) in [
            (&b"ls"[..], "ls"),
            (b"ls\n", "ls"),
            (b"ls\r\n", "ls"),
            (b"ls\r", "ls"),
            (b"ls\n\n", "ls\n"),
            (b" ls ", " ls "),
            (b"a\nb\n", "a\nb"),
        ] {
            assert_eq!(parse(bytes, UTF_8, LIMIT), Ok(command(text)), "{text:?}");
        }
    }

    #[test]
    fn white_space_asks_for_nothing() {
        for bytes in [&b""[..], b"\n", b"\r\n", b" ", b"\t \n\n"] {
            assert_eq!(parse(bytes, UTF_8, LIMIT), Ok(Request::Blank));
        }
    }

    #[test]
    fn utf8_comes_first_then_the_charset() {
        let gbk = GBK.encode("echo 你好").0.into_owned();
        assert_eq!(parse(&gbk, GBK, LIMIT), Ok(command("echo 你好")));
        assert_eq!(
            parse("echo 你好".as_bytes(), GBK, LIMIT),
            Ok(command("echo 你好"))
        );
        let refusal = Refusal::Undecodable { charset: "UTF-8" };
        assert_eq!(parse(&gbk, UTF_8, LIMIT), Err(refusal));
        let refusal = Refusal::Undecodable { charset: "GBK" };
        assert_eq!(parse(b"echo \xff", GBK, LIMIT), Err(refusal));
    }

    #[test]
    fn a_command_may_be_as_long_as_the_limit() {
        let text = "x".repeat(LIMIT);
        assert_eq!(parse(text.as_bytes(), UTF_8, LIMIT), Ok(command(&text)));
        let line = format!("{text}\r\n");
        assert_eq!(line.len(), most_bytes(LIMIT));
        assert_eq!(parse(line.as_bytes(), UTF_8, LIMIT), Ok(command(&text)));
        let refusal = Refusal::TooLong { limit: LIMIT };
        let longer = format!("{text}x");
        assert_eq!(parse(longer.as_bytes(), UTF_8, LIMIT), Err(refusal));
    }

    #[test]
    fn what_is_no_command_is_refused() {
        assert_eq!(parse(b"ls\0 /", UTF_8, LIMIT), Err(Refusal::Nul));
        assert_eq!(
            parse(b"GET / HTTP/1.1\r\n\r\n", UTF_8, LIMIT),
            Err(Refusal::CrossProtocol(Foreign::Http1))
        );
    }

    proptest! {
        #[test]
        fn a_command_never_holds_a_nul_or_nothing(bytes in any::<Vec<u8>>()) {
            if let Ok(Request::Command(text)) = parse(&bytes, GBK, LIMIT) {
                prop_assert!(!text.contains('\0'));
                prop_assert!(!text.trim_ascii().is_empty());
            }
        }
    }
}
