//! Entries of systemd's journal, in its native protocol: where stderr is the journal, a line is not a text alone, and each of
//! its fields can be asked for by name.

use std::{
    env,
    fmt::{self, Debug, Write as _},
    io,
    os::unix::net::UnixDatagram,
    path::Path,
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use super::queue::{Queue, write_all};
use crate::escape::{Spelling, escape};

/// Where the journal takes entries.
const SOCKET: &str = "/run/systemd/journal/socket";

/// Device and inode of the stream that the service manager has made stderr, if that is the journal.
const STREAM_VARIABLE: &str = "JOURNAL_STREAM";

/// Before the name of each field of an event.
const PREFIX: &str = "REMEX_";

/// The longest name of a field that the journal takes.
const MAX_NAME_BYTES: usize = 64;

/// The journal, as it takes entries.
#[derive(Debug)]
pub(super) struct Journal(UnixDatagram);

impl Journal {
    /// Where stderr is the journal, and that can be reached.
    pub(super) fn of_stderr() -> Option<Self> {
        let said = env::var(STREAM_VARIABLE).ok()?;
        let stderr = rustix::fs::fstat(rustix::stdio::stderr()).ok()?;
        if said != format!("{}:{}", stderr.st_dev, stderr.st_ino) || !Path::new(SOCKET).exists() {
            return None;
        }
        UnixDatagram::unbound().ok().map(Self)
    }

    /// Sends an entry, as long as somebody takes it, however slowly. Where nobody does, its text goes to stderr.
    pub(super) fn send(&self, entry: &[u8]) {
        loop {
            match self.0.send_to(entry, SOCKET) {
                Ok(_) => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        // It is first, and one line.
        let text = entry.split_inclusive(|byte| *byte == b'\n').next();
        let text = text.and_then(|line| line.strip_prefix(b"MESSAGE="));
        write_all(rustix::stdio::stderr(), text.unwrap_or_default());
    }
}

/// Makes an entry of each event.
pub(super) struct Entries {
    queue: Queue,
    identifier: String,
}

impl Entries {
    pub(super) fn new(queue: Queue) -> Self {
        Self {
            queue,
            identifier: identifier(),
        }
    }
}

/// What the program is called.
fn identifier() -> String {
    let program = env::current_exe().ok();
    let name = program.as_ref().and_then(|path| path.file_name());
    name.map_or_else(
        || "remex".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

impl<S: Subscriber> Layer<S> for Entries {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let about = (*metadata.level(), metadata.target(), &*self.identifier);
        self.queue.push(entry(&fields, about));
    }
}

/// The entry that says how many there should have been.
pub(super) fn lost(dropped: u64) -> Vec<u8> {
    let mut fields = Fields::default();
    fields
        .message
        .push_str("log lines were dropped: nobody read them");
    fields.others.push(("dropped", dropped.to_string()));
    entry(&fields, (Level::WARN, module_path!(), &identifier()))
}

/// What an event says.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        self.put(field.name(), text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value.to_owned());
    }
}

impl Fields {
    fn put(&mut self, name: &'static str, value: String) {
        if name == "message" {
            self.message = value;
        } else {
            self.others.push((name, value));
        }
    }

    /// All of it in one line, for those who look at nothing else.
    fn text(&self) -> String {
        let mut text = self.message.clone();
        for (name, value) in &self.others {
            // Writing to a String cannot fail.
            let _: fmt::Result = write!(text, " {name}={value}");
        }
        escape(&text, Spelling::Text).into_owned()
    }
}

fn entry(fields: &Fields, (level, target, identifier): (Level, &str, &str)) -> Vec<u8> {
    let mut entry = Vec::new();
    put(&mut entry, "MESSAGE", fields.text().trim_start());
    put(&mut entry, "PRIORITY", priority(level));
    put(&mut entry, "SYSLOG_IDENTIFIER", identifier);
    put(&mut entry, "CODE_MODULE", target);
    for (name, value) in &fields.others {
        put(&mut entry, &named(name), value);
    }
    entry
}

/// As syslog(3) numbers them.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

/// The journal takes capitals, digits and underscores.
fn named(name: &str) -> String {
    let letters = name
        .chars()
        .map(|letter| match letter.to_ascii_uppercase() {
            letter @ ('A'..='Z' | '0'..='9') => letter,
            _ => '_',
        });
    PREFIX.chars().chain(letters).take(MAX_NAME_BYTES).collect()
}

fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_a_line_for_people_and_each_field_for_itself() {
        let fields = Fields {
            message: "ended\u{1b}[2J".to_owned(),
            others: vec![
                ("exit", "0".to_owned()),
                ("wall.time", "a\nMESSAGE=forged".to_owned()),
            ],
        };
        let entry = entry(&fields, (Level::INFO, "remex_server::x", "remexd"));
        let mut expected =
            b"MESSAGE=ended\\u{1b}[2J exit=0 wall.time=a\\nMESSAGE=forged\nPRIORITY=6\n\
            SYSLOG_IDENTIFIER=remexd\nCODE_MODULE=remex_server::x\nREMEX_EXIT=0\nREMEX_WALL_TIME\n"
                .to_vec();
        expected.extend(16_u64.to_le_bytes());
        expected.extend(b"a\nMESSAGE=forged\n");
        assert_eq!(
            String::from_utf8_lossy(&entry),
            String::from_utf8_lossy(&expected)
        );
    }

    #[test]
    fn names_are_those_that_the_journal_takes() {
        assert_eq!(named("request_id"), "REMEX_REQUEST_ID");
        assert_eq!(named("ärger.x"), "REMEX__RGER_X");
        assert_eq!(named(&"x".repeat(100)).len(), MAX_NAME_BYTES);
    }
}
