//! An execution as its supervisor records it, and what has to hold of its journal afterwards.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use remex_supervisor::{
    journal::{
        Attached, Claim, Commit, EVERYTHING, Fate, Keep, OnFull, OpenError, Reader, RequestDigest,
        RequestKey, Reservation, Settings, Stage, Step, StorageError, SyncMode, Writer, inspect,
        prepare, recover,
    },
    lifecycle::{
        event::{Event, EventKind, Exit},
        outcome::{ExitReason, Outcome},
        output::{Chunk, OutputStream},
    },
    process::{ExitStatus, Usage},
};

use crate::disk::{Disk, SimFolder};

pub(crate) const ID: &str = "an-execution";
pub(crate) const BOOT: [u8; 16] = [3; 16];

pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

pub(crate) fn claim() -> Claim {
    Claim {
        execution_id: ID.to_owned(),
        key: RequestKey::new("unix:1000", "nightly"),
        digest: RequestDigest::new([7; 16], &[(1, b"true")]),
        caller: "unix:1000".to_owned(),
        request_id: "nightly".to_owned(),
        boot_id: BOOT,
        retired_at: None,
    }
}

pub(crate) fn reservation() -> Reservation {
    Reservation {
        claim: Some(claim()),
        boot_id: BOOT,
        time: at(1),
        details: Bytes::from_static(b"what remexd wants back"),
    }
}

pub(crate) fn exit() -> Exit {
    Exit {
        outcome: Outcome {
            status: Some(ExitStatus::Code(3)),
            reason: ExitReason::Own,
            unkillable: false,
            output_cut: false,
        },
        wall_time: Duration::from_millis(1500),
        usage: Usage::default(),
        oom_killed: false,
        output_left_open: false,
    }
}

/// Events of an execution that writes so much at a time, to stdout and stderr in turn.
pub(crate) fn events(outputs: &[usize]) -> Vec<Event> {
    let mut positions = [0; 2];
    let started = EventKind::Started { pid: 77 };
    let output = outputs.iter().enumerate().map(|(index, &bytes)| {
        let which = index % 2;
        let offset = positions[which];
        positions[which] += bytes as u64;
        EventKind::Output(Chunk {
            stream: [OutputStream::Stdout, OutputStream::Stderr][which],
            offset,
            data: content(offset, bytes),
        })
    });
    let mut kinds = vec![started];
    kinds.extend(output);
    kinds.push(EventKind::Exited(exit()));
    let event = |(sequence, kind)| Event {
        sequence,
        time: at(100 + sequence),
        kind,
    };
    (1..).zip(kinds).map(event).collect()
}

/// What an execution writes at a position.
fn content(offset: u64, bytes: usize) -> Bytes {
    (offset..offset + bytes as u64)
        .map(|at| u8::try_from(at % 251).unwrap() ^ 0x55)
        .collect()
}

/// Whether two events are the same.
pub(crate) fn are_same(one: &Event, other: &Event) -> bool {
    let are_same = match (&one.kind, &other.kind) {
        (EventKind::Started { pid: one }, EventKind::Started { pid: other }) => one == other,
        (EventKind::Output(one), EventKind::Output(other)) => one == other,
        (EventKind::Exited(one), EventKind::Exited(other)) => one == other,
        _ => false,
    };
    are_same && (one.sequence, one.time) == (other.sequence, other.time)
}

/// A journal that is reserved already.
pub(crate) fn writer(disk: &Disk, keep: Keep) -> Writer<SimFolder> {
    let folder = prepare(&disk.root(), ID, 8192, SyncMode::None).unwrap();
    let mut writer = Writer::open(folder).unwrap();
    let settings = Settings {
        keep,
        reserve_bytes: 0,
    };
    writer.reserve(&reservation(), &settings).unwrap();
    writer
}

/// What was acknowledged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Promise {
    pub(crate) prepared: bool,
    pub(crate) reserved: bool,
    /// It may have run from here on.
    pub(crate) spawned: bool,
    /// Events up to this one were told.
    pub(crate) through: u64,
    pub(crate) error: Option<StorageError>,
}

