//! The file of a policy: TOML, with every key known, into rules. What is wrong is said with its line and key.

mod isolation;
mod keys;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use remex_daemon::{
    File, FileError,
    net::{Identity, NoIdentity},
};
use remex_supervisor::process::ResourceLimits;
use toml::Spanned;

use self::keys::{ForceKeys, Keys, LimitKeys, ListKey, RuleKeys};
use super::{
    breadth, examples,
    limits::is_within,
    machine::Machine,
    pattern::Pattern,
    rule::{
        AccessPolicy, Effect, Forces, MAX_RULES, Named, ProgramPattern, Rule, What, Who, is_plain,
    },
};

/// The longest name of a rule, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// What listeners of the old protocol are called.
const LISTENERS: [&str; 6] = [
    "tcp-exec",
    "udp-exec",
    "unix-exec",
    "tcp-echo",
    "udp-echo",
    "unix-echo",
];

impl AccessPolicy {
    /// Of the file at `path`. Asks `machine` who the users and groups in it are, which may take long.
    pub fn load(path: &Path, machine: &impl Machine) -> Result<Self, FileError> {
        Self::parse(&File::read(path)?, machine)
    }

    /// Of `file`, whose text is at hand.
    pub fn parse(file: &File, machine: &impl Machine) -> Result<Self, FileError> {
        let keys: Keys = file.parse()?;
        if let Some(first_too_many) = keys.rule.get(MAX_RULES) {
            let why = format!("are more than {MAX_RULES} rules");
            return Err(file.reject(&first_too_many.name.span(), &why));
        }
        let reader = Reader { file, machine };
        let (mut rules, mut names) = (Vec::new(), BTreeSet::new());
        for keys in keys.rule {
            let span = keys.name.span();
            if !names.insert(keys.name.get_ref().clone()) {
                return Err(file.reject(&span, "another rule has this name"));
            }
            rules.push(reader.rule(keys)?);
        }
        let names_groups = rules.iter().any(|rule| !rule.who.groups.is_empty());
        Ok(Self {
            rules,
            names_groups,
        })
    }
}

/// Reads one rule after the other.
struct Reader<'a, M> {
    file: &'a File,
    machine: &'a M,
}

type Read<T> = Result<T, FileError>;

