//! Reads one journal from an exact position on, while it is written or afterwards.
//!
//! A reader is told how far it may read, and looks no further: so it never sees half a write, nor what is not synced yet.
//! Where something should be and is not, it says whether that made room for other output or is damaged, and goes on behind it.

use std::{collections::VecDeque, time::SystemTime};

use super::{
    cursor::{Cursor, Found, Opened, open_segment, ordinals},
    error::{BadRecord, Of, OpenError, Operation, ReadError, StorageError, Unsupported},
    format::{Progress, segment_name},
    inspect::inspect,
    record::{Content, Lost, Record, stream_index},
    storage::{DiskFolder, Folder},
};
use crate::lifecycle::event::{Event, EventKind};

/// Nobody writes any more: everything that is there may be read.
pub const EVERYTHING: u64 = u64::MAX;

/// What comes next.
#[derive(Debug, Clone)]
pub enum Step {
    /// An event as it happened.
    Event(Event),
    /// The last event of an execution whose end nobody saw.
    Lost(LostEvent),
    /// Events that are not kept.
    Gap(Gap),
    /// Events that cannot be read.
    Damaged(Damage),
    /// Nothing for now.
    UpToDate,
    /// Nothing any more.
    Ended,
}

/// That nobody saw the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostEvent {
    /// One more than that of the event before.
    pub sequence: u64,
    /// When that was found.
    pub time: SystemTime,
    /// What is not known.
    pub lost: Lost,
}

/// Events that are not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first of them.
    pub first_sequence: u64,
    /// The last of them.
    pub sequence: u64,
    /// How much they were of stdout, stderr and terminal.
    pub bytes: [u64; 3],
}

/// Events that cannot be read, as what is on disk is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// The first of them.
    pub first_sequence: u64,
    /// The last of them.
    pub sequence: u64,
}

/// Reads one journal.
#[derive(Debug)]
pub struct Reader<D: Folder = DiskFolder> {
    folder: D,
    ordinal: u64,
    cursor: Cursor<D::File>,
    /// What begins each frame, if it is known.
    marker: Option<u32>,
    /// How far it has read.
    progress: Progress,
    /// What it has read and not given: at most what is missing before an event, and the event.
    queue: VecDeque<Step>,
    /// The last event that had to make room before this segment.
    dropped: u64,
    unsupported: Option<Unsupported>,
    has_ended: bool,
}

impl<D: Folder> Reader<D> {
    /// Begins behind the event `after`; 0 is before the first. `through` is the last event that may be read, [`EVERYTHING`]
    /// if nobody writes any more.
    pub fn open(folder: D, after: u64, through: u64) -> Result<Self, OpenError> {
        let mut reader = Self::begin(folder, after)?;
        if through != EVERYTHING && after > through {
            return Err(reader.ahead(after, through));
        }
        reader.skip_to(after, through)?;
        Ok(reader)
    }

    /// The last event that was given.
    pub fn position(&self) -> u64 {
        match self.queue.front() {
            Some(step) => step.first_sequence().saturating_sub(1),
            None => self.progress.sequence,
        }
    }

    /// Reads on, up to the event `through`.
    pub fn next(&mut self, through: u64) -> Result<Step, ReadError> {
        if self.queue.is_empty() {
            if self.has_ended {
                return Ok(Step::Ended);
            }
            if self.progress.sequence >= through {
                return Ok(Step::UpToDate);
            }
            let advanced = self.advance(through, through);
            // What came before is given first; the error comes again.
            if self.queue.is_empty() {
                advanced?;
            }
        }
        let may_be_told = |step: &mut Step| step.first_sequence() <= through;
        Ok(self
            .queue
            .pop_front_if(may_be_told)
            .unwrap_or(Step::UpToDate))
    }

    /// At the last segment that begins before the event after `after`, or at the first.
    fn begin(folder: D, after: u64) -> Result<Self, OpenError> {
        let ordinals = ordinals(&folder)?;
        let mut marker = None;
        let mut first = None;
        for &ordinal in &ordinals {
            if let Some(opened) = open_segment(&folder, ordinal, None)? {
                marker = opened.cursor.marker();
                first = Some((ordinal, opened.cursor, Progress::default()));
                break;
            }
        }
        let (mut ordinal, mut cursor, mut progress) = first.ok_or(OpenError::Blank)?;
        for &later in ordinals.iter().rev().take_while(|later| **later > ordinal) {
            let opened = open_segment(&folder, later, marker)?;
            let begun = opened.and_then(|opened| Some((opened.header?.base, opened.cursor)));
            if let Some((base, begun)) = begun.filter(|(base, _)| base.sequence <= after) {
                (ordinal, cursor, progress) = (later, begun, base);
                break;
            }
        }
        Ok(Self {
            folder,
            ordinal,
            cursor,
            marker,
            progress,
            queue: VecDeque::new(),
            dropped: 0,
            unsupported: None,
            has_ended: false,
        })
    }

