//! Logs: one event a line on stderr, or an entry of the `journal`, where stderr is that. Nothing that came from outside can act on a terminal or begin a line of its own, and
//! nobody who logs waits for whoever reads: see `queue`.

mod journal;
mod limit;
mod overheard;
mod queue;

use std::{
    env::{self, VarError},
    io::{self, Write},
    panic,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tracing::Level;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{LevelFilter, ParseError},
    fmt::{self, MakeWriter},
    layer::{Filter, SubscriberExt},
    registry, reload,
    util::{SubscriberInitExt, TryInitError},
};

pub(crate) use self::queue::write_all;
use self::{
    journal::{Entries, Journal},
    overheard::Listening,
    queue::{Destination, Queue},
};
pub use self::{
    limit::{LOG_EVERY, LineCounts, LineLimit},
    overheard::Overheard,
    queue::{BYTES, LINES},
};
use super::{
    console::LAST_WORDS,
    escape::{Spelling, escape},
};

/// What is logged beside `--log-level`, as in `debug` or `remex_gateway=trace`.
pub const FILTER_VARIABLE: &str = "REMEX_LOG";

/// What [`init`] has begun.
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// What [`set_level`] changes.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// The form of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Which log lines are written: those of this level and of graver ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// None.
    Off,
    /// What keeps the daemon from doing what it is for.
    Error,
    /// What somebody should look at.
    Warn,
    /// Starts, ends, and each command that has ended.
    #[default]
    Info,
    /// What is of use in the search for a fault of the daemon's own.
    Debug,
    /// Everything, of the libraries below it too.
    Trace,
}

impl LogLevel {
    const fn directive(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            // Each frame of each connection is a line of h2's.
            Self::Debug => "info,remex=debug",
            Self::Trace => "trace",
        }
    }
}

/// Logging cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoggingError {
    /// The variable cannot be understood.
    #[error("{FILTER_VARIABLE}: {0}; write a level such as debug, or remex_gateway=trace")]
    Filter(#[from] ParseError),
    /// The variable is no text.
    #[error("{FILTER_VARIABLE} is not UTF-8")]
    NotUtf8,
    /// There is no thread to write with.
    #[error("cannot start threads: {0}")]
    Thread(io::Error),
    /// There is no log to change.
    #[error("logging has not begun")]
    NotBegun,
    /// Called twice.
    #[error("logging has begun already")]
    Twice,
}

impl From<TryInitError> for LoggingError {
    fn from(_: TryInitError) -> Self {
        Self::Twice
    }
}

/// What is logged.
#[derive(Debug, Clone, Copy)]
pub struct LogSettings {
    /// The form of its lines.
    pub format: LogFormat,
    /// Which of them.
    pub level: LogLevel,
    /// What is listened for besides.
    pub overheard: &'static [Overheard],
}

/// Begins logging to stderr. Panics are logged from here on, too.
pub fn init(settings: LogSettings) -> Result<(), LoggingError> {
    let LogSettings {
        format,
        level,
        overheard,
    } = settings;
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let journal = match format {
        LogFormat::Text => Journal::of_stderr(),
        // It was asked for, and is no form of the journal's.
        LogFormat::Json => None,
    };
    let is_journal = journal.is_some();
    let to = match journal {
        Some(journal) => Destination::Journal(journal),
        None => Destination::Stream(rustix::stdio::stderr()),
    };
    let queue = Queue::start(to, move |dropped| {
        if is_journal {
            journal::lost(dropped)
        } else {
            lost(format, dropped)
        }
    })
    .map_err(LoggingError::Thread)?;
    QUEUE.set(queue.clone()).map_err(|_| LoggingError::Twice)?;
    let listening = Listening(overheard);
    let filter_of_it = listening.filter();
    let lines = if is_journal {
        Entries::new(queue).with_filter(filter).boxed()
    } else {
        lines(format, filter, move || Line(queue.clone()))
    };
    registry()
        .with(lines)
        // Behind the lines, since it may log one while it is told of another.
        .with(listening.with_filter(filter_of_it))
        .try_init()?;
    // `QUEUE` was empty, so that this is.
    let _ = FILTER.set(handle);
    // The default hook writes to stderr itself, and would wait for it.
    panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(())
}

