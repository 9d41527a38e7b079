//! What a command may reach, as it is asked for.

use std::path::{Path, PathBuf};

use super::super::spec::allocation;

/// What a command may reach. Once one list of paths is given, no other file is reached; paths are absolute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IsolationSpec {
    /// To be read, with what is below.
    pub read_paths: Vec<PathBuf>,
    /// To be read and written, with what is below.
    pub write_paths: Vec<PathBuf>,
    /// To be read and executed, with what is below.
    pub execute_paths: Vec<PathBuf>,
    /// What may be done with the network.
    pub network: NetworkSpec,
    /// The command runs with what of this can be applied.
    pub best_effort: bool,
    /// Who says so.
    pub origin: IsolationOrigin,
}

/// Who says what a command may reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IsolationOrigin {
    /// Its caller.
    #[default]
    Request,
    /// A rule of a policy, for callers that it does not trust: a path to write must not lead through a symbolic link, which
    /// an earlier command may have left there.
    Rule,
    /// No rule says otherwise. The same, and a path that is not there grants nothing.
    Default,
}

/// What a command may do with the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NetworkSpec {
    /// Everything.
    #[default]
    Any,
    /// Nothing: it is alone in a network namespace.
    None,
    /// TCP alone, on these ports.
    Ports {
        /// To connect to.
        connect: Vec<u16>,
        /// To bind.
        bind: Vec<u16>,
    },
}

/// Most paths of an isolation in all, and most ports.
pub const MAX_ISOLATION_ENTRIES: usize = 256;

/// What callers that a policy limits may execute.
const SYSTEM: [&str; 8] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt",
];

impl IsolationSpec {
    /// What callers have that a policy limits, where no rule says otherwise: the system's programs, `/etc` to read, the
    /// command's `folder` and its `temporary` folder to write, and no network. Both folders are as good as the rule that
    /// allowed them: a caller who chooses them freely chooses what is written.
    pub fn limited(folder: &Path, temporary: &Path) -> Self {
        Self {
            read_paths: vec!["/etc".into()],
            write_paths: vec![folder.to_owned(), temporary.to_owned()],
            execute_paths: SYSTEM.map(PathBuf::from).to_vec(),
            network: NetworkSpec::None,
            best_effort: false,
            origin: IsolationOrigin::Default,
        }
    }

    /// Whether files are reached by these lists alone.
    pub(super) fn limits_files(&self) -> bool {
        let lists = [&self.read_paths, &self.write_paths, &self.execute_paths];
        lists.iter().any(|list| !list.is_empty())
    }

    /// What its strings and ports take in memory.
    pub(in super::super) fn cost(&self) -> usize {
        let paths = [&self.read_paths, &self.write_paths, &self.execute_paths];
        let paths = paths.into_iter().flatten();
        let ports = match &self.network {
            NetworkSpec::Ports { connect, bind } => connect.len() + bind.len(),
            NetworkSpec::Any | NetworkSpec::None => 0,
        };
        let path = |path: &PathBuf| size_of::<PathBuf>() + allocation(path.as_os_str().len());
        paths.map(path).sum::<usize>() + ports * size_of::<u16>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_limited_writes_two_folders_and_has_no_network() {
        let limited = IsolationSpec::limited(Path::new("/srv/job"), Path::new("/tmp/job"));
        assert_eq!(
            limited.write_paths,
            ["/srv/job", "/tmp/job"].map(PathBuf::from)
        );
        assert_eq!(limited.read_paths, [PathBuf::from("/etc")]);
        for folder in ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt"] {
            assert!(limited.execute_paths.contains(&folder.into()), "{folder}");
        }
        assert_eq!(limited.network, NetworkSpec::None);
        assert!(!limited.best_effort);
    }

    #[test]
    fn any_one_list_limits_all_files() {
        let list = || vec![PathBuf::from("/x")];
        for spec in [
            IsolationSpec {
                read_paths: list(),
                ..IsolationSpec::default()
            },
            IsolationSpec {
                write_paths: list(),
                ..IsolationSpec::default()
            },
            IsolationSpec {
                execute_paths: list(),
                ..IsolationSpec::default()
            },
        ] {
            assert!(spec.limits_files(), "{spec:?}");
        }
        let network = NetworkSpec::None;
        assert!(
            !IsolationSpec {
                network,
                ..IsolationSpec::default()
            }
            .limits_files()
        );
    }
}
