//! What is no command but another protocol that was led here: a browser's request to a loopback port, HTTP/2, TLS, SSH.
//! Asked at every command and at every message of an echo. The rule for HTTP looks at the shape alone, for a page may choose any
//! method and any path. A request may come in pieces, and a piece is no verdict: the guard of a connection remembers, in a few
//! bytes, what all that came so far could be the beginning of. Pure.

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

/// What has arrived of a message so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is no other protocol.
    Clear,
    /// It may be a piece of one: worth to wait for the rest.
    Piece,
    /// It is another protocol.
    Foreign(Foreign),
}

/// A request line without its end is waited for from this length on, whatever its method; shorter ones are commands such as
/// `ls /tmp`, which must not wait, and browsers send short request lines whole.
pub(super) const LONG_PIECE_BYTES: usize = 1024;

/// Methods that are no commands: what begins with one of them is waited for at any length.
const METHODS: [&[u8]; 9] = [
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH",
];
const VERSION: &[u8] = b"HTTP/1.";
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";
/// What is left out at the start: line ends as servers of HTTP do, a byte order mark as [`parse`](super::request::parse) does.
const SKIPPED: &[u8] = b"\r\n\xef\xbb\xbf";

/// Tells whether `bytes` begin with another protocol; for what comes whole, such as a datagram.
pub fn foreign(bytes: &[u8]) -> Option<Foreign> {
    match Guard::default().judge(bytes) {
        Verdict::Foreign(foreign) => Some(foreign),
        Verdict::Clear | Verdict::Piece => None,
    }
}

/// Judges what arrives on one connection.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// What the message that is arriving may be the beginning of.
    message: Vec<State>,
    /// What it may go on with: earlier messages that were pieces of a request.
    earlier: Vec<State>,
    /// Bytes of the message that were judged already.
    judged_bytes: usize,
}

/// How far another protocol's first bytes have been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the request line.
    Start,
    /// In the method.
    Method,
    /// Behind the space after it.
    TargetStart,
    /// In the target.
    Target,
    /// So many bytes of [`VERSION`] and its digit.
    Version(usize),
    /// So many bytes of what another protocol begins with.
    Prefix(Foreign, usize),
    /// All of it.
    Seen(Foreign),
}

impl State {
    /// Where every message begins.
    const FRESH: [Self; 4] = [
        Self::Start,
        Self::Prefix(Foreign::Http2, 0),
        Self::Prefix(Foreign::Tls, 0),
        Self::Prefix(Foreign::Ssh, 0),
    ];

    /// The state behind `byte`; `None`: it is no beginning of anything.
    fn step(self, byte: u8) -> Option<Self> {
        match self {
            Self::Start if SKIPPED.contains(&byte) => Some(Self::Start),
            Self::Start | Self::Method if is_token(byte) => Some(Self::Method),
            Self::Method if byte == b' ' => Some(Self::TargetStart),
            Self::Target if byte == b' ' => Some(Self::Version(0)),
            Self::TargetStart | Self::Target => {
                (byte != b' ' && !byte.is_ascii_control()).then_some(Self::Target)
            }
            Self::Version(count) => version(count, byte),
            Self::Prefix(foreign, count) => prefix(foreign, count, byte),
            Self::Seen(_) => Some(self),
            Self::Start | Self::Method => None,
        }
    }

    /// The request line has begun, and has not ended.
    fn is_in_request_line(self) -> bool {
        self == Self::Method || self.is_behind_method()
    }

    /// A method and a space were there.
    fn is_behind_method(self) -> bool {
        matches!(self, Self::TargetStart | Self::Target | Self::Version(_))
    }
}

fn version(count: usize, byte: u8) -> Option<State> {
    let fits = match VERSION.get(count) {
        Some(expected) => byte == *expected,
        None if count == VERSION.len() => byte.is_ascii_digit(),
        None if matches!(byte, b'\r' | b'\n') => return Some(State::Seen(Foreign::Http1)),
        None => false,
    };
    fits.then_some(State::Version(count + 1))
}

