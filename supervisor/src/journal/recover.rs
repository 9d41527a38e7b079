//! Takes over the journal of a supervisor that has died.

use super::{
    error::{Of, OpenError, Operation, StorageError},
    format::{SyncMode, segment_name},
    inspect::{JournalSummary, Stage},
    storage::{DiskFolder, Folder, StoredFile},
    survey::survey,
    writer::Writer,
};

/// A journal that nobody else writes.
#[derive(Debug)]
pub struct Recovered<D: Folder = DiskFolder> {
    /// What it says.
    pub summary: JournalSummary,
    /// Bytes that were cut off its end: of a write that was not finished, so that nobody was told of it.
    pub cut_bytes: u64,
    /// Goes on with it; `None` if there is nothing to add or it cannot be added.
    pub writer: Option<Writer<D>>,
}

/// Cuts what was not written to its end, and makes ready to go on. Whoever calls this knows that nobody else writes. Where
/// every event is to be synced, what is found there is, before anybody is told of it.
pub fn recover<D: Folder>(folder: D) -> Result<Recovered<D>, OpenError> {
    let survey = survey(&folder)?;
    let summary = survey.summary;
    let is_over = summary.has_ended() || summary.stage == Stage::NotStarted;
    let is_writable = !is_over && summary.storage_error.is_none();
    if is_writable {
        // The last first: what a crash leaves of this has no hole.
        for ordinal in survey.empty {
            let name = segment_name(ordinal);
            folder.remove(&name).of(Operation::Remove)?;
        }
        cut(&folder, survey.ordinal, survey.position)?;
    }
    if summary.sync == SyncMode::All {
        let file = folder.open(&segment_name(survey.ordinal));
        file.and_then(|file| file.sync()).of(Operation::Sync)?;
        folder.sync().of(Operation::SyncFolder)?;
    }
    let header = survey.header.filter(|_| is_writable);
    let cut_bytes = if is_writable { summary.torn_bytes } else { 0 };
    let resume = |header| Writer::resume(folder, header, survey.position, survey.progress);
    Ok(Recovered {
        cut_bytes,
        writer: header.map(resume).transpose()?,
        summary,
    })
}

fn cut<D: Folder>(folder: &D, ordinal: u64, position: u64) -> Result<(), StorageError> {
    let file = folder.open_to_write(&segment_name(ordinal));
    let file = file.of(Operation::Open)?;
    if file.length().of(Operation::Read)? > position {
        file.truncate(position).of(Operation::Truncate)?;
    }
    Ok(())
}
