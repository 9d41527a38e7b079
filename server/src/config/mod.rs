//! Flags and file become one [`Config`], whole and checked, before anything is bound.

mod args;
mod file;

use std::{
    env, fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use remex_gateway::{
    config::{Listener, duration},
    daemon::{Exit, File, FileError, logging::LogFormat},
    net::{Address, Users},
};
use toml::Spanned;

pub use self::args::Args;
use self::{args::ContainmentArg, file::Keys};
use crate::{
    execution::DEFAULT_MAX_EXECUTIONS,
    process::Choice,
    state_dir::{self, StateDirError},
};

/// Where gRPC is served by default.
const DEFAULT_LISTEN: &str = "127.0.0.1:50051";

/// What of the old protocol is served by default.
const DEFAULT_LEGACY: [&str; 4] = [
    "tcp://127.0.0.1:8080/exec",
    "udp://127.0.0.1:8080/exec",
    "tcp://127.0.0.1:8081/echo",
    "udp://127.0.0.1:8081/echo",
];

const DEFAULT_DRAIN: Duration = Duration::from_secs(5);

/// Longest drain.
const MAX_DRAIN: Duration = Duration::from_hours(1);

/// Most executions at once that can be asked for: the kernel's own bound on pids is about this.
const MAX_EXECUTIONS: usize = 1 << 20;

/// All that remexd is told.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are the flags")]
pub struct Config {
    pub listen: Vec<Address>,
    pub legacy: Vec<Legacy>,
    pub users: Users,
    pub state_dir: PathBuf,
    pub spool_dir: PathBuf,
    pub ready_file: Option<PathBuf>,
    pub log_format: LogFormat,
    pub drain_timeout: Duration,
    pub chdir: PathBuf,
    pub pass_env: Vec<String>,
    pub max_executions: usize,
    pub containment: Choice,
}

/// A listener of the old protocol, and who of this machine may use it.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Legacy {
    pub listener: Listener,
    pub users: Users,
}

impl Legacy {
    /// The listener's own users beside those of `--users`.
    fn new(listener: Listener, users: &Users) -> Result<Self, ConfigError> {
        let users = match &listener.users {
            None => users.clone(),
            Some(list) => {
                let own = Users::parse(list).map_err(|why| ConfigError::Flag {
                    flag: "--legacy",
                    value: listener.url(),
                    why: format!("users: {why}"),
                })?;
                own.and(users.clone())
            }
        };
        Ok(Self { listener, users })
    }
}

/// What is wrong with the configuration; the message names the flag, or the file, its line and the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A flag's value.
    #[error("{flag} {value}: {why}")]
    Flag {
        /// Its name.
        flag: &'static str,
        /// What it was given.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is safe on loopback alone.
    #[error("{address} is not loopback, and {why}; if that is what you want, add {flag}")]
    Unsafe {
        /// Where.
        address: String,
        /// Why it is not safe.
        why: &'static str,
        /// The flag that allows it.
        flag: &'static str,
    },
    /// The state folder.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
}

impl From<&ConfigError> for Exit {
    fn from(error: &ConfigError) -> Self {
        match error {
            ConfigError::Flag { .. } | ConfigError::File(_) | ConfigError::Unsafe { .. } => {
                Self::Usage
            }
            ConfigError::StateDir(_) => Self::Unavailable,
        }
    }
}

/// A value and where it is from, so that an error can say it.
struct Source<'a> {
    flag: &'static str,
    file: Option<&'a File>,
}

