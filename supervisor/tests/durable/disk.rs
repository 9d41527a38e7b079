//! The disk is full while a supervisor writes: its command waits, or the oldest output makes room, by the caller's rule; and when there
//! is room again, it goes on.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use remex_supervisor::{
    durable::message::{BlockedBy, LinkRequest, Report},
    journal::{EVERYTHING, Keep, OnFull, Settings},
    lifecycle::{
        event::{EventKind, Exit},
        outcome::ExitReason,
    },
};

use crate::{
    commands::{Running, shell},
    scenarios::told::{code, signal},
    server::Spare,
};

/// Where there is a small disk.
const SMALL: &str = "REMEX_TEST_SMALL_DISK";

/// Bytes of the disk, of what is on it to begin with, and of output.
const DISK: u64 = 12 << 20;
const BALLAST: usize = 9 << 20;
const OUTPUT: u64 = 6 << 20;

/// Runs `test` where SMALL is a small disk, which nobody but that process and its children sees.
fn on_a_small_disk(test: &str) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root mounts a disk of its own");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let text = format!("mount -t tmpfs -o size={DISK} tmpfs \"${SMALL}\" && exec \"$@\"");
    let output = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            &text,
            "sh",
        ])
        .arg(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .env(SMALL, dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{said}");
}

fn small_disk() -> PathBuf {
    env::var_os(SMALL).expect("a small disk").into()
}

/// A command that writes more than there is room for, and what takes the room.
fn start(small: &Path, on_full: OnFull) -> (Running, PathBuf) {
    let spare = Spare::in_folder(small, "execution".into());
    let ballast = small.join("ballast");
    fs::write(&ballast, vec![1; BALLAST]).unwrap();
    let mut command = shell(format!("head -c {OUTPUT} /dev/zero; exit 6"));
    command.settings = Settings {
        keep: Keep {
            on_full,
            ..Keep::default()
        },
        ..Settings::default()
    };
    let server = spare.start(&command.order()).unwrap();
    (Running::of(server), ballast)
}

/// Goes on to its end. Returns how it ended, how much of its output was kept, and how much was not.
fn end(mut running: Running) -> (Exit, u64, u64) {
    let exit = loop {
        if let Some(exit) = running.step() {
            break exit;
        }
    };
    assert_eq!(running.server.report(), None);
    let (events, gaps) = running.server.events_and_gaps(EVERYTHING);
    let kept = events.iter().map(|event| match &event.kind {
        EventKind::Output(chunk) => chunk.data.len() as u64,
        _ => 0,
    });
    let lost = gaps.iter().map(|gap| gap.bytes.iter().sum::<u64>());
    (exit, kept.sum(), lost.sum())
}

#[test]
fn where_the_disk_is_full_the_command_waits_until_there_is_room() {
    on_a_small_disk("disk::waits_for_room");
}

#[test]
#[ignore = "needs a small disk, which the test above makes"]
fn waits_for_room() {
    let (mut running, ballast) = start(&small_disk(), OnFull::Block);
    let by = running.until_report(|report| match report {
        Report::Blocked(by) => Some(*by),
        _ => None,
    });
    assert_eq!(by, BlockedBy::Disk);
    running.server.send(&LinkRequest::GetStatus { request: 1 });
    let status = running.until_report(|report| match report {
        Report::Status { request: 1, status } => Some(status.clone()),
        _ => None,
    });
    assert_eq!(status.blocked, Some(BlockedBy::Disk));
    assert_eq!(status.storage_error, "");
    assert!(status.stdout_bytes < OUTPUT);
    fs::remove_file(ballast).unwrap();
    running.until_report(|report| matches!(report, Report::Unblocked).then_some(()));
    let (exit, kept, lost) = end(running);
    assert_eq!(exit.outcome.status, Some(code(6)));
    assert_eq!((kept, lost), (OUTPUT, 0));
}

#[test]
fn a_command_that_waits_for_room_on_disk_can_be_killed() {
    on_a_small_disk("disk::is_killed");
}

/// Though a caller is attached, who cannot help it.
#[test]
#[ignore = "needs a small disk, which the test above makes"]
fn is_killed() {
    let (mut running, _ballast) = start(&small_disk(), OnFull::Block);
    running.until_report(|report| match report {
        Report::Blocked(BlockedBy::Disk) => Some(()),
        _ => None,
    });
    assert!(running.signal(9));
    let (exit, _, lost) = end(running);
    assert_eq!(exit.outcome.status, Some(signal(9)));
    assert_eq!(exit.outcome.reason, ExitReason::Signal);
    assert!(lost > 0);
}

#[test]
fn where_the_disk_is_full_the_oldest_makes_room() {
    on_a_small_disk("disk::drops_the_oldest");
}

#[test]
#[ignore = "needs a small disk, which the test above makes"]
fn drops_the_oldest() {
    let (running, _ballast) = start(&small_disk(), OnFull::DropOldest);
    let (exit, kept, lost) = end(running);
    assert_eq!(exit.outcome.status, Some(code(6)));
    assert_eq!(kept + lost, OUTPUT);
    assert!(kept > 0 && lost > 0, "{kept} {lost}");
}