/// How an execution is recorded.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) sync: SyncMode,
    pub(crate) keep: Keep,
    pub(crate) events: Vec<Event>,
    /// So many events are committed at once.
    pub(crate) batch: usize,
}

impl Script {
    pub(crate) fn new(sync: SyncMode, outputs: &[usize]) -> Self {
        Self {
            sync,
            keep: Keep::default(),
            events: events(outputs),
            batch: 1,
        }
    }

    pub(crate) fn dropping(mut self, max_bytes: u64) -> Self {
        self.keep.max_bytes = max_bytes;
        self.keep.on_full = OnFull::DropOldest;
        self
    }

    /// Records all of it, until something fails.
    pub(crate) fn run(&self, disk: &Disk) -> Promise {
        let mut promise = Promise::default();
        let done = self.try_run(disk, &mut promise);
        promise.error = done.err();
        promise
    }

    fn try_run(&self, disk: &Disk, promise: &mut Promise) -> Result<(), StorageError> {
        let folder = prepare(&disk.root(), ID, 8192, self.sync)?;
        promise.prepared = true;
        let mut writer = Writer::open(folder).unwrap();
        let settings = Settings {
            keep: self.keep,
            reserve_bytes: 0,
        };
        writer.reserve(&reservation(), &settings)?;
        promise.reserved = true;
        promise.spawned = true;
        for events in self.events.chunks(self.batch) {
            for event in events {
                writer.push(event.clone());
            }
            writer.set_attached(Attached::Sent(promise.through));
            let mut committed = writer.commit()?;
            if !matches!(committed, Commit::Written { .. }) {
                committed = writer.commit()?;
            }
            let Commit::Written { through } = committed else {
                panic!("{committed:?}");
            };
            promise.through = through;
        }
        writer.trim();
        Ok(())
    }

