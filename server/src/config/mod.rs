//! Flags and file become one [`Config`], whole and checked, before anything is bound.

mod args;
mod audit;
mod file;
mod policy;
mod traces;
mod trust;

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use remex_daemon::{
    ConfigError, File, Origin, Text,
    logging::{LogFormat, LogLevel},
    metrics,
    net::{Address, AddressError, Users},
    text, texts,
};
use remex_gateway::config::{
    Allow, DEFAULT_LISTENERS, Legacy, check_spool, drain_timeout, legacy, none_listed,
};
use toml::Spanned;

pub use self::args::Args;
use self::{
    args::{ContainmentArg, SyncArg},
    file::Keys,
    trust::Trusted,
};
use crate::{
    audit::AuditSettings,
    execution::DEFAULT_MAX_EXECUTIONS,
    identity::{TrustFiles, reload::Reloader},
    policy::{explain::summary, reload::PolicyReloader},
    state_dir::default_path,
    traces::TraceSettings,
};
use remex_supervisor::{journal::SyncMode, process::Choice};

/// Where gRPC is served by default.
const DEFAULT_LISTEN: &str = "127.0.0.1:50051";

/// Where it is served by default on a machine without IPv4.
const DEFAULT_LISTEN_IPV6: &str = "[::1]:50051";

/// Most executions at once that can be asked for; the kernel has no more pids than four times this.
const MAX_EXECUTIONS: usize = 1 << 20;

/// All that remexd is told.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are the flags")]
pub struct Config {
    pub listen: Vec<Address>,
    pub legacy: Vec<Legacy>,
    pub ipv6: Ipv6Defaults,
    pub users: Users,
    pub trust: TrustFiles,
    /// What is in those files, and will be.
    pub reloader: Reloader,
    /// Who may do what.
    pub policy: PolicyReloader,
    /// What is told of calls and executions.
    pub audit: AuditSettings,
    /// Where spans go.
    pub traces: TraceSettings,
    /// `None`: the default, see [`crate::state_dir::default_path`].
    pub state_dir: Option<PathBuf>,
    /// `None`: the state folder.
    pub spool_dir: Option<PathBuf>,
    pub metrics: Option<Address>,
    pub ready_file: Option<PathBuf>,
    pub log_format: LogFormat,
    pub log_level: LogLevel,
    pub drain_timeout: Duration,
    pub chdir: PathBuf,
    pub pass_env: Vec<String>,
    pub max_executions: usize,
    pub containment: Choice,
    pub sync: SyncMode,
}

/// What stands in for each default where the machine has no IPv4; nothing stands in for what was asked for.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "the fields are the flags")]
pub struct Ipv6Defaults {
    pub listen: Vec<Address>,
    pub legacy: Vec<Legacy>,
}

impl Config {
    /// Of `args`, and of the file that they name. Binds nothing; reads the file and the user database.
    pub fn new(args: &Args) -> Result<Self, ConfigError> {
        let Some(path) = &args.shared.config else {
            return Self::build(args, Keys::default(), None);
        };
        let file = File::read(path)?;
        let keys = file.parse()?;
        Self::build(args, keys, Some(&file))
    }

