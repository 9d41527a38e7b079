//! Rules: whom each is about, what it is about, and what it decides and forces. Pure.
//!
//! An allow allows no more than it names; a deny denies whatever it does not leave out. So a part that a rule says nothing of
//! stands for nothing in an allow, and for everything in a deny.

use std::{collections::BTreeSet, path::PathBuf};

use remex_daemon::{admission::Network, net::Identity};
use remex_supervisor::process::{IsolationSpec, ResourceLimits};

use super::{
    limits::is_within,
    pattern::Pattern,
    question::{
        Act, AskedCommand, Asker, Directory, OnOthers, Program, Question, Rpc, RunAs, is_harmless,
    },
};

/// The most rules of a policy.
pub const MAX_RULES: usize = 10_000;

/// All rules, in the order of their file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AccessPolicy {
    pub(super) rules: Vec<Rule>,
    /// Some rule names groups, so that those of a caller have to be known.
    pub(super) names_groups: bool,
}

/// What a rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[must_use]
pub enum Effect {
    /// What it matches is allowed, unless another rule denies it.
    Allow,
    /// What it matches is denied, whatever others say.
    Deny,
}

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Unique in its policy.
    pub name: String,
    /// Where it stands in its file.
    pub line: usize,
    /// What it decides.
    pub effect: Effect,
    pub(super) who: Who,
    /// Empty: all calls.
    pub(super) rpcs: Vec<Rpc>,
    pub(super) what: What,
    pub(super) others: Vec<OnOthers>,
    pub(super) forces: Forces,
}

/// Whom a rule is about.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Who {
    pub(super) identities: Vec<Pattern>,
    pub(super) users: BTreeSet<u32>,
    pub(super) groups: BTreeSet<u32>,
    pub(super) networks: Vec<Network>,
    pub(super) listeners: Vec<&'static str>,
    /// A deny: those in executions alone. An allow: those too.
    pub(super) from_executions: bool,
}

/// A list, or everything.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Named<T> {
    Any,
    These(T),
}

/// What commands a rule is about.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct What {
    pub(super) programs: Option<Named<Vec<ProgramPattern>>>,
    pub(super) arguments: Option<Named<Vec<Pattern>>>,
    pub(super) shell: Option<bool>,
    pub(super) working_directories: Option<Named<Vec<Pattern>>>,
    pub(super) environment: Option<Named<Vec<Pattern>>>,
    pub(super) run_as: Option<Named<Vec<NamedUser>>>,
    pub(super) at_most: ResourceLimits,
}

/// A program as a rule names it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ProgramPattern {
    pub(super) path: Pattern,
    /// Where links led from that path when the policy was read.
    pub(super) real: Option<Vec<u8>>,
}

/// A user of this machine, with the group that is its first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedUser {
    /// As the rule names it.
    pub text: String,
    /// Its number.
    pub uid: u32,
    /// Its first group.
    pub gid: u32,
}

/// What an allow makes of a command.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Forces {
    /// It runs as this user.
    pub user: Option<NamedUser>,
    /// And here.
    pub working_directory: Option<PathBuf>,
    /// With these limits, whatever was asked for.
    pub limits: ResourceLimits,
    /// And so isolated.
    pub isolation: ForcedIsolation,
}

/// The isolation that an allow forces on a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ForcedIsolation {
    /// That of callers whom a policy limits.
    #[default]
    Default,
    /// None but what is asked for.
    Off,
    /// This one.
    Given(Box<IsolationSpec>),
}

/// One side of a question. A rule fits a question if it has something to say on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aspect {
    /// Who asks.
    Caller,
    /// From inside an execution.
    FromExecution,
    /// By which call.
    Rpc,
    /// What is done to others' executions.
    Others,
    /// The program, or the shell.
    Program,
    /// Its arguments.
    Arguments,
    /// Where it runs.
    WorkingDirectory,
    /// What its environment has.
    Environment,
    /// As whom it runs.
    User,
    /// What it may use.
    Limits,
}

