//! Where the trees of durable executions are, which outlive this server: in cgroups of a folder of their own, or under tags of their own, so
//! that a start which kills what a crash has left does not find them. Each is named by its execution, and written down in the
//! execution's folder, so that whoever comes later finds it wherever that one's own groups are.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::{
    containment::Containment, desk::Left, error::StartError, group, scanner, spawn::Spawner,
    spec::TreeLimits, table::ProcessTable, tree_limits, way::Way,
};
use crate::{
    codec::{Decoder, Encoder},
    journal::boot_id,
};

/// The file's name in an execution's folder.
pub const TREE_FILE: &str = "tree";

/// What the file begins with: what it is, and its version.
const MAGIC: [u8; 8] = *b"remextr1";

/// No record is longer.
const MAX_RECORD_BYTES: usize = 8 * 1024;

/// What this server's name for itself is followed by in the tags of durable executions.
const SUFFIX: &str = "-durable";

/// Where one tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Where {
    /// The group's path.
    Cgroup(PathBuf),
    /// INSTANCE-durable, and the execution.
    Tag { instance: String, execution: String },
}

/// Where the tree of a durable execution is, for whoever finds its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeRecord {
    place: Where,
    boot: [u8; 16],
    device: u64,
    inode: u64,
}

/// A place for the tree of a durable execution.
#[derive(Debug)]
pub struct DurablePlace {
    place: Where,
    /// For the supervisor.
    dir: Option<OwnedFd>,
    limits: TreeLimits,
    containment: Arc<Containment>,
}

impl Spawner {
    /// Makes a place for the tree of the durable execution `id`, which is a name of letters, digits and dashes.
    pub fn place_durable(&self, id: &str) -> Result<DurablePlace, StartError> {
        let make = StartError::resources("make a cgroup");
        if !is_id(id) {
            return Err(make(io::ErrorKind::InvalidInput.into()));
        }
        let (place, dir) = match self.containment.way() {
            Way::Cgroup(hierarchy) => {
                let (path, dir) = hierarchy.durable().make(id).map_err(make)?;
                (Where::Cgroup(path), Some(dir))
            }
            Way::Sweep { .. } => {
                let instance = format!("{}{SUFFIX}", self.containment.instance());
                let execution = id.to_owned();
                (
                    Where::Tag {
                        instance,
                        execution,
                    },
                    None,
                )
            }
        };
        Ok(DurablePlace {
            place,
            dir,
            limits: TreeLimits::default(),
            containment: Arc::clone(&self.containment),
        })
    }

    /// Kills what there is of a tree whose supervisor has died; `true`: nothing of it lives. To be repeated until then. Without
    /// cgroups it looks for it, for up to 4 s.
    pub fn kill_durable(&self, tree: &TreeRecord) -> bool {
        match &tree.place {
            Where::Cgroup(path) => {
                if group::remove(path) {
                    return true;
                }
                if let Err(error) = fs::write(path.join("cgroup.kill"), "1") {
                    tracing::debug!(%error, "cannot kill {}", path.display());
                }
                !group::may_be_populated(path)
            }
            Where::Tag {
                instance,
                execution,
            } => {
                let keep = |name: &str| name != *execution;
                ProcessTable::open()
                    .is_ok_and(|table| scanner::kill_leftovers(instance, &table, keep).1)
            }
        }
    }

    /// Leaves a tree alone, whose supervision is over or never began. What is empty of it goes, which is not waited for.
    pub fn leave_durable(&self, tree: &TreeRecord) {
        if let Where::Cgroup(path) = &tree.place {
            self.containment.leave_path(Left::Path {
                path: path.clone(),
                slot: None,
            });
        }
    }
}

fn is_id(id: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !id.is_empty() && id.bytes().all(is_fit)
}

impl DurablePlace {
    /// Limits the tree, before anything runs in it.
    pub fn limit(&mut self, limits: TreeLimits) -> Result<(), StartError> {
        if limits == TreeLimits::default() {
            return Ok(());
        }
        match (self.containment.way(), &self.place) {
            (Way::Cgroup(hierarchy), Where::Cgroup(path)) => {
                hierarchy.durable().limit(path, limits)?;
            }
            (Way::Sweep { why }, _) => return Err(tree_limits::unavailable(limits, why.clone())),
            (Way::Cgroup(_), Where::Tag { .. }) => {
                let why = "the tree has no cgroup".to_owned();
                return Err(tree_limits::unavailable(limits, why));
            }
        }
        self.limits = limits;
        Ok(())
    }

