//! Where in the machine's cgroup v2 tree the groups of durable executions are, and that of their supervisors.
//!
//! They are beside the server's own cgroup where there may be others: whoever ends the server with all that is in that
//! cgroup, as a service manager does, ends no durable execution, and nothing of one keeps that cgroup from being used again.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use super::{
    clone,
    error::StartError,
    group,
    own_cgroup::OwnCgroup,
    spec::TreeLimits,
    tree_limits::{Controllers, write_limits},
};

/// The name of the supervisors' group, which is no execution's id.
const SUPERVISORS: &str = "_supervisors";

/// The instance's durable part of the cgroup v2 tree.
#[derive(Debug)]
pub(super) struct DurableGroups {
    base: PathBuf,
    controllers: Controllers,
    /// It ends with the server's own cgroup.
    is_within: bool,
}

impl DurableGroups {
    /// In a folder `name`, beside the server's own cgroup or in it; `Err` says why neither can be.
    pub(super) fn open(own: &OwnCgroup, name: &str) -> Result<Self, String> {
        if let Some(parent) = own.parent() {
            let base = parent.join(name);
            match try_out(&base) {
                Ok(()) => {
                    return Ok(Self {
                        controllers: Controllers::enable_beside(&base),
                        base,
                        is_within: false,
                    });
                }
                Err(why) => {
                    tracing::debug!("{why}");
                    remove(&base);
                }
            }
        }
        let base = own.path().join(name);
        try_out(&base)?;
        Ok(Self {
            controllers: Controllers::enable_within(own, &base),
            base,
            // The topmost group is not anybody's to end.
            is_within: own.parent().is_some(),
        })
    }

    /// The folder that all groups are in.
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    /// For the start-up line.
    pub(super) fn describe(&self) -> String {
        let base = self.base.display();
        if self.is_within {
            format!("durable executions in {base}, which end with this server's own cgroup")
        } else {
            format!("durable executions in {base}")
        }
    }

    /// Makes the group of the execution `id`.
    pub(super) fn make(&self, id: &str) -> io::Result<(PathBuf, OwnedFd)> {
        let path = self.base.join(id);
        make(&path)?;
        match open(&path) {
            Ok(dir) => Ok((path, dir)),
            Err(error) => {
                group::remove(&path);
                Err(error)
            }
        }
    }

    /// The group that supervisors are born in.
    pub(super) fn supervisors(&self) -> io::Result<OwnedFd> {
        supervisors(&self.base)
    }

    /// Limits the group at `path`.
    pub(super) fn limit(&self, path: &Path, limits: TreeLimits) -> Result<(), StartError> {
        self.controllers.check(limits)?;
        write_limits(path, limits)
            .map_err(|(limit, why)| StartError::LimitUnavailable { limit, why })
    }
}

impl Drop for DurableGroups {
    /// Leaves nothing behind, but for groups in which something still lives.
    fn drop(&mut self) {
        remove(&self.base);
    }
}

/// Whether groups can be made in `base`, in which a child of this process lives.
fn try_out(base: &Path) -> Result<(), String> {
    let denied = |error: io::Error| format!("{} cannot be used: {error}", base.display());
    let supervisors = supervisors(base).map_err(denied)?;
    match clone::probe(supervisors.as_fd()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!(
            "the kernel kills what is born in {}",
            base.display()
        )),
        Err(error) => Err(denied(error)),
    }
}

fn supervisors(base: &Path) -> io::Result<OwnedFd> {
    let path = base.join(SUPERVISORS);
    match open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    match make(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => open(&path),
    }
}

/// Makes a group in the base, which is made too: whoever looks after this machine's cgroups may have removed it while it was
/// empty.
fn make(path: &Path) -> io::Result<()> {
    match (fs::create_dir(path), path.parent()) {
        (Err(error), Some(base)) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir(base)?;
            fs::create_dir(path)
        }
        (made, _) => made,
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Refused where something lives in it.
fn remove(base: &Path) {
    for group in [&base.join(SUPERVISORS), base] {
        let _ = rustix::fs::rmdir(group);
    }
}