/// Logs what is of `level` or graver from now on; [`FILTER_VARIABLE`] still beats it.
pub fn set_level(level: LogLevel) -> Result<(), LoggingError> {
    let handle = FILTER.get().ok_or(LoggingError::NotBegun)?;
    let filter = filter(level)?;
    handle.reload(filter).map_err(|_| LoggingError::NotBegun)
}

/// Waits for what was logged to be written, for as long as an end may wait for a reader.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(LAST_WORDS);
    }
}

/// How many lines were dropped so far because nobody read them.
pub fn dropped() -> u64 {
    QUEUE.get().map_or(0, Queue::dropped_in_all)
}

/// One event on its way into the queue.
struct Line(Queue);

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line that says how many there should have been.
fn lost(format: LogFormat, dropped: u64) -> Vec<u8> {
    let line = Collected::default();
    let writer = line.clone();
    let all = EnvFilter::new(Level::WARN.as_str());
    let lines = registry().with(lines(format, all, move || writer.clone()));
    tracing::subscriber::with_default(lines, || {
        tracing::warn!(dropped, "log lines were dropped: nobody read them");
    });
    line.take()
}

/// What a subscriber writes, kept.
#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<u8>>>);

impl Collected {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Collected {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn filter(level: LogLevel) -> Result<EnvFilter, LoggingError> {
    let directives = match env::var(FILTER_VARIABLE) {
        Ok(directives) => directives,
        Err(VarError::NotPresent) => String::new(),
        Err(VarError::NotUnicode(_)) => return Err(LoggingError::NotUtf8),
    };
    Ok(parse_filter(level, &directives)?)
}

/// `directives` beat `level`, where they say something else.
fn parse_filter(level: LogLevel, directives: &str) -> Result<EnvFilter, ParseError> {
    let mut each = directives.split(',').map(str::trim);
    // One without a target is of everything.
    if each.any(|one| !one.is_empty() && one.parse::<LevelFilter>().is_ok()) {
        return EnvFilter::builder().parse(directives);
    }
    let level = level.directive();
    EnvFilter::builder().parse(format!("{level},{directives}"))
}

fn lines<F, W>(format: LogFormat, filter: F, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    F: Filter<Registry> + Send + Sync + 'static,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer()
        // Colours are escape sequences: none are written, so all that are found came from outside.
        .with_ansi(false)
        // What would be said of a stderr that is gone would go to stderr, and panic.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => layer
            .with_writer(escaping(writer, Spelling::Text))
            .with_filter(filter)
            .boxed(),
        LogFormat::Json => layer
            .json()
            .with_writer(escaping(writer, Spelling::Json))
            .with_filter(filter)
            .boxed(),
    }
}

fn escaping<W>(inner: W, spelling: Spelling) -> Escaping<W> {
    Escaping { inner, spelling }
}

/// Makes writers that escape.
struct Escaping<W> {
    inner: W,
    spelling: Spelling,
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Escaping<W> {
    type Writer = Escaping<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        escaping(self.inner.make_writer(), self.spelling)
    }
}

impl<W: Write> Write for Escaping<W> {
    /// Takes one event at a time, which is how tracing-subscriber writes: the last newline is its own.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let mut safe = escape(line, self.spelling).into_owned();
        safe.push('\n');
        self.inner.write_all(safe.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(format: LogFormat, directives: &str, log: impl FnOnce()) -> String {
        logged_at(LogLevel::Info, format, directives, log)
    }

    fn logged_at(
        level: LogLevel,
        format: LogFormat,
        directives: &str,
        log: impl FnOnce(),
    ) -> String {
        let sink = Collected::default();
        let made = sink.clone();
        let filter = parse_filter(level, directives).unwrap();
        let lines = registry().with(lines(format, filter, move || made.clone()));
        tracing::subscriber::with_default(lines, log);
        String::from_utf8(sink.take()).unwrap()
    }

    const HOSTILE: &str = "a\r\n2026 ERROR forged \u{1b}]0;x\u{7}\u{9b}2J\u{202e}";

    fn log_hostile() {
        tracing::info!(command = HOSTILE, shown = %HOSTILE, "message {HOSTILE}");
    }

    #[test]
    fn nothing_hostile_gets_into_text() {
        let text = logged(LogFormat::Text, "", log_hostile);
        let line = text.strip_suffix('\n').unwrap();
        assert!(
            !line.chars().any(super::super::escape::is_harmful),
            "{line:?}"
        );
        assert!(line.contains("forged"), "{line}");
    }

    #[test]
    fn nothing_hostile_gets_into_json_and_it_parses_back() {
        let text = logged(LogFormat::Json, "", log_hostile);
        let line = text.strip_suffix('\n').unwrap();
        assert!(
            !line.chars().any(super::super::escape::is_harmful),
            "{line:?}"
        );
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["fields"]["command"], HOSTILE);
        assert_eq!(event["level"], "INFO");
    }

