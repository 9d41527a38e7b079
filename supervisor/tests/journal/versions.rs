//! Journals of other versions: of this one as it was kept, and of later ones.

use std::path::Path;

use remex_supervisor::journal::{
    EVERYTHING, OpenError, ReadError, Reader, Stage, Step, SyncMode, Unsupported, inspect, recover,
};

use crate::{
    disk::Disk,
    script::{Read, Script, folder},
};

const SEGMENT: &str = "an-execution/segment-00000001";

fn script() -> Script {
    Script::new(SyncMode::Start, &[5, 2000, 7])
}

/// A journal as it was written when format 1 was made. It is read for ever; a change that makes it fail is a new version of the
/// format, and no reason to write it anew.
#[test]
fn what_format_1_has_written_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journal/golden/format-1");
    let golden = std::fs::read(path).unwrap();
    let disk = Disk::new();
    script().run(&disk);
    assert_eq!(
        disk.content(SEGMENT),
        golden,
        "this version writes otherwise"
    );
    disk.set_content(SEGMENT, golden);
    assert_eq!(script().read(&disk).unwrap().events, [1, 2, 3, 4, 5]);
    let summary = inspect(&folder(&disk).unwrap()).unwrap();
    assert!(matches!(summary.stage, Stage::Ended { .. }));
    assert_eq!(summary.positions, [12, 2000, 0]);
}

/// The frames of a journal, taken apart.
struct Apart {
    disk: Disk,
    header: Vec<u8>,
    frames: Vec<Vec<u8>>,
}

impl Apart {
    fn new() -> Self {
        let disk = Disk::new();
        script().run(&disk);
        let bytes = disk.content(SEGMENT);
        let (header, mut rest) = bytes.split_at(256);
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
            let (frame, after) = rest.split_at(12 + length);
            frames.push(frame.to_vec());
            rest = after;
        }
        assert_eq!(frames.len(), 6, "a reservation and five events");
        Self {
            header: header.to_vec(),
            frames,
            disk,
        }
    }

    fn marker(&self) -> [u8; 4] {
        self.header[20..24].try_into().unwrap()
    }

    /// A frame of any body.
    fn frame(&self, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        let head = [self.marker(), length].concat();
        let sum = crc32c::crc32c_append(crc32c::crc32c(&head), body);
        [&head[..], &sum.to_le_bytes(), body].concat()
    }

    /// Adds bytes to a frame's fields.
    fn add_field(&mut self, index: usize, field: &[u8]) {
        let body = [&self.frames[index][12..], field].concat();
        self.frames[index] = self.frame(&body);
    }

    fn change_header(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.header);
        self.header[16..20].fill(0);
        let sum = crc32c::crc32c(&self.header);
        self.header[16..20].copy_from_slice(&sum.to_le_bytes());
    }

    fn put_together(&self) -> &Disk {
        let bytes = [&self.header[..], &self.frames.concat()].concat();
        self.disk.set_content(SEGMENT, bytes);
        &self.disk
    }
}

const LATER_FIELD: &[u8] = &[0x63, 3, b'n', b'e', b'w'];
const NEEDED_FIELD: &[u8] = &[0x80 | 0x63, 3, b'n', b'e', b'w'];

#[test]
fn later_fields_and_kinds_that_may_be_skipped_are() {
    let mut apart = Apart::new();
    for index in 0..apart.frames.len() {
        apart.add_field(index, LATER_FIELD);
    }
    let skippable = apart.frame(&[&[200, 1][..], &[9; 16], LATER_FIELD].concat());
    apart.frames.insert(3, skippable);
    apart.change_header(|header| {
        header[8] = 2;
        let fields = usize::from(header[14]);
        header[24 + fields..][..LATER_FIELD.len()].copy_from_slice(LATER_FIELD);
        header[14] += u8::try_from(LATER_FIELD.len()).unwrap();
    });
    let disk = apart.put_together();
    let read = script().read(disk).unwrap();
    let all = Read {
        events: vec![1, 2, 3, 4, 5],
        ..Read::default()
    };
    assert_eq!(read, all);
    let summary = inspect(&folder(disk).unwrap()).unwrap();
    assert!(matches!(summary.stage, Stage::Ended { .. }));
    assert_eq!(summary.sync, SyncMode::Start);
    assert!(!summary.is_damaged);
}

#[test]
fn what_must_not_be_skipped_is_named_and_nothing_behind_it_told() {
    for (index, is_kind) in [(2, false), (2, true), (0, false), (5, false)] {
        let mut apart = Apart::new();
        let expected = if is_kind {
            let frame = apart.frame(&[&[200, 0][..], &[0; 16]].concat());
            apart.frames.insert(index, frame);
            Unsupported::Record(200)
        } else {
            apart.add_field(index, NEEDED_FIELD);
            let kind = apart.frames[index][12];
            Unsupported::Field { kind, field: 0x63 }
        };
        let disk = apart.put_together();
        let mut reader = Reader::open(folder(disk).unwrap(), 0, EVERYTHING).unwrap();
        let mut events = 0;
        let error = loop {
            match reader.next(EVERYTHING) {
                Ok(Step::Event(_)) => events += 1,
                Ok(other) => panic!("{other:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!(error, ReadError::Unsupported(expected));
        assert_eq!(events, index.saturating_sub(1));
        // As often as it is asked.
        assert_eq!(reader.next(EVERYTHING).unwrap_err(), error);
    }
}

/// A later version's journal is not touched.
#[test]
fn a_journal_that_is_not_for_this_version_is_left_alone() {
    let mut apart = Apart::new();
    apart.change_header(|header| (header[8], header[10]) = (7, 2));
    let disk = apart.put_together();
    let before = (disk.content(SEGMENT), disk.done().len());
    let expected = OpenError::Unsupported(Unsupported::Format(7));
    let folder = folder(disk).unwrap();
    assert_eq!(inspect(&folder).unwrap_err(), expected);
    assert_eq!(
        Reader::open(folder.clone(), 0, EVERYTHING).unwrap_err(),
        expected
    );
    assert_eq!(recover(folder).unwrap_err(), expected);
    assert_eq!((disk.content(SEGMENT), disk.done().len()), before);
}
