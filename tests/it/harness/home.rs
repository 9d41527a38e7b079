//! A daemon's folder: its state, its ready file and its log. It outlives the daemon, so that another can follow it.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use rustix::process::Pid;
use tempfile::TempDir;
use tokio::process::Command;

use super::{binaries::binary, eventually, soon};

/// Clones share the folder; the last one removes it.
#[derive(Clone)]
pub(crate) struct Home(Arc<Folder>);

struct Folder(TempDir);

impl Drop for Folder {
    /// A daemon that was killed, and that none followed, has left its cgroups, and perhaps somebody in them.
    fn drop(&mut self) {
        for entry in fs::read_dir(self.0.path()).into_iter().flatten().flatten() {
            let base = fs::read_to_string(entry.path().join("containment")).unwrap_or_default();
            // By sweep it is a word.
            if !base.starts_with('/') {
                continue;
            }
            remove_groups(Path::new(&base));
            // Durable executions are there, or beside the cgroup that it is in.
            let durable = format!("{base}-durable");
            remove_groups(Path::new(&durable));
            let own = Path::new(&base).parent().and_then(Path::parent);
            if let (Some(beside), Some(name)) = (own, Path::new(&durable).file_name()) {
                remove_groups(&beside.join(name));
            }
        }
    }
}

fn remove_groups(base: &Path) {
    let _ = fs::write(base.join("cgroup.kill"), "1");
    for group in fs::read_dir(base).into_iter().flatten().flatten() {
        let _ = fs::remove_dir(group.path());
    }
    let _ = fs::remove_dir(base);
}

/// How a daemon ended by itself.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        let folder = TempDir::with_prefix("remex-it-").expect("a temporary folder");
        // Other users look for sockets in it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        Self(Arc::new(Folder(folder)))
    }

    /// A file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.0.path().join(name)
    }

    /// Returns when as many supervisors wait for an execution as are to.
    pub(crate) async fn spares_are_there(&self) {
        const SPARES: usize = 4;
        let journals = self.path("state/durable");
        eventually("the spare supervisors", || {
            let folders = fs::read_dir(&journals).ok()?.flatten();
            let ready = folders.filter(|one| one.path().join("supervisor.socket").exists());
            (ready.count() >= SPARES).then_some(())
        })
        .await;
    }

    /// The process that supervises the durable execution `id`: who holds its lock.
    pub(crate) fn supervisor_of(&self, id: &str) -> Option<Pid> {
        let lock = self.path("state/durable").join(id).join("supervisor.lock");
        let inode = fs::metadata(lock).ok()?.ino();
        let locks = fs::read_to_string("/proc/locks").expect("the locks");
        let held = locks
            .lines()
            .find(|line| line.contains(&format!(":{inode} ")))?;
        // `1: POSIX  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`
        let pid = held.split_whitespace().nth(4)?.parse().ok()?;
        // A server that looks after it has a lock of an open file, which is no process's: -1.
        (pid > 0).then(|| Pid::from_raw(pid))?
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.0.path()
    }

    /// Everything that daemons here have logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The same, once each of `parts` is in it: lines are written by a thread aside.
    pub(crate) async fn logged(&self, parts: &[&str]) -> String {
        let what = format!("{parts:?} in the log");
        let look = || {
            let log = self.log();
            parts.iter().all(|part| log.contains(part)).then_some(log)
        };
        eventually(&what, look).await
    }

    /// remexd with `flags`, at home here: it keeps its state here, and serves at ports of its own choice where no flag
    /// says otherwise.
    pub(crate) fn remexd(&self, flags: &[&str]) -> Command {
        self.remexd_by(binary("remexd"), flags)
    }

    /// The same, of another build.
    pub(crate) fn remexd_by(&self, program: &Path, flags: &[&str]) -> Command {
        let given = |names: &[&str]| flags.iter().any(|flag| names.contains(flag));
        let mut command = Command::new(program);
        if !given(&["--state-dir"]) {
            command.arg("--state-dir").arg(self.path("state"));
        }
        if !given(&["--listen", "--config"]) {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if !given(&["--legacy", "--no-legacy", "--config"]) {
            command.arg("--no-legacy");
        }
        command
            .args(flags)
            .current_dir(self.folder())
            .env("XDG_STATE_HOME", self.path("default-state"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// The same, executed by `wrapper`.
    pub(crate) fn remexd_under(&self, wrapper: &[&str], flags: &[&str]) -> Command {
        let remexd = self.remexd(flags);
        let remexd = remexd.as_std();
        let mut command = Command::new(wrapper[0]);
        command
            .args(&wrapper[1..])
            .arg(remexd.get_program())
            .args(remexd.get_args())
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// The same as a service manager starts it: without a terminal, and with SIGHUP as usual, whatever these tests are
    /// started by.
    pub(crate) fn service(&self, flags: &[&str]) -> Command {
        self.remexd_under(&["env", "--default-signal=HUP", "setsid"], flags)
    }

    /// The same as the first process of a PID namespace, as in a container. The process started is its parent, whose end
    /// kills it.
    pub(crate) fn first_remexd(&self, flags: &[&str]) -> Command {
        let wrapper = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
        self.remexd_under(&wrapper, flags)
    }

    /// How a daemon with `flags`, which is not to serve, ends.
    pub(crate) async fn refused(&self, flags: &[&str]) -> Refusal {
        Self::refusal(self.remexd(flags)).await
    }

    /// How `command` ends, which is not to serve.
    pub(crate) async fn refusal(mut command: Command) -> Refusal {
        let run = command.output();
        let output = soon("a refusal", run).await.expect("remexd runs");
        Refusal {
            code: output.status.code(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Refusal {
    /// That it ended with `code` and one line that has each of `parts` in it.
    #[track_caller]
    pub(crate) fn assert(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?}: {}", self.stderr);
        }
    }
}
