//! From a [`CommandSpec`] to a running [`Process`].

#![expect(unsafe_code, reason = "calls clone, whose contract it keeps")]

use std::{
    env,
    ffi::{CStr, CString, c_char},
    io,
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    ptr,
    sync::Arc,
};

use rustix::{
    fs::{FileType, stat},
    process::DumpableBehavior,
};

use super::{
    child::{self, Identity, Job, Rlimit, Step},
    clone,
    containment::{Choice, Containment, Place},
    environment::Environment,
    error::StartError,
    leader::Leader,
    limits, lookup,
    running::Process,
    seats::{Seats, Taken},
    signal,
    spec::{CommandSpec, StdinSpec},
    stdio::{self, Stdio},
    table,
    user::User,
};

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
}

/// Makes processes.
#[derive(Debug)]
pub struct Spawner {
    directory: PathBuf,
    environment: Environment,
    seats: Seats,
    containment: Arc<Containment>,
    /// Signals that the server has ignored from its start, and commands do not.
    ignored: Vec<i32>,
    /// The limit on open files that the server was started with, if it has raised its own.
    open_files: Option<Rlimit>,
}

/// All that was looked up for a spawn.
struct Plan {
    program: CString,
    directory: PathBuf,
    environment: Environment,
    limits: Vec<Rlimit>,
    identity: Option<Identity>,
}

impl Spawner {
    /// Readies this process for spawning, and kills what a crash of the instance before it has left. Returns how many
    /// trees or processes it killed.
    pub fn new(settings: Settings) -> io::Result<(Self, usize)> {
        let seats = Seats::new()?;
        let (containment, killed) = Containment::open(
            &settings.instance,
            &settings.state_dir,
            settings.containment,
        )?;
        let spawner = Self {
            directory: settings.directory,
            environment: Environment::passed(env::vars_os(), &settings.pass_environment),
            seats,
            containment: Arc::new(containment),
            ignored: signal::ignored(),
            open_files: limits::raise_open_files(),
        };
        Ok((spawner, killed))
    }

    /// How process trees are kept together, for people.
    pub fn describe(&self) -> String {
        self.containment.describe()
    }

    /// Spawns `spec` as the execution `id`. Blocks this thread until the program is executed or could not be.
    pub fn spawn(
        &self,
        id: &str,
        spec: &CommandSpec,
        stdin: StdinSpec,
    ) -> Result<(Process, Stdio), StartError> {
        let mut plan = self.plan(spec)?;
        let place = self.containment.place(id, spec.limits.tree)?;
        if let Place::Sweep(tag) = &place {
            plan.environment.set(table::TAG.as_bytes(), tag.as_bytes());
        }
        match self.execute(spec, stdin, &plan, &place) {
            Ok((leader, stdio)) => {
                let tree = place.into_tree(&leader);
                let mut process = Process::new(leader, tree, Arc::clone(&self.containment));
                if let Stdio::Terminal(master) = &stdio {
                    let master = master.try_clone();
                    process.set_terminal(master.map_err(StartError::resources("open a terminal"))?);
                }
                Ok((process, stdio))
            }
            Err(error) => {
                self.containment.abandon(place);
                Err(error)
            }
        }
    }

    fn plan(&self, spec: &CommandSpec) -> Result<Plan, StartError> {
        let (user, identity) = match &spec.user {
            None => (None, None),
            Some(text) => {
                let user = User::find(text)?;
                let identity = user.identity(text)?;
                (Some(user), identity)
            }
        };
        let directory = match (&spec.working_directory, &user) {
            (Some(directory), _) => directory,
            // As login(1): who has no home begins in /.
            (None, Some(user)) if !user.home.is_dir() => Path::new("/"),
            (None, Some(user)) => &user.home,
            (None, None) => &self.directory,
        };
        let own_uid = || rustix::process::geteuid().as_raw();
        let uid = identity.as_ref().map_or_else(own_uid, |user| user.uid);
        let mut limits = limits::calls(&spec.limits, uid)?;
        if spec.limits.open_files.is_none() {
            limits.extend(self.open_files);
        }
        let environment = self.environment.of(spec, user.as_ref());
        let switch = identity.is_some();
        let path = environment.get("PATH");
        let program = lookup::program(&spec.argv[0], path, directory, switch)
            .or_else(|error| check_directory(directory).and(Err(error)))?;
        Ok(Plan {
            program,
            directory: directory.to_owned(),
            environment,
            limits,
            identity,
        })
    }

