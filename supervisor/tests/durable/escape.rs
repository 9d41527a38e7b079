//! Whoever ends a server with all that is in its cgroup, as a service manager does, ends no durable execution.

use std::{
    env, fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use remex_supervisor::{
    durable::message::Stage, lifecycle::outcome::ExitReason, process::TreeRecord,
};

use crate::{
    commands::Running,
    scenarios::told::code,
    server::{Server, Spare, spawner},
    survival::{expected, lines, until, until_line},
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
    let server = spare.start(&lines(&folder.join("once")).order()).unwrap();
    let mut running = Running::of(server);
    running.until("its first lines", |told| told.text().contains("line 20\n"));
    println!("started");
    running.end();
}

/// This process's own cgroup.
fn own_cgroup() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mounted = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let path = fields.next()?;
        (fields.next()? == "cgroup2").then_some(path)
    });
    Path::new(mounted.unwrap()).join(cgroup("self"))
}

/// That of a process, below the topmost one.
fn cgroup(process: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    path.unwrap().to_owned()
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
    if !spawner().describe().starts_with("cgroup v2") {
        eprintln!("skipped: no cgroups can be made here");
        return;
    }
    let slice = own_cgroup().join(format!("remex-test-slice-{}", std::process::id()));
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
    let mut server = Server::find(&dir.path().join("execution"));
    server.greet(Stage::Running);
    let supervisor = server.supervisor().unwrap();
    assert!(cgroup(&service.id().to_string()).contains("remexd.service"));
    let elsewhere = cgroup(&supervisor.to_string());
    assert!(!elsewhere.contains("remexd.service"), "{elsewhere}");
    assert!(elsewhere.contains("-durable/"), "{elsewhere}");

    fs::write(unit.join("cgroup.kill"), "1").unwrap();
    service.wait().unwrap();
    // Nothing keeps its place from being used again.
    until("empty", || remove(&unit));

    let tree = TreeRecord::read(server.folder.as_fd()).unwrap().unwrap();
    let told = Running::of(server).end();
    assert_eq!(told.text(), expected());
    assert_eq!(told.ending(), (code(7), ExitReason::Own));
    until("gone", || spawner().kill_durable(&tree));
    until("empty", || remove(&slice));
}
