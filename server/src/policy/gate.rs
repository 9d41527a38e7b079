//! Where calls meet the policy: what of a caller and a command it has to know is found out, and judged. Without a policy all
//! pass.

use std::{
    ffi::{CString, OsStr},
    os::unix::ffi::OsStrExt,
    path::{Component, Path},
    sync::Arc,
    time::Duration,
};

use remex_daemon::net::{Caller, PeerCgroup};
use remex_supervisor::process::{
    CommandSpec, Examined, IsolationSpec, ProcessCgroup, Spawner, StartError, groups_of,
};
use tokio::{
    sync::{Semaphore, watch},
    task::spawn_blocking,
    time::timeout,
};

use super::{
    counts::{About, PolicyCounts},
    judge::{Decision, Denial, judge, may_ask},
    question::{Act, AskedCommand, Asker, Directory, OnOthers, Program, Question, Rpc, RunAs},
    reload::CurrentPolicy,
    rule::{AccessPolicy, ForcedIsolation, Rule},
    script::{UntrustedScript, vouch},
};
use crate::audit::CallRecord;

/// How long the user database may take to say which groups a caller is in.
const GROUPS_BOUND: Duration = Duration::from_secs(10);

/// How many callers' groups, and scripts, are looked at at once.
const LOOKS_AT_ONCE: usize = 16;

/// Why a call does not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotPermitted {
    /// By the policy.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// A rule allows it, but a script cannot be what was judged.
    #[error(transparent)]
    Script(#[from] UntrustedScript),
    /// A rule forces an isolation, and the command asks for another one.
    #[error(
        "the rule {0:?} forces an isolation of its own: leave out `command.isolation`, or ask for a rule with isolation = \"off\" in its force"
    )]
    Isolation(String),
    /// What a rule asks for is not to be had.
    #[error("it cannot be told whether the policy allows this: {0}; try again")]
    Unknown(&'static str),
}

/// Lets calls pass as the current policy says. Clones share it.
#[derive(Debug, Clone)]
pub struct PolicyGate {
    current: CurrentPolicy,
    spawner: Arc<Spawner>,
    looks: Arc<Semaphore>,
    counts: PolicyCounts,
}

/// A caller before one policy.
#[derive(Debug, Clone)]
pub struct Standing {
    policy: Arc<AccessPolicy>,
    asker: Asker,
    looks: Arc<Semaphore>,
    counts: PolicyCounts,
}

/// Leave to start a command, if the policy gives it.
#[derive(Debug, Clone)]
pub struct Permit {
    standing: Standing,
    rpc: Rpc,
}

impl PolicyGate {
    /// By `current`, for commands that `spawner` starts.
    pub fn new(current: CurrentPolicy, spawner: Arc<Spawner>) -> Self {
        Self {
            current,
            spawner,
            looks: Arc::new(Semaphore::new(LOOKS_AT_ONCE)),
            counts: PolicyCounts::default(),
        }
    }

    /// Of a server without a policy.
    pub fn open(spawner: Arc<Spawner>) -> Self {
        let (_, current) = watch::channel(None);
        Self::new(current, spawner)
    }

    /// How often it was decided what.
    pub fn counts(&self) -> &PolicyCounts {
        &self.counts
    }

    /// Where `caller` stands; `None`: there is no policy.
    pub async fn standing(&self, caller: &Caller) -> Result<Option<Standing>, NotPermitted> {
        let policy = self.current.borrow().clone();
        let Some(policy) = policy else {
            return Ok(None);
        };
        let groups = match caller.uid {
            Some(uid) if policy.names_groups => self.groups(uid).await?,
            _ => Vec::new(),
        };
        let asker = Asker {
            groups,
            is_inside: self.is_inside(&caller.cgroup),
            ..Asker::new(caller)
        };
        Ok(Some(Standing {
            policy,
            asker,
            looks: Arc::clone(&self.looks),
            counts: self.counts.clone(),
        }))
    }

