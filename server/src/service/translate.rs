//! From messages to typed requests: every check on what callers send is here, once.

mod durability;

use std::{
    collections::{BTreeMap, HashMap},
    ffi::CString,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use remex::{error::Reason, v1};
use remex_supervisor::{
    lifecycle::{life::MAX_SIGNAL, stdin::StdinChunk},
    process::{
        CommandSpec, DEFAULT_KILL_AFTER, DEFAULT_TERM, MAX_KILL_AFTER, MAX_STRING_BYTES,
        ResourceLimits, TerminalSpec, TreeLimits, WindowSize, argument_bytes,
    },
};
use tonic::Status;
use uuid::Uuid;

use self::durability::durability;
pub(super) use self::durability::named;
use super::{isolation, status};
use crate::execution::{Attaching, Durability};

/// The shell of `Command.shell`.
const SHELL: &std::ffi::CStr = c"/bin/sh";

/// Most labels of an execution.
pub(super) const MAX_LABELS: usize = 32;
/// Longest label key.
pub(super) const MAX_LABEL_KEY_BYTES: usize = 63;
/// Longest label value.
pub(super) const MAX_LABEL_VALUE_BYTES: usize = 256;
/// `max_output_bytes` where none is given.
pub(super) const DEFAULT_OUTPUT_BYTES: usize = 1024 * 1024;
/// Largest `max_output_bytes`.
pub(super) const MAX_OUTPUT_BYTES: usize = 16 * 1024 * 1024;
/// Most arguments and variables of a command.
pub(super) const MAX_STRINGS: usize = 65_536;
/// Seconds of the longest duration that protobuf has.
const MAX_DURATION_SECONDS: u64 = 315_576_000_000;
/// Shortest `keepalive_interval`.
pub(super) const MIN_KEEPALIVE: Duration = Duration::from_millis(100);

type Checked<T> = Result<T, Status>;

fn invalid(field: &str, why: &str) -> Status {
    Reason::InvalidField.field(field, why)
}

/// The fields that RunRequest and StartRequest share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) command: Option<v1::Command>,
    pub(super) stdin_data: Bytes,
    pub(super) stdin_text: String,
    pub(super) request_id: String,
    pub(super) labels: HashMap<String, String>,
    pub(super) on_disconnect: i32,
    pub(super) disconnect_grace: Option<prost_types::Duration>,
    pub(super) keep: Option<v1::Keep>,
}

/// What they become.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) spec: CommandSpec,
    /// Its output is read to the end of file.
    pub(super) until_end: bool,
    pub(super) stdin: Bytes,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) durability: Option<Durability>,
}

impl From<v1::RunRequest> for Common {
    fn from(request: v1::RunRequest) -> Self {
        Self {
            command: request.command,
            stdin_data: request.stdin_data,
            stdin_text: request.stdin_text,
            request_id: request.request_id,
            labels: request.labels,
            on_disconnect: request.on_disconnect,
            disconnect_grace: request.disconnect_grace,
            keep: request.keep,
        }
    }
}

impl From<v1::StartRequest> for Common {
    fn from(request: v1::StartRequest) -> Self {
        Self {
            command: request.command,
            stdin_data: request.stdin_data,
            stdin_text: request.stdin_text,
            request_id: request.request_id,
            labels: request.labels,
            on_disconnect: request.on_disconnect,
            disconnect_grace: request.disconnect_grace,
            keep: request.keep,
        }
    }
}

impl TryFrom<Common> for Request {
    type Error = Status;

    fn try_from(common: Common) -> Checked<Self> {
        let durability = durability(&common)?;
        let command = common.command.ok_or_else(|| {
            Reason::InvalidCommand.field("command", "is missing; give argv, argv_raw or shell")
        })?;
        Ok(Self {
            until_end: drain(command.drain)?,
            spec: self::command(command)?,
            stdin: data_or_text(
                ("stdin_data", common.stdin_data),
                ("stdin_text", common.stdin_text),
            )?,
            labels: labels(common.labels)?,
            durability,
        })
    }
}