impl Aspect {
    /// All of them, the cheap ones that tell most rules apart first.
    pub const ALL: [Self; 10] = [
        Self::Rpc,
        Self::Caller,
        Self::FromExecution,
        Self::Others,
        Self::Program,
        Self::Arguments,
        Self::User,
        Self::WorkingDirectory,
        Self::Environment,
        Self::Limits,
    ];

    /// For people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::FromExecution => "from_executions",
            Self::Rpc => "rpc",
            Self::Others => "others",
            Self::Program => "program",
            Self::Arguments => "arguments",
            Self::WorkingDirectory => "working_directory",
            Self::Environment => "environment",
            Self::User => "user",
            Self::Limits => "limits",
        }
    }
}

impl Rule {
    /// Whether the rule is about this, on every side.
    pub fn fits(&self, question: &Question) -> bool {
        let fits = |aspect| self.fits_on(aspect, question);
        Aspect::ALL.into_iter().all(fits)
    }

    /// Whether it is about this act, whoever asks.
    pub(super) fn fits_act(&self, question: &Question) -> bool {
        let is_of_act = |aspect: &Aspect| !matches!(aspect, Aspect::Caller | Aspect::FromExecution);
        let mut aspects = Aspect::ALL.into_iter().filter(is_of_act);
        aspects.all(|aspect| self.fits_on(aspect, question))
    }

    /// Whether it is about this, as far as this side goes.
    pub fn fits_on(&self, aspect: Aspect, question: &Question) -> bool {
        let denies = self.effect == Effect::Deny;
        let asker = &question.asker;
        match (aspect, &question.act) {
            (Aspect::Caller, _) => self.who.is(asker),
            (Aspect::FromExecution, _) => {
                if denies {
                    asker.is_inside || !self.who.from_executions
                } else {
                    !asker.is_inside || self.who.from_executions
                }
            }
            (Aspect::Rpc, Act::Call(rpc) | Act::Command(rpc, _)) => {
                self.rpcs.is_empty() || self.rpcs.contains(rpc)
            }
            (Aspect::Rpc, Act::Others(_)) => !denies || self.rpcs.is_empty(),
            (Aspect::Others, Act::Others(what)) => {
                let names_all = denies && self.others.is_empty() && !self.what.is_named();
                names_all || self.others.contains(what)
            }
            // A deny that is about others' executions, or about commands, is about nothing else.
            (Aspect::Others, Act::Command(..)) => !denies || self.others.is_empty(),
            (Aspect::Others, Act::Call(_)) => {
                !denies || (self.others.is_empty() && !self.what.is_named())
            }
            (aspect, Act::Command(_, command)) => match self.effect {
                Effect::Allow => self.what.allows(aspect, command, &self.forces),
                Effect::Deny => self.what.is_about(aspect, command),
            },
            (_, Act::Call(_) | Act::Others(_)) => true,
        }
    }
}

impl Who {
    fn is(&self, asker: &Asker) -> bool {
        self.is_subject(asker)
            && (self.networks.is_empty()
                || asker.address.is_some_and(|address| {
                    self.networks
                        .iter()
                        .any(|network| network.contains(address))
                }))
            && (self.listeners.is_empty()
                || asker
                    .listener
                    .is_some_and(|name| self.listeners.contains(&name)))
    }

    /// Whether one of those that are named is meant; where none is, everybody is.
    fn is_subject(&self, asker: &Asker) -> bool {
        if !self.names_subjects() {
            return true;
        }
        let identity = asker.identity.as_ref().map(Identity::as_str);
        let is_named = |identity: &str| {
            self.identities
                .iter()
                .any(|pattern| pattern.matches(identity.as_bytes()))
        };
        identity.is_some_and(is_named)
            || asker.uid.is_some_and(|uid| {
                self.users.contains(&uid)
                    || asker.groups.iter().any(|group| self.groups.contains(group))
            })
    }

