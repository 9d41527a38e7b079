//! What is kept of the output, and who waits for room.

use remex_supervisor::journal::{
    Attached, Commit, EVERYTHING, Full, Keep, OnFull, OpenError, Reader, Step, SyncMode, Writer,
    inspect,
};

use crate::{
    disk::{Disk, SimFolder},
    script::{Read, Script, folder, writer},
};

/// Adds and commits an event.
fn write(writer: &mut Writer<SimFolder>, script: &Script, index: usize) -> Commit {
    writer.push(script.events[index].clone());
    writer.commit().unwrap()
}

#[test]
fn with_nobody_attached_a_command_waits_at_the_bound() {
    let disk = Disk::new();
    let script = Script::new(SyncMode::None, &[50_000; 6]);
    let mut writer = writer(
        &disk,
        Keep {
            max_bytes: 150_000,
            ..Keep::default()
        },
    );
    for index in 0..=3 {
        let through = script.events[index].sequence;
        assert_eq!(
            write(&mut writer, &script, index),
            Commit::Written { through }
        );
    }
    assert_eq!(write(&mut writer, &script, 4), Commit::Full(Full::Keep));
    assert!(!writer.has_room());
    // A caller that has been sent only some of it makes no difference: what makes room are whole segments.
    for sent in [0, 1, 2] {
        writer.set_attached(Attached::Sent(sent));
        assert_eq!(writer.commit(), Ok(Commit::Full(Full::Keep)), "{sent}");
    }
    writer.set_attached(Attached::Sent(4));
    assert_eq!(writer.commit(), Ok(Commit::Written { through: 5 }));
    assert!(writer.has_room());
    let read = script.read(&disk).unwrap();
    let kept = Read {
        events: vec![1, 4, 5],
        gaps: vec![(2, 3)],
        ..Read::default()
    };
    assert_eq!(read, kept);
    assert_eq!(writer.first_kept(), 4);
    assert_eq!(inspect(&folder(&disk).unwrap()).unwrap().first_sequence, 4);
}

#[test]
fn the_exit_waits_behind_output_that_waits() {
    let disk = Disk::new();
    let script = Script::new(SyncMode::None, &[50_000; 2]);
    let mut writer = writer(
        &disk,
        Keep {
            max_bytes: 60_000,
            ..Keep::default()
        },
    );
    write(&mut writer, &script, 0);
    write(&mut writer, &script, 1);
    assert_eq!(write(&mut writer, &script, 2), Commit::Full(Full::Keep));
    assert_eq!(write(&mut writer, &script, 3), Commit::Full(Full::Keep));
    writer.set_attached(Attached::Sent(2));
    assert_eq!(writer.commit(), Ok(Commit::Written { through: 4 }));
    let read = script.read(&disk).unwrap();
    assert_eq!((read.events, read.gaps), (vec![1, 3, 4], vec![(2, 2)]));
}

#[test]
fn the_oldest_goes_at_once_if_that_is_what_was_asked_for() {
    for max_bytes in [1, 70_000, 150_000, 1_000_000] {
        let disk = Disk::new();
        let script = Script::new(SyncMode::None, &[60_000; 40]).dropping(max_bytes);
        let mut writer = writer(&disk, script.keep);
        for index in 0..script.events.len() {
            let through = script.events[index].sequence;
            assert_eq!(
                write(&mut writer, &script, index),
                Commit::Written { through }
            );
            let kept = script.kept_bytes(&script.read(&disk).unwrap());
            assert!(kept <= max_bytes.max(60_000), "{max_bytes}: {kept}");
        }
        let read = script.read(&disk).unwrap();
        assert_eq!(read.gaps.len(), 1);
        let kept = script.kept_bytes(&read);
        // No more goes than a segment more than was needed.
        let most = max_bytes.saturating_sub(2 * 64 * 1024 + 60_000);
        assert!(kept >= most, "{max_bytes}: {kept}");
    }
}

#[test]
fn a_reader_that_is_overtaken_is_told_what_it_missed() {
    let disk = Disk::new();
    let script = Script::new(SyncMode::None, &[60_000; 12]).dropping(200_000);
    let mut writer = writer(&disk, script.keep);
    write(&mut writer, &script, 0);
    write(&mut writer, &script, 1);
    write(&mut writer, &script, 2);
    let mut slow = Reader::open(folder(&disk).unwrap(), 0, 3).unwrap();
    assert!(matches!(slow.next(3).unwrap(), Step::Event(event) if event.sequence == 1));
    assert!(matches!(slow.next(3).unwrap(), Step::Event(event) if event.sequence == 2));
    for index in 3..script.events.len() {
        write(&mut writer, &script, index);
    }
    let through = writer.through();
    let read = script.read_with(slow, through);
    assert_eq!(read.damages, []);
    let (first, last) = read.gaps[0];
    assert!(first <= 4 && last > first, "{read:?}");
    assert_eq!(read.events.last(), Some(&through));
    // One that begins anew there is told that its position is gone; those at the ends are not.
    for after in [1, first, last - 1] {
        let gone = Reader::open(folder(&disk).unwrap(), after, EVERYTHING).unwrap_err();
        let expected = OpenError::PositionGone {
            after,
            first: last + 1,
            last: through,
        };
        assert_eq!(gone, expected);
    }
    for after in [0, last, last + 1, through] {
        Reader::open(folder(&disk).unwrap(), after, EVERYTHING).unwrap();
    }
    for limit in [EVERYTHING, through] {
        let ahead = Reader::open(folder(&disk).unwrap(), through + 1, limit).unwrap_err();
        let expected = OpenError::PositionAhead {
            after: through + 1,
            first: last + 1,
            last: through,
        };
        assert_eq!(ahead, expected);
    }
}