/// How a caller joins an execution.
pub(super) fn attaching(request: &v1::AttachRequest, tells_accepted: bool) -> Attaching {
    Attaching {
        after: request.after_sequence,
        no_follow: request.no_follow,
        observer: request.observer,
        tells_accepted,
    }
}

pub(super) fn command(command: v1::Command) -> Checked<CommandSpec> {
    size(&command)?;
    let (argv, shell) = argv(command.argv, command.argv_raw, command.shell)?;
    Ok(CommandSpec {
        argv,
        shell,
        working_directory: working_directory(&command.working_directory)?,
        environment: environment(command.environment)?,
        clear_environment: command.clear_environment,
        passed: Vec::new(),
        user: user(command.user)?,
        timeout: duration("command.timeout", command.timeout)?,
        kill_after: kill_after(command.kill_after)?,
        terminal: command.terminal.map(terminal).transpose()?,
        limits: command.limits.map(limits).transpose()?.unwrap_or_default(),
        isolation: command.isolation.map(isolation::checked).transpose()?,
    })
}

/// Asks how large a command is before anything is done with it. What is passed on of the server's environment, too, has to
/// fit into what the kernel takes, which is for the kernel to say.
fn size(command: &v1::Command) -> Checked<()> {
    const WHY: &str = "pass data on stdin, or in a file";
    let strings = command.argv.len() + command.argv_raw.len() + command.environment.len();
    if strings > MAX_STRINGS {
        let why =
            format!("has {strings} arguments and variables, and {MAX_STRINGS} are taken; {WHY}");
        return Err(Reason::CommandTooLarge.field("command", why));
    }
    let variables = command.environment.iter();
    let bytes = command.argv.iter().map(String::len).sum::<usize>()
        + command.argv_raw.iter().map(Bytes::len).sum::<usize>()
        + command.shell.len()
        + variables.map(|(name, value)| name.len() + value.len() + 1).sum::<usize>()
        // Each with its NUL, and a pointer to it.
        + strings * (1 + size_of::<usize>());
    let max = argument_bytes();
    if bytes > max {
        let why = format!(
            "has {bytes} bytes of arguments and variables with their pointers, and the kernel takes {max}; {WHY}"
        );
        return Err(Reason::CommandTooLarge.field("command", why));
    }
    Ok(())
}

/// Whether output is read to the end of file.
fn drain(number: i32) -> Checked<bool> {
    match v1::command::Drain::try_from(number) {
        Ok(v1::command::Drain::Unspecified | v1::command::Drain::Bounded) => Ok(false),
        Ok(v1::command::Drain::Eof) => Ok(true),
        Err(_) => Err(unknown_number("command.drain", number)),
    }
}

fn argv(argv: Vec<String>, raw: Vec<Bytes>, shell: String) -> Checked<(Vec<CString>, bool)> {
    let given = [!argv.is_empty(), !raw.is_empty(), !shell.is_empty()];
    match given {
        [true, false, false] => strings("command.argv", argv.into_iter().map(String::into_bytes)),
        [false, true, false] => strings("command.argv_raw", raw.into_iter().map(Vec::from)),
        [false, false, true] => {
            let text = string("command.shell", shell.into_bytes())?;
            return Ok((vec![SHELL.into(), c"-c".into(), text], true));
        }
        [false, false, false] => Err(Reason::InvalidCommand.field(
            "command",
            "is empty; give exactly one of argv, argv_raw and shell",
        )),
        _ => Err(Reason::InvalidCommand.field(
            "command",
            "has more than one of argv, argv_raw and shell; give exactly one",
        )),
    }
    .and_then(|argv| {
        if argv[0].is_empty() {
            return Err(Reason::InvalidCommand.field("command.argv[0]", "is empty; name a program"));
        }
        Ok((argv, false))
    })
}

fn strings(field: &str, list: impl Iterator<Item = Vec<u8>>) -> Checked<Vec<CString>> {
    list.enumerate()
        .map(|(index, bytes)| string(&format!("{field}[{index}]"), bytes))
        .collect()
}

