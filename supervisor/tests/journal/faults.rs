//! Each operation fails once, with EIO or for want of room. Nothing is tried again, nothing that was told is lost, and nothing
//! that was not told is made up.

use remex_supervisor::journal::{
    Folder, Keep, OnFull, OpenError, SyncMode, delete, inspect, prepare, recover, remove,
    sweep_removed,
};

use crate::{
    disk::{Disk, Do},
    script::{ID, Script, events, folder, recover_and_lose, writer},
};

fn script(sync: SyncMode) -> Script {
    let outputs = [50_000, 30_000, 50_000, 50_000];
    let mut script = Script::new(sync, &outputs).dropping(100_000);
    script.batch = 2;
    script
}

#[test]
fn a_failure_is_final_and_said() {
    for sync in [SyncMode::None, SyncMode::All] {
        let script = script(sync);
        let whole = Disk::new();
        script.run(&whole);
        for (index, what) in whole.done().into_iter().enumerate() {
            for errno in [libc::EIO, libc::ENOSPC, libc::EDQUOT] {
                let disk = Disk::new();
                disk.fail(index, errno);
                let promise = script.run(&disk);
                let is_want_of_room = errno != libc::EIO;
                let is_tried_again = match what {
                    // What takes room ahead is no write: there is room again, or the oldest makes some.
                    Do::Allocate | Do::Create => is_want_of_room && promise.reserved,
                    // What was not used of a file's room, or cannot be given back.
                    Do::Truncate => promise.error.is_none(),
                    _ => false,
                };
                if is_tried_again {
                    script.check(&disk, &promise, true).unwrap();
                    continue;
                }
                let Some(error) = promise.error.clone() else {
                    // The header of a new segment: nothing of it is believed, and it is begun anew.
                    assert!(what == Do::Write && is_want_of_room, "{what:?} {errno}");
                    continue;
                };
                assert_eq!(error.errno, Some(errno), "{what:?}");
                let after: Vec<_> = disk.done().split_off(index + 1);
                nothing_is_tried_again(&after, promise.prepared);
                disk.restart();
                script.check(&disk, &promise, true).unwrap();
                script
                    .check(&disk.after_power_cut(|_| false), &promise, false)
                    .unwrap();
                if promise.prepared {
                    let summary = inspect(&folder(&disk).unwrap()).unwrap();
                    assert_eq!(summary.storage_error, Some(error.to_string()));
                    // Whoever takes it over does not write to it either.
                    assert!(recover(folder(&disk).unwrap()).unwrap().writer.is_none());
                }
            }
        }
    }
}

/// After a failure all that is done is to say so, or to remove what was to be prepared.
fn nothing_is_tried_again(after: &[Do], prepared: bool) {
    if prepared {
        assert!(
            after.is_empty() || after == [Do::Create, Do::Write],
            "{after:?}"
        );
    } else {
        let removing = [Do::Rename, Do::Remove, Do::RemoveFolder];
        assert!(
            after.iter().all(|what| removing.contains(what)),
            "{after:?}"
        );
    }
}

#[test]
fn a_failed_writer_fails_with_the_same_error_for_ever() {
    for (on_full, no_output, takes) in [
        (OnFull::Block, false, false),
        (OnFull::DropOldest, false, true),
        (OnFull::Block, true, true),
    ] {
        let disk = Disk::new();
        let mut writer = writer(
            &disk,
            Keep {
                max_bytes: 1 << 20,
                on_full,
                no_output,
            },
        );
        let events = events(&[10, 10]);
        writer.push(events[0].clone());
        disk.fail(disk.done().len(), libc::EIO);
        let error = writer.commit().unwrap_err();
        assert_eq!(writer.failure(), Some(&error));
        let done = disk.done().len();
        writer.push(events[1].clone());
        writer.accept_stdin(5);
        assert!(!writer.has_pending());
        assert_eq!(writer.commit().unwrap_err(), error);
        assert_eq!(writer.through(), 0);
        assert_eq!(writer.has_room(), takes);
        drop(writer);
        assert_eq!(disk.done().len(), done, "something was tried again");
    }
}