    /// That `caller` may make the call `rpc`, which `record` is told. Returns where it stands, for what else is to be asked.
    pub async fn call(
        &self,
        caller: &Caller,
        rpc: Rpc,
        record: &CallRecord,
    ) -> Result<Option<Standing>, NotPermitted> {
        let standing = self.standing(caller).await?;
        match &standing {
            Some(standing) => record.allowed(Some(&standing.judge(Act::Call(rpc))?.name)),
            None => record.allowed(None),
        }
        Ok(standing)
    }

    /// That `caller` may ask what everybody may who is on this machine or has an identity: GetServerInfo, health, reflection.
    pub fn ask(&self, caller: &Caller) -> Result<(), NotPermitted> {
        if self.current.borrow().is_none() {
            return Ok(());
        }
        let asker = Asker {
            is_inside: self.is_inside(&caller.cgroup),
            ..Asker::new(caller)
        };
        if may_ask(&asker) {
            return Ok(());
        }
        Err(Denial::ByDefault(None).into())
    }

    fn is_inside(&self, cgroup: &PeerCgroup) -> bool {
        match cgroup {
            PeerCgroup::Elsewhere => false,
            PeerCgroup::Unknown => true,
            PeerCgroup::Number(number) => self.spawner.is_inside(ProcessCgroup::Number(*number)),
            PeerCgroup::Path(path) => self.spawner.is_inside(ProcessCgroup::Path(path)),
        }
    }

    async fn groups(&self, uid: u32) -> Result<Vec<u32>, NotPermitted> {
        let unknown =
            || NotPermitted::Unknown("the user database does not say which groups you are in");
        let look = looking(&self.looks, move || groups_of(uid)).await;
        look.and_then(Result::ok).ok_or_else(unknown)
    }
}

/// What `look` finds, on a thread that may be held; `None`: too many are, or it is.
async fn looking<T: Send + 'static>(
    looks: &Arc<Semaphore>,
    look: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let permit = Arc::clone(looks).try_acquire_owned().ok()?;
    let looked = spawn_blocking(move || {
        let found = look();
        drop(permit);
        found
    });
    timeout(GROUPS_BOUND, looked).await.ok()?.ok()
}

impl Standing {
    fn judge(&self, act: Act) -> Result<&Rule, Denial> {
        let question = Question {
            asker: self.asker.clone(),
            act,
        };
        let about = match question.act {
            Act::Others(_) => About::Others,
            Act::Call(_) | Act::Command(..) => About::Call,
        };
        let decision = judge(&self.policy, &question);
        let is_allowed = matches!(decision, Decision::Allowed(_));
        self.counts.count(about, is_allowed);
        match decision {
            Decision::Allowed(grant) => Ok(grant.rule),
            Decision::Denied(denial) => Err(denial),
        }
    }

    /// Whether it may do this to others' executions.
    pub fn may_on_others(&self, what: OnOthers) -> bool {
        self.judge(Act::Others(what)).is_ok()
    }

    /// Leave to start commands by `rpc`, of which each is still to be judged.
    pub fn permit(self, rpc: Rpc) -> Permit {
        Permit {
            standing: self,
            rpc,
        }
    }
}

/// What a command becomes by a rule.
#[derive(Debug)]
pub struct Ruled {
    /// The rule's name.
    pub rule: String,
    /// With what the rule forces.
    pub spec: CommandSpec,
    /// The rule says where it runs.
    forces_directory: bool,
}

impl Permit {
    /// That some rule may allow `spec`: asked before anything is looked up for it, so that a caller to whom no rule gives
    /// anything learns nothing of users and files.
    pub fn before(&self, spec: &CommandSpec) -> Result<(), NotPermitted> {
        let user = named_user(spec, RunAs::Unset);
        self.judge(spec, Program::Unknown, directory(spec), user)?;
        Ok(())
    }