/// A string as exec takes it.
fn string(field: &str, bytes: Vec<u8>) -> Checked<CString> {
    if bytes.len() > MAX_STRING_BYTES {
        let why = format!(
            "has {} bytes, and the kernel takes {MAX_STRING_BYTES}; pass data on stdin",
            bytes.len()
        );
        return Err(Reason::CommandTooLarge.field(field, why));
    }
    CString::new(bytes).map_err(|error| {
        let why = format!(
            "has a NUL at byte {}, which no program can be given",
            error.nul_position()
        );
        Reason::InvalidCommand.field(field, why)
    })
}

fn working_directory(text: &str) -> Checked<Option<PathBuf>> {
    const FIELD: &str = "command.working_directory";
    match text {
        "" => Ok(None),
        text if text.contains('\0') => Err(invalid(FIELD, "has a NUL")),
        text if Path::new(text).is_absolute() => Ok(Some(text.into())),
        _ => Err(invalid(FIELD, "is relative; give an absolute path")),
    }
}

fn environment(variables: HashMap<String, String>) -> Checked<Vec<CString>> {
    let sorted: BTreeMap<_, _> = variables.into_iter().collect();
    let variables = sorted.into_iter().map(|(name, value)| {
        let field = format!("command.environment[{name:?}]");
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(invalid(
                &field,
                "is no name: it is empty, or has `=` or NUL in it",
            ));
        }
        if value.contains('\0') {
            return Err(invalid(&field, "has a NUL in its value"));
        }
        string(&field, [name.as_bytes(), b"=", value.as_bytes()].concat())
    });
    variables.collect()
}

fn user(user: String) -> Checked<Option<String>> {
    if user.contains('\0') {
        return Err(invalid("command.user", "has a NUL"));
    }
    Ok(Some(user).filter(|user| !user.is_empty()))
}

fn kill_after(value: Option<prost_types::Duration>) -> Checked<Duration> {
    const FIELD: &str = "command.kill_after";
    match duration(FIELD, value)? {
        None => Ok(DEFAULT_KILL_AFTER),
        Some(long) if long > MAX_KILL_AFTER => Err(invalid(FIELD, "is longer than 1 min")),
        Some(kill_after) => Ok(kill_after),
    }
}

fn terminal(terminal: v1::Terminal) -> Checked<TerminalSpec> {
    let term = match terminal.term {
        term if term.is_empty() => DEFAULT_TERM.to_owned(),
        term => term,
    };
    let default = WindowSize::default();
    Ok(TerminalSpec {
        size: WindowSize {
            rows: cells("command.terminal.rows", terminal.rows)?.unwrap_or(default.rows),
            columns: cells("command.terminal.columns", terminal.columns)?
                .unwrap_or(default.columns),
        },
        term: string("command.terminal.term", term.into_bytes())?,
    })
}

fn cells(field: &str, value: u32) -> Checked<Option<u16>> {
    let cells = u16::try_from(value).map_err(|_| invalid(field, "is more than 65,535"))?;
    Ok(Some(cells).filter(|&cells| cells > 0))
}

fn limits(limits: v1::Limits) -> Checked<ResourceLimits> {
    let cpu_time = duration("command.limits.cpu_time", limits.cpu_time)?;
    if limits
        .niceness
        .is_some_and(|niceness| !(-20..=19).contains(&niceness))
    {
        return Err(invalid("command.limits.niceness", "is not in -20 to 19"));
    }
    Ok(ResourceLimits {
        cpu_seconds: cpu_time.map(|time| time.as_secs() + u64::from(time.subsec_nanos() > 0)),
        address_space_bytes: limits.address_space_bytes,
        open_files: limits.open_files,
        file_size_bytes: limits.file_size_bytes,
        core_bytes: limits.core_bytes,
        user_processes: limits.user_processes,
        niceness: limits.niceness,
        tree: TreeLimits {
            memory_bytes: limits.tree_memory_bytes,
            processes: limits.tree_processes,
        },
    })
}

fn labels(labels: HashMap<String, String>) -> Checked<BTreeMap<String, String>> {
    if labels.len() > MAX_LABELS {
        return Err(invalid("labels", "are more than 32"));
    }
    for (key, value) in &labels {
        let field = || format!("labels[{key:?}]");
        let ok = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._/-".contains(&byte)
        };
        if !(1..=MAX_LABEL_KEY_BYTES).contains(&key.len()) || !key.bytes().all(ok) {
            return Err(invalid(
                &field(),
                "is no key: 1 to 63 characters of a-z, 0-9 and ._/-",
            ));
        }
        if value.len() > MAX_LABEL_VALUE_BYTES {
            return Err(invalid(&field(), "has a value of more than 256 bytes"));
        }
    }
    Ok(labels.into_iter().collect())
}

