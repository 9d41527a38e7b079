//! Looks at a journal's first records and at its last ones.

use super::{
    cursor::{Cursor, Found, Opened, open_segment, ordinals},
    error::{BadRecord, Of, OpenError, Operation, StorageError},
    format::{Header, Progress, segment_name},
    inspect::{JournalSummary, Stage, Started},
    record::{Content, Record, stream_index},
    reservation::Reservation,
    storage::{Folder, StoredFile, read_all},
    writer::FAILURE_NAME,
};

/// The last record of all takes no more than this.
const MAX_LAST_BYTES: usize = 512;

/// More than this of what is said of a failure is not read.
const MAX_FAILURE_BYTES: usize = 4096;

/// A summary, and what it takes to go on writing.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) summary: JournalSummary,
    /// As the last segment's header is, or should be; `None` if what begins each frame is not known.
    pub(super) header: Option<Header>,
    pub(super) progress: Progress,
    /// The last segment in which there is something.
    pub(super) ordinal: u64,
    /// Where the last record of the last segment ends.
    pub(super) position: u64,
    /// Segments behind it in which there is no record.
    pub(super) empty: Vec<u64>,
}

/// What comes before the first output.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Head {
    reservation: Option<Reservation>,
    started: Option<Started>,
    is_not_started: bool,
    /// What comes then is output.
    has_output: bool,
    /// Nothing comes then.
    is_all: bool,
    /// Something of it cannot be read.
    is_damaged: bool,
}

/// What comes last.
#[derive(Debug)]
struct Tail {
    ordinal: u64,
    header: Option<Header>,
    marker: Option<u32>,
    progress: Progress,
    end: Option<Stage>,
    position: u64,
    torn_bytes: u64,
    is_damaged: bool,
    records: usize,
}

pub(super) fn survey<D: Folder>(folder: &D) -> Result<Survey, OpenError> {
    let ordinals = ordinals(folder)?;
    let mut opened = Vec::new();
    for &ordinal in &ordinals {
        if let Some(segment) = open_segment(folder, ordinal, None)? {
            opened.push(segment);
            if opened.len() == 2 {
                break;
            }
        }
    }
    let mut opened = opened.into_iter();
    let first = opened.next().ok_or(OpenError::Blank)?;
    let second = opened.next().and_then(|second| second.header);
    let first_ordinal = first.ordinal;
    let marker = first.cursor.marker();
    let first_header = first.header.clone();
    let head = Head::read(first.cursor)?;
    let (tail, empty) = last_segment(folder, &ordinals, marker)?.ok_or(OpenError::Blank)?;
    let known = first_header.as_ref().or(tail.header.as_ref());
    let progress = tail.progress;
    let next = progress.sequence.saturating_add(1);
    let first_sequence = match &second {
        _ if head.has_output => 2,
        Some(second) if head.is_all => second.base.sequence.max(1).saturating_add(1),
        _ => next,
    };
    let summary = JournalSummary {
        id: known.map(|header| header.id.clone()),
        sync: known.map(|header| header.sync).unwrap_or_default(),
        stage: head.stage(&tail),
        reservation: head.reservation,
        started: head.started,
        first_sequence: first_sequence.min(next),
        last_sequence: progress.sequence,
        positions: progress.positions,
        stdin_accepted: progress.stdin_accepted,
        stored_bytes: stored_bytes(folder, &ordinals)?,
        storage_error: storage_error(folder)?,
        torn_bytes: tail.torn_bytes,
        is_damaged: head.is_damaged
            || tail.is_damaged
            || first_header.is_none()
            || first_ordinal != 1,
    };
    let header = tail.header_to_go_on(&summary);
    Ok(Survey {
        summary,
        header,
        progress,
        ordinal: tail.ordinal,
        position: tail.position,
        empty,
    })
}

/// The last segment in which there is something, and those behind it.
fn last_segment<D: Folder>(
    folder: &D,
    ordinals: &[u64],
    marker: Option<u32>,
) -> Result<Option<(Tail, Vec<u64>)>, OpenError> {
    let mut empty = Vec::new();
    for &ordinal in ordinals.iter().rev() {
        let Some(opened) = open_segment(folder, ordinal, marker)? else {
            empty.push(ordinal);
            continue;
        };
        let tail = Tail::read(opened)?;
        if tail.header.is_some() || tail.records > 0 || ordinal == ordinals[0] {
            return Ok(Some((tail, empty)));
        }
        empty.push(ordinal);
    }
    Ok(None)
}

impl Head {
    fn read<F: StoredFile>(mut cursor: Cursor<F>) -> Result<Self, OpenError> {
        let mut head = Self::default();
        while let Some(record) = next_record(&mut cursor, &mut head.is_damaged)? {
            match record.content {
                Content::Reserved(reservation) => head.reservation = Some(*reservation),
                Content::NotStarted => head.is_not_started = true,
                Content::Started { pid } => {
                    let time = record.time;
                    head.started = Some(Started { pid, time });
                }
                Content::StdinAccepted(_) | Content::Claim(_) | Content::Skipped => {}
                content => {
                    head.has_output = matches!(content, Content::Output(_));
                    return Ok(head);
                }
            }
        }
        head.is_all = true;
        Ok(head)
    }

