//! From what happened to messages.

use std::{
    collections::HashMap,
    ffi::CString,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use remex::v1::{self, event::Kind as KindMessage, execution::State, exit, output};
use remex_supervisor::{
    journal::Lost,
    lifecycle::{
        event::{Event, EventKind, Exit},
        outcome::{Cause, ExitReason, Outcome},
        output::{Chunk, OutputStream},
        presence::OnDisconnect,
    },
    process::{CommandSpec, ExitStatus, ResourceLimits},
};

use super::isolation;
use crate::{
    durable::{DURABLE_KEPT, Kept},
    execution::{ENDED_KEPT, Execution, Told},
};

pub(super) fn event(id: &str, event: Event, text: bool) -> v1::Event {
    let kind = match event.kind {
        EventKind::Started { pid } => KindMessage::Started(v1::Started {
            execution_id: id.to_owned(),
            pid,
        }),
        EventKind::Output(chunk) => KindMessage::Output(output_message(chunk, text)),
        EventKind::Exited(exit) => KindMessage::Exited(v1::Exited {
            exit: Some(self::exit(&exit, None)),
        }),
    };
    v1::Event {
        sequence: event.sequence,
        time: Some(event.time.into()),
        kind: Some(kind),
    }
}

/// The event of what a reader is told; `None`: it is no event. A gap has the time when it is told.
pub(super) fn told(id: &str, told: Told, text: bool) -> Option<v1::Event> {
    match told {
        Told::Event(event) => Some(self::event(id, event, text)),
        Told::Lost { sequence, end } => Some(v1::Event {
            sequence,
            time: Some(end.time.into()),
            kind: Some(KindMessage::Exited(v1::Exited {
                exit: Some(exit(&end.exit, end.lost)),
            })),
        }),
        Told::Gap(gap) => {
            let [stdout_bytes, stderr_bytes, terminal_bytes] = gap.bytes;
            Some(v1::Event {
                sequence: gap.sequence,
                time: Some(SystemTime::now().into()),
                kind: Some(KindMessage::Gap(v1::Gap {
                    first_sequence: gap.first_sequence,
                    stdout_bytes,
                    stderr_bytes,
                    terminal_bytes,
                })),
            })
        }
        Told::StdinAccepted => None,
    }
}

fn output_message(chunk: Chunk, text: bool) -> v1::Output {
    let stream = match chunk.stream {
        OutputStream::Stdout => output::Stream::Stdout,
        OutputStream::Stderr => output::Stream::Stderr,
        OutputStream::Terminal => output::Stream::Terminal,
    };
    let (data, text) = if text {
        let text = String::from_utf8_lossy(&chunk.data).into_owned();
        (Bytes::new(), text)
    } else {
        (chunk.data, String::new())
    };
    v1::Output {
        stream: stream.into(),
        offset: chunk.offset,
        data,
        text,
    }
}

/// How an execution ended; `lost` says what is not known of it, where nobody saw that.
pub(super) fn exit(exit: &Exit, lost: Option<Lost>) -> v1::Exit {
    let (code, signal, core_dumped) = match exit.outcome.status {
        Some(ExitStatus::Code(code)) => (i32::from(code), 0, false),
        Some(ExitStatus::Signal {
            number,
            core_dumped,
        }) => (-1, number, core_dumped),
        None => (-1, 0, false),
    };
    v1::Exit {
        code: Some(code),
        signal,
        reason: reason(exit.outcome, lost).into(),
        core_dumped,
        oom_killed: exit.oom_killed,
        wall_time: duration(exit.wall_time),
        usage: Some(v1::Usage {
            user_time: duration(exit.usage.user),
            system_time: duration(exit.usage.system),
            max_rss_bytes: exit.usage.max_rss_bytes,
        }),
        output_left_open: exit.output_left_open,
    }
}

fn reason(outcome: Outcome, lost: Option<Lost>) -> exit::Reason {
    match lost {
        Some(Lost::Start) => return exit::Reason::LostStart,
        Some(Lost::Exit) => return exit::Reason::LostExit,
        Some(Lost::Reboot) => return exit::Reason::LostReboot,
        None => {}
    }
    match outcome.reason {
        ExitReason::Own => exit::Reason::Self_,
        ExitReason::Ended(Cause::Timeout) => exit::Reason::Timeout,
        ExitReason::Ended(Cause::Disconnect) => exit::Reason::Disconnect,
        ExitReason::Ended(Cause::Shutdown) => exit::Reason::Shutdown,
        ExitReason::Signal => exit::Reason::Signal,
        ExitReason::Lost => exit::Reason::LostExit,
    }
}

pub(super) fn execution(execution: &Execution) -> v1::Execution {
    let ended = execution.end_record();
    let counters = &execution.counters;
    let kept = execution.kept.as_deref();
    let facts = kept.map(Kept::facts).unwrap_or_default();
    let durability = kept.map(|kept| &kept.durability);
    let there = ended.is_none() && !counters.is_abandoned();
    let record_kept = if kept.is_some() {
        DURABLE_KEPT
    } else {
        ENDED_KEPT
    };
    v1::Execution {
        execution_id: execution.id.to_string(),
        request_id: durability
            .and_then(|durability| durability.request_id.clone())
            .unwrap_or_default(),
        command: Some(command(&execution.spec, execution.until_end)),
        labels: execution.labels.clone().into_iter().collect(),
        state: match ended {
            None => State::Running,
            Some(_) => State::Ended,
        }
        .into(),
        caller: execution.caller.to_string(),
        on_disconnect: durability
            .map_or(v1::OnDisconnect::Kill, |durability| {
                on_disconnect(durability.on_disconnect)
            })
            .into(),
        pid: execution.pid,
        create_time: Some(execution.created.into()),
        end_time: ended.map(|end| end.time.into()),
        expire_time: ended.map(|end| (end.time + record_kept).into()),
        exit: ended.map(|end| exit(&end.exit, end.lost)),
        first_sequence: facts.first_sequence,
        last_sequence: counters.last_sequence(),
        stdin_accepted_bytes: counters.stdin_accepted(),
        stdout_bytes_total: counters.stdout_bytes(),
        stderr_bytes_total: counters.stderr_bytes(),
        attached: kept.map_or(u32::from(there), Kept::callers),
        isolation: execution
            .spec
            .isolation
            .as_ref()
            .zip(execution.applied.as_ref())
            .map(|(spec, parts)| isolation::applied(spec, parts)),
        storage_error: facts.storage_error,
        stored_bytes: facts.stored_bytes,
        blocked: facts.is_blocked,
    }
}

fn on_disconnect(policy: OnDisconnect) -> v1::OnDisconnect {
    match policy {
        OnDisconnect::Kill => v1::OnDisconnect::Kill,
        OnDisconnect::Grace(_) => v1::OnDisconnect::Grace,
        OnDisconnect::Detach => v1::OnDisconnect::Detach,
    }
}

/// The command as it was asked for, with the values of its environment blank.
pub(super) fn command(spec: &CommandSpec, until_end: bool) -> v1::Command {
    let mut command = v1::Command {
        drain: drain(until_end).into(),
        working_directory: spec
            .working_directory
            .as_ref()
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default(),
        environment: names(&spec.environment),
        clear_environment: spec.clear_environment,
        user: spec.user.clone().unwrap_or_default(),
        timeout: spec.timeout.and_then(duration),
        kill_after: duration(spec.kill_after),
        terminal: spec.terminal.as_ref().map(|terminal| v1::Terminal {
            rows: terminal.size.rows.into(),
            columns: terminal.size.columns.into(),
            term: terminal.term.to_string_lossy().into_owned(),
        }),
        limits: limits(&spec.limits),
        isolation: spec.isolation.as_ref().map(isolation::message),
        ..v1::Command::default()
    };
    let texts: Option<Vec<&str>> = spec
        .argv
        .iter()
        .map(|string| string.to_str().ok())
        .collect();
    match (texts, spec.argv.as_slice()) {
        (Some(texts), _) if spec.shell => {
            command.shell = texts.last().map(ToString::to_string).unwrap_or_default();
        }
        (Some(texts), _) => command.argv = texts.into_iter().map(str::to_owned).collect(),
        (None, argv) => {
            let raw = argv
                .iter()
                .map(|string| Bytes::copy_from_slice(string.as_bytes()));
            command.argv_raw = raw.collect();
        }
    }
    command
}

fn drain(until_end: bool) -> v1::command::Drain {
    if until_end {
        v1::command::Drain::Eof
    } else {
        v1::command::Drain::Bounded
    }
}

fn names(environment: &[CString]) -> HashMap<String, String> {
    let name = |variable: &CString| {
        let text = variable.to_string_lossy();
        let name = text.split_once('=').map_or(&*text, |(name, _)| name);
        (name.to_owned(), String::new())
    };
    environment.iter().map(name).collect()
}

fn limits(limits: &ResourceLimits) -> Option<v1::Limits> {
    (*limits != ResourceLimits::default()).then(|| v1::Limits {
        cpu_time: limits
            .cpu_seconds
            .map(Duration::from_secs)
            .and_then(duration),
        address_space_bytes: limits.address_space_bytes,
        open_files: limits.open_files,
        file_size_bytes: limits.file_size_bytes,
        core_bytes: limits.core_bytes,
        user_processes: limits.user_processes,
        niceness: limits.niceness,
        tree_memory_bytes: limits.tree.memory_bytes,
        tree_processes: limits.tree.processes,
    })
}

fn duration(value: Duration) -> Option<prost_types::Duration> {
    value.try_into().ok()
}
