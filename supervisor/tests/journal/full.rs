//! A full disk: what waits, what goes, and what is not stored. No record fails for want of room.

use remex_supervisor::journal::{Commit, Full, Keep, Settings, SyncMode, Writer, inspect, prepare};

use crate::{
    disk::Disk,
    script::{ID, Script, folder, reservation, writer},
};

#[test]
fn a_full_disk_costs_no_record() {
    let disk = Disk::new();
    let mut writer = writer(&disk, Keep::default());
    let script = Script::new(SyncMode::None, &[40_000; 8]);
    disk.limit(Some(disk.used() + 100_000));
    let mut was_full = false;
    for event in &script.events {
        writer.push(event.clone());
        loop {
            match writer.commit().unwrap() {
                Commit::Written { through } => break assert_eq!(through, event.sequence),
                committed => {
                    assert_eq!(committed, Commit::Full(Full::Disk));
                    assert_eq!(writer.is_full(), Some(Full::Disk));
                    assert!(!writer.has_room());
                    was_full = true;
                    // What was told so far can be read, and the batch is not lost.
                    let read = script.read(&disk).unwrap();
                    assert_eq!(read.events.len() as u64, event.sequence - 1);
                    disk.limit(Some(disk.used() + 200_000));
                }
            }
        }
        assert!(writer.has_room());
    }
    assert!(was_full);
    assert_eq!(
        script.read(&disk).unwrap().events.len(),
        script.events.len()
    );
}

/// The exit has room that output left to it, however full the disk is.
#[test]
fn an_exit_is_stored_on_a_full_disk() {
    let disk = Disk::new();
    let mut writer = writer(&disk, Keep::default());
    let script = Script::new(SyncMode::None, &[40_000; 2]);
    let [output @ .., exit] = &script.events[..] else {
        panic!()
    };
    for event in output {
        writer.push(event.clone());
        writer.commit().unwrap();
    }
    disk.limit(Some(0));
    writer.push(exit.clone());
    assert_eq!(
        writer.commit(),
        Ok(Commit::Written {
            through: exit.sequence
        })
    );
    assert_eq!(
        script.read(&disk).unwrap().events.len(),
        script.events.len()
    );
}

#[test]
fn on_a_full_disk_the_oldest_output_goes_if_it_may() {
    let disk = Disk::new();
    let script = Script::new(SyncMode::None, &[60_000; 100]).dropping(1 << 30);
    let mut writer = writer(&disk, script.keep);
    disk.limit(Some(4 << 20));
    for event in &script.events {
        writer.push(event.clone());
        assert_eq!(
            writer.commit(),
            Ok(Commit::Written {
                through: event.sequence
            })
        );
    }
    assert!(disk.used() <= 4 << 20);
    let read = script.read(&disk).unwrap();
    assert_eq!(read.gaps.len(), 1);
    assert_eq!(read.events.last(), Some(&(script.events.len() as u64)));
}

/// As what is being ended is not held up by a disk.
#[test]
fn on_a_full_disk_the_oldest_output_goes_once_it_is_to_give_way() {
    let disk = Disk::new();
    let script = Script::new(SyncMode::None, &[60_000; 100]);
    let mut writer = writer(&disk, Keep::default());
    disk.limit(Some(4 << 20));
    let mut events = script.events.iter();
    let is_held_up = events.any(|event| {
        writer.push(event.clone());
        writer.commit() == Ok(Commit::Full(Full::Disk))
    });
    assert!(is_held_up);
    assert_eq!(writer.commit(), Ok(Commit::Full(Full::Disk)));
    writer.give_way();
    assert!(matches!(writer.commit(), Ok(Commit::Written { .. })));
    for event in events {
        writer.push(event.clone());
        assert_eq!(
            writer.commit(),
            Ok(Commit::Written {
                through: event.sequence
            })
        );
    }
    assert!(disk.used() <= 4 << 20);
    let read = script.read(&disk).unwrap();
    assert_eq!(read.gaps.len(), 1);
    assert_eq!(read.events.last(), Some(&(script.events.len() as u64)));
}

