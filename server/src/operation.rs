//! A remexd that serves, as whoever operates it has it: it says how it is, drains, and reads its configuration again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use remex_daemon::{
    logging::{self, LogLevel},
    shutdown::Shutdown,
};
use tokio::{
    sync::{Mutex, watch},
    task::spawn_blocking,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Args, Config},
    control::{
        Controlled,
        message::{Answered, DaemonStatus, Instruction, Reloaded},
    },
    execution::Executions,
};

/// What of a configuration can be told from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Settings {
    log_level: LogLevel,
    drain_timeout: Duration,
    /// Key and value of what holds from the next start on.
    fixed: Vec<(&'static str, String)>,
}

impl Settings {
    fn of(config: &Config) -> Self {
        let shown = |value: &dyn std::fmt::Debug| format!("{value:?}");
        Self {
            log_level: config.log_level,
            drain_timeout: config.drain_timeout,
            fixed: vec![
                ("listen, legacy, users, tls", config.explain()),
                ("metrics", shown(&config.metrics)),
                ("state-dir", shown(&config.state_dir)),
                ("spool-dir", shown(&config.spool_dir)),
                ("ready-file", shown(&config.ready_file)),
                ("log-format", shown(&config.log_format)),
                ("chdir", shown(&config.chdir)),
                ("pass-env", shown(&config.pass_env)),
                ("max-executions", shown(&config.max_executions)),
                ("sync", shown(&config.sync)),
                ("audit-log", shown(&config.audit)),
            ],
        }
    }

    /// What is another in `new`.
    fn differences(&self, new: &Self) -> Reloaded {
        let changed = [
            ("log-level", self.log_level != new.log_level),
            ("drain-timeout", self.drain_timeout != new.drain_timeout),
        ];
        let changed = changed.iter().filter(|(_, is_changed)| *is_changed);
        let fixed = self.fixed.iter().zip(&new.fixed);
        let fixed = fixed.filter(|(old, new)| old.1 != new.1);
        Reloaded {
            changed: changed.map(|(key, _)| (*key).to_owned()).collect(),
            needs_restart: fixed.map(|(old, _)| old.0.to_owned()).collect(),
        }
    }
}

/// What is operated.
#[derive(Debug)]
pub struct OperatedDaemon {
    args: Args,
    executions: Arc<Executions>,
    shutdown: Shutdown,
    addresses: Vec<String>,
    since: Instant,
    /// What the configuration said when it was read last.
    read: Mutex<Settings>,
    /// What was there at the start, which much of it holds to.
    started: Settings,
    drain_timeout: watch::Sender<Duration>,
    /// Changed when certificates, tokens, keys and the policy are to be read again.
    files: watch::Sender<u64>,
}

impl OperatedDaemon {
    /// Of a remexd that was started with `args`, which say `config`, and listens at `addresses`.
    pub fn new(
        args: Args,
        config: &Config,
        executions: Arc<Executions>,
        shutdown: Shutdown,
        addresses: Vec<String>,
    ) -> Self {
        let settings = Settings::of(config);
        Self {
            args,
            executions,
            shutdown,
            addresses,
            since: Instant::now(),
            drain_timeout: watch::Sender::new(config.drain_timeout),
            read: Mutex::new(settings.clone()),
            started: settings,
            files: watch::Sender::default(),
        }
    }

    /// Changed when certificates, tokens, keys and the policy are to be read again.
    pub fn files(&self) -> watch::Receiver<u64> {
        self.files.subscribe()
    }

    /// What a drain that begins now takes at most.
    pub fn drain_timeout(&self) -> Duration {
        *self.drain_timeout.borrow()
    }

    /// Reads the configuration again whenever SIGHUP asks, which changes `hangups`, until `stop`.
    pub async fn reload_on_hangup(
        self: Arc<Self>,
        mut hangups: watch::Receiver<u64>,
        stop: CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = hangups.changed() => {}
            }
            if let Err(why) = self.reload().await {
                tracing::error!(%why, "not reloaded: what held before still does");
            }
        }
    }

    /// All of the configuration or nothing; whoever asks meanwhile waits.
    async fn reload(&self) -> Result<Reloaded, String> {
        // Each of them for itself, whatever is wrong with the rest.
        self.files
            .send_modify(|count| *count = count.wrapping_add(1));
        let mut read = self.read.lock().await;
        let args = self.args.clone();
        // A file may be on a disk that does not answer.
        let config = spawn_blocking(move || Config::new(&args));
        let config = config.await.map_err(|error| error.to_string())?;
        let new = config
            .map(|config| Settings::of(&config))
            .map_err(|error| error.to_string())?;
        let changed = read.differences(&new).changed;
        let needs_restart = self.started.differences(&new).needs_restart;
        // Whatever `remexd log-level` has made of it.
        logging::set_level(new.log_level).map_err(|error| error.to_string())?;
        self.drain_timeout.send_replace(new.drain_timeout);
        *read = new;
        tracing::info!(?changed, ?needs_restart, "the configuration was read again");
        Ok(Reloaded {
            changed,
            needs_restart,
        })
    }

    fn status(&self) -> DaemonStatus {
        DaemonStatus {
            version: remex::VERSION.to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.since.elapsed().as_secs(),
            draining: self.shutdown.drain().is_cancelled(),
            running: self.executions.running(),
            max_executions: self.executions.max(),
            containment: self.executions.describe(),
            addresses: self.addresses.clone(),
        }
    }
}

impl Controlled for OperatedDaemon {
    async fn obey(&self, instruction: Instruction) -> Answered {
        match instruction {
            Instruction::Status {} => Answered::Status(self.status()),
            Instruction::Drain { kill } => {
                self.shutdown.ask(kill);
                Answered::Draining
            }
            Instruction::Reload {} => match self.reload().await {
                Ok(reloaded) => Answered::Reloaded(reloaded),
                Err(why) => Answered::Refused(format!("not reloaded, all is as it was: {why}")),
            },
            Instruction::LogLevel { level } => match logging::set_level(level) {
                Ok(()) => Answered::Done,
                Err(error) => Answered::Refused(error.to_string()),
            },
        }
    }
}
