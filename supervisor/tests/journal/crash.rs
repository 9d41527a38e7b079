//! The process dies at any operation, or the host does, with any of what was not synced lost. What was promised holds.

use remex_supervisor::journal::{Stage, SyncMode, inspect};

use crate::{
    disk::{Crash, Disk},
    script::{Promise, Script, folder, recover_and_lose},
};

/// Of more changes than this some are chosen.
const EACH: usize = 12;

/// Sets of changes that are chosen at random.
const RANDOM_SETS: usize = 6;

/// A sequence of numbers that is the same in each run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }
}

/// What a power cut leaves of a disk: all, nothing, all but one, one alone, and any.
pub(crate) fn power_cuts(disk: &Disk, numbers: &mut Numbers) -> Vec<Disk> {
    let changes = disk.unsynced();
    let mut disks = vec![
        disk.after_power_cut(|_| true),
        disk.after_power_cut(|_| false),
    ];
    let chosen: Vec<_> = if changes <= EACH {
        (0..changes).collect()
    } else {
        (0..EACH).map(|_| numbers.below(changes)).collect()
    };
    for one in chosen {
        disks.push(disk.after_power_cut(|index| index != one));
        disks.push(disk.after_power_cut(|index| index == one));
    }
    for _ in 0..RANDOM_SETS {
        disks.push(disk.after_power_cut(|_| numbers.next().is_multiple_of(2)));
    }
    disks
}

/// Crashes a script at each of its operations, and says what does not hold then.
fn crash_everywhere(script: &Script, forgotten_sync: Option<usize>) -> Result<usize, String> {
    let whole = Disk::new();
    assert_eq!(script.run(&whole).error, None);
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut checked = 0;
    for at in 0..=whole.done().len() {
        for written in [0, 5000] {
            let disk = Disk::new();
            disk.crash(Crash { at, written });
            if let Some(sync) = forgotten_sync {
                disk.forget_sync(sync);
            }
            let promise = script.run(&disk);
            disk.restart();
            let context = |error| format!("crashed at {at}, {written} written: {error}");
            script.check(&disk, &promise, true).map_err(context)?;
            for cut in power_cuts(&disk, &mut numbers) {
                script.check(&cut, &promise, false).map_err(context)?;
                checked += 1;
            }
        }
    }
    Ok(checked)
}

/// Two segments; nothing has to go.
fn script(sync: SyncMode) -> Script {
    let mut script = Script::new(sync, &[40_000, 10, 40_000, 20_000, 5, 40_000]);
    script.keep.max_bytes = 1024 * 1024;
    script
}

#[test]
fn whatever_is_lost_in_a_crash_was_not_promised() {
    for sync in [SyncMode::None, SyncMode::Start, SyncMode::All] {
        let checked = crash_everywhere(&script(sync), None);
        assert!(
            checked.clone().is_ok_and(|checked| checked > 500),
            "{sync:?}: {checked:?}"
        );
    }
}

#[test]
fn it_holds_for_batches_of_several_events() {
    for sync in [SyncMode::None, SyncMode::All] {
        let mut script = script(sync);
        script.batch = 3;
        crash_everywhere(&script, None).unwrap();
    }
}

/// The first segments go.
fn dropping(sync: SyncMode) -> Script {
    let outputs = [50_000, 30_000, 50_000, 50_000];
    Script::new(sync, &outputs).dropping(100_000)
}

#[test]
fn it_holds_while_the_oldest_output_goes() {
    for sync in [SyncMode::None, SyncMode::All] {
        crash_everywhere(&dropping(sync), None).unwrap();
    }
}

/// The tester is tested: without any one of the syncs, something that was promised is lost.
#[test]
fn each_sync_is_needed() {
    // The segment, its folder, the parent; the reservation.
    let start = 4;
    let events = script(SyncMode::All).events.len();
    for (script, syncs) in [
        (script(SyncMode::None), 0),
        (script(SyncMode::Start), start),
        // Each batch too, and the name of another segment.
        (script(SyncMode::All), start + events + 1),
    ] {
        let whole = Disk::new();
        script.run(&whole);
        assert_eq!(whole.syncs(), syncs, "{:?}", script.sync);
        for index in 0..syncs {
            let checked = crash_everywhere(&script, Some(index));
            assert!(
                checked.is_err(),
                "{:?}: nothing needs sync {index}",
                script.sync
            );
        }
    }
}