fn prefix(foreign: Foreign, count: usize, byte: u8) -> Option<State> {
    let (fits, length) = match foreign {
        Foreign::Http1 => (false, 0),
        Foreign::Http2 => (HTTP2_PREFACE.get(count) == Some(&byte), HTTP2_PREFACE.len()),
        // Handshake, SSL 3 to TLS 1.3, two bytes of length, ClientHello.
        Foreign::Tls => match count {
            0 => (byte == 0x16, 6),
            1 => (byte == 0x03, 6),
            2 => (byte <= 0x04, 6),
            5 => (byte == 0x01, 6),
            _ => (true, 6),
        },
        Foreign::Ssh => match count {
            0..=3 => (b"SSH-"[count] == byte, 6),
            4 => (byte.is_ascii_digit(), 6),
            _ => (byte == b'.', 6),
        },
    };
    fits.then(|| {
        if count + 1 == length {
            State::Seen(foreign)
        } else {
            State::Prefix(foreign, count + 1)
        }
    })
}

/// A byte of RFC 9110's token.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl Guard {
    /// Judges `message`, of which more may be coming: all of it that has arrived, every time.
    pub fn judge(&mut self, message: &[u8]) -> Verdict {
        if self.judged_bytes == 0 {
            self.message = State::FRESH.to_vec();
        }
        for &byte in message.get(self.judged_bytes..).unwrap_or_default() {
            if self.message.is_empty() && self.earlier.is_empty() {
                break;
            }
            step(&mut self.message, byte);
            step(&mut self.earlier, byte);
        }
        self.judged_bytes = message.len();
        let seen = |state: &State| match state {
            State::Seen(foreign) => Some(*foreign),
            _ => None,
        };
        if let Some(foreign) = self.message.iter().chain(&self.earlier).find_map(seen) {
            return Verdict::Foreign(foreign);
        }
        let goes_on = |state: &State| is_long(message) && state.is_in_request_line();
        if self.message.iter().any(|state| is_piece(*state, message))
            || self.earlier.iter().any(goes_on)
        {
            return Verdict::Piece;
        }
        Verdict::Clear
    }

    /// What a piece is taken for when its rest does not come: what no command begins with is refused even so.
    pub fn without_rest(&self, message: &[u8]) -> Option<Foreign> {
        self.message.iter().find_map(|state| match state {
            state if state.is_behind_method() && has_method(message) => Some(Foreign::Http1),
            State::Prefix(Foreign::Tls, 2..) => Some(Foreign::Tls),
            State::Prefix(foreign @ (Foreign::Http2 | Foreign::Ssh), 4..) => Some(*foreign),
            _ => None,
        })
    }

    /// The message was taken; what comes is the next, or goes on with this one.
    pub fn next(&mut self) {
        for state in self.message.drain(..) {
            if !self.earlier.contains(&state) {
                self.earlier.push(state);
            }
        }
        self.judged_bytes = 0;
    }
}

fn step(states: &mut Vec<State>, byte: u8) {
    let mut kept = 0;
    for at in 0..states.len() {
        if let Some(next) = states[at].step(byte)
            && !states[..kept].contains(&next)
        {
            states[kept] = next;
            kept += 1;
        }
    }
    states.truncate(kept);
}

fn is_long(message: &[u8]) -> bool {
    message.len() >= LONG_PIECE_BYTES
}

fn is_piece(state: State, message: &[u8]) -> bool {
    match state {
        State::Method => {
            let word = begin(message);
            is_long(message) || METHODS.iter().any(|method| method.starts_with(word))
        }
        State::TargetStart | State::Target | State::Version(0) => {
            is_long(message) || has_method(message)
        }
        State::Version(_) => true,
        State::Prefix(_, count) => count > 0,
        State::Start | State::Seen(_) => false,
    }
}

/// Whether the message begins with a method that is no command.
fn has_method(message: &[u8]) -> bool {
    let line = begin(message);
    let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    METHODS.contains(&word)
}

/// The message without what is skipped.
fn begin(message: &[u8]) -> &[u8] {
    let start = message.iter().position(|byte| !SKIPPED.contains(byte));
    &message[start.unwrap_or(message.len())..]
}

#[cfg(test)]
mod tests;
