//! A remexd that serves, as whoever operates it has it: it says how it is, drains, and reads its configuration again.

mod settings;
mod upgrade;

use std::{
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use remex_daemon::{
    Differences, ReadyFile, Reloadable, logging, net::Users, notify::Reloading, shutdown::Shutdown,
};
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    task::{block_in_place, spawn_blocking},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::settings::reloadable;
pub use self::upgrade::Upgrade;
use crate::{
    audit::AuditLog,
    config::{Args, Config},
    control::{
        Controlled,
        message::{Answered, DaemonStatus, Instruction, Reloaded},
    },
    execution::Executions,
    identity::{Trust, TrustFiles},
    listeners::Listeners,
    policy::rule::AccessPolicy,
    state_dir::StateDir,
};

/// Said of the permissions of a socket that stays.
const SOCKET_MODE: &str = "mode and group of a Unix socket that is served already";

/// What serves.
pub struct Parts {
    /// Where.
    pub listeners: Listeners,
    /// What runs.
    pub executions: Arc<Executions>,
    /// Who of this machine is let in.
    pub users: watch::Sender<Arc<Users>>,
    /// What ends all of it.
    pub shutdown: Shutdown,
    /// What outlives it.
    pub state_dir: StateDir,
    /// What takes its place.
    pub upgrade: Upgrade,
    /// Where it is operated, if that socket was handed over.
    pub control: Option<OwnedFd>,
    /// What is told of it all.
    pub audit: AuditLog,
    /// What tracks its tasks, and ends them.
    pub tasks: (TaskTracker, CancellationToken),
}

/// What is operated.
pub struct OperatedDaemon {
    args: Args,
    parts: Parts,
    ready: Mutex<ReadyFile>,
    since: Instant,
    /// What the configuration said when it was read last.
    last: AsyncMutex<Last>,
    /// What was there at the start, which some of it holds to.
    started: Started,
    drain_timeout: watch::Sender<Duration>,
    trust: watch::Sender<Arc<Trust>>,
    policy: watch::Sender<Option<Arc<AccessPolicy>>>,
    /// Changed when certificates, tokens, keys and the policy are to be read again, and the audit log's file is to be opened.
    files: watch::Sender<u64>,
    /// Cancelled once another program is to take this one's place.
    upgrading: CancellationToken,
}

struct Last {
    settings: Reloadable,
    policy: Option<PathBuf>,
    trust: TrustFiles,
    /// Ends those that look after the files of certificates, tokens, keys and policy.
    watching: CancellationToken,
}

struct Started {
    settings: Reloadable,
    ready_file: Option<PathBuf>,
}

impl OperatedDaemon {
    /// Of a remexd that was started with `args`, which say `config`, and is `ready`.
    pub fn new(args: Args, config: Config, parts: Parts, ready: ReadyFile) -> Self {
        let settings = reloadable(&config);
        let (tasks, stop) = parts.tasks.clone();
        let (watching, files) = (stop.child_token(), watch::Sender::default());
        let (trust, policy) = (config.reloader.sender(), config.policy.sender());
        let policy_file = config.policy.file().map(ToOwned::to_owned);
        tasks.spawn(config.reloader.run(files.subscribe(), watching.clone()));
        tasks.spawn(config.policy.run(files.subscribe(), watching.clone()));
        // Its file is the same to the end, whatever is watched.
        let audit = parts.audit.clone();
        tasks.spawn(audit.reopen_on(files.subscribe(), stop));
        Self {
            args,
            parts,
            ready: Mutex::new(ready),
            since: Instant::now(),
            last: AsyncMutex::new(Last {
                settings: settings.clone(),
                policy: policy_file,
                trust: config.trust,
                watching,
            }),
            started: Started {
                settings,
                ready_file: config.ready_file,
            },
            drain_timeout: watch::Sender::new(config.drain_timeout),
            trust,
            policy,
            files,
            upgrading: CancellationToken::new(),
        }
    }

    /// Cancelled once another program is to take this one's place.
    pub fn upgrading(&self) -> &CancellationToken {
        &self.upgrading
    }

    /// What a drain that begins now takes at most.
    pub fn drain_timeout(&self) -> Duration {
        *self.drain_timeout.borrow()
    }

    /// What runs.
    pub fn executions(&self) -> &Executions {
        &self.parts.executions
    }

    /// Where it listens.
    pub fn listeners(&self) -> &Listeners {
        &self.parts.listeners
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
        let mut last = self.last.lock().await;
        self.serves()?;
        let _reloading = Reloading::begin().await;
        // Each of them for itself, whatever is wrong with the rest.
        self.files
            .send_modify(|count| *count = count.wrapping_add(1));
        let args = self.args.clone();
        // A file may be on a disk that does not answer.
        let config = spawn_blocking(move || Config::new(&args));
        let config = config.await.map_err(|error| error.to_string())?;
        let config = config.map_err(|error| error.to_string())?;
        let settings = reloadable(&config);
        let other_callers = last.trust != config.trust;
        let listeners = &self.parts.listeners;
        let renewal = block_in_place(|| listeners.prepare(&config, other_callers));
        let renewal = renewal.map_err(|error| error.to_string())?;
        // Whatever `remexd log-level` has made of it.
        logging::set_level(config.log_level).map_err(|error| error.to_string())?;

        // From here on nothing fails.
        let Differences {
            changed,
            mut needs_restart,
        } = last.settings.differences(&settings, &self.started.settings);
        if !renewal.is_as_asked() {
            needs_restart.push(SOCKET_MODE.to_owned());
        }
        self.drain_timeout.send_replace(config.drain_timeout);
        self.parts.executions.set_max(config.max_executions);
        self.parts
            .users
            .send_replace(Arc::new(config.users.clone()));
        let ready = renewal.ready();
        last.settings = settings;
        if other_callers || last.policy.as_deref() != config.policy.file() {
            self.watch_others(&mut last, config);
        }
        listeners.renew(renewal);
        self.tell(ready);
        tracing::info!(?changed, ?needs_restart, "the configuration was read again");
        Ok(Reloaded {
            changed,
            needs_restart,
        })
    }

    /// Has another program take this one's place, once it has ended its work.
    async fn upgrade(&self) -> Result<(), String> {
        // What that would find wrong in the configuration is found while there is a way back.
        self.reload().await?;
        let _last = self.last.lock().await;
        self.serves()?;
        let Parts {
            listeners,
            state_dir,
            upgrade,
            control,
            ..
        } = &self.parts;
        let handover = upgrade
            .handover(listeners, state_dir, control.as_ref())
            .map_err(|error| error.to_string())?;
        upgrade.set(handover);
        self.upgrading.cancel();
        Ok(())
    }

    fn serves(&self) -> Result<(), String> {
        let leaves = self.parts.shutdown.drain().is_cancelled() || self.upgrading.is_cancelled();
        if leaves {
            return Err("it drains".to_owned());
        }
        Ok(())
    }

    /// Certificates, tokens, keys and the policy are those of `config` from now on.
    fn watch_others(&self, last: &mut Last, config: Config) {
        let (tasks, stop) = &self.parts.tasks;
        // First: what looks after the files that were named before says nothing any more.
        last.watching.cancel();
        last.watching = stop.child_token();
        last.policy = config.policy.file().map(ToOwned::to_owned);
        let reloader = config.reloader.in_place_of(self.trust.clone());
        let policy = config.policy.in_place_of(self.policy.clone());
        tasks.spawn(reloader.run(self.files.subscribe(), last.watching.clone()));
        tasks.spawn(policy.run(self.files.subscribe(), last.watching.clone()));
        last.trust = config.trust;
    }

    /// Says where it listens now.
    fn tell(&self, ready: ReadyFile) {
        let mut last = self.ready();
        if *last == ready {
            return;
        }
        if let Some(path) = &self.started.ready_file
            && let Err(error) = ready.write(path)
        {
            tracing::error!(%error, "--ready-file: what it says is what was before the reload");
        }
        *last = ready;
    }

    fn ready(&self) -> MutexGuard<'_, ReadyFile> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> DaemonStatus {
        let Parts {
            executions,
            shutdown,
            ..
        } = &self.parts;
        DaemonStatus {
            version: remex::VERSION.to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.since.elapsed().as_secs(),
            draining: shutdown.drain().is_cancelled(),
            running: executions.running(),
            max_executions: executions.max(),
            containment: executions.describe(),
            addresses: self.ready().lines().to_vec(),
        }
    }
}

impl Controlled for OperatedDaemon {
    async fn obey(&self, instruction: Instruction) -> Answered {
        match instruction {
            Instruction::Status {} => Answered::Status(self.status()),
            Instruction::Drain { kill } => {
                self.parts.shutdown.ask(kill);
                Answered::Draining
            }
            Instruction::Reload {} => match self.reload().await {
                Ok(reloaded) => Answered::Reloaded(reloaded),
                Err(why) => Answered::Refused(format!("not reloaded, all is as it was: {why}")),
            },
            Instruction::Program {} => match self.parts.upgrade.program() {
                Ok(program) => Answered::Program(program),
                Err(why) => Answered::Refused(why),
            },
            Instruction::Upgrade {} => match self.upgrade().await {
                Ok(()) => Answered::Upgrading,
                Err(why) => {
                    Answered::Refused(format!("not upgraded, and the old one serves: {why}"))
                }
            },
            Instruction::LogLevel { level } => match logging::set_level(level) {
                Ok(()) => Answered::Done,
                Err(error) => Answered::Refused(error.to_string()),
            },
        }
    }
}
