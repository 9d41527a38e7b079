//! From a [`CommandSpec`] to a plan, and what all spawns share. [`Spawning`] carries the plan out.

use std::{
    env,
    ffi::CString,
    io,
    os::{
        fd::AsFd,
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    clone::Cloner,
    containment::Containment,
    disposition,
    environment::Environment,
    error::StartError,
    helper::Helpers,
    isolation::{AppliedParts, Support, decide},
    limits,
    low_fds::LowFds,
    membership::{Membership, ProcessCgroup},
    names::Names,
    plan::{Plan, Rlimit, argument_bytes},
    prepare::Prepared,
    resolving::{Resolved, Resolving},
    spawning::Spawning,
    spec::{CommandSpec, StdinSpec},
    stuck::Stuck,
    user::{Own, User},
    way::Choice,
};
use crate::{durable::Link, zygote::Zygote};

/// Most spawns that the kernel holds, though they were killed, with which another one may still be started that has to ask
/// a file system.
pub(super) const MAX_STUCK: usize = 64;

/// What all commands have in common.
#[derive(Debug)]
pub struct Settings {
    /// Where commands run that name no folder; absolute.
    pub directory: PathBuf,
    /// More variables of the server's environment to pass on.
    pub pass_environment: Vec<String>,
    /// Where it is remembered which trees may live on.
    pub state_dir: PathBuf,
    /// The state folder's name for itself, which tells its trees from another server's.
    pub instance: String,
    /// How trees are kept together.
    pub containment: Choice,
    /// That this program's `main` begins with [`super::prepare`]; without, no command runs as another user.
    pub prepared: Option<Prepared>,
}

/// Makes processes.
#[derive(Debug)]
pub struct Spawner {
    directory: CString,
    environment: Environment,
    /// Signals whose action a command has the default of: those that the server has ignored from its start and, where
    /// the kernel does not do it, those that it handles.
    reset: Vec<i32>,
    /// The limit on open files that the server was started with, if it has raised its own.
    open_files: Option<Rlimit>,
    argument_bytes: usize,
    own: Own,
    pub(super) low_fds: Arc<LowFds>,
    pub(super) containment: Arc<Containment>,
    pub(super) cloner: Arc<Cloner>,
    pub(super) support: Support,
    pub(super) names: Names,
    pub(super) zygote: Option<Zygote>,
    membership: Membership,
    stuck: Mutex<Vec<Stuck>>,
    /// How many spawns took too long.
    held: AtomicU64,
}

/// A plan whose program is still to be found.
pub(super) struct Draft {
    /// Its program is not decided.
    pub(super) plan: Plan,
    /// PATH, as the command will have it.
    pub(super) path: Option<Vec<u8>>,
}

impl Spawner {
    /// Readies this process for spawning, and kills what a crash of the instance before it has left. Returns how many
    /// trees or processes it killed.
    pub fn new(settings: Settings) -> io::Result<(Self, usize)> {
        let low_fds = LowFds::new()?;
        let cloner = Arc::new(Cloner::new()?);
        let support = Support::find(&cloner)?;
        let (containment, killed) = Containment::open(
            &settings.instance,
            &settings.state_dir,
            settings.containment,
        )?;
        let containment = Arc::new(containment);
        let reset = disposition::to_reset(cloner.resets_handlers());
        let own = Own::read()?;
        let zygote = match settings.prepared {
            Some(_) => {
                let null = low_fds.null().try_clone_to_owned()?;
                let helpers = Helpers::new(&cloner, &containment);
                let zygote = Zygote::new(helpers, null, reset.clone());
                if own.may_switch() {
                    zygote.start()?;
                }
                Some(zygote)
            }
            None => None,
        };
        let spawner = Self {
            directory: CString::new(settings.directory.into_os_string().into_vec())?,
            environment: Environment::passed(env::vars_os(), &settings.pass_environment),
            reset,
            open_files: limits::raise_open_files(),
            argument_bytes: argument_bytes(),
            own,
            low_fds,
            containment,
            cloner,
            support,
            names: Names::default(),
            zygote,
            membership: Membership::default(),
            stuck: Mutex::default(),
            held: AtomicU64::new(0),
        };
        Ok((spawner, killed))
    }

    /// How process trees are kept together, for people.
    pub fn describe(&self) -> String {
        self.containment.describe()
    }

    /// What holds of the isolation of `spec`, which was started; `None`: it has none.
    pub fn applied(&self, spec: &CommandSpec) -> Option<AppliedParts> {
        let decision = decide(spec.isolation.as_ref()?, &self.support).ok()?;
        Some(decision.applied)
    }

    /// Whether a process that is in `cgroup` is a command's, or nobody can tell that it is not. May read folders of
    /// cgroups, the first time that it is asked about one.
    pub fn is_inside(&self, cgroup: ProcessCgroup<'_>) -> bool {
        self.membership.is_inside(self.containment.way(), cgroup)
    }

    /// Looks after spawns that the kernel held; to be called now and then.
    pub fn sweep(&self) {
        self.bury_stuck();
    }

    fn bury_stuck(&self) {
        let mut stuck = self.lock_stuck();
        let over: Vec<_> = stuck.extract_if(.., |stuck| stuck.is_over()).collect();
        drop(stuck);
        for stuck in over {
            stuck.bury(self);
        }
    }

    /// Begins to spawn `spec` as the execution `id`. Its program is executed only after [`Spawning::release`]. This thread stands
    /// still for 2 ms at most; [`Spawning::poll`] says how it goes on.
    pub fn start<'a>(
        &'a self,
        id: &'a str,
        spec: &'a CommandSpec,
        stdin: StdinSpec,
    ) -> Spawning<'a> {
        Spawning::begin(self, id, spec, stdin)
    }

    /// Begins to resolve `spec` to a plan that is carried out elsewhere. This thread stands still for 2 ms at most, by which
    /// most are there; [`Resolving::poll`] says how it goes on.
    pub fn resolve<'a>(&'a self, spec: &'a CommandSpec) -> Resolving<'a> {
        Resolving::begin(self, spec, false)
    }

    /// The same, with a look at what would be executed, for somebody to judge: [`Resolved::examined`]. That is then what runs, or
    /// nothing.
    pub fn examine<'a>(&'a self, spec: &'a CommandSpec) -> Resolving<'a> {
        Resolving::begin(self, spec, true)
    }

    /// As [`Self::start`], with what `spec` has been resolved to.
    pub fn start_resolved<'a>(
        &'a self,
        id: &'a str,
        spec: &'a CommandSpec,
        stdin: StdinSpec,
        resolved: Resolved,
    ) -> Spawning<'a> {
        Spawning::go_on(self, id, spec, stdin, resolved)
    }

    /// Makes the supervisor of an execution that is to outlive this server. It ends if its link ends before it has an execution.
    pub fn fork_supervisor(&self) -> io::Result<Link> {
        let zygote = self.zygote.as_ref();
        let zygote = zygote.ok_or(io::ErrorKind::Unsupported)?;
        let group = self.containment.supervisors()?;
        let group = group.as_ref().map(AsFd::as_fd);
        Ok(Link::new(zygote.ask_for_supervisor(group)?))
    }

    /// All of the plan for `spec`, run as `user` if one is named, that nobody needs to be waited for.
    pub(super) fn draft(
        &self,
        spec: &CommandSpec,
        user: Option<&User>,
    ) -> Result<Draft, StartError> {
        let identity = match (user, &spec.user) {
            (Some(user), Some(text)) => self.own.becomes(user, text)?,
            _ => None,
        };
        let (directory, or_root) = match (&spec.working_directory, user) {
            (Some(directory), _) => (c_path(directory.as_os_str().as_bytes())?, false),
            // As login(1): who has no home begins in /.
            (None, Some(user)) => (c_path(user.home.as_os_str().as_bytes())?, true),
            (None, None) => (self.directory.clone(), false),
        };
        let uid = identity.as_ref().map_or(self.own.uid(), |user| user.uid);
        let mut limits = limits::calls(&spec.limits, uid)?;
        if spec.limits.open_files.is_none() {
            limits.extend(self.open_files);
        }
        let environment = self.environment.of(spec, user);
        let path = environment.get("PATH").map(<[u8]>::to_vec);
        let plan = Plan {
            program: CString::default(),
            argv: spec.argv.clone(),
            environment: environment.into_variables(),
            identity,
            directory,
            or_root,
            limits,
            niceness: spec.limits.niceness,
            terminal: spec.terminal.is_some(),
            reset: self.reset.clone(),
            confinement: None,
            judged: None,
        };
        // Before any work is done for it. Its program's name comes on top, which is short.
        plan.check(self.argument_bytes)?;
        Ok(Draft { plan, path })
    }

    /// Who this server is itself.
    pub(super) fn own_ids(&self) -> (u32, u32, &[u32]) {
        self.own.ids()
    }

    /// Whether as many spawns are stuck as may be.
    pub(super) fn is_crowded(&self) -> bool {
        self.lock_stuck().len() >= MAX_STUCK
    }

    /// A spawn was given up because it took too long. Callers cannot fill the log with it: it is told of the first, the
    /// second, the fourth, and so on.
    pub(super) fn count_held(&self) {
        let count = self.held.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if count.is_power_of_two() {
            let stuck = self.lock_stuck().len();
            tracing::warn!(
                count,
                stuck,
                "starts of commands were held by the kernel until they were killed"
            );
        }
    }

    /// Takes over a child that was killed, and waits for it as long as the kernel holds it.
    pub(super) fn put_to_rest(&self, stuck: Stuck) {
        if stuck.is_over() {
            stuck.bury(self);
        } else {
            self.lock_stuck().push(stuck);
        }
    }

    fn lock_stuck(&self) -> MutexGuard<'_, Vec<Stuck>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Spawner {
    /// Their groups would be left behind.
    fn drop(&mut self) {
        self.bury_stuck();
    }
}

fn c_path(bytes: &[u8]) -> Result<CString, StartError> {
    CString::new(bytes).map_err(|_| {
        let path = String::from_utf8_lossy(bytes).into_owned();
        StartError::WorkingDirectory {
            path: path.into(),
            source: io::ErrorKind::InvalidInput.into(),
        }
    })
}
