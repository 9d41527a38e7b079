//! The folder in which a server keeps what has to outlive it: owned, private, and held by one server at a time.

mod holder;

use std::{
    env, fs,
    io::{self, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use remex_supervisor::state_file;
use rustix::fs::{FlockOperation, flock};
use uuid::Uuid;

use self::holder::Holder;
use crate::id::new_id;

/// The locked file; it says who holds the folder.
const LOCK_FILE: &str = "lock";

/// How long those that a server which was killed has left behind are waited for, once they are killed.
const LEFTOVER_BOUND: Duration = Duration::from_secs(5);

/// How often a lock is tried meanwhile.
const LOCK_POLL: Duration = Duration::from_millis(2);

/// The file with the folder's own name.
const INSTANCE_FILE: &str = "instance";

/// The most that a file here has.
const FILE_BYTES: usize = 4096;

/// A state folder that this process holds.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    instance: String,
    /// Held for as long as it is open.
    lock: fs::File,
}

/// The folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Nothing says where it is.
    #[error("no state folder: neither --state-dir, XDG_STATE_HOME nor HOME is set")]
    Nowhere,
    /// Something about it failed.
    #[error("state folder {}: {source}", path.display())]
    Io {
        /// The folder, or a file in it.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It belongs to somebody else.
    #[error("state folder {} belongs to user {owner}; give another with --state-dir", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Others may enter it.
    #[error("state folder {} is open to others (mode {mode:04o}); chmod 700 it, or give another with --state-dir", path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Another server has it.
    #[error("state folder {} is held by another remexd, process {holder}; stop it, or give another folder with --state-dir", path.display())]
    Held {
        /// The folder.
        path: PathBuf,
        /// The other's pid, as far as it has said.
        holder: String,
    },
}

/// Where the folder is, if nobody says: `/var/lib/remex` for root, else below `$XDG_STATE_HOME` or `~/.local/state`.
pub fn default_path() -> Result<PathBuf, StateDirError> {
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/remex".into());
    }
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|base| base.join("remex"))
        .ok_or(StateDirError::Nowhere)
}

