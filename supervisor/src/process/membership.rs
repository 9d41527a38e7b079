//! Whether a process is in the cgroup of an execution, by what the kernel says of it: a command that calls the server is
//! no caller from outside.

use std::{
    collections::VecDeque,
    fs, io,
    os::unix::fs::{DirEntryExt, MetadataExt},
    path::{Component, Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{own_cgroup::OwnCgroup, way::Way};

/// The most groups that are looked at; beyond, nobody can tell.
const MAX_GROUPS: usize = 100_000;

/// So many groups are looked for once; of more, the one that was looked for first is looked for again.
const KNOWN_GROUPS: usize = 64;

/// Where a process is, in either of the kernel's ways to say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessCgroup<'a> {
    /// The number of its cgroup v2, which is that of the folder.
    Number(u64),
    /// Its path, as in `/proc/PID/cgroup`.
    Path(&'a str),
}

/// Tells who is in an execution.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// Of groups that were looked for, whether they are below those of executions. That never changes: a group moves nowhere,
    /// and its number is given to no other one.
    known: Mutex<VecDeque<(u64, bool)>>,
}

impl Membership {
    /// Whether it is in a group of an execution, or nobody can tell that it is not. Without cgroups, commands are in this
    /// server's own.
    pub(super) fn is_inside(&self, way: &Way, cgroup: ProcessCgroup<'_>) -> bool {
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
                number_of(Path::new(path))
            }
        };
        let Some(number) = number else {
            return true;
        };
        match way {
            Way::Cgroup(hierarchy) => self.is_below(number, || {
                vec![
                    hierarchy.base().to_owned(),
                    hierarchy.durable().base().to_owned(),
                ]
            }),
            Way::Sweep { .. } => {
                let own = OwnCgroup::find().ok();
                let own = own.and_then(|own| fs::metadata(own.path()).ok());
                own.is_none_or(|folder| folder.ino() == number)
            }
        }
    }

    fn is_below(&self, number: u64, bases: impl FnOnce() -> Vec<PathBuf>) -> bool {
        let known = self.lock().iter().find(|known| known.0 == number).copied();
        if let Some((_, is_below)) = known {
            return is_below;
        }
        let Ok(found) = is_below(bases(), number) else {
            return true;
        };
        let mut known = self.lock();
        known.push_front((number, found));
        known.truncate(KNOWN_GROUPS);
        found
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, bool)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of the group that `/proc/PID/cgroup` calls `path`.
fn number_of(path: &Path) -> Option<u64> {
    let folder = OwnCgroup::find().ok()?.place_of(path)?;
    Some(fs::metadata(folder).ok()?.ino())
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

    #[test]
    fn a_group_is_looked_for_once_among_so_many() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("1")).unwrap();
        let inside = fs::metadata(folder.path().join("1")).unwrap().ino();
        let membership = Membership::default();
        let mut looks = 0;
        let mut is_below = |number| {
            membership.is_below(number, || {
                looks += 1;
                vec![folder.path().to_owned()]
            })
        };
        for _ in 0..3 {
            assert!(is_below(inside));
        }
        let others = (1..).filter(|number| *number != inside);
        for other in others.take(KNOWN_GROUPS - 1) {
            assert!(!is_below(other));
        }
        assert!(is_below(inside));
        assert!(!is_below(u64::MAX));
        assert!(is_below(inside));
        assert_eq!(looks, KNOWN_GROUPS + 2);
    }

    #[test]
    fn what_cannot_be_looked_for_may_be_inside_and_is_looked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("no-folder");
        fs::write(&file, "").unwrap();
        let membership = Membership::default();
        assert!(membership.is_below(7, || vec![file.clone()]));
        assert!(!membership.is_below(7, || vec![folder.path().to_owned()]));
    }
}
