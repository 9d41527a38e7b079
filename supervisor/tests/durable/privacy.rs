//! What a supervisor takes of the machine's memory, and who may look into its own.

use std::{
    env,
    fmt::Display,
    fs,
    io::ErrorKind,
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use crate::{
    commands::shell,
    server::{PATIENCE, Spare},
};

/// Most private memory of a supervisor that waits, and of one whose command runs, in KiB.
const MOST_WAITING: u64 = 60;
const MOST_RUNNING: u64 = 200;

/// What is in nobody's memory but the process's own, in KiB: what it has written, in memory or swapped out.
fn private(pid: i32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let of = |name: &str| -> u64 {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name));
        let line = line.unwrap_or_default().trim_start_matches(':');
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    };
    of("Private_Dirty") + of("Private_Hugetlb") + of("SwapPss")
}

#[test]
fn its_private_memory_is_small() {
    let spares: Vec<_> = (0..4).map(|_| Spare::new()).collect();
    for spare in &spares {
        let waiting = private(spare.server.supervisor().unwrap());
        println!("waiting: {waiting} KiB");
        assert!(waiting <= MOST_WAITING, "{waiting} KiB");
    }
    let mut running: Vec<_> = spares
        .into_iter()
        .map(|spare| {
            let mut command = shell(
                "echo ready; read line; head -c 10000000 /dev/zero; echo; echo done; read line",
            );
            command.stdin_open = true;
            crate::commands::Running::of(spare.start(&command.order()).unwrap())
        })
        .collect();
    for running in &mut running {
        running.until_ready();
        let taken = private(running.server.supervisor().unwrap());
        println!("running: {taken} KiB");
        assert!(taken <= MOST_RUNNING, "{taken} KiB");
    }
    for running in &mut running {
        running.write(b"\n", false);
        running.until("its flood", |told| told.text().ends_with("done\n"));
        let supervisor = running.server.supervisor().unwrap();
        let begin = Instant::now();
        // It gives back what it took, a moment later.
        while private(supervisor) > MOST_RUNNING && begin.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(20));
        }
        let taken = private(supervisor);
        println!("after 10 MB of output: {taken} KiB");
        assert!(taken <= MOST_RUNNING, "{taken} KiB");
    }
    for mut running in running {
        running.write(b"\n", true);
        running.end();
    }
}

/// Set in the process that has no capabilities.
const WITHOUT_CAPABILITIES: &str = "REMEX_TEST_WITHOUT_CAPABILITIES";

/// Whoever has the capabilities for that may look into everybody's memory, root to begin with; so as root this is asked of a process
/// whose root has none.
#[test]
fn its_memory_is_not_its_users_to_read() {
    if rustix::process::geteuid().is_root() && env::var_os(WITHOUT_CAPABILITIES).is_none() {
        let output = thread::spawn(without_capabilities).join().unwrap();
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let mut command = shell("echo ready; read line");
    command.stdin_open = true;
    let mut running = command.start();
    running.until_ready();
    let supervisor = running.server.supervisor().unwrap();
    let mut other = Command::new("sleep").arg("1000").spawn().unwrap();
    let read = |pid: &dyn Display| fs::read(format!("/proc/{pid}/environ")).map(drop);
    let refused = read(&supervisor).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    // Others of this user may be looked into, its own command among them.
    read(&other.id()).unwrap();
    let leader = running.leader().unwrap();
    read(&leader).unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    running.write(b"\n", true);
    running.end();
}

/// This test once more, in a process that has no capabilities, though its user is root.
#[expect(unsafe_code, reason = "securebits are out of rustix's reach")]
fn without_capabilities() -> Output {
    const SECBIT_NOROOT: libc::c_ulong = 1;
    // SAFETY: acts on this thread alone, and on what it executes.
    let set = unsafe { libc::prctl(libc::PR_SET_SECUREBITS, SECBIT_NOROOT, 0, 0, 0) };
    assert_eq!(set, 0);
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    set_capabilities(None, sets).unwrap();
    Command::new(env::current_exe().unwrap())
        .args(["privacy::its_memory_is_not_its_users_to_read", "--exact"])
        .env(WITHOUT_CAPABILITIES, "1")
        .output()
        .unwrap()
}
