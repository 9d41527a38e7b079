//! `remexd policy test FILE` and `remexd policy explain`.

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use remex_daemon::DaemonExit;

use super::{ToolError, operate::print_json};
use crate::policy::{
    AccessPolicy, Decision,
    examples::{self, ExampleKeys},
    explain, judge,
    machine::{Machine, ThisMachine},
    question::Rpc,
};

/// Who asks, and for what.
#[derive(Debug, Clone, clap::Args)]
pub struct Asked {
    /// The policy
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Who asks, as records show callers: unix:USER, ip:ADDRESS, spiffe://…, dns:…, token:NAME, jwt:SUBJECT
    #[arg(long = "as", value_name = "ID")]
    caller: String,
    /// By which call
    #[arg(long, value_name = "RPC", default_value = "Run", value_parser = rpc)]
    rpc: Rpc,
    /// Through a listener of the old protocol, such as tcp-exec
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// From inside an execution
    #[arg(long)]
    from_execution: bool,
    /// The command is a text for the shell
    #[arg(long)]
    shell: bool,
    /// As this user
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Say it in a line of JSON
    #[arg(long)]
    json: bool,
    /// In this folder
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// With this variable; repeatable
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// The command
    #[arg(last = true, required = true, value_name = "PROGRAM ARG")]
    argv: Vec<String>,
}

fn rpc(name: &str) -> Result<Rpc, String> {
    let starting = Rpc::ALL.into_iter().filter(|rpc| rpc.starts());
    let mut named = starting.filter(|rpc| format!("{rpc:?}") == name);
    named
        .next()
        .ok_or_else(|| "is none of Run, Start, Interact".to_owned())
}

pub(super) fn test(file: &Path, is_json: bool) -> Result<(), ToolError> {
    let policy = load(file)?;
    if is_json {
        return print_json(&explain::PolicySummary::of(&policy));
    }
    print(&explain::summary(&policy))
}

pub(super) fn explain(asked: &Asked) -> Result<DaemonExit, ToolError> {
    let policy = load(&asked.policy)?;
    let mut argv = asked.argv.clone();
    if let (Some(program), false) = (argv.first_mut(), asked.shell) {
        *program = found(program)?;
    }
    let keys = ExampleKeys {
        caller: Some(asked.caller.clone()),
        listener: asked.listener.clone(),
        from_execution: asked.from_execution,
        rpc: Some(asked.rpc),
        argv,
        shell: asked.shell,
        working_directory: asked.cwd.as_deref().map(real),
        environment: asked.env.clone(),
        user: asked.user.clone(),
        on_others: None,
    };
    let question = examples::question(&keys, &ThisMachine).map_err(ToolError::Usage)?;
    if asked.json {
        print_json(&explain::ExplainedDecision::of(&policy, &question))?;
    } else {
        print(&explain::decision(&policy, &question))?;
    }
    Ok(match judge(&policy, &question) {
        Decision::Allowed(_) => DaemonExit::Success,
        Decision::Denied(_) => DaemonExit::Denied,
    })
}

fn load(file: &Path) -> Result<AccessPolicy, ToolError> {
    AccessPolicy::load(file, &ThisMachine).map_err(|error| ToolError::Usage(error.to_string()))
}

/// Where the program is: by its path, or in this PATH, which may be another one than the command's.
fn found(program: &str) -> Result<String, ToolError> {
    if program.contains('/') {
        return Ok(program.to_owned());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let mut candidates = env::split_paths(&path).map(|folder| folder.join(program));
    let found = candidates.find(|candidate| candidate.is_file() && candidate.is_absolute());
    let found = found.and_then(|found| found.into_os_string().into_string().ok());
    found.ok_or_else(|| {
        ToolError::Usage(format!(
            "there is no program {program:?} in this PATH; give its path"
        ))
    })
}

/// Without links, where it is there.
fn real(folder: &str) -> String {
    let real = ThisMachine.real(OsString::from(folder).as_bytes());
    let real = real.map(|real| OsString::from_vec(real).to_string_lossy().into_owned());
    real.unwrap_or_else(|| folder.to_owned())
}

fn print(text: &str) -> Result<(), ToolError> {
    let printed = io::stdout().write_all(text.as_bytes());
    printed.map_err(|error| ToolError::Internal(format!("the answer cannot be printed: {error}")))
}
