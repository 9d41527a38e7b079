//! `remexd status`, `drain`, `reload` and `log-level`: what is asked of the remexd that runs.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use remex_daemon::logging::LogLevel;
use serde::Serialize;

use super::ToolError;
use crate::{
    control::{
        CallError, call,
        message::{Answered, DaemonStatus, Instruction, Reloaded},
        until_gone,
    },
    state_dir::default_path,
};

/// Which remexd.
#[derive(Debug, Clone, clap::Args)]
pub struct Which {
    /// The one that has its state here [default: /var/lib/remex for root, else $XDG_STATE_HOME/remex]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl Which {
    /// Its state folder.
    pub(super) fn folder(&self) -> Result<PathBuf, ToolError> {
        match &self.state_dir {
            Some(folder) => Ok(folder.clone()),
            None => default_path().map_err(|error| ToolError::Unavailable(error.to_string())),
        }
    }
}

pub(super) fn status(which: &Which, is_json: bool) -> Result<(), ToolError> {
    let (answered, _) = call(&which.folder()?, Instruction::Status {}).map_err(failed)?;
    let Answered::Status(status) = answered else {
        return Err(unexpected());
    };
    if is_json {
        return print_json(&status);
    }
    print(&told(&status))
}

pub(super) fn drain(which: &Which, kill: bool) -> Result<(), ToolError> {
    let connection = match call(&which.folder()?, Instruction::Drain { kill }) {
        Ok((_, connection)) => connection,
        // Which is what was to be waited for.
        Err(CallError::Gone) => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    until_gone(connection).map_err(|error| failed(error.into()))
}

pub(super) fn reload(which: &Which, is_json: bool) -> Result<(), ToolError> {
    let (answered, _) = call(&which.folder()?, Instruction::Reload {}).map_err(failed)?;
    let Answered::Reloaded(reloaded) = answered else {
        return Err(unexpected());
    };
    if is_json {
        return print_json(&reloaded);
    }
    let Reloaded {
        changed,
        needs_restart,
    } = reloaded;
    for key in changed {
        print(&format!("changed: {key}"))?;
    }
    for key in needs_restart {
        print(&format!("holds from the next start on: {key}"))?;
    }
    Ok(())
}

pub(super) fn log_level(which: &Which, level: LogLevel) -> Result<(), ToolError> {
    let asked = call(&which.folder()?, Instruction::LogLevel { level });
    asked.map(drop).map_err(failed)
}

/// For people, a line each.
fn told(status: &DaemonStatus) -> String {
    let DaemonStatus {
        version,
        pid,
        uptime_seconds,
        draining,
        running,
        max_executions,
        containment,
        addresses,
    } = status;
    let state = if *draining { "drains" } else { "serves" };
    let mut text = format!(
        "remexd {version}, process {pid}, {state}; started {uptime_seconds} s ago\n\
         {running} of at most {max_executions} commands run\n\
         process trees are kept together by {containment}"
    );
    for address in addresses {
        text.push('\n');
        text.push_str(address);
    }
    text
}

pub(super) fn print(text: &str) -> Result<(), ToolError> {
    let printed = writeln!(io::stdout(), "{text}");
    printed.map_err(|error| ToolError::Internal(format!("stdout takes nothing: {error}")))
}

/// A line of JSON, in a shape that docs/json.md shows.
pub(super) fn print_json(line: &impl Serialize) -> Result<(), ToolError> {
    let line = serde_json::to_string(line);
    print(&line.map_err(|error| ToolError::Internal(error.to_string()))?)
}

pub(super) fn failed(error: CallError) -> ToolError {
    match error {
        CallError::Refused(why) => ToolError::Usage(why),
        CallError::Nobody { .. } | CallError::Gone | CallError::Io(_) | CallError::Foreign(_) => {
            ToolError::Unavailable(error.to_string())
        }
    }
}

pub(super) fn unexpected() -> ToolError {
    ToolError::Unavailable("remexd answers something else; is it of another version?".into())
}