    fn names_subjects(&self) -> bool {
        !(self.identities.is_empty() && self.users.is_empty() && self.groups.is_empty())
    }

    /// Whether it is narrower than everybody.
    pub(super) fn is_named(&self) -> bool {
        self.names_subjects() || !self.networks.is_empty() || !self.listeners.is_empty()
    }
}

impl What {
    /// Whether it says something of commands.
    pub(super) fn is_named(&self) -> bool {
        let Self {
            programs,
            arguments,
            shell,
            working_directories,
            environment,
            run_as,
            at_most: _,
        } = self;
        programs.is_some()
            || arguments.is_some()
            || shell.is_some()
            || working_directories.is_some()
            || environment.is_some()
            || run_as.is_some()
    }

    /// Whether an allow that says this starts anything.
    pub(super) fn starts(&self) -> bool {
        self.programs.is_some() || self.shell == Some(true)
    }

    /// Whether an allow that says this, and that `forces` this, is about `command`.
    fn allows(&self, aspect: Aspect, command: &AskedCommand, forces: &Forces) -> bool {
        match aspect {
            Aspect::Program if command.shell => self.shell == Some(true),
            Aspect::Program => match &self.programs {
                None => false,
                Some(Named::Any) => true,
                Some(Named::These(programs)) => programs
                    .iter()
                    .any(|pattern| pattern.allows(&command.program)),
            },
            // A text for the shell is all that it is given.
            Aspect::Arguments if command.shell => true,
            Aspect::Arguments => match &self.arguments {
                None => command.arguments.is_empty(),
                Some(Named::Any) => true,
                Some(Named::These(patterns)) => are(patterns, &command.arguments),
            },
            Aspect::WorkingDirectory => {
                let named = match &command.directory {
                    Directory::Unset => return true,
                    Directory::Named(path) | Directory::Real(path) => path,
                };
                let forced = forces.working_directory.as_ref();
                forced.is_some_and(|forced| forced.as_os_str().as_encoded_bytes() == named)
                    || is_one(self.working_directories.as_ref(), |pattern| {
                        pattern.matches(named)
                    })
            }
            Aspect::Environment => command.environment.iter().all(|(name, value)| {
                is_harmless(name, value)
                    || is_one(self.environment.as_ref(), |pattern| pattern.matches(name))
            }),
            Aspect::User => match &command.user {
                RunAs::Unset => true,
                RunAs::Own { .. } => forces.user.is_none(),
                RunAs::Named(text) => {
                    let is_forced = forces.user.as_ref().is_some_and(|user| user.text == *text);
                    is_forced || self.run_as.is_some()
                }
                RunAs::Known { uid, gid, .. } => {
                    let is = |user: &NamedUser| (user.uid, user.gid) == (*uid, *gid);
                    forces.user.as_ref().is_some_and(is) || is_one(self.run_as.as_ref(), is)
                }
            },
            Aspect::Limits => is_within(&command.limits, &self.at_most),
            Aspect::Caller | Aspect::FromExecution | Aspect::Rpc | Aspect::Others => true,
        }
    }