    /// What a caller is told whose `spec` could not be resolved, for the reason `error`: that, if a rule would allow it.
    pub fn failed(
        &self,
        spec: &CommandSpec,
        error: StartError,
    ) -> Result<StartError, NotPermitted> {
        let nobody = |text: String| RunAs::Known {
            text,
            uid: u32::MAX,
            gid: u32::MAX,
        };
        let user = match (&spec.user, &error) {
            (Some(text), StartError::UserNotFound { .. }) => nobody(text.clone()),
            _ => named_user(spec, RunAs::Unset),
        };
        let name = spec.argv.first().map(|name| name.as_bytes().to_vec());
        let program = Program::Absent(name.unwrap_or_default());
        self.judge(spec, program, directory(spec), user)?;
        Ok(error)
    }

    /// What becomes of `spec`, which is `examined`, by the rule that allows it.
    pub fn ruled(&self, spec: &CommandSpec, examined: &Examined) -> Result<Ruled, NotPermitted> {
        let folder = real_directory(spec, examined);
        let rule = self.judge_examined(spec, examined, folder, RunAs::Unset)?;
        let forces = rule.forces();
        let mut ruled = spec.clone();
        ruled.limits = rule.limits(&spec.limits);
        if let Some(user) = &forces.user {
            ruled.user = Some(user.text.clone());
        }
        if let Some(folder) = &forces.working_directory {
            ruled.working_directory = Some(folder.clone());
        }
        let isolation = match &forces.isolation {
            ForcedIsolation::Off => None,
            ForcedIsolation::Given(isolation) => Some(IsolationSpec::clone(isolation)),
            ForcedIsolation::Default => {
                let found = Path::new(OsStr::from_bytes(&examined.directory));
                let folder = forces.working_directory.as_deref().unwrap_or(found);
                Some(default_isolation(&ruled.environment, folder))
            }
        };
        if let Some(isolation) = isolation {
            if spec.isolation.is_some() {
                return Err(NotPermitted::Isolation(rule.name.clone()));
            }
            ruled.isolation = Some(isolation);
        }
        Ok(Ruled {
            rule: rule.name.clone(),
            forces_directory: forces.working_directory.is_some(),
            spec: ruled,
        })
    }

    /// That `ruled` is still what that rule allows, with everything that it forces, and that it can be executed as it was judged.
    pub async fn last(&self, ruled: &Ruled, examined: &Examined) -> Result<(), NotPermitted> {
        let own = RunAs::Own { uid: examined.uid };
        let folder = if ruled.forces_directory {
            directory(&ruled.spec)
        } else {
            real_directory(&ruled.spec, examined)
        };
        let rule = self.judge_examined(&ruled.spec, examined, folder, own)?;
        if rule.name != ruled.rule {
            return Err(Denial::ByDefault(None).into());
        }
        if examined.interpreter.is_some() {
            let script = examined.clone();
            let vouched = looking(&self.standing.looks, move || vouch(&script)).await;
            vouched.ok_or(NotPermitted::Unknown("the script's folders do not answer"))??;
        }
        // The last of several judgements of one command, each of which may deny it.
        self.standing.counts.count(About::Command, true);
        Ok(())
    }

    fn judge_examined(
        &self,
        spec: &CommandSpec,
        examined: &Examined,
        folder: Directory,
        unset: RunAs,
    ) -> Result<&Rule, Denial> {
        let program = Program::File {
            named: examined.named.clone(),
            real: examined.real.clone(),
        };
        let user = match named_user(spec, unset) {
            RunAs::Named(text) => RunAs::Known {
                text,
                uid: examined.uid,
                gid: examined.gid,
            },
            unset => unset,
        };
        self.judge(spec, program, folder, user)
    }