    /// Writes into the execution's folder where the tree is.
    pub fn record(&self, folder: BorrowedFd<'_>) -> io::Result<TreeRecord> {
        let stat = rustix::fs::fstat(folder)?;
        let tree = TreeRecord {
            place: self.place.clone(),
            boot: boot_id()?,
            device: stat.st_dev,
            inode: stat.st_ino,
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(folder, TREE_FILE, flags, mode)?;
        io::Write::write_all(&mut fs::File::from(file), &tree.encode())?;
        Ok(tree)
    }

    /// For the supervisor: the group's folder.
    pub(crate) fn cgroup(&self) -> Option<(BorrowedFd<'_>, &Path)> {
        match (&self.dir, &self.place) {
            (Some(dir), Where::Cgroup(path)) => Some((dir.as_fd(), path)),
            _ => None,
        }
    }

    /// The tag that its processes carry, where there are no cgroups.
    pub(crate) fn tag(&self) -> Option<String> {
        match &self.place {
            Where::Cgroup(_) => None,
            Where::Tag {
                instance,
                execution,
            } => Some(format!("{instance}.{execution}")),
        }
    }

    /// Whether the kernel may kill in it for want of memory.
    pub(crate) fn is_memory_limited(&self) -> bool {
        self.limits.memory_bytes.is_some()
    }
}

impl TreeRecord {
    /// What the execution's folder says; `None` where it says nothing, or nothing that this version knows.
    pub fn read(folder: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(folder, TREE_FILE, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        let file = io::Read::take(fs::File::from(file), MAX_RECORD_BYTES as u64);
        io::Read::read_to_end(&mut { file }, &mut bytes)?;
        Ok(Self::decode(&bytes))
    }

    /// Whether it was written for this very folder since the machine was booted. Whatever else it names, after a copy or a
    /// restart of the machine, may be a stranger's.
    pub fn is_of(&self, folder: BorrowedFd<'_>) -> io::Result<bool> {
        let stat = rustix::fs::fstat(folder)?;
        let is_same = (stat.st_dev, stat.st_ino) == (self.device, self.inode);
        Ok(is_same && boot_id()? == self.boot)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.raw(&MAGIC);
        out.raw(&self.boot);
        out.u64(self.device);
        out.u64(self.inode);
        match &self.place {
            Where::Cgroup(path) => {
                out.u8(0);
                out.bytes(path.as_os_str().as_bytes());
            }
            Where::Tag {
                instance,
                execution,
            } => {
                out.u8(1);
                out.str(instance);
                out.str(execution);
            }
        }
        out.into_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Decoder::new(bytes);
        if from.array()? != MAGIC {
            return None;
        }
        let (boot, device, inode) = (from.array()?, from.u64()?, from.u64()?);
        let place = match from.u8()? {
            0 => {
                let path = std::ffi::OsStr::from_bytes(from.bytes()?);
                Where::Cgroup(path.into())
            }
            1 => Where::Tag {
                instance: from.string()?,
                execution: from.string()?,
            },
            _ => return None,
        };
        Some(Self {
            place,
            boot,
            device,
            inode,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(place: Where) -> TreeRecord {
        TreeRecord {
            place,
            boot: boot_id().unwrap(),
            device: 1,
            inode: 2,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_or_not_at_all() {
        for place in [
            Where::Cgroup("/sys/fs/cgroup/remex-x-durable/7".into()),
            Where::Tag {
                instance: "x-durable".into(),
                execution: "7".into(),
            },
        ] {
            let record = record(place);
            let bytes = record.encode();
            assert_eq!(TreeRecord::decode(&bytes), Some(record));
            for length in 0..bytes.len() {
                assert_eq!(TreeRecord::decode(&bytes[..length]), None, "{length}");
            }
        }
    }

    #[test]
    fn a_copied_folder_and_another_boot_are_strangers() {
        let dir = tempfile::tempdir().unwrap();
        let folder = fs::File::open(dir.path()).unwrap();
        let stat = rustix::fs::fstat(&folder).unwrap();
        let mut tree = record(Where::Cgroup("/x".into()));
        (tree.device, tree.inode) = (stat.st_dev, stat.st_ino);
        assert!(tree.is_of(folder.as_fd()).unwrap());
        let copy = tempfile::tempdir().unwrap();
        let copy = fs::File::open(copy.path()).unwrap();
        assert!(!tree.is_of(copy.as_fd()).unwrap());
        tree.boot[0] ^= 1;
        assert!(!tree.is_of(folder.as_fd()).unwrap());
    }
}