    /// Passes over what comes up to the event `after`, and looks at what comes then.
    fn skip_to(&mut self, after: u64, through: u64) -> Result<(), OpenError> {
        while self.progress.sequence < after {
            self.advance(after, through)?;
            if self.queue.is_empty() {
                return Err(self.ahead(after, self.progress.sequence));
            }
            while (self.queue.pop_front_if(|step| step.sequence() <= after)).is_some() {}
        }
        let has_passed = after > 0 && self.queue.is_empty() && through > after;
        if has_passed && !self.has_ended {
            self.advance(through, through)?;
        }
        match self.queue.front_mut() {
            Some(Step::Gap(gap)) if after > 0 && gap.sequence == self.dropped => {
                let first = gap.sequence.saturating_add(1);
                let last = self.last_sequence(through)?;
                Err(OpenError::PositionGone { after, first, last })
            }
            Some(Step::Damaged(damage)) if damage.first_sequence <= after => {
                damage.first_sequence = after + 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn last_sequence(&self, through: u64) -> Result<u64, OpenError> {
        Ok(match through {
            EVERYTHING => inspect(&self.folder)?.last_sequence,
            through => through,
        })
    }

    fn ahead(&self, after: u64, last: u64) -> OpenError {
        let first = inspect(&self.folder).map_or(1, |summary| summary.first_sequence);
        OpenError::PositionAhead { after, first, last }
    }

    /// Reads what comes next into the queue, if there is something. Events that are not kept become one gap, up to `until`;
    /// those up to `through` have been written.
    fn advance(&mut self, until: u64, through: u64) -> Result<(), ReadError> {
        if let Some(unsupported) = self.unsupported {
            return Err(unsupported.into());
        }
        while !self.has_ended && (self.queue.is_empty() || self.is_in_gap(until)) {
            match self.cursor.next()? {
                Found::Frame(frame) => match Record::decode(&frame) {
                    Ok(record) => self.take(record),
                    // That an event is missing shows at the next one.
                    Err(BadRecord::Malformed) => {}
                    Err(BadRecord::Unsupported(unsupported)) => {
                        self.unsupported = Some(unsupported);
                        return Err(unsupported.into());
                    }
                },
                Found::End | Found::Torn => {
                    if !self.cursor.resync()? && !self.next_segment(through)? {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the last that it has read are events that are not kept, and there may be more of them.
    fn is_in_gap(&self, until: u64) -> bool {
        let is_gap = matches!(self.queue.back(), Some(Step::Gap(_)));
        is_gap && self.progress.sequence < until
    }

    /// Queues what a record says, and that others before it are missing.
    fn take(&mut self, record: Record) {
        let sequence = record.sequence;
        if !record.content.is_event() || sequence <= self.progress.sequence {
            return;
        }
        let next = self.progress.sequence + 1;
        let first = match &record.content {
            Content::Gap { first_sequence, .. } => (*first_sequence).clamp(next, sequence),
            _ => sequence,
        };
        if first > next {
            self.queue_damage(first - 1);
        }
        let (time, event) = (record.time, |kind| {
            Step::Event(Event {
                sequence,
                time: record.time,
                kind,
            })
        });
        let step = match record.content {
            Content::Started { pid } => event(EventKind::Started { pid }),
            Content::Output(chunk) => {
                let end = chunk.offset.saturating_add(chunk.data.len() as u64);
                self.progress.positions[stream_index(chunk.stream)] = end;
                event(EventKind::Output(chunk))
            }
            Content::Gap { bytes, .. } => {
                for (position, bytes) in self.progress.positions.iter_mut().zip(bytes) {
                    *position = position.saturating_add(bytes);
                }
                self.progress.sequence = sequence;
                return self.queue_gap(Gap {
                    first_sequence: first,
                    sequence,
                    bytes,
                });
            }
            Content::Exited { exit, .. } => event(EventKind::Exited(exit)),
            Content::Lost { lost, .. } => Step::Lost(LostEvent {
                sequence,
                time,
                lost,
            }),
            Content::Reserved(_)
            | Content::NotStarted
            | Content::StdinAccepted(_)
            | Content::Claim(_)
            | Content::Skipped => return,
        };
        self.has_ended = step.is_last();
        self.progress.sequence = sequence;
        self.queue.push_back(step);
    }

    fn queue_gap(&mut self, gap: Gap) {
        match self.queue.back_mut() {
            Some(Step::Gap(last)) if last.sequence.saturating_add(1) == gap.first_sequence => {
                last.sequence = gap.sequence;
                for (sum, bytes) in last.bytes.iter_mut().zip(gap.bytes) {
                    *sum = sum.saturating_add(bytes);
                }
            }
            _ => self.queue.push_back(Step::Gap(gap)),
        }
    }

    fn queue_damage(&mut self, sequence: u64) {
        self.queue.push_back(Step::Damaged(Damage {
            first_sequence: self.progress.sequence + 1,
            sequence,
        }));
        self.progress.sequence = sequence;
    }

    /// Goes to the segment after this one, and queues what is missing between them; `false` if there is none.
    fn next_segment(&mut self, through: u64) -> Result<bool, ReadError> {
        let Some(opened) = self.find_next_segment()? else {
            if through != EVERYTHING && through > self.progress.sequence {
                self.queue_damage(through);
                return Ok(true);
            }
            return Ok(false);
        };
        let base = opened.header.map(|header| header.base);
        if let Some(base) = base.filter(|base| base.sequence > self.progress.sequence) {
            if opened.ordinal != self.ordinal + 1 || self.is_dropped()? {
                let (to, from) = (base.positions, self.progress.positions);
                self.dropped = base.sequence;
                self.queue_gap(Gap {
                    first_sequence: self.progress.sequence + 1,
                    sequence: base.sequence,
                    bytes: std::array::from_fn(|index| to[index].saturating_sub(from[index])),
                });
            } else {
                self.queue_damage(base.sequence);
            }
            self.progress = base;
        }
        self.ordinal = opened.ordinal;
        self.cursor = opened.cursor;
        Ok(true)
    }

    /// The next segment that is there. Those that were there a moment ago may have been dropped.
    fn find_next_segment(&mut self) -> Result<Option<Opened<D::File>>, ReadError> {
        let Some(mut next) = self.ordinal.checked_add(1) else {
            return Ok(None);
        };
        loop {
            if let Some(opened) = self.open_segment(next)? {
                return Ok(Some(opened));
            }
            let later = ordinals(&self.folder)?;
            let Some(&later) = later.iter().find(|ordinal| **ordinal > next) else {
                return Ok(None);
            };
            next = later;
        }
    }

    fn open_segment(&mut self, ordinal: u64) -> Result<Option<Opened<D::File>>, ReadError> {
        let opened = open_segment(&self.folder, ordinal, self.marker)?;
        if let Some(opened) = &opened {
            self.marker = self.marker.or(opened.cursor.marker());
        }
        Ok(opened)
    }

    /// Whether what is missing at this segment's end had to make room.
    fn is_dropped(&self) -> Result<bool, StorageError> {
        if self.ordinal == 1 {
            let length = self.cursor.length()?;
            let is_cut_here = length == self.cursor.offset() && self.progress.sequence <= 1;
            return Ok(is_cut_here || length < self.cursor.offset());
        }
        match self
            .folder
            .open(&segment_name(self.ordinal))
            .of(Operation::Open)
        {
            Ok(_) => Ok(false),
            Err(error) if error.is_missing() => Ok(true),
            Err(error) => Err(error),
        }
    }
}

impl Step {
    /// The first event that it stands for.
    fn first_sequence(&self) -> u64 {
        match self {
            Self::Gap(gap) => gap.first_sequence,
            Self::Damaged(damage) => damage.first_sequence,
            other => other.sequence(),
        }
    }

    /// The last one.
    fn sequence(&self) -> u64 {
        match self {
            Self::Event(event) => event.sequence,
            Self::Lost(lost) => lost.sequence,
            Self::Gap(gap) => gap.sequence,
            Self::Damaged(damage) => damage.sequence,
            Self::UpToDate | Self::Ended => 0,
        }
    }

    fn is_last(&self) -> bool {
        match self {
            Self::Event(event) => matches!(event.kind, EventKind::Exited(_)),
            Self::Lost(_) | Self::Ended => true,
            Self::Gap(_) | Self::Damaged(_) | Self::UpToDate => false,
        }
    }
}