#[test]
fn a_reader_sees_no_more_than_it_is_told() {
    let disk = Disk::new();
    let script = Script::new(SyncMode::None, &[10, 20, 30]);
    let mut writer = writer(&disk, script.keep);
    for index in 0..4 {
        write(&mut writer, &script, index);
    }
    let mut reader = Reader::open(folder(&disk).unwrap(), 0, 2).unwrap();
    for through in [2, 2, 3, 4] {
        while let Step::Event(event) = reader.next(through).unwrap() {
            assert!(event.sequence <= through);
        }
        assert_eq!(reader.position(), through);
    }
    write(&mut writer, &script, 4);
    assert!(matches!(reader.next(5).unwrap(), Step::Event(event) if event.sequence == 5));
    assert!(matches!(reader.next(5).unwrap(), Step::Ended));
    assert!(matches!(reader.next(EVERYTHING).unwrap(), Step::Ended));
}

#[test]
fn nothing_is_stored_of_output_that_is_not_kept() {
    let disk = Disk::new();
    let script = Script {
        keep: Keep {
            no_output: true,
            ..Keep::default()
        },
        ..Script::new(SyncMode::None, &[5000; 9])
    };
    let mut writer = writer(&disk, script.keep);
    for index in 0..script.events.len() {
        assert!(writer.has_room());
        let through = script.events[index].sequence;
        assert_eq!(
            write(&mut writer, &script, index),
            Commit::Written { through }
        );
        let summary = inspect(&folder(&disk).unwrap()).unwrap();
        assert_eq!(summary.last_sequence, through);
    }
    assert!(disk.used() < 9000, "something was stored");
    let read = script.read(&disk).unwrap();
    assert_eq!(read.events, [1, 11]);
    assert_eq!(read.gaps, [(2, 10)]);
    // Every position is one: what its caller was sent is no part of the gap.
    for after in 1..=10 {
        let reader = Reader::open(folder(&disk).unwrap(), after, EVERYTHING).unwrap();
        let read = script.read_with(reader, EVERYTHING);
        let gap = (after < 10).then_some((after + 1, 10));
        assert_eq!(read.gaps, gap.into_iter().collect::<Vec<_>>());
    }
    let summary = inspect(&folder(&disk).unwrap()).unwrap();
    assert_eq!(summary.positions, [25_000, 20_000, 0]);
    assert_eq!(summary.first_sequence, 12);
}

/// What is recorded beside output has a bound, too.
#[test]
fn positions_of_stdin_do_not_add_up() {
    let disk = Disk::new();
    let script = Script::new(SyncMode::None, &[10, 10]);
    let keep = Keep {
        max_bytes: 100,
        on_full: OnFull::Block,
        no_output: false,
    };
    let mut writer = writer(&disk, keep);
    write(&mut writer, &script, 0);
    for position in 1..=20_000 {
        writer.accept_stdin(position);
        writer.commit().unwrap();
    }
    assert!(disk.used() < 700_000, "{}", disk.used());
    write(&mut writer, &script, 1);
    drop(writer);
    let summary = inspect(&folder(&disk).unwrap()).unwrap();
    assert_eq!((summary.stdin_accepted, summary.last_sequence), (20_000, 2));
    assert_eq!(script.read(&disk).unwrap().events, [1, 2]);
}

#[test]
fn tiny_outputs_have_a_bound_on_disk() {
    let disk = Disk::new();
    let script = Script::new(SyncMode::None, &vec![1; 30_000]).dropping(20_000);
    let mut writer = writer(&disk, script.keep);
    for events in script.events.chunks(100) {
        for event in events {
            writer.push(event.clone());
        }
        writer.commit().unwrap();
    }
    let limit = script.keep.stored_limit() + 256 * 1024;
    assert!(disk.used() < limit, "{}", disk.used());
}

#[test]
fn a_batch_takes_so_much_and_no_more() {
    let disk = Disk::new();
    let script = Script::new(SyncMode::None, &[64 * 1024; 8]);
    let mut writer = writer(&disk, Keep::default());
    writer.push(script.events[0].clone());
    let mut taken = 0;
    while writer.has_room() {
        taken += 1;
        writer.push(script.events[taken].clone());
    }
    assert_eq!(taken, 3);
    writer.commit().unwrap();
    assert!(writer.has_room());
}