    fn stage(&self, tail: &Tail) -> Stage {
        match tail.end {
            Some(end) => end,
            None if self.is_not_started => Stage::NotStarted,
            None if self.started.is_some() || tail.progress.sequence > 0 => Stage::Running,
            None if self.reservation.is_some() => Stage::Reserved,
            None => Stage::Prepared,
        }
    }
}

impl Tail {
    fn read<F: StoredFile>(opened: Opened<F>) -> Result<Self, OpenError> {
        let Opened {
            ordinal,
            mut cursor,
            header,
        } = opened;
        let base = header.as_ref().map(|header| header.base);
        let mut tail = Self {
            ordinal,
            marker: cursor.marker(),
            progress: base.unwrap_or_default(),
            end: None,
            position: 0,
            torn_bytes: 0,
            is_damaged: header.is_none(),
            records: 0,
            header,
        };
        if let Some(frame) = cursor.last_frame(MAX_LAST_BYTES)?
            && let Ok(record) = Record::decode(&frame)
            && tail.take_end(&record)
        {
            tail.records = 1;
            tail.position = cursor.length()?;
            return Ok(tail);
        }
        let mut is_damaged = false;
        while let Some(record) = next_record(&mut cursor, &mut is_damaged)? {
            tail.take(&record);
        }
        tail.is_damaged |= is_damaged;
        tail.position = cursor.offset();
        tail.torn_bytes = cursor.torn_bytes()?;
        Ok(tail)
    }

    fn take(&mut self, record: &Record) {
        self.records += 1;
        if self.take_end(record) {
            return;
        }
        match &record.content {
            Content::StdinAccepted(position) => self.progress.stdin_accepted = *position,
            Content::Output(chunk) => {
                let end = chunk.offset.saturating_add(chunk.data.len() as u64);
                self.progress.positions[stream_index(chunk.stream)] = end;
            }
            Content::Gap { bytes, .. } => {
                for (position, bytes) in self.progress.positions.iter_mut().zip(bytes) {
                    *position = position.saturating_add(*bytes);
                }
            }
            _ => {}
        }
        if record.content.is_event() {
            self.progress.sequence = record.sequence;
        }
    }

    /// Takes the last event, if it is it.
    fn take_end(&mut self, record: &Record) -> bool {
        let time = record.time;
        let (end, totals) = match record.content {
            Content::Exited { exit, totals } => (Stage::Ended { time, exit }, totals),
            Content::Lost { lost, totals } => (Stage::Lost { time, lost }, totals),
            _ => return false,
        };
        self.end = Some(end);
        self.progress = Progress {
            sequence: record.sequence,
            ..totals
        };
        true
    }

    /// The header to write on under, in place of one that cannot be read.
    fn header_to_go_on(&self, summary: &JournalSummary) -> Option<Header> {
        self.header.clone().or(Some(Header {
            length: 0,
            marker: self.marker?,
            id: summary.id.clone().unwrap_or_default(),
            ordinal: self.ordinal,
            sync: summary.sync,
            base: self.progress,
        }))
    }
}

/// The next record that can be read; `None` if there is no other.
fn next_record<F: StoredFile>(
    cursor: &mut Cursor<F>,
    is_damaged: &mut bool,
) -> Result<Option<Record>, OpenError> {
    loop {
        let before = cursor.offset();
        match cursor.next()? {
            Found::Frame(frame) => match Record::decode(&frame) {
                Ok(record) => return Ok(Some(record)),
                Err(BadRecord::Malformed) => *is_damaged = true,
                Err(BadRecord::Unsupported(unsupported)) => return Err(unsupported.into()),
            },
            Found::End | Found::Torn if cursor.resync()? => *is_damaged |= cursor.offset() > before,
            Found::End | Found::Torn => return Ok(None),
        }
    }
}

fn stored_bytes<D: Folder>(folder: &D, ordinals: &[u64]) -> Result<u64, StorageError> {
    let mut bytes = 0;
    for &ordinal in ordinals {
        match folder.open(&segment_name(ordinal)).of(Operation::Open) {
            Ok(file) => bytes += file.length().of(Operation::Read)?,
            // Dropped in the meantime.
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

fn storage_error<D: Folder>(folder: &D) -> Result<Option<String>, StorageError> {
    let file = match folder.open(FAILURE_NAME).of(Operation::Open) {
        Ok(file) => file,
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = vec![0; MAX_FAILURE_BYTES];
    let bytes = read_all(&file, &mut text, 0).of(Operation::Read)?;
    text.truncate(bytes);
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}