    /// What a reader of the whole journal is given, after whoever wrote it has died: `None` if there is no journal.
    pub(crate) fn read(&self, disk: &Disk) -> Option<Read> {
        let folder = folder(disk)?;
        match Reader::open(folder, 0, EVERYTHING) {
            Ok(reader) => Some(self.read_with(reader, EVERYTHING)),
            Err(OpenError::Blank) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Reads on as far as it goes, and compares with what was written.
    pub(crate) fn read_with(&self, mut reader: Reader<SimFolder>, through: u64) -> Read {
        let mut read = Read::default();
        loop {
            let before = reader.position();
            let step = reader.next(through).unwrap();
            let (first, last) = match &step {
                Step::Event(event) => {
                    let index = usize::try_from(event.sequence).unwrap() - 1;
                    assert!(are_same(event, &self.events[index]), "not what was written");
                    read.events.push(event.sequence);
                    (event.sequence, event.sequence)
                }
                Step::Gap(gap) => {
                    read.gaps.push((gap.first_sequence, gap.sequence));
                    assert_eq!(gap.bytes, self.bytes(gap.first_sequence, gap.sequence));
                    (gap.first_sequence, gap.sequence)
                }
                Step::Damaged(damage) => {
                    let range = (damage.first_sequence, damage.sequence);
                    read.damages.push(range);
                    range
                }
                Step::Lost(lost) => {
                    read.lost = Some(lost.lost);
                    (lost.sequence, lost.sequence)
                }
                Step::UpToDate | Step::Ended => return read,
            };
            assert_eq!(first, before + 1, "{step:?}");
            assert!(last >= first, "{step:?}");
            assert_eq!(reader.position(), last);
        }
    }

    /// What was read of the output.
    pub(crate) fn kept_bytes(&self, read: &Read) -> u64 {
        let bytes = |&sequence: &u64| self.bytes(sequence, sequence).iter().sum::<u64>();
        read.events.iter().map(bytes).sum()
    }

    /// What the events between two sequences wrote.
    fn bytes(&self, first: u64, last: u64) -> [u64; 3] {
        let mut bytes = [0; 3];
        for event in &self.events {
            if let EventKind::Output(chunk) = &event.kind
                && (first..=last).contains(&event.sequence)
            {
                bytes[usize::from(chunk.stream != OutputStream::Stdout)] += chunk.data.len() as u64;
            }
        }
        bytes
    }

    /// Whether a promise was kept on a disk whose host went down, or did not.
    pub(crate) fn check(
        &self,
        disk: &Disk,
        promise: &Promise,
        same_boot: bool,
    ) -> Result<(), String> {
        let is_safe = |least| same_boot || self.sync >= least;
        let Some(folder) = folder(disk) else {
            return no(
                promise.prepared && is_safe(SyncMode::Start),
                "the journal is gone",
            );
        };
        let summary = match inspect(&folder) {
            Ok(summary) => summary,
            Err(OpenError::Blank) => {
                return no(promise.prepared && is_safe(SyncMode::Start), "it is blank");
            }
            Err(error) => return Err(error.to_string()),
        };
        let fate = summary.fate(same_boot);
        no(
            promise.spawned && fate == Fate::NeverRan,
            "it is said not to have run",
        )?;
        if promise.reserved && is_safe(SyncMode::Start) {
            no(
                summary.reservation != Some(reservation()),
                "the reservation is gone",
            )?;
        }
        let read = self.read(disk).ok_or("it cannot be read")?;
        // Nothing was invented, as `read` compares; what was told is there, or said to be missing.
        let covers = |ranges: &[(u64, u64)], at| ranges.iter().any(|&(a, b)| (a..=b).contains(&at));
        if is_safe(SyncMode::All) {
            let is_told = |damage: &(u64, u64)| damage.0 <= promise.through;
            no(read.damages.iter().any(is_told), "it is damaged")?;
            for sequence in 1..=promise.through {
                let is_there = read.events.contains(&sequence) || covers(&read.gaps, sequence);
                no(!is_there, "an event that was told is gone")?;
            }
            let is_gap = self.keep == Keep::default() && !read.gaps.is_empty();
            no(is_gap, "there is a gap, and no reason for it")?;
            no(
                summary.last_sequence < promise.through,
                "its end is not known",
            )?;
        }
        let last = self.events.len() as u64;
        let has_ended = matches!(summary.stage, Stage::Ended { .. });
        let is_read = read.events.contains(&last);
        if has_ended == is_read {
            return Ok(());
        }
        Err(format!(
            "the summary contradicts the events: {summary:?}, {read:?}"
        ))
    }
}

fn no(is_broken: bool, what: &str) -> Result<(), String> {
    if is_broken {
        Err(what.to_owned())
    } else {
        Ok(())
    }
}

pub(crate) fn folder(disk: &Disk) -> Option<SimFolder> {
    use remex_supervisor::journal::Folder;
    disk.root().open_folder(ID).ok()
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) events: Vec<u64>,
    pub(crate) gaps: Vec<(u64, u64)>,
    pub(crate) damages: Vec<(u64, u64)>,
    pub(crate) lost: Option<remex_supervisor::journal::Lost>,
}

/// Takes over the journal, as the next remexd does, and says that the end was not seen.
pub(crate) fn recover_and_lose(disk: &Disk, same_boot: bool) -> Result<(), StorageError> {
    let Some(folder) = folder(disk) else {
        return Ok(());
    };
    let recovered = match recover(folder) {
        Ok(recovered) => recovered,
        Err(OpenError::Blank) => return Ok(()),
        Err(OpenError::Storage(error)) => return Err(error),
        Err(error) => panic!("{error}"),
    };
    let Fate::Lost(lost) = recovered.summary.fate(same_boot) else {
        return Ok(());
    };
    match recovered.writer {
        Some(mut writer) => writer.lose(lost, at(999)),
        None => Ok(()),
    }
}
