//! The configuration of `remex-gateway`: flags, then the file, then what is the default. Whole and valid before anything is
//! bound.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use remex::duration;
use remex_client::{CredentialFiles, Credentials, Endpoint};
use remex_daemon::{
    ConfigError, File, Origin, Text,
    logging::{LogFormat, LogLevel},
    metrics,
    net::Address,
    text, texts,
};
use serde::Deserialize;
use toml::Spanned;

use crate::{body::Spool, limits::MOST_DRAIN_TIMEOUT};

use super::{Allow, DEFAULT_LISTENERS, Legacy, Unsafe, legacy};

/// How long what runs may go on after a signal, unless `--drain-timeout` says otherwise.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Survives a restart of the machine less often than it is on a disk: where large files of a moment belong.
const SPOOL_FOLDER: &str = "/var/tmp";

/// Flags that both daemons have.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SharedArgs {
    /// A listener of the old protocol, such as tcp://127.0.0.1:8080/exec?charset=gbk; repeatable, replaces the defaults
    #[arg(long, value_name = "URL")]
    pub legacy: Vec<String>,
    /// Local users that may connect, beside the own one and root: names or numbers, separated by commas; * for all
    #[arg(long, value_name = "LIST")]
    pub users: Option<String>,
    /// Allow commands to go unencrypted between machines
    #[arg(long)]
    pub allow_plaintext: bool,
    /// Allow exec over UDP from other machines, where a sender can be forged
    #[arg(long)]
    pub allow_udp_exec: bool,
    /// Read settings from a TOML file, whose keys are the flags' names; flags beat it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Write the bound addresses to a file once all of them serve
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Tell metrics at http://ADDR/metrics, for a Prometheus of this machine, such as 127.0.0.1:9464
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<String>,
    /// The form of log lines, which go to stderr
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,
    /// Log what is of this level or graver [default: info]
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
    /// How long what runs may go on after SIGTERM [default: 5s]
    #[arg(long, value_name = "TIME")]
    pub drain_timeout: Option<String>,
    /// Where replies of the old protocol are kept that are too long for memory
    #[arg(long, value_name = "DIR")]
    pub spool_dir: Option<PathBuf>,
    /// Check the configuration, say what it means, and exit
    #[arg(long)]
    pub check: bool,
}

/// Translates the old protocol, over TCP, UDP and Unix sockets, to a remex server.
#[derive(Debug, Clone, Default, Parser)]
#[command(name = "remex-gateway", version, max_term_width = 100)]
pub struct Args {
    /// The server: http://HOST:PORT, https://HOST:PORT or unix:/PATH [default: http://127.0.0.1:50051]
    #[arg(long, value_name = "URI")]
    pub upstream: Option<String>,
    /// The CAs that the server's certificate may be signed by, in place of those that this machine trusts (PEM)
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The certificate to show the server (PEM)
    #[arg(long, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Its key (PEM), which nobody else may read
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The token to show the server, which nobody else may read
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The rest.
    #[command(flatten)]
    pub shared: SharedArgs,
}

/// The file; its keys are the flags' names.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Settings {
    upstream: Option<Spanned<String>>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    token_file: Option<PathBuf>,
    legacy: Option<Vec<Spanned<String>>>,
    users: Option<Spanned<String>>,
    allow_plaintext: bool,
    allow_udp_exec: bool,
    metrics: Option<Spanned<String>>,
    ready_file: Option<PathBuf>,
    log_format: Option<LogFormat>,
    log_level: Option<LogLevel>,
    drain_timeout: Option<Spanned<String>>,
    spool_dir: Option<PathBuf>,
}

/// A valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server.
    pub upstream: Endpoint,
    /// What it is shown.
    pub credentials: Credentials,
    /// The listeners.
    pub legacy: Vec<Legacy>,
    /// Where metrics are told, if anywhere.
    pub metrics: Option<Address>,
    /// Where the bound addresses are written.
    pub ready_file: Option<PathBuf>,
    /// The form of log lines.
    pub log_format: LogFormat,
    /// Which of them are written.
    pub log_level: LogLevel,
    /// How long what runs may go on after a signal.
    pub drain_timeout: Duration,
    /// Where long replies are kept.
    pub spool_folder: PathBuf,
}

impl Config {
    /// Reads the file, if there is one, and checks everything.
    pub fn load(args: &Args) -> Result<Self, ConfigError> {
        let Some(path) = &args.shared.config else {
            return Self::build(args, Settings::default(), None);
        };
        let file = File::read(path)?;
        let settings = file.parse()?;
        Self::build(args, settings, Some(&file))
    }

