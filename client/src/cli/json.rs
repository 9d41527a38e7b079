//! Lines of JSON, in the shapes that docs/json.md shows: the events of `remex run`, the records of `remex ps` and `remex
//! wait`, and what else is printed. Pure.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use remex::v1::{Execution, OnDisconnect, execution::State};
use remex_client::{Event, Exit, Signal};
use serde::Serialize;

/// An event, and which it is.
#[derive(Serialize)]
struct Numbered<'a> {
    #[serde(flatten)]
    line: Line<'a>,
    sequence: u64,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Started {
        execution_id: &'a str,
        pid: i32,
    },
    Output {
        stream: &'static str,
        offset: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        data_base64: Option<String>,
    },
    Gap {
        stdout_bytes: u64,
        stderr_bytes: u64,
        terminal_bytes: u64,
    },
    Exited(ExitFields),
}

/// How a command ended.
#[derive(Serialize)]
struct ExitFields {
    exit_code: Option<u8>,
    signal: Option<String>,
    reason: &'static str,
    core_dumped: bool,
    oom_killed: bool,
    wall_seconds: f64,
    user_seconds: f64,
    system_seconds: f64,
    max_rss_bytes: Option<u64>,
}

impl From<&Exit> for ExitFields {
    fn from(exit: &Exit) -> Self {
        Self {
            exit_code: exit.code,
            signal: exit.signal.map(|signal| signal.to_string()),
            reason: exit.reason.as_str(),
            core_dumped: exit.core_dumped,
            oom_killed: exit.oom_killed,
            wall_seconds: exit.wall_time.as_secs_f64(),
            user_seconds: exit.user_time.as_secs_f64(),
            system_seconds: exit.system_time.as_secs_f64(),
            max_rss_bytes: exit.max_rss_bytes,
        }
    }
}

/// An execution as it is listed.
#[derive(Serialize)]
struct Record<'a> {
    execution_id: &'a str,
    state: &'static str,
    caller: &'a str,
    pid: Option<i32>,
    create_time: Option<String>,
    end_time: Option<String>,
    argv: Vec<String>,
    shell: Option<&'a str>,
    labels: BTreeMap<&'a str, &'a str>,
    exit: Option<ExitFields>,
    request_id: Option<&'a str>,
    on_disconnect: &'static str,
    last_sequence: u64,
    attached: u32,
    blocked: bool,
    stored_bytes: u64,
    storage_error: Option<&'a str>,
}

/// The name of a state, in tables and in JSON.
pub(super) fn state(state: State) -> &'static str {
    match state {
        State::Unspecified => "unknown",
        State::Starting => "starting",
        State::Running => "running",
        State::Ended => "ended",
    }
}

/// A record as a line.
pub(super) fn record(record: &Execution) -> String {
    let command = record.command.clone().unwrap_or_default();
    let raw = |word: &Bytes| String::from_utf8_lossy(word).into_owned();
    let labels = record.labels.iter();
    let line = Record {
        execution_id: &record.execution_id,
        state: state(record.state()),
        caller: &record.caller,
        pid: Some(record.pid).filter(|_| record.state() == State::Running),
        create_time: time(record.create_time),
        end_time: time(record.end_time),
        argv: [command.argv, command.argv_raw.iter().map(raw).collect()].concat(),
        shell: record
            .command
            .as_ref()
            .and_then(|command| given(&command.shell)),
        labels: labels.map(|(key, value)| (&**key, &**value)).collect(),
        exit: record.exit.map(|exit| ExitFields::from(&Exit::from(exit))),
        request_id: given(&record.request_id),
        on_disconnect: match record.on_disconnect() {
            OnDisconnect::Grace => "grace",
            OnDisconnect::Detach => "detach",
            OnDisconnect::Kill | OnDisconnect::Unspecified => "kill",
        },
        last_sequence: record.last_sequence,
        attached: record.attached,
        blocked: record.blocked,
        stored_bytes: record.stored_bytes,
        storage_error: given(&record.storage_error),
    };
    text(&line)
}

/// An answer of `remex ping`.
pub(super) fn pong(server: &str, version: Option<&str>, milliseconds: f64) -> String {
    #[derive(Serialize)]
    struct Pong<'a> {
        server: &'a str,
        server_version: Option<&'a str>,
        milliseconds: f64,
    }
    text(&Pong {
        server,
        server_version: version,
        milliseconds,
    })
}

/// What `remex version` tells.
pub(super) fn versions(own: &str, version: Option<&str>, server: &str) -> String {
    #[derive(Serialize)]
    struct Versions<'a> {
        version: &'a str,
        server: &'a str,
        server_version: Option<&'a str>,
    }
    text(&Versions {
        version: own,
        server,
        server_version: version,
    })
}

/// What came back of `remex echo`.
pub(super) fn echoed(echo: &str) -> String {
    #[derive(Serialize)]
    struct Echoed<'a> {
        text: &'a str,
    }
    text(&Echoed { text: echo })
}

/// The execution that `remex start` has started, or `remex rm` forgotten.
pub(super) fn named(execution_id: &str) -> String {
    #[derive(Serialize)]
    struct Named<'a> {
        execution_id: &'a str,
    }
    text(&Named { execution_id })
}

/// What `remex kill` has sent, and to whom.
pub(super) fn signalled(execution_id: &str, signal: Signal) -> String {
    #[derive(Serialize)]
    struct Signalled<'a> {
        execution_id: &'a str,
        signal: String,
    }
    text(&Signalled {
        execution_id,
        signal: signal.to_string(),
    })
}