#[test]
fn each_sync_is_needed_while_the_oldest_output_goes() {
    let script = dropping(SyncMode::All);
    let whole = Disk::new();
    script.run(&whole);
    for index in 0..whole.syncs() {
        let checked = crash_everywhere(&script, Some(index));
        assert!(checked.is_err(), "nothing needs sync {index}");
    }
}

/// Whatever a crash leaves, whoever recovers it may crash too.
#[test]
fn a_crash_in_a_recovery_loses_nothing_either() {
    let mut numbers = Numbers(7);
    for sync in [SyncMode::None, SyncMode::All] {
        let script = script(sync);
        let whole = Disk::new();
        script.run(&whole);
        for at in 0..=whole.done().len() {
            let disk = Disk::new();
            disk.crash(Crash { at, written: 5000 });
            let promise = script.run(&disk);
            disk.restart();
            recover_crashing(&script, &disk, &promise, &mut numbers, true);
            let cut = disk.after_power_cut(|_| numbers.next().is_multiple_of(2));
            recover_crashing(&script, &cut, &promise, &mut numbers, false);
        }
    }
}

fn recover_crashing(
    script: &Script,
    disk: &Disk,
    promise: &Promise,
    numbers: &mut Numbers,
    same_boot: bool,
) {
    let whole = disk.copy();
    recover_and_lose(&whole, same_boot).unwrap();
    script.check(&whole, promise, same_boot).unwrap();
    for at in disk.done().len()..whole.done().len() {
        let crashed = disk.copy();
        crashed.crash(Crash { at, written: 20 });
        let _ = recover_and_lose(&crashed, same_boot);
        crashed.restart();
        script.check(&crashed, promise, same_boot).unwrap();
        let cut = crashed.after_power_cut(|_| numbers.next().is_multiple_of(2));
        script.check(&cut, promise, false).unwrap();
        recover_and_lose(&cut, false).unwrap();
        script.check(&cut, promise, false).unwrap();
        is_settled(&cut);
    }
    // That the end is lost is on disk once it has been said.
    is_settled(&whole.after_power_cut(|_| false));
}

/// Has a recovery tell what it finds, the power go, and says what of it does not hold then. The recovery's sync `forgotten` does
/// nothing.
fn recovery_then_power_cut(script: &Script, forgotten: Option<usize>) -> Result<(), String> {
    let mut numbers = Numbers(11);
    let whole = Disk::new();
    script.run(&whole);
    for at in 0..=whole.done().len() {
        let disk = Disk::new();
        disk.crash(Crash { at, written: 5000 });
        let mut promise = script.run(&disk);
        disk.restart();
        if let Some(sync) = forgotten {
            disk.forget_sync(disk.syncs() + sync);
        }
        recover_and_lose(&disk, true).unwrap();
        let Some(told) = script.read(&disk) else {
            continue;
        };
        promise.through = promise
            .through
            .max(told.events.last().copied().unwrap_or(0));
        for cut in power_cuts(&disk, &mut numbers) {
            let context = |error| format!("crashed at {at}: {error}");
            script.check(&cut, &promise, false).map_err(context)?;
            let found = script.read(&cut).map_or(told.lost, |found| found.lost);
            if found != told.lost {
                return Err(context("it is not lost any more".to_owned()));
            }
        }
    }
    Ok(())
}

/// The tester is tested for recoveries, too.
#[test]
fn each_sync_of_a_recovery_is_needed() {
    // The exit begins a segment.
    let mut full = Script::new(SyncMode::All, &[40_000, 40_000]);
    full.keep.max_bytes = 1024 * 1024;
    for (script, syncs) in [
        // That the end is lost, and the name of the segment in which that is said.
        (script(SyncMode::None), 2),
        // What was found there, and the names of segments; and that the end is lost.
        (full, 3),
    ] {
        recovery_then_power_cut(&script, None).unwrap();
        for index in 0..syncs {
            let held = recovery_then_power_cut(&script, Some(index));
            assert!(
                held.is_err(),
                "{:?}: nothing needs sync {index}",
                script.sync
            );
        }
    }
}

/// Nothing is left to be found out.
fn is_settled(disk: &Disk) {
    let Some(folder) = folder(disk) else { return };
    let Ok(summary) = inspect(&folder) else {
        return;
    };
    let settled = matches!(
        summary.stage,
        Stage::Prepared | Stage::Ended { .. } | Stage::Lost { .. }
    );
    assert!(settled, "{summary:?}");
}