    fn build(args: &Args, mut keys: Keys, file: Option<&File>) -> Result<Self, ConfigError> {
        let shared = &args.shared;
        let allow = Allow {
            plaintext: shared.allow_plaintext || keys.allow_plaintext,
            udp_exec: shared.allow_udp_exec || keys.allow_udp_exec,
        };
        let Trusted {
            files: trust,
            reloader,
        } = trust::trusted(&args.trust, &mut keys, file)?;
        let policy = policy::reloader(args.policy.as_ref(), keys.policy.take(), file)?;
        let audit = audit::settings(&args.audit, &mut keys, file)?;
        let no_legacy = args.no_legacy || (keys.no_legacy && shared.legacy.is_empty());
        if !no_legacy
            && let Some(error) = none_listed(
                shared,
                keys.legacy.as_ref(),
                "write no-legacy = true for none",
            )
        {
            return Err(error);
        }
        let users = text("--users", shared.users.as_ref(), keys.users, file);
        let defaults_of_listen = args.listen.is_empty() && keys.listen.is_none();
        let defaults_of_legacy = shared.legacy.is_empty() && keys.legacy.is_none() && !no_legacy;
        let listen = texts(
            "--listen",
            &args.listen,
            keys.listen,
            file,
            &[DEFAULT_LISTEN],
        );
        let urls = texts(
            "--legacy",
            &shared.legacy,
            keys.legacy,
            file,
            &DEFAULT_LISTENERS,
        );
        let urls = if no_legacy { Vec::new() } else { urls };
        let metrics = text("--metrics", shared.metrics.as_ref(), keys.metrics, file);
        let drain = text(
            "--drain-timeout",
            shared.drain_timeout.as_ref(),
            keys.drain_timeout,
            file,
        );
        let listen = addresses(&listen, &trust, allow)?;
        let pass_env = pass_env(&args.pass_env, keys.pass_env, file)?;
        Ok(Self {
            legacy: legacy(&urls, users.as_ref(), allow, &listen)?,
            listen,
            ipv6: Ipv6Defaults {
                listen: ipv6_listen(defaults_of_listen, &trust, allow)?,
                legacy: ipv6_legacy(defaults_of_legacy, users.as_ref(), allow)?,
            },
            users: checked(users, Users::parse)?.unwrap_or_else(Users::daemon),
            trust,
            reloader,
            policy,
            audit,
            traces: traces::settings(
                args.otlp_endpoint.as_ref(),
                keys.otlp_endpoint,
                &pass_env,
                file,
            )?,
            state_dir: args.state_dir.clone().or(keys.state_dir),
            spool_dir: shared.spool_dir.clone().or(keys.spool_dir),
            metrics: metrics::address(metrics)?,
            ready_file: shared.ready_file.clone().or(keys.ready_file),
            log_format: shared.log_format.or(keys.log_format).unwrap_or_default(),
            log_level: shared.log_level.or(keys.log_level).unwrap_or_default(),
            drain_timeout: drain_timeout(drain)?,
            chdir: chdir(args.chdir.clone(), keys.chdir, file)?,
            pass_env,
            max_executions: max_executions(args.max_executions, keys.max_executions, file)?,
            sync: match args.sync.or(keys.sync) {
                None | Some(SyncArg::None) => SyncMode::None,
                Some(SyncArg::Start) => SyncMode::Start,
                Some(SyncArg::All) => SyncMode::All,
            },
            containment: match args.containment {
                Some(ContainmentArg::Sweep) => Choice::Sweep,
                Some(ContainmentArg::Auto) | None => Choice::Auto,
            },
        })
    }

    /// What only `--check` finds wrong: at start it is logged, and serving goes on. The state folder may not be there yet.
    pub fn check(&self) -> Result<(), ConfigError> {
        let state = || self.state_dir.clone().or_else(|| default_path().ok());
        let folder = match &self.spool_dir {
            Some(folder) => Some(folder.clone()),
            None => state().filter(|folder| folder.exists()),
        };
        match folder {
            Some(folder) if !self.legacy.is_empty() => check_spool(&folder),
            _ => Ok(()),
        }
    }

    /// What the configuration means, a sentence a line, for `--check`.
    pub fn explain(&self) -> String {
        let listen = self.listen.iter();
        let grpc = listen.map(|address| self.who_may_call(&address.to_string(), address));
        let legacy = self.legacy.iter();
        let legacy = legacy.map(|legacy| legacy.listener.explain(&legacy.users));
        let lines: Vec<_> = grpc.chain(legacy).collect();
        let policy = self.policy.current();
        let policy = policy.borrow();
        let policy = policy.as_ref().map(|policy| summary(policy));
        lines.join("\n") + "\n" + &policy.unwrap_or_default()
    }
}

impl Config {
    /// A sentence on who may call at `address`, which was bound to what is `shown`.
    pub fn who_may_call(&self, shown: &str, address: &Address) -> String {
        trust::explain(shown, address, &self.trust, &self.users)
    }
}