    fn build(args: &Args, settings: Settings, file: Option<&File>) -> Result<Self, ConfigError> {
        let shared = &args.shared;
        let allow = Allow {
            plaintext: shared.allow_plaintext || settings.allow_plaintext,
            udp_exec: shared.allow_udp_exec || settings.allow_udp_exec,
        };
        if let Some(error) = none_listed(
            shared,
            settings.legacy.as_ref(),
            "no listener, so nothing to serve; leave it out for the defaults",
        ) {
            return Err(error);
        }
        let users = text("--users", shared.users.as_ref(), settings.users, file);
        let upstream = text(
            "--upstream",
            args.upstream.as_ref(),
            settings.upstream,
            file,
        );
        let drain = text(
            "--drain-timeout",
            shared.drain_timeout.as_ref(),
            settings.drain_timeout,
            file,
        );
        let metrics = text("--metrics", shared.metrics.as_ref(), settings.metrics, file);
        let urls = texts(
            "--legacy",
            &shared.legacy,
            settings.legacy,
            file,
            &DEFAULT_LISTENERS,
        );
        let files = CredentialFiles {
            ca: args.ca.clone().or(settings.ca),
            cert: args.cert.clone().or(settings.cert),
            key: args.key.clone().or(settings.key),
            token: args.token_file.clone().or(settings.token_file),
        };
        Ok(Self {
            credentials: credentials(files, upstream.as_ref())?,
            upstream: upstream.map_or(Ok(Endpoint::default()), |text| endpoint(&text, allow))?,
            legacy: legacy(&urls, users.as_ref(), allow, &[])?,
            metrics: metrics::address(metrics)?,
            ready_file: shared.ready_file.clone().or(settings.ready_file),
            log_format: shared
                .log_format
                .or(settings.log_format)
                .unwrap_or_default(),
            log_level: shared.log_level.or(settings.log_level).unwrap_or_default(),
            drain_timeout: drain_timeout(drain)?,
            spool_folder: shared
                .spool_dir
                .clone()
                .or(settings.spool_dir)
                .unwrap_or_else(|| SPOOL_FOLDER.into()),
        })
    }
}

/// What `--drain-timeout` says, if it says anything.
pub fn drain_timeout(text: Option<Text<'_>>) -> Result<Duration, ConfigError> {
    let Some((text, origin)) = text else {
        return Ok(DRAIN_TIMEOUT);
    };
    match duration::parse(&text) {
        Ok(time) if time <= MOST_DRAIN_TIMEOUT => Ok(time),
        Ok(_) => Err(origin.wrong(format!("{text:?} is longer than a day"))),
        Err(error) => Err(origin.wrong(format!("{text:?} {error}"))),
    }
}

/// What is wrong with a file whose list of listeners is empty, unless a flag replaces it.
pub fn none_listed(
    shared: &SharedArgs,
    set: Option<&Vec<Spanned<String>>>,
    why: &str,
) -> Option<ConfigError> {
    let empty = shared.legacy.is_empty() && set.is_some_and(Vec::is_empty);
    empty.then(|| Origin::Flag("legacy").wrong(format!("the list in the file is empty: {why}")))
}

/// Whether long replies can be kept in `folder`, for `--check`.
pub fn check_spool(folder: &Path) -> Result<(), ConfigError> {
    Spool::check(folder).map_err(|error| {
        Origin::Flag("--spool-dir").wrong(format!(
            "{}: nothing can be kept there, so replies that are too long for memory would be cut: {error}",
            folder.display()
        ))
    })
}

/// The options are those of the library, whose messages begin with them.
fn credentials(
    files: CredentialFiles,
    upstream: Option<&Text<'_>>,
) -> Result<Credentials, ConfigError> {
    let credentials = Credentials::load(files).map_err(|error| {
        let (flag, error) = (error.option(), error.why());
        Origin::Flag(flag).wrong(error)
    })?;
    if let Some((text, origin)) = upstream
        && credentials.has_token()
        && text
            .parse()
            .is_ok_and(|endpoint: Endpoint| !endpoint.is_private())
    {
        return Err(origin.wrong(format!(
            "{text}: it is on another machine, and --token-file is not sent there unencrypted; write https://"
        )));
    }
    Ok(credentials)
}