/// A piece of what came over an old wire, behind so many bytes.
pub(super) fn legacy_output(offset: u64, output: &str) -> String {
    #[derive(Serialize)]
    struct Output<'a> {
        event: &'static str,
        offset: u64,
        text: &'a str,
    }
    text(&Output {
        event: "output",
        offset,
        text: output,
    })
}

/// Its end: the exit code, if there is one, and how many bytes there were.
pub(super) fn legacy_end(exit_code: Option<u8>, bytes: u64) -> String {
    #[derive(Serialize)]
    struct End {
        event: &'static str,
        exit_code: Option<u8>,
        bytes: u64,
    }
    text(&End {
        event: "exited",
        exit_code,
        bytes,
    })
}

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// As RFC 3339 has it.
fn time(time: Option<prost_types::Timestamp>) -> Option<String> {
    let time = time?;
    let time = Timestamp::new(time.seconds, time.nanos).ok()?;
    Some(time.to_string())
}

fn text(line: &impl Serialize) -> String {
    // Strings and numbers alone cannot fail.
    let mut text = serde_json::to_string(line).unwrap_or_default();
    text.push('\n');
    text
}

/// `event` of the execution `id` as a line; empty for what is none of its events.
pub(super) fn event(id: &str, sequence: u64, event: &Event) -> Bytes {
    let line = match event {
        Event::Started { pid } => Line::Started {
            execution_id: id,
            pid: *pid,
        },
        Event::Output {
            stream,
            offset,
            data,
        } => {
            let text = std::str::from_utf8(data).ok();
            let data_base64 = text.is_none().then(|| STANDARD.encode(data));
            let (stream, offset) = (stream.as_str(), *offset);
            Line::Output {
                stream,
                offset,
                text,
                data_base64,
            }
        }
        Event::Gap {
            stdout_bytes,
            stderr_bytes,
            terminal_bytes,
        } => Line::Gap {
            stdout_bytes: *stdout_bytes,
            stderr_bytes: *stderr_bytes,
            terminal_bytes: *terminal_bytes,
        },
        Event::Exited(exit) => Line::Exited(exit.into()),
        Event::Interrupted { .. } | Event::Resumed => return Bytes::new(),
    };
    text(&Numbered { line, sequence }).into()
}

#[cfg(test)]
mod tests {
    use remex::v1;
    use remex_client::Stream;

    use super::*;

    #[test]
    fn each_event_is_one_line() {
        let output = |data: &'static [u8]| Event::Output {
            stream: Stream::Stderr,
            offset: 5,
            data: data.into(),
        };
        let exit = v1::Exit {
            code: Some(-1),
            signal: 9,
            reason: v1::exit::Reason::Signal.into(),
            ..v1::Exit::default()
        };
        let gap = Event::Gap {
            stdout_bytes: 1,
            stderr_bytes: 2,
            terminal_bytes: 0,
        };
        for (event, text) in [
            (
                Event::Started { pid: 7 },
                r#"{"event":"started","execution_id":"x","pid":7}"#,
            ),
            (
                output(b"a\n"),
                r#"{"event":"output","stream":"stderr","offset":5,"text":"a\n"}"#,
            ),
            (
                output(b"\xff"),
                r#"{"event":"output","stream":"stderr","offset":5,"data_base64":"/w=="}"#,
            ),
            (
                gap,
                r#"{"event":"gap","stdout_bytes":1,"stderr_bytes":2,"terminal_bytes":0}"#,
            ),
            (
                Event::Exited(exit.into()),
                concat!(
                    r#"{"event":"exited","exit_code":null,"signal":"SIGKILL","reason":"signal","core_dumped":false,"#,
                    r#""oom_killed":false,"wall_seconds":0.0,"user_seconds":0.0,"system_seconds":0.0,"max_rss_bytes":null}"#
                ),
            ),
        ] {
            let text = text.replace('}', r#","sequence":9}"#);
            assert_eq!(super::event("x", 9, &event), format!("{text}\n"));
        }
    }

    #[test]
    fn what_was_done_to_an_execution_is_one_line() {
        assert_eq!(named("x"), "{\"execution_id\":\"x\"}\n");
        assert_eq!(
            signalled("x", Signal::KILL),
            "{\"execution_id\":\"x\",\"signal\":\"SIGKILL\"}\n"
        );
        assert_eq!(
            legacy_end(None, 7),
            "{\"event\":\"exited\",\"exit_code\":null,\"bytes\":7}\n"
        );
    }

    #[test]
    fn a_record_is_one_line() {
        let record = Execution {
            execution_id: "x".into(),
            state: State::Ended.into(),
            caller: "unix:0".into(),
            pid: 7,
            create_time: Some(prost_types::Timestamp {
                seconds: 1,
                nanos: 500_000_000,
            }),
            command: Some(v1::Command {
                argv: vec!["printf".into(), "\u{1b}".into()],
                ..v1::Command::default()
            }),
            labels: [("job".into(), "7".into())].into(),
            ..Execution::default()
        };
        assert_eq!(
            super::record(&record),
            concat!(
                r#"{"execution_id":"x","state":"ended","caller":"unix:0","pid":null,"#,
                r#""create_time":"1970-01-01T00:00:01.5Z","end_time":null,"argv":["printf","\u001b"],"#,
                r#""shell":null,"labels":{"job":"7"},"exit":null,"request_id":null,"on_disconnect":"kill","#,
                r#""last_sequence":0,"attached":0,"blocked":false,"stored_bytes":0,"storage_error":null}"#,
                "\n"
            )
        );
    }
}