    fn execute(
        &self,
        spec: &CommandSpec,
        stdin: StdinSpec,
        plan: &Plan,
        place: &Place,
    ) -> Result<(Leader, Stdio), StartError> {
        let working_directory = CString::new(plan.directory.as_os_str().as_bytes())
            .map_err(|_| directory_error(&plan.directory, io::ErrorKind::InvalidInput.into()))?;
        let (argv, envp) = (pointers(&spec.argv), pointers(plan.environment.variables()));
        let (ours, childs) = match &spec.terminal {
            Some(terminal) => stdio::terminal(terminal, plan.identity.as_ref()),
            None => stdio::pipes(stdin),
        }
        .map_err(StartError::resources("make the command's streams"))?;
        let ends = childs.ends(self.seats.null());
        let seat = self.seats.take(ends);
        let seat = seat.map_err(StartError::resources("place the command's streams"))?;
        let mut job = Job {
            stdio: seat
                .as_ref()
                .map_or_else(|| ends.map(|end| end.as_raw_fd()), Taken::fds),
            terminal: spec.terminal.is_some(),
            ignored: &self.ignored,
            limits: &plan.limits,
            niceness: spec.limits.niceness,
            identity: plan.identity.as_ref(),
            working_directory: working_directory.as_ptr(),
            program: plan.program.as_ptr(),
            argv: argv.as_ptr(),
            envp: envp.as_ptr(),
            failure: None,
        };
        let leader = self.containment.guard(|| {
            // SAFETY: `child::main` keeps to ChildMain's rules; `job` and what it points to outlive the call.
            unsafe { clone::vfork(place.cgroup(), child::main, (&raw mut job).cast()) }
                .map(Leader::new)
        });
        if plan.identity.is_some() {
            // The child's change of user has cleared this flag of the memory that it shared with us.
            let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable);
        }
        let leader = leader.map_err(StartError::resources("make a process"))?;
        match job.failure {
            None => Ok((leader, ours)),
            Some((step, errno)) => {
                self.containment.bury(&Arc::new(leader));
                Err(failure(step, errno, spec, plan))
            }
        }
    }
}

fn check_directory(path: &Path) -> Result<(), StartError> {
    let stat = stat(path).map_err(|errno| directory_error(path, errno.into()))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Ok(());
    }
    Err(directory_error(path, io::ErrorKind::NotADirectory.into()))
}

fn directory_error(path: &Path, source: io::Error) -> StartError {
    StartError::WorkingDirectory {
        path: path.to_owned(),
        source,
    }
}

/// What the failure of `step` in the child means to the caller.
fn failure(step: Step, errno: i32, spec: &CommandSpec, plan: &Plan) -> StartError {
    let source = io::Error::from_raw_os_error(errno);
    let resources = |step| StartError::Resources { step, source };
    match step {
        Step::Session => resources("make a session"),
        Step::Terminal => resources("take the terminal"),
        Step::Stdio => resources("place the streams"),
        Step::Limit(index) => StartError::LimitUnavailable {
            limit: plan.limits.get(index).map_or("limit", limits::name),
            why: io::Error::from_raw_os_error(errno).to_string(),
        },
        Step::Niceness => StartError::LimitUnavailable {
            limit: "niceness",
            why: io::Error::from_raw_os_error(errno).to_string(),
        },
        Step::Identity => StartError::UserSwitch {
            user: spec.user.clone().unwrap_or_default(),
            why: io::Error::from_raw_os_error(errno).to_string(),
        },
        Step::WorkingDirectory => {
            directory_error(&plan.directory, io::Error::from_raw_os_error(errno))
        }
        Step::Exec => lookup::exec_error(
            &plan.program,
            &plan.directory,
            plan.identity.is_some(),
            errno,
        ),
    }
}

/// A C array of C strings, with its null at the end.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| CStr::as_ptr(string))
        .chain([ptr::null()])
        .collect()
}
