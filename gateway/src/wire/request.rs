//! A request, from its bytes, which are no other protocol's ([`foreign`](super::foreign)): the text of a command, or why it is none.
//! After this nothing looks at the bytes again. Pure.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};
use thiserror::Error;

/// What editors of another system put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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
    /// Too long.
    #[error("the command is longer than {limit} bytes; put it into a script")]
    TooLong {
        /// The most that a listener takes.
        limit: usize,
    },
    /// A NUL, which no program can be given.
    #[error("the command contains a NUL byte")]
    Nul,
    /// Not text, on a listener whose charset is UTF-8.
    #[error("the command is not UTF-8; set `charset` on the listener to what its clients speak")]
    NotUtf8,
    /// Not text.
    #[error(
        "the command is neither UTF-8 nor {charset}; set `charset` on the listener to what its clients speak"
    )]
    Undecodable {
        /// The listener's charset.
        charset: &'static str,
    },
}

/// Reads a request of at most `limit` bytes in UTF-8 or, failing that, `charset`.
pub fn parse(bytes: &[u8], charset: &'static Encoding, limit: usize) -> Result<Request, Refusal> {
    let bytes = without_newline(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes));
    if bytes.len() > limit {
        return Err(Refusal::TooLong { limit });
    }
    if bytes.contains(&0) {
        return Err(Refusal::Nul);
    }
    let Some(text) = decode(bytes, charset) else {
        return Err(undecodable(charset));
    };
    // In another charset than UTF-8 the mark has other bytes.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if text.bytes().all(|byte| byte.is_ascii_whitespace()) {
        return Ok(Request::Blank);
    }
    Ok(Request::Command(with_line_feeds(text)))
}

/// Each line but the last without the carriage returns at its end; a text that was translated twice has two of them.
fn with_line_feeds(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.strip_suffix('\n') {
            Some(line) => out.extend([line.trim_end_matches('\r'), "\n"]),
            None => out.push_str(line),
        }
    }
    out
}

fn undecodable(charset: &'static Encoding) -> Refusal {
    if charset == UTF_8 {
        return Refusal::NotUtf8;
    }
    Refusal::Undecodable {
        charset: charset.name(),
    }
}

/// The bytes that may be read before a command is known to be too long: itself, the mark that may begin it and the newline
/// that may end it.
pub const fn most_bytes(limit: usize) -> usize {
    BYTE_ORDER_MARK.len() + limit + 2
}

/// Whether it is a newline and nothing else: what some clients send behind a command, in a write of its own.
pub fn is_lone_newline(bytes: &[u8]) -> bool {
    matches!(bytes, b"\n" | b"\r\n")
}

/// One newline at the end is how netcat, telnet and `println` send; it is no part of the command.
fn without_newline(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let returns = bytes.iter().rev().take_while(|byte| **byte == b'\r');
    &bytes[..bytes.len() - returns.count()]
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
            (b"ls\r\r\n", "ls"),
            (b"ls\n\r\n", "ls\n"),
            (b"ls\n\n", "ls\n"),
            (b" ls ", " ls "),
            (b"a\nb\n", "a\nb"),
        ] {
            assert_eq!(parse(bytes, UTF_8, LIMIT), Ok(command(text)), "{text:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_and_carriage_returns_are_no_part_of_it() {
        for (bytes, text) in [
            (&b"\xef\xbb\xbfls"[..], "ls"),
            (b"cd /\r\nls\r\n", "cd /\nls"),
            (b"a\r\n\r\nb", "a\n\nb"),
            (b"a\r\r\nb", "a\nb"),
            (b"a\n\rb", "a\n\rb"),
            (b"printf a\rb", "printf a\rb"),
            (b"echo \xef\xbb\xbf", "echo \u{feff}"),
        ] {
            assert_eq!(parse(bytes, UTF_8, LIMIT), Ok(command(text)), "{text:?}");
        }
        let gb18030 = b"\x84\x31\x95\x33ls";
        assert_eq!(
            parse(gb18030, encoding_rs::GB18030, LIMIT),
            Ok(command("ls"))
        );
        assert_eq!(parse(b"\xef\xbb\xbf\n", UTF_8, LIMIT), Ok(Request::Blank));
    }

    #[test]
    fn white_space_asks_for_nothing() {
        for bytes in [&b""[..], b"\n", b"\r\n", b" ", b"\t \n\n"] {
            assert_eq!(parse(bytes, UTF_8, LIMIT), Ok(Request::Blank));
        }
    }

    #[test]
    fn a_newline_alone_is_one() {
        for (bytes, expected) in [
            (&b"\n"[..], true),
            (b"\r\n", true),
            (b"", false),
            (b"\r", false),
            (b"\n\n", false),
            (b" \n", false),
            (b"a\n", false),
        ] {
            assert_eq!(is_lone_newline(bytes), expected, "{}", bytes.escape_ascii());
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
        assert_eq!(parse(&gbk, UTF_8, LIMIT), Err(Refusal::NotUtf8));
        assert!(!Refusal::NotUtf8.to_string().contains("neither"));
        let refusal = Refusal::Undecodable { charset: "GBK" };
        assert_eq!(parse(b"echo \xff", GBK, LIMIT), Err(refusal));
    }

    #[test]
    fn a_command_may_be_as_long_as_the_limit() {
        let text = "x".repeat(LIMIT);
        assert_eq!(parse(text.as_bytes(), UTF_8, LIMIT), Ok(command(&text)));
        let line = format!("{text}\r\n");
        let marked = [BYTE_ORDER_MARK, line.as_bytes()].concat();
        assert_eq!(marked.len(), most_bytes(LIMIT));
        assert_eq!(parse(&marked, UTF_8, LIMIT), Ok(command(&text)));
        assert_eq!(parse(line.as_bytes(), UTF_8, LIMIT), Ok(command(&text)));
        let refusal = Refusal::TooLong { limit: LIMIT };
        let longer = format!("{text}x");
        assert_eq!(parse(longer.as_bytes(), UTF_8, LIMIT), Err(refusal));
    }

    #[test]
    fn what_is_no_command_is_refused() {
        assert_eq!(parse(b"ls\0 /", UTF_8, LIMIT), Err(Refusal::Nul));
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