impl Source<'_> {
    /// `parse`d from the flag if it was given, else from the file.
    fn pick<T, E: fmt::Display>(
        &self,
        flag: Option<String>,
        key: Option<Spanned<String>>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ConfigError> {
        match (flag, key) {
            (Some(text), _) => parse(&text).map(Some).map_err(|why| self.flag(&text, &why)),
            (None, Some(key)) => parse(key.get_ref())
                .map(Some)
                .map_err(|why| self.key(&key, &why)),
            (None, None) => Ok(None),
        }
    }

    /// The same for a list; a list replaces a list.
    fn pick_list<T, E: fmt::Display>(
        &self,
        flags: &[String],
        keys: Option<Vec<Spanned<String>>>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<Vec<T>>, ConfigError> {
        if !flags.is_empty() {
            let list = flags
                .iter()
                .map(|text| parse(text).map_err(|why| self.flag(text, &why)));
            return list.collect::<Result<_, _>>().map(Some);
        }
        let Some(keys) = keys else { return Ok(None) };
        let list = keys
            .iter()
            .map(|key| parse(key.get_ref()).map_err(|why| self.key(key, &why)));
        list.collect::<Result<_, _>>().map(Some)
    }

    fn flag(&self, value: &str, why: &dyn fmt::Display) -> ConfigError {
        ConfigError::Flag {
            flag: self.flag,
            value: value.escape_debug().to_string(),
            why: why.to_string(),
        }
    }

    fn key<T>(&self, key: &Spanned<T>, why: &dyn fmt::Display) -> ConfigError {
        match self.file {
            Some(file) => file.reject(&key.span(), &why.to_string()).into(),
            None => self.flag("", why),
        }
    }
}

impl Config {
    /// Of `args`, and of the file that they name. Binds nothing; reads the file and the user database.
    pub fn new(args: Args) -> Result<Self, ConfigError> {
        let file = args.config.as_deref().map(File::read).transpose()?;
        let keys = file
            .as_ref()
            .map(File::parse::<Keys>)
            .transpose()?
            .unwrap_or_default();
        let from = |flag| Source {
            flag,
            file: file.as_ref(),
        };
        let listen = from("--listen").pick_list(&args.listen, keys.listen, Address::from_str)?;
        let legacy_given =
            from("--legacy").pick_list(&args.legacy, keys.legacy, Listener::from_str)?;
        let no_legacy = args.no_legacy || (keys.no_legacy == Some(true) && legacy_given.is_none());
        let users = from("--users").pick(args.users, keys.users, Users::parse)?;
        let drain = from("--drain-timeout").pick(args.drain_timeout, keys.drain_timeout, drain)?;
        let pass_env = from("--pass-env").pick_list(&args.pass_env, keys.pass_env, variable)?;
        let executions = args.max_executions.map(|number| number.to_string());
        let executions_key = keys.max_executions.map(|key| {
            let span = key.span();
            Spanned::new(span, key.into_inner().to_string())
        });
        let executions =
            from("--max-executions").pick(executions, executions_key, executions_at_once)?;
        let chdir = args.chdir.map(|path| path.to_string_lossy().into_owned());
        let chdir_key = keys.chdir.map(|key| {
            let span = key.span();
            Spanned::new(span, key.into_inner().to_string_lossy().into_owned())
        });
        let chdir = from("--chdir").pick(chdir, chdir_key, folder)?;
        let users = users.unwrap_or_else(Users::daemon);
        let legacy = match legacy_given {
            _ if no_legacy => Vec::new(),
            Some(legacy) => legacy,
            None => DEFAULT_LEGACY.map(parse_default).into(),
        };
        let legacy = legacy
            .into_iter()
            .map(|listener| Legacy::new(listener, &users));
        let state_dir = match args.state_dir.or(keys.state_dir) {
            Some(path) => path,
            None => state_dir::default_path()?,
        };
        let config = Self {
            listen: match listen {
                Some(listen) => listen,
                None => vec![parse_default(DEFAULT_LISTEN)],
            },
            legacy: legacy.collect::<Result<_, _>>()?,
            users,
            spool_dir: args
                .spool_dir
                .or(keys.spool_dir)
                .unwrap_or_else(|| state_dir.clone()),
            state_dir,
            ready_file: args.ready_file.or(keys.ready_file),
            log_format: args.log_format.or(keys.log_format).unwrap_or_default(),
            drain_timeout: drain.unwrap_or(DEFAULT_DRAIN),
            chdir: match chdir {
                Some(chdir) => chdir,
                None => folder(".").map_err(|why| from("--chdir").flag(".", &why))?,
            },
            pass_env: pass_env.unwrap_or_default(),
            max_executions: executions.unwrap_or(DEFAULT_MAX_EXECUTIONS),
            containment: match args.containment {
                Some(ContainmentArg::Sweep) => Choice::Sweep,
                Some(ContainmentArg::Auto) | None => Choice::Auto,
            },
        };
        config.check_safety(
            args.allow_plaintext || keys.allow_plaintext,
            args.allow_udp_exec || keys.allow_udp_exec,
        )?;
        Ok(config)
    }

    fn check_safety(&self, allow_plaintext: bool, allow_udp_exec: bool) -> Result<(), ConfigError> {
        let open = self.listen.iter().find(|address| !address.is_loopback());
        if let (Some(address), false) = (open, allow_plaintext) {
            return Err(ConfigError::Unsafe {
                address: address.to_string(),
                why: "without TLS anybody on the way reads and changes what is said",
                flag: "--allow-plaintext",
            });
        }
        for Legacy { listener, .. } in &self.legacy {
            if listener.is_loopback() || listener.exec().is_none() {
                continue;
            }
            let (allowed, why, flag) = if listener.name() == "udp-exec" {
                (
                    allow_udp_exec,
                    "over UDP anybody can send a command under another's address",
                    "--allow-udp-exec",
                )
            } else {
                (
                    allow_plaintext,
                    "the old protocol has no TLS: anybody on the way reads and changes what is said",
                    "--allow-plaintext",
                )
            };
            if !allowed {
                return Err(ConfigError::Unsafe {
                    address: listener.url(),
                    why,
                    flag,
                });
            }
        }
        Ok(())
    }

    /// What the configuration means, for `--check`.
    pub fn explain(&self) -> String {
        let listen = self.listen.iter();
        let grpc =
            listen.map(|address| format!("gRPC on {address}, for local users {}", self.users));
        let legacy = self.legacy.iter().map(|legacy| legacy.listener.explain());
        let state = format!("state in {}", self.state_dir.display());
        let lines: Vec<_> = grpc.chain(legacy).chain([state]).collect();
        lines.join("\n") + "\n"
    }
}

/// A default is as good as what anybody may write.
#[expect(clippy::expect_used, reason = "a constant, which a test parses")]
fn parse_default<T: FromStr<Err: fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a default is valid")
}