impl<M: Machine> Reader<'_, M> {
    fn rule(&self, mut keys: RuleKeys) -> Read<Rule> {
        let (matching, others) = (
            std::mem::take(&mut keys.matching),
            std::mem::take(&mut keys.not_matching),
        );
        let name = self.name(&keys.name)?;
        let whole = keys.name.span();
        let wrong = |why: &str| self.file.reject(&whole, why);
        let who = self.who(&keys)?;
        let what = self.what(&keys)?;
        let forces = self.forces(keys.force.as_ref())?;
        match keys.decision {
            Effect::Deny => {
                if keys.force.is_some() || keys.at_most.is_some() {
                    return Err(wrong("a deny forces nothing, and has no at_most"));
                }
            }
            Effect::Allow => {
                if keys.anyone == who.is_named() {
                    return Err(wrong(
                        "an allow says whom it is for: by identities, users, groups, networks or listeners, or for all \
                         that are let in with anyone = true",
                    ));
                }
                if what.arguments.is_some() && what.programs.is_none() {
                    return Err(wrong("has arguments and no programs"));
                }
                let starts = keys.rpcs.iter().any(|rpc| rpc.starts());
                if starts && !what.starts() {
                    return Err(wrong(
                        "an allow of Run, Start or Interact says what: by programs, or shell = true",
                    ));
                }
                if !is_within(&forces.limits, &what.at_most) {
                    return Err(wrong("forces limits above its at_most"));
                }
            }
        }
        let rule = Rule {
            name,
            line: self.file.line(&whole),
            effect: keys.decision,
            who,
            rpcs: keys.rpcs,
            what,
            others: keys.others,
            forces,
        };
        for (all, fits) in [(matching, true), (others, false)] {
            for example in all {
                let span = example.span();
                examples::check(&rule, example.get_ref(), fits, self.machine)
                    .map_err(|why| self.file.reject(&span, &why.to_string()))?;
            }
        }
        Ok(rule)
    }

    fn name(&self, name: &Spanned<String>) -> Read<String> {
        let text = name.get_ref();
        let is_shown = text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
        if text.is_empty() || text.len() > MAX_NAME_BYTES || !is_shown {
            let why = format!("a rule's name has 1 to {MAX_NAME_BYTES} printable ASCII characters");
            return Err(self.file.reject(&name.span(), &why));
        }
        Ok(text.clone())
    }

    fn who(&self, keys: &RuleKeys) -> Read<Who> {
        let user = |name: &str| self.machine.account(name).map(|account| account.uid);
        let network = |text: &str| text.parse().map_err(|_| "is no network".to_owned());
        let listener = |name: &str| {
            listener(name).ok_or_else(|| format!("is none of {}", LISTENERS.join(", ")))
        };
        Ok(Who {
            identities: self.each(&keys.identities, identity)?,
            users: self.each(&keys.users, user)?.into_iter().collect(),
            groups: self
                .each(&keys.groups, |name| self.machine.group(name))?
                .into_iter()
                .collect(),
            networks: self.each(&keys.networks, network)?,
            listeners: self.each(&keys.listeners, listener)?,
            from_executions: keys.from_executions,
        })
    }

    fn what(&self, keys: &RuleKeys) -> Read<What> {
        let program = |text: &str| {
            let path = path(text)?;
            Ok(ProgramPattern {
                real: path
                    .literal()
                    .and_then(|literal| self.machine.real(literal)),
                path,
            })
        };
        Ok(What {
            programs: self.list(keys.programs.as_ref(), program)?,
            arguments: self.list(keys.arguments.as_ref(), pattern)?,
            shell: keys.shell,
            working_directories: self.list(keys.working_directories.as_ref(), path)?,
            environment: self.list(keys.environment.as_ref(), variable)?,
            run_as: self.list(keys.run_as.as_ref(), |name| self.machine.account(name))?,
            at_most: self.limits(keys.at_most.as_ref())?,
        })
    }

    fn forces(&self, keys: Option<&ForceKeys>) -> Read<Forces> {
        let Some(keys) = keys else {
            return Ok(Forces::default());
        };
        let user = keys.user.as_ref();
        let user = user.map(|user| self.value(user, |name| self.machine.account(name)));
        let folder = keys.working_directory.as_ref();
        let folder = folder.map(|folder| self.value(folder, plain_path));
        let isolation = keys.isolation.as_ref().map(|key| self.isolation(key));
        Ok(Forces {
            user: user.transpose()?,
            working_directory: folder.transpose()?,
            limits: self.limits(keys.limits.as_ref())?,
            isolation: isolation.transpose()?.unwrap_or_default(),
        })
    }

    fn limits(&self, keys: Option<&LimitKeys>) -> Read<ResourceLimits> {
        let Some(keys) = keys else {
            return Ok(ResourceLimits::default());
        };
        let seconds = |text: &str| {
            let time = remex::duration::parse(text).map_err(|error| error.to_string())?;
            Ok(time.as_secs() + u64::from(time.subsec_nanos() > 0))
        };
        let cpu = keys.cpu_time.as_ref().map(|time| self.value(time, seconds));
        Ok(keys.with_cpu(cpu.transpose()?))
    }

    fn list<T>(
        &self,
        key: Option<&ListKey>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Read<Option<Named<Vec<T>>>> {
        Ok(match key {
            None => None,
            Some(ListKey::Any) => Some(Named::Any),
            Some(ListKey::These(texts)) => Some(Named::These(self.each(texts, read)?)),
        })
    }

    fn each<T>(
        &self,
        texts: &[Spanned<String>],
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Read<Vec<T>> {
        texts.iter().map(|text| self.value(text, &read)).collect()
    }

    fn value<T>(
        &self,
        text: &Spanned<String>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Read<T> {
        read(text.get_ref()).map_err(|why| {
            let why = format!("{:?} {why}", text.get_ref());
            self.file.reject(&text.span(), &why)
        })
    }
}

/// The kind of listener that is called `name`.
pub(super) fn listener(name: &str) -> Option<&'static str> {
    LISTENERS.into_iter().find(|known| *known == name)
}

/// An identity, or a pattern of some of one kind. There is no empty one, and none that could match it.
fn identity(text: &str) -> Result<Pattern, String> {
    let separator = if text.starts_with("dns:") { b'.' } else { b'/' };
    let pattern = Pattern::with_separator(text, separator).map_err(|error| error.to_string())?;
    if let Some(literal) = pattern.literal() {
        let literal = String::from_utf8_lossy(literal);
        let parsed: Result<Identity, NoIdentity> = literal.parse();
        return match parsed {
            Ok(identity) if identity.as_str() == literal => Ok(pattern),
            Ok(_) => Err("is not written as identities are".to_owned()),
            Err(error) => Err(format!("is no identity: {error}")),
        };
    }
    // With something in place of the star it has to be one.
    let (kind, _) = text.split_once('*').unwrap_or((text, ""));
    if kind.starts_with("subject:") {
        return Err("is a subject: write it out, with its issuer".to_owned());
    }
    let parsed: Result<Identity, NoIdentity> = format!("{kind}x").parse();
    parsed.map_err(|error| format!("is no identity: {error}"))?;
    Ok(pattern)
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| error.to_string())
}

/// An absolute path that is one way alone.
fn plain_path(text: &str) -> Result<PathBuf, String> {
    if is_plain(text.as_bytes()) || text == "/" {
        Ok(text.into())
    } else {
        Err("is no absolute path without . and ..".to_owned())
    }
}

/// A pattern of absolute paths.
fn path(text: &str) -> Result<Pattern, String> {
    let pattern = pattern(text)?;
    if is_plain(text.as_bytes()) {
        Ok(pattern)
    } else {
        Err("is no absolute path without . and ..; write \"any\" for all".to_owned())
    }
}

/// A pattern of names of variables.
fn variable(text: &str) -> Result<Pattern, String> {
    let pattern = pattern(text)?;
    if text.is_empty() || text.contains('=') {
        return Err("is no name of a variable".to_owned());
    }
    if !pattern.is_exact()
        && let Some(name) = breadth::commanding_variable(&pattern)
    {
        return Err(format!(
            "would match {name}, by which a caller has anything run; write out what is meant, or \"any\""
        ));
    }
    Ok(pattern)
}

#[cfg(test)]
mod tests;