/// Nor by one on which nothing can be dropped, since all is in the segment that is written.
#[test]
fn on_a_full_disk_what_is_to_give_way_is_not_stored_where_nothing_can_go() {
    for is_over in [false, true] {
        let disk = Disk::new();
        let script = Script::new(SyncMode::None, &[60_000; 12]);
        let [output @ .., exit] = &script.events[..] else {
            panic!()
        };
        let mut writer = writer(&disk, Keep::default());
        disk.limit(Some(disk.used() + 250_000));
        let mut events = output.iter();
        let is_held_up = events.any(|event| {
            writer.push(event.clone());
            writer.commit() == Ok(Commit::Full(Full::Disk))
        });
        assert!(is_held_up);
        let stored = writer.through();
        if is_over {
            events.for_each(|event| writer.push(event.clone()));
            writer.push(exit.clone());
            writer.give_way();
        } else {
            writer.give_way();
            assert_eq!(writer.commit(), Ok(Commit::Held));
            for event in events {
                writer.push(event.clone());
                assert_eq!(writer.commit(), Ok(Commit::Held));
            }
            writer.push(exit.clone());
        }
        let through = exit.sequence;
        assert_eq!(writer.commit(), Ok(Commit::Written { through }));
        let read = script.read(&disk).unwrap();
        let expected: Vec<_> = (1..=stored).chain([through]).collect();
        assert_eq!(read.events, expected, "{is_over}");
        assert_eq!(read.gaps.len(), 1, "{is_over}");
    }
}

/// What is to stay free of the disk stays free of output, not of an exit.
#[test]
fn output_leaves_the_reserve_alone() {
    let disk = Disk::new();
    let folder = prepare(&disk.root(), ID, 8192, SyncMode::None).unwrap();
    let mut writer = Writer::open(folder).unwrap();
    let settings = Settings {
        reserve_bytes: 1 << 20,
        ..Settings::default()
    };
    disk.limit(Some((1 << 20) + 200_000));
    writer.reserve(&reservation(), &settings).unwrap();
    let script = Script::new(SyncMode::None, &[60_000; 8]);
    let commits = script.events[..8].iter().map(|event| {
        writer.push(event.clone());
        writer.commit().unwrap()
    });
    assert_eq!(commits.last(), Some(Commit::Full(Full::Disk)));
    assert!(disk.used() <= 200_000);
}

#[test]
fn a_reservation_on_a_full_disk_says_so() {
    let disk = Disk::new();
    let folder = prepare(&disk.root(), ID, 0, SyncMode::None).unwrap();
    let mut writer = Writer::open(folder).unwrap();
    disk.limit(Some(disk.used()));
    let error = writer
        .reserve(&reservation(), &Settings::default())
        .unwrap_err();
    assert!(error.is_full());
}

/// However long it goes on: the room that the end needs is left.
#[test]
fn where_the_oldest_is_to_go_and_nothing_can_the_command_does_not_wait() {
    let disk = Disk::new();
    let script = Script::new(SyncMode::All, &[30_000; 500]).dropping(1 << 30);
    let [first, events @ .., exit] = &script.events[..] else {
        panic!()
    };
    let mut writer = writer(&disk, script.keep);
    writer.push(first.clone());
    writer.commit().unwrap();
    disk.limit(Some(disk.used() + 20_000));
    for event in events {
        writer.push(event.clone());
        writer.accept_stdin(event.sequence);
        assert_eq!(writer.commit(), Ok(Commit::Held));
        assert_eq!(writer.is_full(), None);
        assert!(writer.has_room());
    }
    assert_eq!(writer.through(), 1);
    writer.push(exit.clone());
    let through = exit.sequence;
    assert_eq!(writer.commit(), Ok(Commit::Written { through }));
    let read = script.read(&disk).unwrap();
    assert_eq!(read.events, [1, through]);
    assert_eq!(read.gaps.len(), 1);
    let summary = inspect(&folder(&disk).unwrap()).unwrap();
    assert_eq!(summary.storage_error, None);
    assert_eq!(summary.stdin_accepted, through - 1);
}