fn drain(text: &str) -> Result<Duration, &'static str> {
    match duration(text) {
        Some(time) if time <= MAX_DRAIN => Ok(time),
        Some(_) => Err("is longer than an hour"),
        None => Err("is no time; write it as in 5s, 500ms or 2m"),
    }
}

fn variable(name: &str) -> Result<String, &'static str> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err("is no name of an environment variable");
    }
    Ok(name.to_owned())
}

fn executions_at_once(text: &str) -> Result<usize, &'static str> {
    match text.parse() {
        Ok(number) if (1..=MAX_EXECUTIONS).contains(&number) => Ok(number),
        _ => Err("is not in 1 to 1,048,576"),
    }
}

/// An existing folder, absolute.
fn folder(text: &str) -> Result<PathBuf, String> {
    let path = if Path::new(text).is_absolute() {
        PathBuf::from(text)
    } else {
        env::current_dir()
            .map_err(|error| format!("the current folder cannot be told: {error}"))?
            .join(text)
    };
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(path.components().collect()),
        Ok(_) => Err("is no folder".into()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn config(flags: &[&str]) -> Result<Config, ConfigError> {
        let args = ["remexd", "--state-dir", "/nowhere"].iter().chain(flags);
        Config::new(Args::try_parse_from(args).unwrap())
    }

    #[test]
    fn without_flags_the_defaults_of_the_contract_hold() {
        let config = config(&[]).unwrap();
        assert_eq!(
            config.listen,
            [Address::from_str("127.0.0.1:50051").unwrap()]
        );
        let names = config.legacy.iter().map(|legacy| legacy.listener.name());
        let names: Vec<_> = names.collect();
        assert_eq!(names, ["tcp-exec", "udp-exec", "tcp-echo", "udp-echo"]);
        assert_eq!(config.drain_timeout, Duration::from_secs(5));
        assert_eq!(config.chdir, env::current_dir().unwrap());
    }

    #[test]
    fn what_is_unsafe_needs_its_flag() {
        for (flags, allow) in [
            (["--listen", "0.0.0.0:1"], "--allow-plaintext"),
            (["--legacy", "tcp://0.0.0.0:1/exec"], "--allow-plaintext"),
            (["--legacy", "udp://0.0.0.0:1/exec"], "--allow-udp-exec"),
        ] {
            let error = config(&flags).unwrap_err();
            assert_eq!(Exit::from(&error), Exit::Usage);
            assert!(error.to_string().contains(allow), "{error}");
            assert!(error.to_string().contains("0.0.0.0:1"), "{error}");
            assert!(config(&[flags[0], flags[1], allow]).is_ok(), "{allow}");
        }
        assert!(config(&["--legacy", "tcp://0.0.0.0:1/echo"]).is_ok());
        assert!(config(&["--legacy", "udp://0.0.0.0:1/time"]).is_ok());
    }

    #[test]
    fn a_wrong_flag_is_named_with_its_value() {
        for flags in [
            ["--listen", "nonsense"],
            ["--legacy", "tcp://127.0.0.1:1/exec?wrie=raw"],
            ["--users", "no-such-user-here"],
            ["--drain-timeout", "soon"],
            ["--chdir", "/nowhere"],
            ["--pass-env", "A=B"],
            ["--max-executions", "0"],
        ] {
            let error = config(&flags).unwrap_err();
            assert_eq!(Exit::from(&error), Exit::Usage, "{error}");
            for part in flags {
                assert!(error.to_string().contains(part), "{error}");
            }
        }
    }

    #[test]
    fn the_file_is_read_and_flags_beat_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("remexd.toml");
        std::fs::write(
            &path,
            "listen = [\"127.0.0.1:1\", \"[::1]:1\"]\nno-legacy = true\nmax-executions = 7\n",
        )
        .unwrap();
        let path = path.to_str().unwrap();
        let from_file = config(&["--config", path]).unwrap();
        assert_eq!((from_file.listen.len(), from_file.legacy.len()), (2, 0));
        assert_eq!(from_file.max_executions, 7);
        let flags = [
            "--config",
            path,
            "--listen",
            "127.0.0.1:2",
            "--legacy",
            "udp://127.0.0.1:3/echo",
        ];
        let both = config(&flags).unwrap();
        assert_eq!((both.listen.len(), both.legacy.len()), (1, 1));
    }

    #[test]
    fn what_is_wrong_in_the_file_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("remexd.toml");
        for (text, key) in [
            ("\nlisten = [\"nonsense\"]\n", "listen"),
            ("\nlisten-on = \"x\"\n", "listen-on"),
            ("\nlegacy = [\"tcp://127.0.0.1:1/exec?wrie=raw\"]\n", "wrie"),
            ("\nmax-executions = 0\n", "max-executions"),
            ("\ndrain-timeout = \"soon\"\n", "drain-timeout"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = config(&["--config", path.to_str().unwrap()]).unwrap_err();
            let message = error.to_string();
            assert!(message.contains("remexd.toml:2"), "{message}");
            assert!(message.contains(key), "{message}");
        }
    }
}