fn data_or_text(
    (data_field, data): (&str, Bytes),
    (text_field, text): (&str, String),
) -> Checked<Bytes> {
    match (data.is_empty(), text.is_empty()) {
        (false, false) => {
            let why = format!("is given beside {data_field}; give one of them");
            Err(invalid(text_field, &why))
        }
        (_, true) => Ok(data),
        (true, false) => Ok(text.into()),
    }
}

fn unknown_number(field: &str, number: i32) -> Status {
    invalid(field, &format!("{number} is no value of this enum"))
}

/// A duration; zero is unset.
pub(super) fn duration(
    field: &str,
    value: Option<prost_types::Duration>,
) -> Checked<Option<Duration>> {
    let Some(value) = value else { return Ok(None) };
    let duration = exact_duration(value)
        .ok_or_else(|| invalid(field, "is no duration of 0 to 315,576,000,000 s"))?;
    Ok(Some(duration).filter(|duration| !duration.is_zero()))
}

/// As protobuf has durations; its library's own conversion overflows at the smallest of them.
fn exact_duration(value: prost_types::Duration) -> Option<Duration> {
    const NANOS: u32 = 1_000_000_000;
    let nanos = u32::try_from(value.nanos)
        .ok()
        .filter(|&nanos| nanos < NANOS)?;
    let seconds = u64::try_from(value.seconds).ok()?;
    let is_one = (seconds, nanos) <= (MAX_DURATION_SECONDS, 0);
    is_one.then(|| Duration::new(seconds, nanos))
}

pub(super) fn keepalive(value: Option<prost_types::Duration>) -> Checked<Option<Duration>> {
    const FIELD: &str = "keepalive_interval";
    match duration(FIELD, value)? {
        Some(short) if short < MIN_KEEPALIVE => Err(invalid(FIELD, "is shorter than 100 ms")),
        keepalive => Ok(keepalive),
    }
}

pub(super) fn output_cap(max_output_bytes: u64) -> Checked<usize> {
    match usize::try_from(max_output_bytes) {
        Ok(0) => Ok(DEFAULT_OUTPUT_BYTES),
        Ok(bytes) if bytes <= MAX_OUTPUT_BYTES => Ok(bytes),
        _ => Err(invalid(
            "max_output_bytes",
            "is more than 16 MiB; use Start, whose output has no bound",
        )),
    }
}

pub(super) fn signal(field: &str, number: i32) -> Checked<i32> {
    if (1..=MAX_SIGNAL).contains(&number) {
        return Ok(number);
    }
    Err(invalid(field, "is no signal number: 1 to 64"))
}

/// A window size; `None`: with 0 rows or columns, the one that there is stays.
pub(super) fn window_size(rows: u32, columns: u32) -> Checked<Option<WindowSize>> {
    let size = (cells("rows", rows)?, cells("columns", columns)?);
    Ok(match size {
        (Some(rows), Some(columns)) => Some(WindowSize { rows, columns }),
        _ => None,
    })
}

pub(super) fn stdin_chunk(chunk: v1::StdinChunk) -> Checked<StdinChunk> {
    Ok(StdinChunk {
        offset: chunk.offset,
        data: data_or_text(("chunk.data", chunk.data), ("chunk.text", chunk.text))?,
        eof: chunk.eof,
    })
}

/// The id of an execution; one that cannot be is one that is not there.
pub(super) fn execution_id(text: &str) -> Checked<Uuid> {
    if text.is_empty() {
        return Err(invalid("execution_id", "is empty"));
    }
    // One spelling each: an id is compared as text by callers.
    match Uuid::try_parse(text) {
        Ok(id) if id.to_string() == text => Ok(id),
        _ => Err(status::not_found(text)),
    }
}

#[cfg(test)]
mod tests;
