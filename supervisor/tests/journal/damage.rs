//! Journals cut anywhere, and with any bit flipped.

use remex_supervisor::journal::{EVERYTHING, Lost, Reader, Stage, SyncMode, inspect, recover};

use crate::{
    disk::Disk,
    script::{ID, Read, Script, folder, recover_and_lose},
};

const SEGMENT: &str = "an-execution/segment-00000001";

/// A small journal, and where each of its events ends.
fn small() -> (Script, Disk, Vec<usize>) {
    let script = Script::new(SyncMode::None, &[5, 7, 1]);
    let disk = Disk::new();
    let mut ends = Vec::new();
    for count in 0..=script.events.len() {
        let part = Script {
            events: script.events[..count].to_vec(),
            ..script.clone()
        };
        let disk = Disk::new();
        part.run(&disk);
        recover(folder(&disk).unwrap()).unwrap();
        ends.push(disk.content(SEGMENT).len());
    }
    script.run(&disk);
    assert_eq!(disk.content(SEGMENT).len(), ends[ends.len() - 1]);
    (script, disk, ends)
}

#[test]
fn cut_at_any_byte_a_journal_keeps_every_whole_record() {
    let (script, whole, ends) = small();
    let bytes = whole.content(SEGMENT);
    for length in 0..=bytes.len() {
        let disk = whole.copy();
        disk.set_content(SEGMENT, bytes[..length].to_vec());
        let Some(read) = script.read(&disk) else {
            assert_eq!(length, 0, "only what is empty is blank");
            continue;
        };
        let events = ends[1..].iter().take_while(|end| **end <= length).count() as u64;
        let kept = Read {
            events: (1..=events).collect(),
            ..Read::default()
        };
        assert_eq!(read, kept, "cut at {length}");

        let recovered = recover(folder(&disk).unwrap()).unwrap();
        let has_ended = length == bytes.len();
        assert_eq!(recovered.writer.is_none(), has_ended || length < 256);
        if let Some(writer) = recovered.writer {
            let whole_records = ends.iter().rfind(|end| **end <= length).copied();
            let torn = &bytes[whole_records.unwrap_or(256)..length];
            // Zeros at its end are none of it.
            let cut = torn
                .iter()
                .rposition(|&byte| byte != 0)
                .map_or(0, |last| last + 1);
            assert_eq!(recovered.cut_bytes, cut as u64, "cut at {length}");
            assert_eq!(writer.through(), events);
            drop(writer);
            recover_and_lose(&disk, true).unwrap();
            let settled = script.read(&disk).unwrap();
            assert_eq!(settled.events, kept.events);
            let expected = match events {
                _ if cut == 0 && length == 256 => None,
                0 => Some(Lost::Start),
                _ => Some(Lost::Exit),
            };
            // Cut by the first recovery, nothing is left to say that something began to be written.
            assert!(settled.lost == expected || (events == 0 && settled.lost.is_none()));
        }
    }
}

#[test]
fn with_any_bit_flipped_a_journal_says_nothing_false() {
    let (script, whole, ends) = small();
    let bytes = whole.content(SEGMENT);
    let last = script.events.len() as u64;
    for bit in 0..8 * bytes.len() {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let disk = whole.copy();
        disk.set_content(SEGMENT, flipped);
        // That what is read is what was written, `read` sees to.
        let read = script.read(&disk).unwrap();
        let hit = ends.iter().filter(|end| **end <= bit / 8).count() as u64;
        let is_event = bit / 8 >= ends[0];
        let kept: Vec<_> = (1..=last)
            .filter(|&sequence| !is_event || sequence != hit)
            .collect();
        assert_eq!(read.events, kept, "bit {bit}");
        let damages = if is_event && hit < last {
            vec![(hit, hit)]
        } else {
            Vec::new()
        };
        assert_eq!(read.damages, damages, "bit {bit}");

        let summary = inspect(&folder(&disk).unwrap()).unwrap();
        let is_last = is_event && hit == last;
        assert_eq!(
            matches!(summary.stage, Stage::Running),
            is_last,
            "bit {bit}"
        );
        assert_eq!(summary.torn_bytes > 0, is_last, "bit {bit}");
        let id = summary.id.as_deref();
        assert!(
            id == Some(ID) || (id.is_none() && summary.is_damaged),
            "bit {bit}"
        );
    }
}

/// Every position of a damaged journal can be begun at, and what is behind the damage is reached.
#[test]
fn a_reader_begins_at_any_position_of_a_damaged_journal() {
    let (script, whole, ends) = small();
    let mut bytes = whole.content(SEGMENT);
    // The second output: event 3.
    bytes[ends[2] + 20] ^= 1;
    whole.set_content(SEGMENT, bytes);
    for (after, events, damages) in [
        (0, vec![1, 2, 4, 5], vec![(3, 3)]),
        (1, vec![2, 4, 5], vec![(3, 3)]),
        (2, vec![4, 5], vec![(3, 3)]),
        (3, vec![4, 5], vec![]),
        (4, vec![5], vec![]),
        (5, vec![], vec![]),
    ] {
        let reader = Reader::open(folder(&whole).unwrap(), after, EVERYTHING).unwrap();
        let read = script.read_with(reader, EVERYTHING);
        assert_eq!((read.events, read.damages), (events, damages), "{after}");
    }
}

/// A segment whose header is damaged, or that is gone altogether, costs no more than itself.
#[test]
fn a_damaged_segment_leaves_the_others_readable() {
    let mut script = Script::new(SyncMode::All, &[60_000; 6]);
    script.keep.max_bytes = 1024 * 1024;
    let disk = Disk::new();
    script.run(&disk);
    let second = "an-execution/segment-00000002";
    let all = Read {
        events: (1..=8).collect(),
        ..Read::default()
    };
    assert_eq!(script.read(&disk).unwrap(), all);

    let damaged = disk.copy();
    let mut bytes = damaged.content(second);
    bytes[30] ^= 1;
    damaged.set_content(second, bytes);
    assert_eq!(script.read(&damaged).unwrap(), all, "only the header");

    let damaged = disk.copy();
    let length = damaged.content(second).len();
    damaged.set_content(second, vec![0xff; length]);
    let read = script.read(&damaged).unwrap();
    assert_eq!(read.events, [1, 2, 3, 6, 7, 8]);
    assert_eq!(read.damages, [(4, 5)]);
}