fn endpoint((text, origin): &Text<'_>, allow: Allow) -> Result<Endpoint, ConfigError> {
    let endpoint: Endpoint = text.parse().map_err(|error| origin.wrong(error))?;
    // A name other than localhost may be anybody's.
    if allow.plaintext || endpoint.is_private() {
        return Ok(endpoint);
    }
    Err(origin.wrong(format!("{endpoint}: {}", Unsafe::PlaintextUpstream)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn args(line: &str) -> Args {
        Args::parse_from(["remex-gateway"].into_iter().chain(line.split_whitespace()))
    }

    fn built(line: &str, text: &str) -> Result<Config, ConfigError> {
        let file = File::new(Path::new("gateway.toml"), text.to_owned());
        let settings = file.parse()?;
        Config::build(&args(line), settings, Some(&file))
    }

    #[test]
    fn nothing_said_is_the_default() {
        let config = Config::load(&args("")).unwrap();
        assert_eq!(config.upstream, Endpoint::default());
        assert_eq!(config.legacy.len(), DEFAULT_LISTENERS.len());
        assert_eq!(config.drain_timeout, DRAIN_TIMEOUT);
    }

    #[test]
    fn flags_beat_the_file_and_a_list_replaces_a_list() {
        let text = "legacy = ['tcp://127.0.0.1:1/echo', 'udp://127.0.0.1:1/echo']\n\
                    upstream = 'unix:/a'\ndrain-timeout = '1m'\nspool-dir = '/s'\nlog-format = 'json'\nlog-level = 'debug'\n";
        let config = built("", text).unwrap();
        assert_eq!(config.legacy.len(), 2);
        assert_eq!(config.upstream, Endpoint::Unix("/a".into()));
        assert_eq!(config.drain_timeout, Duration::from_mins(1));
        assert_eq!(config.log_format, LogFormat::Json);
        assert_eq!(config.log_level, LogLevel::Debug);
        let line = "--legacy unix:/p?service=exec --upstream unix:/b --drain-timeout 3s --spool-dir /t --log-level warn";
        let config = built(line, text).unwrap();
        assert_eq!(config.legacy.len(), 1);
        assert_eq!(config.upstream, Endpoint::Unix("/b".into()));
        assert_eq!(config.drain_timeout, Duration::from_secs(3));
        assert_eq!(config.spool_folder, Path::new("/t"));
        assert_eq!(config.log_level, LogLevel::Warn);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (line, text, expected) in [
            ("", "legacy = []\n", "legacy: the list in the file is empty"),
            ("", "legasy = []\n", "gateway.toml:1: unknown key `legasy`"),
            (
                "",
                "\nupstream = 'ftp://x'\n",
                "gateway.toml:2: upstream: \"ftp\" is no scheme",
            ),
            (
                "",
                "\nusers = 'no-such-user'\n",
                "gateway.toml:2: users: there is no user",
            ),
            (
                "",
                "legacy = [\n'tcp://0.0.0.0:1/exec']\n",
                "gateway.toml:2: legacy[0]: tcp://0.0.0.0:1/exec: other",
            ),
            (
                "--upstream http://192.0.2.7",
                "",
                "--upstream: http://192.0.2.7:50051: it is on another machine",
            ),
            (
                "--upstream http://build",
                "",
                "--upstream: http://build:50051: it is on another machine",
            ),
            (
                "--drain-timeout soon",
                "",
                "--drain-timeout: \"soon\" is no duration: write for example",
            ),
            (
                "--legacy udp://0.0.0.0:1/exec",
                "",
                "--legacy: udp://0.0.0.0:1/exec: other machines",
            ),
        ] {
            let error = built(line, text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn what_is_unsafe_can_be_allowed() {
        let line = "--upstream http://192.0.2.7 --legacy tcp://0.0.0.0:1/exec --legacy udp://0.0.0.0:1/exec";
        let config = built(&format!("{line} --allow-plaintext --allow-udp-exec"), "").unwrap();
        assert_eq!(config.legacy.len(), 2);
        assert!(built(line, "allow-plaintext = true\nallow-udp-exec = true\n").is_ok());
        for local in [
            "http://127.0.0.1:1",
            "http://localhost",
            "http://[::1]:1",
            "http://[::ffff:127.0.0.1]:1",
            "unix:/p",
        ] {
            assert!(built(&format!("--upstream {local}"), "").is_ok(), "{local}");
        }
    }
}
