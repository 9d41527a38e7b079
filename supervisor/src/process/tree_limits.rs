//! Limits of whole trees: the controllers of cgroup v2 that they need, and the files that they are written into.

use std::{fs, io, path::Path};

use super::{error::StartError, own_cgroup::OwnCgroup, spec::TreeLimits};

/// Why each controller cannot be used, if it cannot.
#[derive(Debug)]
pub(super) struct Controllers {
    memory: Result<(), String>,
    pids: Result<(), String>,
}

/// The limits' names in the API.
pub(super) const MEMORY_LIMIT: &str = "tree_memory_bytes";
const PROCESSES_LIMIT: &str = "tree_processes";

/// Writes `limits` into the files of the group at `path`. `Err` names the limit, and says why it cannot be had.
pub(super) fn write_limits(path: &Path, limits: TreeLimits) -> Result<(), (&'static str, String)> {
    let write = |limit: &'static str, file: &'static str, value: u64| {
        fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(path.join(file))
            .and_then(|mut opened| io::Write::write_all(&mut opened, value.to_string().as_bytes()))
            .map_err(|error| (limit, format!("{file}: {error}")))
    };
    if let Some(bytes) = limits.memory_bytes {
        write(MEMORY_LIMIT, "memory.max", bytes)?;
        // Swap would make the limit a matter of taste. Where there is none, there is no such file.
        if path.join("memory.swap.max").exists() {
            write(MEMORY_LIMIT, "memory.swap.max", 0)?;
        }
    }
    if let Some(processes) = limits.processes {
        write(PROCESSES_LIMIT, "pids.max", processes)?;
    }
    Ok(())
}

/// The error for `limits` where there are no cgroups.
pub(super) fn unavailable(limits: TreeLimits, why: String) -> StartError {
    let limit = match limits.memory_bytes {
        Some(_) => MEMORY_LIMIT,
        None => PROCESSES_LIMIT,
    };
    StartError::LimitUnavailable { limit, why }
}

impl Controllers {
    /// Makes the controllers available to groups in `base`, which is in the own cgroup of the server of `instance`.
    pub(super) fn enable_within(own: &OwnCgroup, base: &Path, instance: &str) -> Self {
        Self::enable(own.path(), base, || own.move_to_leaf(instance))
    }

    /// Makes the controllers available to groups in `base`, which is in a cgroup whose processes are not the server's to move.
    pub(super) fn enable_beside(base: &Path) -> Self {
        let refuse = || Err(io::ErrorKind::ResourceBusy.into());
        Self::enable(base.parent().unwrap_or(base), base, refuse)
    }

    /// A group with processes may not have controllers below it, unless they are moved by `make_way`.
    fn enable(parent: &Path, base: &Path, make_way: impl Fn() -> io::Result<()>) -> Self {
        let has = |group: &Path, controller: &str| {
            let available = fs::read_to_string(group.join("cgroup.controllers"));
            let available = available.unwrap_or_default();
            available.split_whitespace().any(|name| name == controller)
        };
        let enable = |controller: &str| {
            let control = |group: &Path| {
                let file = group.join("cgroup.subtree_control");
                fs::write(file, format!("+{controller}"))
            };
            let pass_down = || {
                if has(base, controller) {
                    return Ok(());
                }
                control(parent)
                    .or_else(|error| make_way().map_err(|_| error).and_then(|()| control(parent)))
            };
            if !has(parent, controller) {
                return Err(format!("cgroup v2 has no {controller} controller here"));
            }
            pass_down().and_then(|()| control(base)).map_err(|error| {
                format!(
                    "cgroup v2's {controller} controller cannot be enabled in {}: {error}",
                    parent.display()
                )
            })
        };
        Self {
            memory: enable("memory"),
            pids: enable("pids"),
        }
    }

    /// Whether `limits` can be had: each needs its own controller, and no other.
    pub(super) fn check(&self, limits: TreeLimits) -> Result<(), StartError> {
        for (limit, is_wanted, controller) in [
            (MEMORY_LIMIT, limits.memory_bytes.is_some(), &self.memory),
            (PROCESSES_LIMIT, limits.processes.is_some(), &self.pids),
        ] {
            if is_wanted && let Err(why) = controller {
                let why = why.clone();
                return Err(StartError::LimitUnavailable { limit, why });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_limits_are_written_into_their_files() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["memory.max", "memory.swap.max", "pids.max"] {
            fs::write(dir.path().join(file), "max\n").unwrap();
        }
        let limits = TreeLimits {
            memory_bytes: Some(64 << 20),
            processes: Some(12),
        };
        write_limits(dir.path(), limits).unwrap();
        let read = |file| fs::read_to_string(dir.path().join(file)).unwrap();
        assert_eq!(read("memory.max"), "67108864");
        assert_eq!(read("memory.swap.max"), "0");
        assert_eq!(read("pids.max"), "12");
    }

    #[test]
    fn a_limit_without_its_file_is_an_error_that_names_both() {
        let dir = tempfile::tempdir().unwrap();
        let limits = TreeLimits {
            processes: Some(12),
            ..TreeLimits::default()
        };
        let (limit, why) = write_limits(dir.path(), limits).unwrap_err();
        assert_eq!(limit, "tree_processes");
        assert!(why.starts_with("pids.max: "), "{why}");
    }

    #[test]
    fn pitfall_70_a_limit_needs_its_own_controller_alone() {
        let limits = |memory_bytes, processes| TreeLimits {
            memory_bytes,
            processes,
        };
        let none = |name: &str| Err(format!("no {name}"));
        let pids_alone = Controllers {
            memory: none("memory"),
            pids: Ok(()),
        };
        assert!(pids_alone.check(limits(None, Some(4))).is_ok());
        assert!(pids_alone.check(limits(None, None)).is_ok());
        let refused = pids_alone.check(limits(Some(1), Some(4))).unwrap_err();
        assert!(
            refused.to_string().contains("tree_memory_bytes"),
            "{refused}"
        );
        let memory_alone = Controllers {
            memory: Ok(()),
            pids: none("pids"),
        };
        assert!(memory_alone.check(limits(Some(1), None)).is_ok());
        let refused = memory_alone.check(limits(Some(1), Some(4))).unwrap_err();
        assert!(refused.to_string().contains("tree_processes"), "{refused}");
    }
}
