//! What must hold of any bytes in the files of a journal: for the fuzz target, and for the ordinary test that replays its seeds.

use remex_supervisor::journal::{EVERYTHING, Folder, Reader, Step, StoredFile, inspect, recover};

use crate::disk::{Disk, SimFolder};

/// What is between the segments of an input.
const SEAM: &[u8] = b"\n--segment--\n";

/// Where a segment's sum is, and where its first frame begins.
const HEADER: (usize, usize) = (16, 256);

/// No journal of an input this small has more to say.
const MAX_STEPS: usize = 100_000;

/// Reads a journal, recovers it, and reads it again.
pub(crate) fn check(input: &[u8]) {
    // The first byte says whether sums are put right, without which little would be behind them.
    let Some((&first, input)) = input.split_first() else {
        return;
    };
    let disk = Disk::new();
    let folder = disk.root().make_folder("j").expect("a folder");
    for (ordinal, segment) in (1..).zip(split(input)).take(4) {
        let file = folder.create(&format!("segment-{ordinal:08}"));
        let mut bytes = segment.to_vec();
        if first & 1 == 1 {
            put_sums_right(&mut bytes);
        }
        let file = file.expect("a new name");
        let slice = [std::io::IoSlice::new(&bytes)];
        assert_eq!(file.write_at(&slice, 0).expect("room"), bytes.len());
    }
    let before = read(&folder, 0);
    let summary = inspect(&folder);
    let _ = read(&folder, u64::from(first));
    let Ok(recovered) = recover(folder.clone()) else {
        return;
    };
    let summary = summary.expect("what is recovered can be inspected");
    assert_eq!(summary.last_sequence, recovered.summary.last_sequence);
    let was_writable = recovered.writer.is_some();
    drop(recovered);
    // What was cut is nothing that was read.
    assert_eq!(read(&folder, 0), before);
    if was_writable {
        let again = recover(folder).expect("it was recovered before");
        assert_eq!(again.cut_bytes, 0, "something was left to cut");
    }
}

/// The events of a journal behind `after`; `None` if there is none to open.
fn read(folder: &SimFolder, after: u64) -> Option<Vec<String>> {
    let mut reader = Reader::open(folder.clone(), after, EVERYTHING).ok()?;
    let mut steps = Vec::new();
    let mut last = after;
    loop {
        assert!(steps.len() < MAX_STEPS, "it does not end");
        let (first, sequence) = match reader.next(EVERYTHING) {
            Ok(Step::UpToDate | Step::Ended) | Err(_) => return Some(steps),
            Ok(step) => {
                steps.push(format!("{step:?}"));
                match step {
                    Step::Event(event) => (event.sequence, event.sequence),
                    Step::Lost(lost) => (lost.sequence, lost.sequence),
                    Step::Gap(gap) => (gap.first_sequence, gap.sequence),
                    Step::Damaged(damage) => (damage.first_sequence, damage.sequence),
                    Step::UpToDate | Step::Ended => unreachable!("they return"),
                }
            }
        };
        assert!(first == last + 1 && sequence >= first, "{steps:?}");
        last = sequence;
    }
}

fn split(mut input: &[u8]) -> Vec<&[u8]> {
    let mut segments = Vec::new();
    while let Some(at) = input.windows(SEAM.len()).position(|window| window == SEAM) {
        segments.push(&input[..at]);
        input = &input[at + SEAM.len()..];
    }
    segments.push(input);
    segments
}

/// Gives the header, and the frames behind it, the sums that belong to them.
fn put_sums_right(bytes: &mut [u8]) {
    let (at, begin) = HEADER;
    if bytes.len() < begin {
        return;
    }
    bytes[at..at + 4].fill(0);
    let sum = crc32c::crc32c(&bytes[..begin]);
    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
    let mut rest = &mut bytes[begin..];
    while let Some((head, after)) = rest.split_at_mut_checked(12) {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let Some((body, after)) = after.split_at_mut_checked(length) else {
            return;
        };
        let sum = crc32c::crc32c_append(crc32c::crc32c(&head[..8]), body);
        head[8..].copy_from_slice(&sum.to_le_bytes());
        rest = after;
    }
}
