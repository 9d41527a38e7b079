//! The cgroup v2 that this process was born in.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::table::{self, ProcessTable};

/// This process's own folder in the machine's cgroup v2 tree.
#[derive(Debug)]
pub(super) struct OwnCgroup {
    path: PathBuf,
    /// Where the tree is mounted, as far as it is to be seen here.
    top: PathBuf,
    /// Which part of the tree that is.
    root: PathBuf,
}

impl OwnCgroup {
    /// `Err` says why there is none.
    pub(super) fn find() -> Result<Self, String> {
        let read =
            |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        let mounts = read("/proc/self/mountinfo")?;
        let mut mounts = mounts.lines().filter_map(cgroup2_mount).peekable();
        if mounts.peek().is_none() {
            return Err("cgroup v2 is not mounted".into());
        }
        let own = read("/proc/self/cgroup")?
            .lines()
            .find_map(|line| line.strip_prefix("0::").map(PathBuf::from))
            .ok_or("the kernel names no cgroup v2 of this process")?;
        mounts
            .find_map(|(root, top)| {
                let path = top.join(own.strip_prefix(&root).ok()?);
                Some(Self { path, top, root })
            })
            .filter(|own| own.path.join("cgroup.procs").exists())
            .ok_or_else(|| "this process is outside the mounted cgroup v2 tree".into())
    }

    /// The same for the server of `instance`. Where the program before this one in the same process has moved it to a leaf, it
    /// is the group that the leaf is in.
    pub(super) fn of_server(instance: &str) -> Result<Self, String> {
        Self::find().map(|own| own.above_leaf(instance))
    }

    fn above_leaf(self, instance: &str) -> Self {
        let is_leaf = self.path.file_name() == Some(leaf(instance).as_ref());
        let above = self.parent().filter(|_| is_leaf).map(Path::to_owned);
        Self {
            path: above.unwrap_or(self.path),
            ..self
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of the group that `/proc/PID/cgroup` calls `path`; `None`: it is not to be seen here.
    pub(super) fn place_of(&self, path: &Path) -> Option<PathBuf> {
        Some(self.top.join(path.strip_prefix(&self.root).ok()?))
    }

    /// The group that it is in; `None` where it is the topmost that there is.
    pub(super) fn parent(&self) -> Option<&Path> {
        self.path.parent().filter(|_| self.path != self.top)
    }

    /// Moves this process and its children to a leaf of `instance`, since a group with processes may not have controllers
    /// below it. An error where others are in it, too.
    pub(super) fn move_to_leaf(&self, instance: &str) -> io::Result<()> {
        let table = ProcessTable::open()?;
        let text = fs::read_to_string(self.path.join("cgroup.procs"))?;
        let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        let this = table::own_pid();
        let is_ours = |pid: i32| {
            let parent = || table.look(pid).ok().flatten().map(|entry| entry.parent);
            pid == this || parent() == Some(this)
        };
        if !pids.contains(&this) || !pids.iter().all(|&pid| is_ours(pid)) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let leaf = self.path.join(leaf(instance));
        fs::create_dir_all(&leaf)?;
        for pid in pids {
            fs::write(leaf.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }
}

/// The name of the leaf that the server of `instance` moves to. It is no other's, and none of the groups of commands.
fn leaf(instance: &str) -> String {
    format!("remexd-{instance}")
}

/// Root and mount point, if `line` of mountinfo is a cgroup v2 mount.
fn cgroup2_mount(line: &str) -> Option<(PathBuf, PathBuf)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    filesystem
        .starts_with("cgroup2 ")
        .then(|| (root.into(), point.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_told_apart() {
        let v2 = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        let found = Some(("/".into(), "/sys/fs/cgroup/unified".into()));
        assert_eq!(cgroup2_mount(v2), found);
        let v1 = "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids";
        assert_eq!(cgroup2_mount(v1), None);
        let part = "41 31 0:38 /a /mnt rw,relatime shared:9 - cgroup2 cgroup2 rw";
        assert_eq!(cgroup2_mount(part), Some(("/a".into(), "/mnt".into())));
    }

    fn own(path: &str) -> OwnCgroup {
        OwnCgroup {
            path: path.into(),
            top: "/sys/fs/cgroup".into(),
            root: "/".into(),
        }
    }

    #[test]
    fn a_leaf_of_the_same_instance_is_looked_through_and_no_other() {
        for (path, expected) in [
            (
                "/sys/fs/cgroup/a.service/remexd-7",
                "/sys/fs/cgroup/a.service",
            ),
            ("/sys/fs/cgroup/remexd-7", "/sys/fs/cgroup"),
            (
                "/sys/fs/cgroup/remexd-7/remexd-7",
                "/sys/fs/cgroup/remexd-7",
            ),
            ("/sys/fs/cgroup/a.service", "/sys/fs/cgroup/a.service"),
            ("/sys/fs/cgroup/remexd-8", "/sys/fs/cgroup/remexd-8"),
            ("/sys/fs/cgroup/remexd", "/sys/fs/cgroup/remexd"),
            ("/sys/fs/cgroup", "/sys/fs/cgroup"),
        ] {
            assert_eq!(own(path).above_leaf("7").path(), Path::new(expected));
        }
    }

    #[test]
    fn the_topmost_is_in_nothing() {
        assert_eq!(own("/sys/fs/cgroup").parent(), None);
        let service = own("/sys/fs/cgroup/system.slice/remexd.service");
        let slice = Path::new("/sys/fs/cgroup/system.slice");
        assert_eq!(service.parent(), Some(slice));
    }
}
