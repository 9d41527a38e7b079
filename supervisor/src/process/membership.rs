//! Whether a process is in the cgroup of an execution, by what the kernel says of it: a command that calls the server is
//! no caller from outside.

use std::{
    fs, io,
    os::unix::fs::{DirEntryExt, MetadataExt},
    path::{Component, Path, PathBuf},
};

use super::{own_cgroup::OwnCgroup, way::Way};

/// The most groups that are looked at; beyond, nobody can tell.
const MAX_GROUPS: usize = 100_000;

/// Where a process is, in either of the kernel's ways to say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessCgroup<'a> {
    /// The number of its cgroup v2, which is that of the folder.
    Number(u64),
    /// Its path, as in `/proc/PID/cgroup`.
    Path(&'a str),
}

/// Whether it is in a group of an execution, or nobody can tell that it is not. Without cgroups, commands are in this
/// server's own.
pub(super) fn is_inside(way: &Way, cgroup: ProcessCgroup<'_>) -> bool {
    let Ok(own) = OwnCgroup::find() else {
        return true;
    };
    let number = match cgroup {
        ProcessCgroup::Number(number) => Some(number),
        ProcessCgroup::Path(path) => {
            // It leads out of all that is to be seen here.
            let is_outside = Path::new(path)
                .components()
                .any(|part| part == Component::ParentDir);
            if is_outside {
                return false;
            }
            let folder = own
                .place_of(Path::new(path))
                .and_then(|folder| fs::metadata(folder).ok());
            folder.map(|folder| folder.ino())
        }
    };
    let Some(number) = number else {
        return true;
    };
    match way {
        Way::Cgroup(hierarchy) => {
            let bases = vec![
                hierarchy.base().to_owned(),
                hierarchy.durable().base().to_owned(),
            ];
            is_below(bases, number).unwrap_or(true)
        }
        Way::Sweep { .. } => fs::metadata(own.path()).map_or(true, |folder| folder.ino() == number),
    }
}

/// Whether one of the folders `left`, or one below them, has this number.
fn is_below(mut left: Vec<PathBuf>, number: u64) -> io::Result<bool> {
    let mut seen = 0;
    while let Some(folder) = left.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            // It has been removed meanwhile, so nothing is in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            if entry.ino() == number {
                return Ok(true);
            }
            seen += 1;
            if seen > MAX_GROUPS {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            left.push(entry.path());
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_however_deep_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("1/inner/most");
        fs::create_dir_all(&deep).unwrap();
        let number = |path: &Path| fs::metadata(path).unwrap().ino();
        let bases = || vec![folder.path().to_owned(), "/no-such-folder".into()];
        assert!(is_below(bases(), number(&deep)).unwrap());
        assert!(!is_below(bases(), number(Path::new("/"))).unwrap());
    }
}
