//! What a rule says of itself that it matches, and that it does not, held against it when the policy is read.

use std::net::{IpAddr, SocketAddr};

use remex_daemon::net::Identity;
use remex_supervisor::process::ResourceLimits;
use serde::Deserialize;

use super::{
    machine::Machine,
    question::{Act, AskedCommand, Asker, Directory, OnOthers, Program, Question, Rpc, RunAs},
    rule::Rule,
};

/// An example, as it is written. What it leaves out is not asked for; without `as`, who asks is not looked at.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ExampleKeys {
    #[serde(rename = "as")]
    pub(crate) caller: Option<String>,
    pub(crate) listener: Option<String>,
    pub(crate) from_execution: bool,
    pub(crate) rpc: Option<Rpc>,
    pub(crate) argv: Vec<String>,
    pub(crate) shell: bool,
    pub(crate) working_directory: Option<String>,
    pub(crate) environment: Vec<String>,
    pub(crate) user: Option<String>,
    pub(crate) on_others: Option<OnOthers>,
}

/// An example is not as the rule has it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WrongExample {
    /// It was to match.
    #[error("the rule does not match this example")]
    Unmatched,
    /// It was not to.
    #[error("the rule matches this example")]
    Matched,
    /// It asks for nothing that a rule could match.
    #[error("is no example: {0}")]
    Invalid(String),
}

/// Whether `rule` fits `example` exactly if it is to.
pub(super) fn check(
    rule: &Rule,
    example: &ExampleKeys,
    is_to_fit: bool,
    machine: &impl Machine,
) -> Result<(), WrongExample> {
    let question = question(example, machine).map_err(WrongExample::Invalid)?;
    let fits = match example.caller {
        Some(_) => rule.fits(&question),
        None => rule.fits_act(&question),
    };
    match (fits, is_to_fit) {
        (true, true) | (false, false) => Ok(()),
        (false, true) => Err(WrongExample::Unmatched),
        (true, false) => Err(WrongExample::Matched),
    }
}

/// What an example asks.
pub(crate) fn question(keys: &ExampleKeys, machine: &impl Machine) -> Result<Question, String> {
    let mut asker = match &keys.caller {
        Some(text) => asker(text, machine)?,
        None => nobody(),
    };
    asker.is_inside = keys.from_execution;
    asker.listener = match keys.listener.as_deref() {
        None => None,
        Some(name) => Some(super::file::listener(name).ok_or("there is no such listener")?),
    };
    let rpc = keys.rpc.unwrap_or(Rpc::Run);
    let act = match (keys.on_others, keys.argv.first()) {
        (Some(what), None) => Act::Others(what),
        (Some(_), Some(_)) => return Err("it has both argv and on_others".to_owned()),
        (None, None) if keys.rpc.is_some_and(|rpc| !rpc.starts()) => Act::Call(rpc),
        (None, None) => return Err("it has no argv".to_owned()),
        (None, Some(program)) => Act::Command(rpc, Box::new(command(keys, program, machine)?)),
    };
    Ok(Question { asker, act })
}

fn command(
    keys: &ExampleKeys,
    program: &str,
    machine: &impl Machine,
) -> Result<AskedCommand, String> {
    let (program, arguments) = if keys.shell {
        (
            b"/bin/sh".to_vec(),
            vec![b"-c".to_vec(), program.as_bytes().to_vec()],
        )
    } else {
        let arguments = keys.argv.iter().skip(1);
        (
            program.as_bytes().to_vec(),
            arguments.map(|text| text.as_bytes().to_vec()).collect(),
        )
    };
    let variables = keys.environment.iter().map(|text| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.as_bytes().to_vec(), value.as_bytes().to_vec())
    });
    let user = match &keys.user {
        None => RunAs::Unset,
        Some(text) => {
            let account = machine.account(text)?;
            RunAs::Known {
                text: account.text,
                uid: account.uid,
                gid: account.gid,
            }
        }
    };
    let directory = keys.working_directory.as_ref();
    Ok(AskedCommand {
        shell: keys.shell,
        program: if program.contains(&b'/') {
            Program::File {
                real: machine.real(&program).unwrap_or_else(|| program.clone()),
                named: program,
            }
        } else {
            Program::Absent(program)
        },
        arguments,
        directory: directory.map_or(Directory::Unset, |path| {
            Directory::Named(path.as_bytes().to_vec())
        }),
        environment: variables.collect(),
        user,
        limits: ResourceLimits::default(),
    })
}

/// Somebody of whom nothing is known.
fn nobody() -> Asker {
    Asker {
        identity: None,
        uid: None,
        groups: Vec::new(),
        address: None,
        listener: None,
        is_inside: false,
    }
}

/// Who `text` is: an identity, `unix:USER` or `ip:ADDRESS`, as records show callers.
pub fn asker(text: &str, machine: &impl Machine) -> Result<Asker, String> {
    if let Some(user) = text.strip_prefix("unix:") {
        let uid = machine
            .account(user)
            .map_err(|why| format!("{user:?} {why}"))?
            .uid;
        return Ok(Asker {
            uid: Some(uid),
            groups: machine.groups_of(uid)?,
            ..nobody()
        });
    }
    if let Some(address) = text.strip_prefix("ip:") {
        let ip: IpAddr = address
            .parse()
            .map_err(|_| format!("{address:?} is no address"))?;
        return Ok(Asker {
            address: Some(SocketAddr::new(ip, 0)),
            ..nobody()
        });
    }
    let identity: Result<Identity, _> = text.parse();
    let identity = identity.map_err(|error| {
        format!("{text:?} is neither unix:USER, ip:ADDRESS nor an identity: {error}")
    })?;
    Ok(Asker {
        identity: Some(identity),
        ..nobody()
    })
}