/// A value as `check` has it; what it says is wrong with it is said with the value and its place.
fn checked<T, E: std::fmt::Display>(
    text: Option<Text<'_>>,
    check: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, ConfigError> {
    let Some((text, origin)) = text else {
        return Ok(None);
    };
    let value =
        check(&text).map_err(|why| origin.wrong(format!("{}: {why}", text.escape_debug())))?;
    Ok(Some(value))
}

fn spanned<T>(key: Spanned<T>, text: impl Fn(T) -> String) -> Spanned<String> {
    let span = key.span();
    Spanned::new(span, text(key.into_inner()))
}

/// Addresses that can be listened on side by side.
fn addresses(
    texts: &[Text<'_>],
    files: &TrustFiles,
    allow: Allow,
) -> Result<Vec<Address>, ConfigError> {
    let mut addresses: Vec<Address> = Vec::new();
    for text in texts {
        let address = address(text, files, allow)?;
        if let Some(other) = addresses.iter().find(|other| address.overlaps(other)) {
            let (text, origin) = text;
            return Err(origin.wrong(format!(
                "{}: it is that of {other}, which is listed before",
                text.escape_debug()
            )));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

fn address(
    (text, origin): &Text<'_>,
    files: &TrustFiles,
    allow: Allow,
) -> Result<Address, ConfigError> {
    let wrong = |error: AddressError| origin.wrong(format!("{}: {error}", text.escape_debug()));
    let address: Address = text.parse().map_err(wrong)?;
    trust::check(&address, files, allow.plaintext)
        .map_err(|why| origin.wrong(format!("{address}: {why}")))?;
    Ok(address)
}

fn ipv6_listen(
    is_default: bool,
    files: &TrustFiles,
    allow: Allow,
) -> Result<Vec<Address>, ConfigError> {
    let text = (DEFAULT_LISTEN_IPV6.to_owned(), Origin::Flag("--listen"));
    let listen = is_default.then_some(text);
    let address = |text| address(text, files, allow);
    listen.iter().map(address).collect()
}

fn ipv6_legacy(
    is_default: bool,
    users: Option<&Text<'_>>,
    allow: Allow,
) -> Result<Vec<Legacy>, ConfigError> {
    let urls = DEFAULT_LISTENERS.iter().filter(|_| is_default);
    let urls: Vec<_> = urls
        .map(|url| url.replace("127.0.0.1", "[::1]"))
        .map(|url| (url, Origin::Flag("--legacy")))
        .collect();
    legacy(&urls, users, allow, &[])
}

fn max_executions(
    given: Option<usize>,
    set: Option<Spanned<usize>>,
    file: Option<&File>,
) -> Result<usize, ConfigError> {
    let number = |number: usize| number.to_string();
    let given = given.map(number);
    let set = set.map(|key| spanned(key, number));
    let executions = text("--max-executions", given.as_ref(), set, file);
    Ok(checked(executions, at_once)?.unwrap_or(DEFAULT_MAX_EXECUTIONS))
}

/// Where commands run that name no folder.
fn chdir(
    flag: Option<PathBuf>,
    key: Option<Spanned<PathBuf>>,
    file: Option<&File>,
) -> Result<PathBuf, ConfigError> {
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    let key = key.map(|key| spanned(key, path));
    let chdir = text("--chdir", flag.map(path).as_ref(), key, file);
    match checked(chdir, folder)? {
        Some(chdir) => Ok(chdir),
        None => folder(".").map_err(|why| Origin::Flag("--chdir").wrong(why)),
    }
}

fn pass_env(
    flags: &[String],
    keys: Option<Vec<Spanned<String>>>,
    file: Option<&File>,
) -> Result<Vec<String>, ConfigError> {
    let names = texts("--pass-env", flags, keys, file, &[]);
    let names = names.into_iter();
    names
        .map(|text| checked(Some(text), variable).map(Option::unwrap_or_default))
        .collect()
}

fn variable(name: &str) -> Result<String, &'static str> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err("is no name of an environment variable");
    }
    Ok(name.to_owned())
}

fn at_once(text: &str) -> Result<usize, &'static str> {
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
mod tests;