/// The bound on what is kept is reached while there is one segment.
#[test]
fn where_no_segment_can_be_begun_the_command_does_not_wait_either() {
    let disk = Disk::new();
    let script = Script::new(SyncMode::None, &[5_000; 20]).dropping(5_000);
    let mut writer = writer(&disk, script.keep);
    for event in &script.events[..2] {
        writer.push(event.clone());
        writer.commit().unwrap();
    }
    disk.limit(Some(disk.used()));
    for event in &script.events[2..21] {
        writer.push(event.clone());
        assert_eq!(writer.commit(), Ok(Commit::Held));
    }
    let exit = script.events.last().unwrap();
    writer.push(exit.clone());
    let through = exit.sequence;
    assert_eq!(writer.commit(), Ok(Commit::Written { through }));
    assert_eq!(script.read(&disk).unwrap().events, [1, 2, through]);
}

#[test]
fn with_room_again_output_is_stored_behind_the_gap() {
    let disk = Disk::new();
    let script = Script::new(SyncMode::None, &[30_000; 10]).dropping(1 << 30);
    let mut writer = writer(&disk, script.keep);
    let mut held = 0;
    for (index, event) in script.events.iter().enumerate() {
        match index {
            3 => disk.limit(Some(disk.used())),
            6 => disk.limit(None),
            _ => {}
        }
        writer.push(event.clone());
        match writer.commit().unwrap() {
            Commit::Written { through } => assert_eq!(through, event.sequence),
            commit => {
                assert_eq!(
                    (commit, writer.through() < event.sequence),
                    (Commit::Held, true)
                );
                held += 1;
            }
        }
    }
    assert!(held > 0);
    let read = script.read(&disk).unwrap();
    assert_eq!(read.gaps.len(), 1);
    assert_eq!(read.events.len(), script.events.len() - held);
}

#[test]
fn that_it_has_started_is_stored_on_a_full_disk() {
    let disk = Disk::new();
    let script = Script::new(SyncMode::None, &[60_000; 3]).dropping(1 << 30);
    let mut writer = writer(&disk, script.keep);
    disk.limit(Some(disk.used()));
    let [events @ .., exit] = &script.events[..] else {
        panic!()
    };
    for event in events {
        writer.push(event.clone());
    }
    let through = exit.sequence - 1;
    assert_eq!(writer.commit(), Ok(Commit::Written { through }));
    let read = script.read(&disk).unwrap();
    assert_eq!((read.events, read.gaps.len()), (vec![1], 1));
}

/// Those of stdin, and of output that is not kept.
#[test]
fn what_is_no_output_uses_up_no_room_of_the_exit() {
    for no_output in [false, true] {
        let disk = Disk::new();
        let outputs = if no_output { 500 } else { 0 };
        let script = Script::new(SyncMode::None, &vec![100; outputs]);
        let keep = Keep {
            no_output,
            ..Keep::default()
        };
        let mut writer = writer(&disk, keep);
        let [first, events @ .., exit] = &script.events[..] else {
            panic!()
        };
        writer.push(first.clone());
        writer.commit().unwrap();
        disk.limit(Some(disk.used()));
        for position in 1..=500 {
            if let Some(event) = events.get(position - 1) {
                writer.push(event.clone());
            }
            writer.accept_stdin(position as u64);
            let committed = writer.commit().unwrap();
            assert!(!matches!(committed, Commit::Full(_)), "{committed:?}");
        }
        assert_eq!(writer.commit(), Ok(Commit::Held));
        writer.push(exit.clone());
        let through = exit.sequence;
        assert_eq!(writer.commit(), Ok(Commit::Written { through }));
        let summary = inspect(&folder(&disk).unwrap()).unwrap();
        assert_eq!(summary.storage_error, None, "{no_output}");
        assert_eq!(summary.stdin_accepted, 500, "{no_output}");
    }
}
