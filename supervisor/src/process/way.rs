//! The two ways to keep a process tree together, and which of them is taken.

use std::io;

use super::{hierarchy::Hierarchy, table::ProcessTable};

/// Which way to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// A cgroup where there can be one, else the sweep.
    #[default]
    Auto,
    /// The sweep, even where there could be cgroups.
    Sweep,
}

/// The way that was taken.
#[derive(Debug)]
pub(super) enum Way {
    Cgroup(Hierarchy),
    Sweep { why: String },
}

impl Way {
    /// Takes a way, and readies this process for it.
    pub(super) fn choose(choice: Choice, instance: &str) -> io::Result<Self> {
        let why = match choice {
            Choice::Auto => match Hierarchy::open(instance) {
                Ok(hierarchy) => return Ok(Self::Cgroup(hierarchy)),
                Err(why) => why,
            },
            Choice::Sweep => "it was asked for".into(),
        };
        ProcessTable::open().map_err(|error| without_proc(&error, &why))?;
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        Ok(Self::Sweep { why })
    }

    /// Whether orphans fall to this process: as a subreaper, or as the first of its PID namespace.
    pub(super) fn has_orphans(&self) -> bool {
        matches!(self, Self::Sweep { .. }) || std::process::id() == 1
    }

    /// For the start-up line.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Cgroup(hierarchy) => {
                let (base, durable) = (hierarchy.base().display(), hierarchy.durable().describe());
                format!("cgroup v2 ({base}; {durable})")
            }
            Self::Sweep { why } => format!(
                "process sweep, since {why}; a command that clears its environment and double-forks may escape a kill"
            ),
        }
    }
}

fn without_proc(error: &io::Error, why: &str) -> io::Error {
    let text = format!(
        "/proc cannot be read ({error}), and without cgroups ({why}) process trees are found there; mount it"
    );
    io::Error::new(error.kind(), text)
}
