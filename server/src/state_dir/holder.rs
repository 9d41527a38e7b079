//! Who holds a state folder, as its lock says, and who else has that lock open.

use std::{
    fmt, fs,
    io::{self, Read, Seek},
    os::unix::fs::MetadataExt,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process, as far as it has said which it is.
#[derive(Debug)]
pub(super) struct Holder {
    pid: String,
    /// In ticks since the boot: with the pid, who it is.
    started: String,
}

impl Holder {
    pub(super) fn own() -> Self {
        Self {
            pid: std::process::id().to_string(),
            started: started("self").unwrap_or_default(),
        }
    }

    /// Whom `lock` names.
    pub(super) fn read(lock: &mut fs::File) -> io::Result<Self> {
        lock.rewind()?;
        let mut bytes = Vec::new();
        lock.take(super::FILE_BYTES as u64)
            .read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.lines().map(|line| line.trim().to_owned());
        Ok(Self {
            pid: lines.next().unwrap_or_default(),
            started: lines.next().unwrap_or_default(),
        })
    }

    /// What a lock says of it.
    pub(super) fn record(&self) -> String {
        format!("{}\n{}\n", self.pid, self.started)
    }

    /// Whether it has not ended; where nothing tells, it has not.
    pub(super) fn lives(&self) -> bool {
        if self.started.is_empty() || started("self").is_none() {
            return true;
        }
        let is_number = self.pid.bytes().all(|byte| byte.is_ascii_digit());
        is_number && started(&self.pid).as_deref() == Some(&*self.started)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pid.escape_debug().fmt(f)
    }
}

/// When the process started; `None` if it has ended.
fn started(pid: &str) -> Option<String> {
    const STATE: usize = 0;
    const STARTED: usize = 19;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name may hold spaces and parentheses.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<_> = fields.split(' ').collect();
    let is_dead = matches!(*fields.get(STATE)?, "Z" | "X");
    (!is_dead).then(|| fields.get(STARTED).map(|&ticks| ticks.to_owned()))?
}

/// Kills every process that has `lock` open, but for this one.
pub(super) fn kill_all(lock: &fs::File) -> io::Result<()> {
    let wanted = lock.metadata()?;
    let has_open = |pid: Pid| {
        let fds = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()));
        let mut files = fds.into_iter().flatten().flatten();
        files.any(|fd| {
            // By its name first: to look at any file of anybody may take for ever.
            let link = fs::read_link(fd.path()).unwrap_or_default();
            let file = || fs::metadata(fd.path());
            link.ends_with(super::LOCK_FILE)
                && file().is_ok_and(|file| (file.dev(), file.ino()) == (wanted.dev(), wanted.ino()))
        })
    };
    for entry in fs::read_dir("/proc")?.flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            continue;
        };
        if pid == rustix::process::getpid() || !has_open(pid) {
            continue;
        }
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        // Only now is it sure that the number is still that process's.
        if has_open(pid) {
            // One that has ended meanwhile needs no signal.
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
    Ok(())
}