    fn judge(
        &self,
        spec: &CommandSpec,
        program: Program,
        directory: Directory,
        user: RunAs,
    ) -> Result<&Rule, Denial> {
        let question = Question {
            asker: self.standing.asker.clone(),
            act: Act::Command(self.rpc, Box::new(asked(spec, program, directory, user))),
        };
        match judge(&self.standing.policy, &question) {
            Decision::Allowed(grant) => Ok(grant.rule),
            Decision::Denied(denial) => {
                self.standing.counts.count(About::Command, false);
                Err(denial)
            }
        }
    }
}

fn asked(spec: &CommandSpec, program: Program, directory: Directory, user: RunAs) -> AskedCommand {
    let arguments = spec.argv.iter().skip(1);
    let variable = |variable: &[u8]| {
        let mut parts = variable.splitn(2, |byte| *byte == b'=');
        let mut next = || parts.next().unwrap_or_default().to_vec();
        (next(), next())
    };
    let mut environment: Vec<_> = spec
        .environment
        .iter()
        .map(|text| variable(text.as_bytes()))
        .collect();
    // What kind of terminal it is, is a variable too.
    if let Some(terminal) = &spec.terminal {
        environment.push((b"TERM".to_vec(), terminal.term.as_bytes().to_vec()));
    }
    AskedCommand {
        shell: spec.shell,
        program,
        arguments: arguments.map(|text| text.as_bytes().to_vec()).collect(),
        directory,
        environment,
        user,
        limits: spec.limits,
    }
}

fn named_user(spec: &CommandSpec, unset: RunAs) -> RunAs {
    spec.user.clone().map_or(unset, RunAs::Named)
}

/// What a command may reach that runs in `folder`. The root of all folders is never one to write.
fn default_isolation(environment: &[CString], folder: &Path) -> IsolationSpec {
    let own = environment.iter().find_map(|variable| {
        let value = variable.as_bytes().strip_prefix(b"TMPDIR=")?;
        Some(Path::new(OsStr::from_bytes(value)))
    });
    let temporary = own.unwrap_or(Path::new("/tmp"));
    let mut isolation = IsolationSpec::limited(folder, temporary);
    isolation.write_paths.retain(|path| is_below_root(path));
    isolation
}

/// Whether a path is absolute, and that of a folder in another one, wherever its elements lead.
fn is_below_root(path: &Path) -> bool {
    let leads_up = path.components().any(|part| part == Component::ParentDir);
    path.is_absolute() && path != Path::new("/") && !leads_up
}

fn real_directory(spec: &CommandSpec, examined: &Examined) -> Directory {
    match &spec.working_directory {
        None => Directory::Unset,
        Some(_) => Directory::Real(examined.directory.clone()),
    }
}

fn directory(spec: &CommandSpec) -> Directory {
    let path = spec.working_directory.as_ref();
    path.map_or(Directory::Unset, |path| {
        Directory::Named(path.as_os_str().as_encoded_bytes().to_vec())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_limited_writes_in_its_folder_and_tmpdir_and_never_everywhere() {
        let written = |environment: &[&str], folder: &str| {
            let environment = environment.iter().map(|text| CString::new(*text).unwrap());
            let environment: Vec<_> = environment.collect();
            default_isolation(&environment, Path::new(folder)).write_paths
        };
        assert_eq!(
            written(&[], "/srv").as_slice(),
            ["/srv", "/tmp"].map(Path::new)
        );
        let named = written(&["XTMPDIR=/a", "TMPDIR=/b"], "/srv");
        assert_eq!(named.as_slice(), ["/srv", "/b"].map(Path::new));
        assert_eq!(written(&[], "/").as_slice(), ["/tmp"].map(Path::new));
        assert_eq!(written(&["TMPDIR=/b/"], "/").as_slice(), [Path::new("/b")]);
        for temporary in ["/", "//", "/.", "/..", "/tmp/..", "/tmp/../../", "tmp", "."] {
            let written = written(&[&format!("TMPDIR={temporary}")], "/");
            assert!(written.is_empty(), "{temporary}: {written:?}");
        }
    }
}
