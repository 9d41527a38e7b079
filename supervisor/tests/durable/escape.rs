//! Whoever ends a server with all that is in its cgroup, as a service manager does, ends no durable execution.

use std::{
    env, fs,
    os::{fd::AsFd, unix::process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use remex_supervisor::{
    durable::{FolderLock, message::Stage},
    journal::DiskFolder,
    lifecycle::outcome::ExitReason,
    process::TreeRecord,
};

use crate::{
    commands::{Running, shell},
    scenarios::told::code,
    server::{Server, Spare, spawner},
    survival::{until, until_line},
};

/// The cgroup of the server that is to be killed, and where it has its executions.
const UNIT: &str = "REMEX_TEST_UNIT";
const FOLDER: &str = "REMEX_TEST_UNIT_FOLDER";

/// The other process of the test below.
#[test]
fn be_a_service() {
    let (Some(unit), Some(folder)) = (env::var_os(UNIT), env::var_os(FOLDER)) else {
        return;
    };
    fs::write(Path::new(&unit).join("cgroup.procs"), "0").unwrap();
    let folder = PathBuf::from(folder);
    let spare = Spare::in_folder(&folder, "execution".into());
    let mut command = shell("echo ready; read line; echo got $line; exit 7");
    command.stdin_open = true;
    let mut running = Running::of(spare.start(&command.order()).unwrap());
    running.until_ready();
    println!("started");
    running.end();
}

/// Whether there are cgroups here for whoever wants to make some.
pub(crate) fn has_cgroups() -> bool {
    let has = spawner().describe().starts_with("cgroup v2");
    if !has {
        eprintln!("skipped: no cgroups can be made here");
    }
    has
}

/// A process's cgroup.
pub(crate) fn cgroup(process: &str) -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mounted = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let path = fields.next()?;
        (fields.next()? == "cgroup2").then_some(path)
    });
    let text = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    Path::new(mounted.unwrap()).join(path.unwrap())
}

/// Removes a group and all that are in it, when nothing lives there.
fn remove(group: &Path) -> bool {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    fs::remove_dir(group).is_ok() || !group.exists()
}

#[test]
fn the_kill_of_a_servers_cgroup_ends_no_durable_execution() {
    if !has_cgroups() {
        return;
    }
    let slice = cgroup("self").join(format!("remex-test-slice-{}", std::process::id()));
    let unit = slice.join("remexd.service");
    fs::create_dir(&slice).unwrap();
    fs::create_dir(&unit).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut service = Command::new(env::current_exe().unwrap())
        .args(["escape::be_a_service", "--exact", "--nocapture"])
        .env(UNIT, &unit)
        .env(FOLDER, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    until_line(&mut service, "started");
    let path = dir.path().join("execution");
    let folder = DiskFolder::open(&path).unwrap();
    let supervisor = FolderLock::holder(folder.as_fd()).unwrap().unwrap();
    assert!(cgroup(&service.id().to_string()).starts_with(&unit));
    let elsewhere = cgroup(&supervisor.to_string());
    assert!(!elsewhere.starts_with(&unit), "{}", elsewhere.display());
    assert!(elsewhere.starts_with(&slice), "{}", elsewhere.display());

    fs::write(unit.join("cgroup.kill"), "1").unwrap();
    let ended = service.wait().unwrap();
    assert_eq!(ended.signal(), Some(libc::SIGKILL));
    // Nothing keeps its place from being used again.
    until("empty", || remove(&unit));

    let mut server = Server::find(&path);
    server.greet(Stage::Running);
    let tree = TreeRecord::read(folder.as_fd()).unwrap().unwrap();
    let mut running = Running::of(server);
    running.write(b"it\n", true);
    let told = running.end();
    assert_eq!(told.text(), "ready\ngot it\n");
    assert_eq!(told.ending(), (code(7), ExitReason::Own));
    until("gone", || spawner().kill_durable(&tree));
    until("empty", || remove(&slice));
}