    /// Whether a deny that says this is about `command`, for sure.
    fn is_about(&self, aspect: Aspect, command: &AskedCommand) -> bool {
        match aspect {
            Aspect::Program => {
                self.shell.is_none_or(|shell| shell == command.shell)
                    && self
                        .programs
                        .as_ref()
                        .is_none_or(|programs| match programs {
                            Named::Any => true,
                            Named::These(programs) => programs
                                .iter()
                                .any(|pattern| pattern.denies(&command.program)),
                        })
            }
            Aspect::Arguments => self
                .arguments
                .as_ref()
                .is_none_or(|arguments| match arguments {
                    Named::Any => true,
                    Named::These(patterns) => are(patterns, &command.arguments),
                }),
            Aspect::WorkingDirectory => {
                self.working_directories
                    .as_ref()
                    .is_none_or(|named| match &command.directory {
                        Directory::Unset => matches!(named, Named::Any),
                        Directory::Named(path) | Directory::Real(path) => {
                            is_one(Some(named), |pattern| pattern.matches(path))
                        }
                    })
            }
            Aspect::Environment => self.environment.as_ref().is_none_or(|named| {
                let is_named = |(name, _): &(Vec<u8>, Vec<u8>)| {
                    is_one(Some(named), |pattern| pattern.matches(name))
                };
                command.environment.iter().any(is_named)
            }),
            // As whom it runs, whether it asks for that or not; by its number alone, in whatever group.
            Aspect::User => self.run_as.as_ref().is_none_or(|named| match command.user {
                RunAs::Unset | RunAs::Named(_) => matches!(named, Named::Any),
                RunAs::Own { uid } | RunAs::Known { uid, .. } => {
                    is_one(Some(named), |user| user.uid == uid)
                }
            }),
            Aspect::Limits
            | Aspect::Caller
            | Aspect::FromExecution
            | Aspect::Rpc
            | Aspect::Others => true,
        }
    }
}

impl ProgramPattern {
    /// An allow means the path that it names; or the file that is there, by another way of folders, under the same name: a
    /// program that has many names acts by the one that it is called by.
    fn allows(&self, program: &Program) -> bool {
        match program {
            Program::Unknown => true,
            Program::Absent(name) if name.contains(&b'/') => self.path.matches(name),
            Program::Absent(name) => self
                .path
                .literal()
                .is_some_and(|text| base_name(text) == &**name),
            Program::File { named, real } => {
                // First what most rules differ in.
                let is_named = self.path.matches(named) && is_plain(named);
                let is_file = || self.path.matches(real) || self.real.as_ref() == Some(real);
                let is_called = || {
                    let called = self.path.literal().unwrap_or(real);
                    base_name(named) == base_name(called)
                };
                is_named || (is_file() && is_called())
            }
        }
    }

    /// A deny means the file that it names, by whatever name it is called.
    fn denies(&self, program: &Program) -> bool {
        match program {
            Program::Unknown => false,
            Program::Absent(name) => self.path.matches(name),
            Program::File { named, real } => {
                self.path.matches(named)
                    || self.path.matches(real)
                    || self.real.as_ref() == Some(real)
            }
        }
    }
}

/// Whether one of the named fits.
fn is_one<T>(named: Option<&Named<Vec<T>>>, fits: impl Fn(&T) -> bool) -> bool {
    match named {
        None => false,
        Some(Named::Any) => true,
        Some(Named::These(all)) => all.iter().any(fits),
    }
}

/// Whether each pattern matches the argument at its place, and there are no others.
fn are(patterns: &[Pattern], arguments: &[Vec<u8>]) -> bool {
    let mut pairs = patterns.iter().zip(arguments);
    patterns.len() == arguments.len() && pairs.all(|(pattern, argument)| pattern.matches(argument))
}

/// Whether a path is one way alone: absolute, without `.`, `..` and empty elements.
pub(super) fn is_plain(path: &[u8]) -> bool {
    let Some(below_root) = path.strip_prefix(b"/") else {
        return false;
    };
    let mut elements = below_root.split(|byte| *byte == b'/');
    elements.all(|element| !matches!(element, b"" | b"." | b".."))
}

pub(super) fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

impl Rule {
    /// Whether it may be one of starting a command.
    pub(super) fn may_start(&self) -> bool {
        self.what.starts() && (self.rpcs.is_empty() || self.rpcs.iter().any(|rpc| rpc.starts()))
    }

    /// What it forces.
    pub fn forces(&self) -> &Forces {
        &self.forces
    }
}

#[cfg(test)]
mod tests;