impl StateDir {
    /// Makes the folder if need be, and takes hold of it.
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        Self::open_with(path, None)
    }

    /// The same where the program before this one may have `left` the lock to this process.
    pub fn open_with(path: &Path, left: Option<fs::File>) -> Result<Self, StateDirError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StateDirError::Io { path, source }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed(path))?;
        let metadata = fs::metadata(path).map_err(failed(path))?;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(StateDirError::Foreign {
                path: path.to_owned(),
                owner: metadata.uid(),
            });
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(StateDirError::Open {
                path: path.to_owned(),
                mode: metadata.mode() & 0o7777,
            });
        }
        let lock = match left.filter(|left| is_lock(left, path)) {
            Some(left) => left,
            None => lock(path)?,
        };
        let file = path.join(INSTANCE_FILE);
        let instance = instance(&file).map_err(failed(&file))?;
        Ok(Self {
            path: path.to_owned(),
            instance,
            lock,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What holds the folder as long as it is open.
    pub fn lock(&self) -> &fs::File {
        &self.lock
    }

    /// The folder's own name, the same at every start.
    pub fn instance(&self) -> &str {
        &self.instance
    }
}

/// Locks the folder. A child of a server that was killed, which the kernel holds before it could close anything, holds that
/// server's lock; it is killed.
fn lock(folder: &Path) -> Result<fs::File, StateDirError> {
    let path = folder.join(LOCK_FILE);
    let failed = |source| StateDirError::Io {
        path: path.clone(),
        source,
    };
    let deadline = Instant::now() + LEFTOVER_BOUND;
    // Others that start at the same time wait until this one has said that it holds the folder.
    let turn = fs::File::open(folder).map_err(failed)?;
    let has_turn = try_lock_until(&turn, deadline);
    if has_turn {
        clear_way(&path).map_err(failed)?;
    }
    let mut options = fs::File::options();
    let options = options.read(true).write(true).create(true).mode(0o600);
    let mut file = state_file::open(&path, options).map_err(failed)?;
    if !try_lock_until(&file, Instant::now()) {
        let holder = Holder::read(&mut file).map_err(failed)?;
        let is_free = has_turn && !holder.lives() && {
            tracing::warn!("killing what the remexd before this one has left with its lock");
            holder::kill_all(&file).map_err(failed)?;
            try_lock_until(&file, deadline)
        };
        if !is_free {
            return Err(StateDirError::Held {
                path: folder.to_owned(),
                holder: holder.to_string(),
            });
        }
    }
    let write = |file: &mut fs::File| {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(Holder::own().record().as_bytes())
    };
    write(&mut file).map_err(failed)?;
    Ok(file)
}

/// Whether `left` is the lock of `folder`, and this process holds it, whose pid is in it already.
fn is_lock(left: &fs::File, folder: &Path) -> bool {
    let (Ok(left_is), Ok(lock)) = (
        left.metadata(),
        fs::symlink_metadata(folder.join(LOCK_FILE)),
    ) else {
        return false;
    };
    (left_is.dev(), left_is.ino()) == (lock.dev(), lock.ino())
        && try_lock_until(left, Instant::now())
}

/// Sets aside what has the lock's name and cannot be one, so that nobody holds it.
fn clear_way(lock: &Path) -> io::Result<()> {
    match fs::symlink_metadata(lock) {
        Ok(metadata) if !metadata.is_file() => state_file::set_aside(lock, &"it is no plain file"),
        _ => Ok(()),
    }
}

/// Whether `file` could be locked by `deadline`, which is tried at least once.
fn try_lock_until(file: &fs::File, deadline: Instant) -> bool {
    loop {
        if flock(file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(LOCK_POLL);
    }
}

/// The name in `file`, which gets one if it has none. One that a crash left half-written, or that is no name, is set aside,
/// so that no start fails for it.
fn instance(file: &Path) -> io::Result<String> {
    match state_file::read(file, FILE_BYTES) {
        Ok(Some(bytes)) => {
            let text = String::from_utf8_lossy(&bytes);
            if let Ok(id) = Uuid::try_parse(text.trim()) {
                return Ok(id.simple().to_string());
            }
            state_file::set_aside(file, &"it holds no name")?;
        }
        Ok(None) => {}
        Err(error) => state_file::set_aside(file, &error)?,
    }
    let id = new_id().simple().to_string();
    state_file::replace(file, format!("{id}\n").as_bytes())?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Opens a folder again. A child that another test makes at the same time has a copy of the lock until its exec.
    fn reopened(path: &Path) -> StateDir {
        let deadline = Instant::now() + LEFTOVER_BOUND;
        loop {
            match StateDir::open(path) {
                Err(StateDirError::Held { .. }) if Instant::now() < deadline => {
                    thread::sleep(LOCK_POLL);
                }
                opened => return opened.unwrap(),
            }
        }
    }

    #[test]
    fn a_folder_is_made_private_and_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let first = StateDir::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        let name = first.instance().to_owned();
        drop(first);
        assert_eq!(reopened(&path).instance(), name);
    }

    #[test]
    fn a_second_holder_is_told_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let _first = StateDir::open(&path).unwrap();
        let error = StateDir::open(&path).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
    }

    /// A process that has the lock of a folder open, and that folder's lock.
    fn left_with_the_lock(path: &Path) -> std::process::Child {
        let StateDir { lock, .. } = StateDir::open(path).unwrap();
        std::process::Command::new("sleep")
            .arg("1000")
            .stdin(lock)
            .spawn()
            .unwrap()
    }

    #[test]
    fn pitfall_40_what_a_killed_server_has_left_holds_no_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut left = left_with_the_lock(&path);
        // As long as its server lives, the folder is that one's.
        let error = StateDir::open(&path).unwrap_err();
        assert!(matches!(error, StateDirError::Held { .. }), "{error}");
        assert!(left.try_wait().unwrap().is_none());
        // A process that was started at another time is another one.
        fs::write(path.join(LOCK_FILE), format!("{}\n1\n", std::process::id())).unwrap();
        StateDir::open(&path).unwrap();
        assert!(!left.wait().unwrap().success());
    }

    #[test]
    fn pitfall_66_a_file_that_is_of_no_use_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        drop(StateDir::open(&path).unwrap());
        let file = path.join(INSTANCE_FILE);
        for text in [&b""[..], b"0199", b"\xff\xfe", &[b'x'; 9000]] {
            fs::write(&file, text).unwrap();
            let name = reopened(&path).instance().to_owned();
            assert_eq!(reopened(&path).instance(), name);
            assert_eq!(fs::read(path.join("instance.damaged")).unwrap(), text);
        }
    }

    /// What has the name of a file here and is none.
    #[test]
    fn pitfall_66_what_is_no_file_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        drop(StateDir::open(&path).unwrap());
        for name in [INSTANCE_FILE, LOCK_FILE] {
            let file = path.join(name);
            fs::remove_file(&file).unwrap();
            fs::create_dir_all(file.join("full")).unwrap();
            let held = reopened(&path);
            let error = StateDir::open(&path).unwrap_err();
            assert!(matches!(error, StateDirError::Held { .. }), "{error}");
            drop(held);
            fs::remove_file(&file).unwrap();
            let made = std::process::Command::new("mkfifo").arg(&file).status();
            assert!(made.unwrap().success());
            reopened(&path);
        }
    }

    #[test]
    fn pitfall_66_a_lock_that_says_nothing_of_use_is_still_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let held = StateDir::open(&path).unwrap();
        for text in [&b"\xff\0"[..], &[b'1'; 9000], b""] {
            fs::write(path.join(LOCK_FILE), text).unwrap();
            let error = StateDir::open(&path).unwrap_err();
            assert!(matches!(error, StateDirError::Held { .. }), "{error}");
        }
        drop(held);
        reopened(&path);
    }

    #[test]
    fn a_folder_that_others_may_enter_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o750)).unwrap();
        let error = StateDir::open(dir.path()).unwrap_err();
        assert!(
            matches!(error, StateDirError::Open { mode: 0o750, .. }),
            "{error}"
        );
    }
}
