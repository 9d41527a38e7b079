//! On a real disk.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    thread,
};

use remex_supervisor::journal::{
    Claimed, Claims, Commit, DiskFolder, Folder, Keep, OnFull, OpenError, PREPARED_BYTES, Reader,
    Settings, Stage, Step, SyncMode, Writer, inspect, prepare, recover, remove,
};

use crate::script::{ID, are_same, claim, events, reservation};

fn open(path: &std::path::Path) -> DiskFolder {
    DiskFolder::open(path).unwrap()
}

#[test]
fn only_the_owner_can_open_what_is_made() {
    let root = tempfile::tempdir().unwrap();
    let parent = open(root.path());
    prepare(&parent, ID, PREPARED_BYTES, SyncMode::All).unwrap();
    let mode = |path: &str| {
        let path = root.path().join(path);
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    };
    assert_eq!(mode(ID), 0o700);
    assert_eq!(mode("an-execution/segment-00000001"), 0o600);
    let ids = parent.make_folder("ids").unwrap();
    assert_eq!(Claims::open(ids).claim(&claim()), Ok(Claimed::New));
    let ids = fs::read_dir(root.path().join("ids")).unwrap();
    for id in ids {
        assert_eq!(
            id.unwrap().metadata().unwrap().permissions().mode() & 0o7777,
            0o600
        );
    }
}

#[test]
fn a_symbolic_link_is_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let parent = open(root.path());
    let folder = prepare(&parent, ID, 0, SyncMode::None).unwrap();
    let segment = root.path().join("an-execution/segment-00000001");
    let elsewhere = root.path().join("elsewhere");
    fs::rename(&segment, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &segment).unwrap();
    assert!(matches!(Writer::open(folder), Err(OpenError::Storage(_))));
    std::os::unix::fs::symlink(root.path(), root.path().join("link")).unwrap();
    assert!(parent.open_folder("link").is_err());
}

/// Several readers follow a writer, each at its own pace, and get every event once.
#[test]
fn readers_follow_while_it_is_written() {
    const READERS: usize = 8;
    let root = tempfile::tempdir().unwrap();
    let parent = open(root.path());
    let folder = prepare(&parent, ID, PREPARED_BYTES, SyncMode::None).unwrap();
    let events = events(&[60_000; 120]);
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..READERS)
        .map(|_| std::sync::mpsc::channel::<u64>())
        .unzip();
    thread::scope(|scope| {
        for receiver in receivers {
            let (folder, events) = (folder.clone(), &events);
            scope.spawn(move || {
                let mut reader = Reader::open(folder, 0, 0).unwrap();
                let mut given = 0;
                for through in receiver {
                    loop {
                        match reader.next(through).unwrap() {
                            Step::Event(event) => {
                                assert!(are_same(&event, &events[given]));
                                given += 1;
                            }
                            Step::UpToDate | Step::Ended => break,
                            other => panic!("{other:?}"),
                        }
                    }
                    assert_eq!(given as u64, through, "something is missing");
                }
                assert_eq!(given, events.len());
            });
        }
        let mut writer = Writer::open(folder.clone()).unwrap();
        writer
            .reserve(&reservation(), &Settings::default())
            .unwrap();
        for event in &events {
            writer.push(event.clone());
            let Commit::Written { through } = writer.commit().unwrap() else {
                panic!("no room");
            };
            for sender in &senders {
                sender.send(through).unwrap();
            }
        }
        drop(senders);
    });
}

#[test]
fn a_journal_takes_no_more_of_the_disk_than_it_says() {
    let root = tempfile::tempdir().unwrap();
    let parent = open(root.path());
    let folder = prepare(&parent, ID, PREPARED_BYTES, SyncMode::None).unwrap();
    let mut writer = Writer::open(folder.clone()).unwrap();
    let keep = Keep {
        max_bytes: 300_000,
        on_full: OnFull::DropOldest,
        no_output: false,
    };
    let settings = Settings {
        keep,
        reserve_bytes: 0,
    };
    writer.reserve(&reservation(), &settings).unwrap();
    // A reader that stands still keeps nothing of the disk.
    let mut slow = Reader::open(folder.clone(), 0, 0).unwrap();
    for event in events(&[60_000; 60]) {
        writer.push(event);
        assert!(matches!(writer.commit(), Ok(Commit::Written { .. })));
    }
    writer.trim();
    let on_disk: u64 = fs::read_dir(root.path().join(ID))
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().blocks() * 512)
        .sum();
    let stored = writer.stored_bytes();
    assert!(stored <= 310_000, "{stored}");
    assert!(on_disk <= stored + 64 * 1024, "{on_disk} of {stored}");
    let summary = inspect(&folder).unwrap();
    assert!(matches!(summary.stage, Stage::Ended { .. }));
    assert_eq!(summary.stored_bytes, stored);
    assert!(matches!(slow.next(1).unwrap(), Step::Event(_)));
    let through = writer.through();
    assert!(matches!(slow.next(through).unwrap(), Step::Gap(gap) if gap.first_sequence == 2));
    remove(&parent, ID).unwrap();
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn one_that_was_never_used_and_one_that_was() {
    let root = tempfile::tempdir().unwrap();
    let parent = open(root.path());
    let folder = prepare(&parent, ID, PREPARED_BYTES, SyncMode::Start).unwrap();
    assert_eq!(inspect(&folder).unwrap().stage, Stage::Prepared);
    assert!(
        prepare(&parent, ID, 0, SyncMode::None)
            .unwrap_err()
            .is_taken()
    );
    assert!(prepare(&parent, "../up", 0, SyncMode::None).is_err());
    let mut writer = Writer::open(folder.clone()).unwrap();
    writer
        .reserve(&reservation(), &Settings::default())
        .unwrap();
    writer.not_started().unwrap();
    assert!(matches!(Writer::open(folder.clone()), Err(OpenError::Used)));
    let recovered = recover(folder).unwrap();
    assert_eq!(recovered.summary.stage, Stage::NotStarted);
    assert!(recovered.writer.is_none());
    let empty = parent.make_folder("empty").unwrap();
    assert!(matches!(inspect(&empty), Err(OpenError::Blank)));
}

/// Whoever looks at one that is being written takes nothing for damage that was written while it looked.
#[test]
fn one_that_is_being_written_is_not_damaged() {
    let root = tempfile::tempdir().unwrap();
    let parent = open(root.path());
    let folder = prepare(&parent, ID, PREPARED_BYTES, SyncMode::None).unwrap();
    let mut writer = Writer::open(folder.clone()).unwrap();
    writer
        .reserve(&reservation(), &Settings::default())
        .unwrap();
    let looks = thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut looks = 0;
            loop {
                let summary = inspect(&folder).unwrap();
                assert!(!summary.is_damaged, "after {looks} looks: {summary:?}");
                looks += 1;
                if summary.has_ended() {
                    return looks;
                }
            }
        });
        for batch in events(&vec![100; 20_000]).chunks(3) {
            for event in batch {
                writer.push(event.clone());
            }
            writer.commit().unwrap();
        }
        looking.join().unwrap()
    });
    assert!(looks > 1, "it was never looked at while it was written");
}