    #[test]
    fn info_is_the_default_and_directives_change_it() {
        let both = || {
            tracing::debug!("small");
            tracing::info!("large");
        };
        let text = logged(LogFormat::Text, "", both);
        assert!(text.contains("large") && !text.contains("small"), "{text}");
        assert!(logged(LogFormat::Text, "debug", both).contains("small"));
        assert_eq!(logged(LogFormat::Text, "off", both), "");
        let error = LoggingError::from(parse_filter(LogLevel::Info, "=,").unwrap_err());
        assert!(error.to_string().starts_with("REMEX_LOG: "), "{error}");
    }

    #[test]
    fn a_level_is_a_flags_and_a_files_word_and_a_directive() {
        for level in LogLevel::value_variants() {
            let value = level.to_possible_value().unwrap();
            let name = value.get_name();
            assert_eq!(LogLevel::from_str(name, false), Ok(*level));
            let quoted = format!("\"{name}\"");
            assert_eq!(serde_json::from_str::<LogLevel>(&quoted).unwrap(), *level);
            let filter = parse_filter(*level, "").unwrap();
            assert_eq!(filter.max_level_hint(), Some(name.parse().unwrap()));
        }
    }

    #[test]
    fn debug_is_of_the_daemon_and_trace_of_its_libraries_too() {
        let logged = |level, directives| {
            let lines = logged_at(level, LogFormat::Text, directives, || {
                tracing::debug!(target: "remex_server::app", "of its own");
                tracing::debug!(target: "h2::codec", "of a library");
                tracing::info!(target: "h2::codec", "which matters");
            });
            lines.lines().count()
        };
        assert_eq!(logged(LogLevel::Info, ""), 1);
        assert_eq!(logged(LogLevel::Debug, ""), 2);
        assert_eq!(logged(LogLevel::Trace, ""), 3);
        // What the variable says of all beats either.
        assert_eq!(logged(LogLevel::Debug, "h2=debug"), 3);
        assert_eq!(logged(LogLevel::Info, "debug"), 3);
        assert_eq!(logged(LogLevel::Debug, "error,remex_server=info"), 0);
    }

    #[test]
    fn what_was_dropped_is_said_in_the_form_of_all_lines() {
        let text = String::from_utf8(lost(LogFormat::Text, 7)).unwrap();
        assert!(
            text.contains("WARN") && text.contains("dropped=7"),
            "{text}"
        );
        let json: serde_json::Value = serde_json::from_slice(&lost(LogFormat::Json, 7)).unwrap();
        assert_eq!(json["fields"]["dropped"], 7);
    }

    #[test]
    fn a_reader_that_is_gone_does_no_harm() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let filter = parse_filter(LogLevel::Info, "").unwrap();
        let lines = registry().with(lines(LogFormat::Text, filter, || Gone));
        tracing::subscriber::with_default(lines, log_hostile);
    }

    #[test]
    fn formats_are_named_alike_everywhere() {
        for (format, name) in [(LogFormat::Text, "text"), (LogFormat::Json, "json")] {
            assert_eq!(LogFormat::from_str(name, false), Ok(format));
            let quoted = format!("\"{name}\"");
            assert_eq!(serde_json::from_str::<LogFormat>(&quoted).unwrap(), format);
        }
    }
}
