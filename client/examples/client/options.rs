//! What was typed.

use std::time::Duration;

use remex_client::CredentialFiles;

pub(crate) const USAGE: &str = "usage: client VERB [SERVER] [FLAG]... -- PROGRAM ARG...
  run      with live output, stdin and signals; --timeout SECONDS, --terminal, --user USER
  capture  to its end, then print its output; --max-bytes N, --gzip
  head     print the first lines of stdout, and break off; --lines N
  start    start what runs on by itself, and print its id
usage: client attach [SERVER] [--after EVENT] [--outputs N] -- ID
           join it, behind the event that was seen last; leave it alone again behind N outputs
SERVER is --server HOST:PORT or unix:/PATH; over TLS
  --server https://HOST:PORT [--ca FILE] [--cert FILE --key FILE] [--token-file FILE]";

pub(crate) struct Options {
    pub(crate) server: String,
    /// What the server and we know each other by, over TLS.
    pub(crate) credentials: CredentialFiles,
    pub(crate) program: String,
    pub(crate) args: Vec<String>,
    pub(crate) timeout: Duration,
    pub(crate) terminal: bool,
    pub(crate) user: String,
    pub(crate) max_bytes: u64,
    pub(crate) gzip: bool,
    pub(crate) lines: usize,
    /// The event that was seen last.
    pub(crate) after: u64,
    /// Behind so many, the command is left alone again.
    pub(crate) outputs: Option<usize>,
}

/// The verb, and what stands behind it; `None` if they make no sense.
pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Option<(String, Options)> {
    let verb = words.next()?;
    let mut options = Options {
        server: "127.0.0.1:50051".to_owned(),
        credentials: CredentialFiles::default(),
        program: String::new(),
        args: Vec::new(),
        timeout: Duration::ZERO,
        terminal: false,
        user: String::new(),
        max_bytes: 1024 * 1024,
        gzip: false,
        lines: 10,
        after: 0,
        outputs: None,
    };
    loop {
        match &*words.next()? {
            "--server" => options.server = words.next()?,
            "--ca" => options.credentials.ca = Some(words.next()?.into()),
            "--cert" => options.credentials.cert = Some(words.next()?.into()),
            "--key" => options.credentials.key = Some(words.next()?.into()),
            "--token-file" => options.credentials.token = Some(words.next()?.into()),
            "--timeout" => {
                let seconds = words.next()?.parse().ok()?;
                options.timeout = Duration::try_from_secs_f64(seconds).ok()?;
            }
            "--terminal" => options.terminal = true,
            "--user" => options.user = words.next()?,
            "--max-bytes" => options.max_bytes = words.next()?.parse().ok()?,
            "--gzip" => options.gzip = true,
            "--lines" => options.lines = words.next()?.parse().ok()?,
            "--after" => options.after = words.next()?.parse().ok()?,
            "--outputs" => options.outputs = Some(words.next()?.parse().ok()?),
            "--" => break,
            _ => return None,
        }
    }
    options.program = words.next()?;
    options.args = words.collect();
    Some((verb, options))
}
