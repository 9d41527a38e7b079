//! The lines of the audit log: what is known of a decision, or of an end, as one line of JSON. Pure.

use std::{borrow::Cow, fmt::Write as _, net::SocketAddr, time::SystemTime};

use jiff::Timestamp;
use remex::error::Reason;
use remex_daemon::net::Caller;
use serde::Serialize;

use super::asked::CommandLine;
use crate::execution::Through;

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// It may.
    Allowed,
    /// It may not, for its reason.
    Denied,
    /// It came to nothing for another reason.
    Failed,
}

impl CallOutcome {
    /// What a call was answered with.
    pub fn of(reason: Option<Reason>) -> Self {
        match reason {
            None => Self::Allowed,
            Some(Reason::TokenInvalid | Reason::PeerNotAllowed | Reason::PolicyDenied) => {
                Self::Denied
            }
            Some(_) => Self::Failed,
        }
    }
}

/// Who did something, from where, and through what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// As executions are owned by it.
    pub caller: String,
    /// Its address; over a Unix socket there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<SocketAddr>,
    /// `grpc tcp`, or a listener of the old protocol: `tcp-exec`.
    pub through: String,
}

impl Subject {
    /// A caller of gRPC, or of the old protocol.
    pub fn of(caller: &Caller, through: &Through) -> Self {
        Self {
            caller: caller.to_string(),
            from: caller.address,
            through: match caller.listener {
                Some(listener) => listener.to_owned(),
                None => through.to_string(),
            },
        }
    }
}

impl Subject {
    /// Somebody at `through` of whom nothing is known.
    pub fn unknown(through: &str) -> Self {
        Self {
            caller: "unknown".to_owned(),
            from: None,
            through: through.to_owned(),
        }
    }
}

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// A call, or a connection, was decided on.
    Decision,
    /// An execution has ended, or nothing came of it.
    End,
    /// Denials that no line of their own tells.
    Denials,
    /// Lines that could not be written, and are gone.
    Lost,
}

/// All that a line can say; what it does not know it leaves out.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "docs/audit.md says what each key means")]
pub struct AuditLine<'a> {
    pub time: String,
    pub event: Happening,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub through: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpc: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<CallOutcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<&'a CommandLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr_bytes: Option<u64>,
    /// Denials, or lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

impl<'a> AuditLine<'a> {
    /// One that says nothing but when, and about what.
    pub fn new(time: SystemTime, event: Happening) -> Self {
        Self {
            time: timestamp(time).to_string(),
            event,
            caller: None,
            from: None,
            through: None,
            rpc: None,
            outcome: None,
            reason: None,
            why: None,
            rule: None,
            execution_id: None,
            command: None,
            program: None,
            started: None,
            code: None,
            signal: None,
            wall_seconds: None,
            stdin_bytes: None,
            stdout_bytes: None,
            stderr_bytes: None,
            count: None,
        }
    }

    /// The same, and who it was.
    #[must_use]
    pub fn by(self, subject: &'a Subject) -> Self {
        Self {
            caller: Some(&subject.caller),
            from: subject.from,
            through: Some(&subject.through),
            ..self
        }
    }

    /// The line, with its end.
    pub fn encode(&self) -> Vec<u8> {
        // Its keys are strings, and nothing in it can fail.
        let json = serde_json::to_string(self).unwrap_or_default();
        let mut line = escape(&json).into_owned().into_bytes();
        line.push(b'\n');
        line
    }
}

/// A time, or the nearest that there is.
pub fn timestamp(time: SystemTime) -> Timestamp {
    let nearest = if time < SystemTime::UNIX_EPOCH {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    Timestamp::try_from(time).unwrap_or(nearest)
}

/// `json` without what a terminal would obey, or would not show: JSON itself escapes the first 32 characters alone.
fn escape(json: &str) -> Cow<'_, str> {
    if json.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_control() || is_unseen(letter) {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                // A string takes whatever is written to it.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(letter);
        }
    }
    Cow::Owned(escaped)
}

/// Invisible, or turning the direction of what follows.
fn is_unseen(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use remex_daemon::net::{PeerCgroup, Transport};
    use serde_json::{Value, json};

    use super::*;

    fn parsed(line: &AuditLine<'_>) -> Value {
        let line = String::from_utf8(line.encode()).unwrap();
        assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn a_line_says_what_is_known_and_nothing_else() {
        let caller = Caller {
            transport: Transport::Tcp,
            address: Some("192.0.2.7:9".parse().unwrap()),
            uid: None,
            identity: None,
            cgroup: PeerCgroup::default(),
            listener: None,
        };
        let through = Through {
            transport: Transport::Tcp,
            gateway: false,
            client: None,
        };
        let subject = Subject::of(&caller, &through);
        let command = CommandLine::default();
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
        let line = AuditLine {
            rpc: Some("Run"),
            outcome: Some(CallOutcome::of(None)),
            rule: Some("r"),
            execution_id: Some("id".to_owned()),
            command: Some(&command),
            ..AuditLine::new(time, Happening::Decision).by(&subject)
        };
        assert_eq!(
            parsed(&line),
            json!({
                "time": "1970-01-01T00:00:01.5Z", "event": "decision", "caller": "ip:192.0.2.7", "from": "192.0.2.7:9",
                "through": "grpc tcp", "rpc": "Run", "outcome": "allowed", "rule": "r",
                "execution_id": "id", "command": {}
            })
        );
        let legacy = Caller {
            listener: Some("tcp-exec"),
            ..caller
        };
        assert_eq!(Subject::of(&legacy, &through).through, "tcp-exec");
    }

    #[test]
    fn pitfall_37_nothing_that_a_terminal_obeys_is_in_a_line() {
        let text = "\u{1b}[2J\u{9b}2J\r\n\u{202e}\u{e0041}\u{7f}é€\"\\";
        let line = AuditLine {
            why: Some(text),
            ..AuditLine::new(SystemTime::UNIX_EPOCH, Happening::Decision)
        };
        let encoded = String::from_utf8(line.encode()).unwrap();
        let shown = encoded.trim_end().chars();
        assert!(shown.clone().all(|c| !c.is_control() && !is_unseen(c)));
        assert!(encoded.contains("é€"), "{encoded}");
        assert_eq!(parsed(&line)["why"], text);
    }

    #[test]
    fn times_that_no_calendar_has_are_no_end() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(timestamp(before).as_second(), -1);
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::MAX >> 2);
        assert_eq!(timestamp(far), Timestamp::MAX);
    }

    #[test]
    fn only_what_is_a_refusal_of_the_caller_is_a_denial() {
        assert_eq!(CallOutcome::of(None), CallOutcome::Allowed);
        for reason in Reason::ALL {
            let expected = match reason.as_str() {
                "TOKEN_INVALID" | "PEER_NOT_ALLOWED" | "POLICY_DENIED" => CallOutcome::Denied,
                _ => CallOutcome::Failed,
            };
            assert_eq!(CallOutcome::of(Some(*reason)), expected, "{reason:?}");
        }
    }
}