#[test]
fn what_has_failed_with_its_end_is_not_trimmed_either() {
    let disk = Disk::new();
    let mut writer = writer(&disk, Keep::default());
    for event in events(&[10]) {
        writer.push(event);
    }
    disk.fail(disk.done().len(), libc::EIO);
    writer.commit().unwrap_err();
    let done = disk.done().len();
    writer.trim();
    assert_eq!(disk.done().len(), done, "something was tried again");
}

/// Writes of a few bytes at a time make the same journal.
#[test]
fn short_writes_are_gone_on_with() {
    let script = Script::new(SyncMode::None, &[3000, 100, 3000]);
    let whole = Disk::new();
    script.run(&whole);
    let disk = Disk::new();
    disk.write_at_most(700);
    assert_eq!(script.run(&disk).error, None);
    let name = "an-execution/segment-00000001";
    assert_eq!(disk.content(name), whole.content(name));
}

#[test]
fn what_cannot_be_removed_is_removed_later() {
    let whole = Disk::new();
    Script::new(SyncMode::None, &[10]).run(&whole);
    let begin = whole.done().len();
    let removed = whole.copy();
    remove(&removed.root(), ID).unwrap();
    for index in begin..removed.done().len() {
        let disk = whole.copy();
        disk.fail(index, libc::EIO);
        remove(&disk.root(), ID).unwrap_err();
        disk.restart();
        let is_there = folder(&disk).is_some();
        assert_eq!(is_there, index == begin, "half of it is there");
        assert_eq!(sweep_removed(&disk.root()), Ok(usize::from(!is_there)));
        assert_eq!(sweep_removed(&disk.root()), Ok(0));
    }
}

/// What is left is not taken for what runs, and all of it can go later.
#[test]
fn what_cannot_be_deleted_is_there_and_is_deleted_later() {
    let script = script(SyncMode::None);
    let whole = Disk::new();
    script.run(&whole);
    let begin = whole.done().len();
    let deleted = whole.copy();
    delete(&deleted.root(), ID).unwrap();
    assert!(folder(&deleted).is_none());
    let operations = deleted.done().split_off(begin);
    for (index, what) in operations.into_iter().enumerate() {
        let disk = whole.copy();
        disk.fail(begin + index, libc::EIO);
        delete(&disk.root(), ID).unwrap_err();
        let folder = folder(&disk).expect("it has its name");
        match inspect(&folder) {
            Ok(summary) => {
                assert!(summary.has_ended(), "{what:?}: {summary:?}");
                // The first operation gives it another name, the second removes the first file.
                assert_eq!(summary.is_damaged, index > 1, "{what:?}");
            }
            Err(error) => assert_eq!((error, what), (OpenError::Blank, Do::RemoveFolder)),
        }
        delete(&disk.root(), ID).unwrap();
        assert!(disk.root().open_folder(ID).is_err());
        assert_eq!(sweep_removed(&disk.root()), Ok(0));
    }
    // A folder that has gone by itself is no reason to stay.
    delete(&whole.root(), "another").unwrap();
}

#[test]
fn a_recovery_that_fails_can_be_tried_again() {
    let script = script(SyncMode::All);
    let part = Script {
        events: script.events[..3].to_vec(),
        ..script.clone()
    };
    let whole = Disk::new();
    let promise = part.run(&whole);
    let begin = whole.done().len();
    let recovered = whole.copy();
    recover_and_lose(&recovered, true).unwrap();
    for index in begin..recovered.done().len() {
        let disk = whole.copy();
        disk.fail(index, libc::EIO);
        assert!(recover_and_lose(&disk, true).is_err());
        disk.restart();
        script.check(&disk, &promise, true).unwrap();
    }
}

/// Those behind it are removed all the same.
#[test]
fn what_cannot_be_removed_keeps_nothing_else() {
    let disk = Disk::new();
    let root = disk.root();
    for id in ["one", "other"] {
        let folder = prepare(&root, id, 0, SyncMode::None).unwrap();
        folder.make_folder("in-the-way").unwrap();
        remove(&root, id).unwrap_err();
    }
    assert!(sweep_removed(&root).is_err());
    let other = root.open_folder(".removed-other").unwrap();
    other.remove_folder("in-the-way").unwrap();
    assert!(sweep_removed(&root).is_err());
    assert!(root.open_folder(".removed-other").is_err());
    let one = root.open_folder(".removed-one").unwrap();
    one.remove_folder("in-the-way").unwrap();
    assert_eq!(sweep_removed(&root), Ok(1));
}
