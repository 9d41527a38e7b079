//! `remexd upgrade`: tries what is installed now, has the remexd that runs execute it, and looks what serves then.

use std::{
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use serde::Serialize;

use super::{
    ToolError,
    operate::{Which, failed, print, print_json, unexpected},
};
use crate::control::{
    call,
    message::{Answered, Instruction, RunningProgram},
    until_gone,
};

/// What another program may take to serve.
const START_TIME: Duration = Duration::from_mins(1);

/// How often it is asked meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(super) fn upgrade(which: &Which, is_json: bool) -> Result<(), ToolError> {
    let folder = which.folder()?;
    let old = program(&folder)?;
    try_out(&old)?;
    let installed = identity(&old.file)?;
    let process = process(old.pid);
    let (answered, connection) = call(&folder, Instruction::Upgrade {}).map_err(failed)?;
    if answered != Answered::Upgrading {
        return Err(unexpected());
    }
    until_gone(connection).map_err(|error| failed(error.into()))?;
    let new = started(&folder, old.pid, process.as_ref())?;
    if new.identity != installed {
        return Err(ToolError::Unavailable(format!(
            "{} could not serve, as the log says; the program before it, version {}, was executed again and serves",
            old.file.display(),
            new.version
        )));
    }
    if is_json {
        return print_json(&Upgraded {
            version: &new.version,
            pid: new.pid,
        });
    }
    print(&format!("remexd {} serves", new.version))
}

/// What serves now.
#[derive(Debug, Serialize)]
struct Upgraded<'a> {
    version: &'a str,
    pid: u32,
}

fn program(folder: &Path) -> Result<RunningProgram, ToolError> {
    match call(folder, Instruction::Program {}).map_err(failed)?.0 {
        Answered::Program(program) => Ok(program),
        _ => Err(unexpected()),
    }
}

/// Has the program say what it makes of the configuration: whether it can be executed here, and takes these flags and files.
fn try_out(old: &RunningProgram) -> Result<(), ToolError> {
    let file = old.file.display();
    let tried = Command::new(&old.file)
        .args(&old.arguments)
        .arg("--check")
        .current_dir(&old.directory)
        .output();
    let tried = tried.map_err(|error| {
        ToolError::Unavailable(format!(
            "{file} cannot be executed, and the old one serves: {error}"
        ))
    })?;
    if tried.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&tried.stderr);
    Err(ToolError::Usage(format!(
        "{file} --check: {}; the old one serves: {}",
        tried.status,
        said.trim()
    )))
}

fn identity(file: &Path) -> Result<(u64, u64), ToolError> {
    let of = fs::metadata(file).map_err(|source| ToolError::File {
        file: file.to_owned(),
        source,
    })?;
    Ok((of.dev(), of.ino()))
}

/// The process `pid`, to see its end by: its parent may not have looked after that, so that its number is still taken.
fn process(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(pid.try_into().ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// What serves in `process`, whose number is `pid`, once something does.
fn started(
    folder: &Path,
    pid: u32,
    process: Option<&OwnedFd>,
) -> Result<RunningProgram, ToolError> {
    let give_up = Instant::now() + START_TIME;
    loop {
        match program(folder) {
            Err(ToolError::Unavailable(_)) if Instant::now() < give_up => {
                if ends(process) {
                    return Err(ToolError::Unavailable(format!(
                        "process {pid} has ended before it served, and nothing serves in its place, unless a service manager starts it again"
                    )));
                }
            }
            Ok(other) if other.pid != pid => {
                return Err(ToolError::Unavailable(format!(
                    "process {pid} has ended before it served; process {}, version {}, was started instead, and serves",
                    other.pid, other.version
                )));
            }
            found => return found,
        }
    }
}

/// Whether the process ends, within a moment.
fn ends(process: Option<&OwnedFd>) -> bool {
    let Some(process) = process else {
        thread::sleep(LOOK_AGAIN);
        return false;
    };
    let mut ends = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
    let moment = Timespec::try_from(LOOK_AGAIN).ok();
    poll(&mut ends, moment.as_ref()).is_ok_and(|ended| ended > 0)
}
