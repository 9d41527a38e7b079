//! Makes the folders of journals, ahead of need, and removes them.
//!
//! A folder that is to go is given a name that no execution has, and then emptied: what a crash leaves of it is never taken
//! for a journal.

use std::io;

use super::{
    error::{Of, Operation, StorageError},
    format::{
        HEADER_BYTES, Header, Progress, SyncMode, is_valid_id, segment_name, segment_ordinal,
    },
    segment::write_header,
    storage::{Folder, StoredFile, write_zeros},
};

/// Zeros that a journal is begun with: room for what a quick command writes.
pub const PREPARED_BYTES: u64 = 16 * 1024;

/// Folders with such names are on their way out.
const REMOVED_PREFIX: &str = ".removed-";

/// How often a folder is emptied before what goes on appearing in it is left for the next start.
const REMOVE_PASSES: u32 = 4;

/// Makes the journal of the execution `id`: its folder, and a first segment of `zeroed_bytes` zeros. Unless nothing is ever
/// synced, all of it is on disk then.
pub fn prepare<D: Folder>(
    parent: &D,
    id: &str,
    zeroed_bytes: u64,
    sync: SyncMode,
) -> Result<D, StorageError> {
    if !is_valid_id(id) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput)).of(Operation::MakeFolder);
    }
    let folder = parent.make_folder(id).of(Operation::MakeFolder)?;
    let filled = fill(parent, &folder, id, zeroed_bytes, sync);
    if filled.is_err() {
        // What cannot be removed either is found to be blank later.
        let _ = remove(parent, id);
    }
    filled.map(|()| folder)
}

fn fill<D: Folder>(
    parent: &D,
    folder: &D,
    id: &str,
    zeroed_bytes: u64,
    sync: SyncMode,
) -> Result<(), StorageError> {
    let header = Header {
        length: HEADER_BYTES,
        marker: random_marker(folder)?,
        id: id.to_owned(),
        ordinal: 1,
        sync,
        base: Progress::default(),
    };
    let file = folder.create(&segment_name(1)).of(Operation::Create)?;
    write_header(&file, &header)?;
    let begin = HEADER_BYTES as u64;
    write_zeros(&file, begin, begin + zeroed_bytes).of(Operation::Write)?;
    if sync != SyncMode::None {
        file.sync().of(Operation::Sync)?;
        folder.sync().of(Operation::SyncFolder)?;
        parent.sync().of(Operation::SyncFolder)?;
    }
    Ok(())
}

/// What begins each frame: not zero, and not to be guessed.
fn random_marker<D: Folder>(folder: &D) -> Result<u32, StorageError> {
    loop {
        let mut bytes = [0; 4];
        folder.random(&mut bytes).of(Operation::Random)?;
        match u32::from_le_bytes(bytes) {
            0 => {}
            marker => return Ok(marker),
        }
    }
}

/// Opens the folder of the execution `id`.
pub fn open<D: Folder>(parent: &D, id: &str) -> Result<D, StorageError> {
    parent.open_folder(id).of(Operation::OpenFolder)
}

/// Removes the journal of the execution `id`, of which nothing is to be known any more.
pub fn remove<D: Folder>(parent: &D, id: &str) -> Result<(), StorageError> {
    let removed = removed_name(id);
    parent.rename(id, &removed).of(Operation::Rename)?;
    remove_all(parent, &removed)
}

/// Removes the journal of the execution `id`, which has ended. Where that fails it has its name again, with what could not be
/// removed of it; to be tried again. Its end is the last to go, so that what is left is not taken for one that runs.
pub fn delete<D: Folder>(parent: &D, id: &str) -> Result<(), StorageError> {
    let removed = removed_name(id);
    match parent.rename(id, &removed).of(Operation::Rename) {
        // All that there is may be what an attempt before this one has left.
        Err(error) if !error.is_missing() => return Err(error),
        _ => {}
    }
    match remove_all(parent, &removed) {
        Err(error) if !error.is_missing() => {
            // Where that fails too, it has the name under which it is found the next time.
            let _ = parent.rename(&removed, id);
            Err(error)
        }
        _ => Ok(()),
    }
}

fn removed_name(id: &str) -> String {
    format!("{REMOVED_PREFIX}{id}")
}

/// Removes what crashes have left of journals that were to go, and says how many. One that cannot be removed keeps none of the
/// others.
pub fn sweep_removed<D: Folder>(parent: &D) -> Result<usize, StorageError> {
    let mut names = Vec::new();
    parent
        .names(&mut |name| {
            if name.starts_with(REMOVED_PREFIX) {
                names.push(name.to_owned());
            }
        })
        .of(Operation::List)?;
    let mut removed = Ok(names.len());
    for name in &names {
        removed = removed.and(remove_all(parent, name).map(|()| names.len()));
    }
    removed
}

/// Removes a folder with all files in it. A supervisor that ends meanwhile may remove its own files, or have made one more.
fn remove_all<D: Folder>(parent: &D, name: &str) -> Result<(), StorageError> {
    let folder = parent.open_folder(name).of(Operation::OpenFolder)?;
    for _ in 1..REMOVE_PASSES {
        remove_files(&folder)?;
        match parent.remove_folder(name) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            removed => return removed.of(Operation::RemoveFolder),
        }
    }
    remove_files(&folder)?;
    parent.remove_folder(name).of(Operation::RemoveFolder)
}

fn remove_files<D: Folder>(folder: &D) -> Result<(), StorageError> {
    let mut files = Vec::new();
    folder
        .names(&mut |file| files.push(file.to_owned()))
        .of(Operation::List)?;
    // The segments last, and of them the newest.
    files.sort_by_key(|file| segment_ordinal(file));
    for file in files {
        match folder.remove(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.of(Operation::Remove)?,
        }
    }
    Ok(())
}
