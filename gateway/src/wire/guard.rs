//! What is no command but another protocol that was led here: a browser's request to a loopback port, HTTP/2, TLS, SSH.
//! Asked at every command. The rule for HTTP looks at the shape alone, for a page may choose any method and any path. Pure.

use std::fmt;

/// What the bytes are, if they are no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// A request line of HTTP/1.
    Http1,
    /// The preface of HTTP/2.
    Http2,
    /// A TLS ClientHello.
    Tls,
    /// An SSH banner.
    Ssh,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "HTTP/1",
            Self::Http2 => "HTTP/2",
            Self::Tls => "TLS",
            Self::Ssh => "SSH",
        })
    }
}

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Tells what `bytes` begin with, if it is another protocol.
pub fn foreign(bytes: &[u8]) -> Option<Foreign> {
    if bytes.starts_with(HTTP2_PREFACE) {
        return Some(Foreign::Http2);
    }
    match bytes {
        // Handshake, SSL 3 to TLS 1.3, two bytes of length, ClientHello.
        [0x16, 0x03, 0..=4, _, _, 0x01, ..] => return Some(Foreign::Tls),
        [b'S', b'S', b'H', b'-', b'0'..=b'9', b'.', ..] => return Some(Foreign::Ssh),
        _ => {}
    }
    is_request_line(bytes).then_some(Foreign::Http1)
}

/// Token, space, target, space, `HTTP/1.` digit, line end. Servers skip line ends before it, so they are skipped here.
fn is_request_line(bytes: &[u8]) -> bool {
    let start = bytes
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n'))
        .unwrap_or(bytes.len());
    let bytes = &bytes[start..];
    let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return false;
    };
    let mut words = bytes[..end].split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    is_token(method)
        && is_target(target)
        && matches!(version, [b'H', b'T', b'T', b'P', b'/', b'1', b'.', digit] if digit.is_ascii_digit())
}

/// RFC 9110's token.
fn is_token(word: &[u8]) -> bool {
    !word.is_empty()
        && word
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

fn is_target(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|byte| !byte.is_ascii_control())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_protocols_are_seen() {
        let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
        for (bytes, expected) in [
            (
                &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
                Foreign::Http1,
            ),
            (b"POST /x HTTP/1.0\n\nid", Foreign::Http1),
            (b"echo /;touch${IFS}x HTTP/1.1\r\n", Foreign::Http1),
            (b"ls http://127.0.0.1:8080/ HTTP/1.1\r\n", Foreign::Http1),
            (b"rm * HTTP/1.9\r", Foreign::Http1),
            (b"\r\n\r\nGET / HTTP/1.1\r\n", Foreign::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Foreign::Http2),
            (hello, Foreign::Tls),
            (b"SSH-2.0-OpenSSH_9.6\r\n", Foreign::Ssh),
            (b"SSH-1.99-x", Foreign::Ssh),
        ] {
            assert_eq!(foreign(bytes), Some(expected), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn commands_are_none() {
        for bytes in [
            &b""[..],
            b"\r\n",
            b"ls /tmp",
            b"ls /tmp\n",
            b"grep -r HTTP/1.1 .",
            b"grep -r HTTP/1.1 .\n",
            b"echo a HTTP/1.1",
            b"echo a b HTTP/1.1\n",
            b"echo HTTP/1.1\n",
            b"echo  HTTP/1.1\n",
            b"echo a HTTP/1.x\n",
            b"echo a HTTP/1.10\n",
            b"echo a HTTP/2.0\n",
            b"(echo a HTTP/1.1\n)",
            b"printf 'GET / HTTP/1.1\\r\\n'",
            b"date\nGET / HTTP/1.1\n",
            b"SSH-add",
            b"PRIntf x",
        ] {
            assert_eq!(foreign(bytes), None, "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn every_request_line_is_seen(
            method in "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}",
            target in "[!-~]{1,60}",
            digit in "[0-9]",
            end in prop_oneof![Just("\r\n"), Just("\n"), Just("\r")],
            rest in any::<Vec<u8>>(),
        ) {
            let mut bytes = format!("{method} {target} HTTP/1.{digit}{end}").into_bytes();
            bytes.extend(rest);
            prop_assert_eq!(foreign(&bytes), Some(Foreign::Http1));
        }

        #[test]
        fn no_bytes_panic(bytes in any::<Vec<u8>>()) {
            foreign(&bytes);
        }
    }
}
