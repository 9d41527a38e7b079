//! Events as lines of JSON: the shape that `remex run --help` tells. Pure.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use remex_client::{Event, Exit};
use serde::Serialize;

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
    Exited {
        exit_code: Option<u8>,
        signal: Option<String>,
        reason: &'static str,
        core_dumped: bool,
        oom_killed: bool,
        wall_seconds: f64,
        user_seconds: f64,
        system_seconds: f64,
        max_rss_bytes: Option<u64>,
    },
}

/// `event` of the execution `id` as a line; empty for a kind of event that this version does not know.
pub(super) fn line(id: &str, event: &Event) -> Bytes {
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
        Event::Exited(exit) => exited(exit),
        _ => return Bytes::new(),
    };
    // Strings and numbers alone cannot fail.
    let mut text = serde_json::to_vec(&line).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

fn exited(exit: &Exit) -> Line<'static> {
    Line::Exited {
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
            assert_eq!(line("x", &event), format!("{text}\n"));
        }
    }
}
