//! Logs: one event a line on stderr. Nothing that came from outside can act on a terminal or begin a line of its own.

use std::{
    env::{self, VarError},
    io::{self, Write},
};

use clap::ValueEnum;
use serde::Deserialize;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter,
    filter::ParseError,
    fmt::{self, MakeWriter},
    util::{SubscriberInitExt, TryInitError},
};

use super::escape::{Spelling, escape};

/// What is logged, as in `debug` or `info,remex_gateway=trace`; by default `info`.
pub const FILTER_VARIABLE: &str = "REMEX_LOG";

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

/// Logging cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoggingError {
    /// The variable cannot be understood.
    #[error("{FILTER_VARIABLE}: {0}; write a level such as debug, or info,remex_gateway=trace")]
    Filter(#[from] ParseError),
    /// The variable is no text.
    #[error("{FILTER_VARIABLE} is not UTF-8")]
    NotUtf8,
    /// Called twice.
    #[error("logging has begun already")]
    Twice(#[from] TryInitError),
}

/// Begins logging to stderr.
pub fn init(format: LogFormat) -> Result<(), LoggingError> {
    subscriber(format, filter()?, io::stderr).try_init()?;
    Ok(())
}

fn filter() -> Result<EnvFilter, LoggingError> {
    let directives = match env::var(FILTER_VARIABLE) {
        Ok(directives) => directives,
        Err(VarError::NotPresent) => String::new(),
        Err(VarError::NotUnicode(_)) => return Err(LoggingError::NotUtf8),
    };
    parse_filter(&directives)
}

fn parse_filter(directives: &str) -> Result<EnvFilter, LoggingError> {
    let builder = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    Ok(builder.parse(directives)?)
}

fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = fmt::Subscriber::builder()
        .with_env_filter(filter)
        // Colours are escape sequences: none are written, so all that are found came from outside.
        .with_ansi(false)
        // What would be said of a stderr that is gone would go to stderr, and panic.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => Box::new(
            builder
                .with_writer(escaping(writer, Spelling::Text))
                .finish(),
        ),
        LogFormat::Json => Box::new(
            builder
                .json()
                .with_writer(escaping(writer, Spelling::Json))
                .finish(),
        ),
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
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, directives: &str, log: impl FnOnce()) -> String {
        let sink = Sink::default();
        let made = sink.clone();
        let filter = parse_filter(directives).unwrap();
        let subscriber = subscriber(format, filter, move || made.clone());
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(std::mem::take(&mut *sink.0.lock().unwrap())).unwrap()
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
        let error = parse_filter("info,=,").unwrap_err();
        assert!(error.to_string().starts_with("REMEX_LOG: "), "{error}");
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
        let subscriber = subscriber(LogFormat::Text, parse_filter("").unwrap(), || Gone);
        tracing::subscriber::with_default(subscriber, log_hostile);
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
