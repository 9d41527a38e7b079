//! Output that is too long for memory: an unlinked file a stream, written by one blocking thread and hashed by another while
//! the next output is being received, one batch at a time. All files together have one bound; what does not fit is lost,
//! and said so. A few are written at a time, and the others wait: each would have a thread, and a batch in memory besides.

use std::{
    fs::File,
    io::{self, Write},
    mem,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use md5::{Digest, Md5};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinHandle, spawn_blocking},
};

/// What a check writes: a block of any file system.
const CHECK_BYTES: usize = 4096;

/// Batches that are being written at once.
const WRITERS: usize = 8;

/// Where spooled replies are, and how much room there is for them. Clones share the room.
#[derive(Debug, Clone)]
pub struct Spool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    most_bytes: u64,
    used_bytes: AtomicU64,
    writers: Arc<Semaphore>,
}

impl Spool {
    /// In `folder`, up to `most_bytes` at once.
    pub fn new(folder: PathBuf, most_bytes: u64) -> Self {
        Self(Arc::new(Shared {
            folder,
            most_bytes,
            used_bytes: AtomicU64::new(0),
            writers: Arc::new(Semaphore::new(WRITERS)),
        }))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// Whether something can be stored there now.
    pub fn check(folder: &Path) -> io::Result<()> {
        // A full disk takes an empty file.
        tempfile::tempfile_in(folder)?.write_all(&[0; CHECK_BYTES])
    }

    /// Bytes that are taken now.
    pub fn used_bytes(&self) -> u64 {
        self.0.used_bytes.load(Ordering::Relaxed)
    }

    /// Takes room for `bytes` more, if there is.
    fn reserve(&self, bytes: u64) -> bool {
        let shared = &self.0;
        let more = |used: u64| Some(used + bytes).filter(|used| *used <= shared.most_bytes);
        shared
            .used_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    /// Waits for a place among those that write.
    async fn writer(&self) -> Option<Arc<OwnedSemaphorePermit>> {
        let place = Arc::clone(&self.0.writers).acquire_owned();
        // The semaphore is never closed.
        place.await.ok().map(Arc::new)
    }

    fn release(&self, bytes: u64) {
        self.0.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What has been spooled of one stream. Its room is given back when it is dropped.
#[derive(Debug)]
pub struct Spooled {
    spool: Spool,
    file: Option<File>,
    bytes: u64,
    digest: Option<Md5>,
    failed: bool,
}

impl Spooled {
    fn store(&mut self, batch: &[u8]) {
        let bytes = batch.len() as u64;
        if self.failed || !self.spool.reserve(bytes) {
            self.failed = true;
            return;
        }
        if let Err(error) = self.append(batch) {
            self.spool.release(bytes);
            self.failed = true;
            let folder = self.spool.folder();
            tracing::warn!(folder = %folder.display(), %error, "cannot spool a reply; it will be cut");
            return;
        }
        self.bytes += bytes;
    }

    fn append(&mut self, batch: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            // Unlinked from the start, so that nothing is left behind whatever happens.
            none => none.insert(tempfile::tempfile_in(self.spool.folder())?),
        };
        file.write_all(batch)
    }

    /// The file, if anything was stored.
    pub(super) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Bytes that are stored.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest of all of them, once, if one was asked for.
    pub(super) fn take_digest(&mut self) -> Option<Md5> {
        self.digest.take()
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        self.spool.release(self.bytes);
    }
}

/// Writes one stream to its file. Dropping it while a batch is being written lets that end and closes the file.
#[derive(Debug)]
pub(super) struct Writer {
    storing: JoinHandle<Spooled>,
    hashing: Option<JoinHandle<Md5>>,
    /// What both are at.
    batch: Arc<Vec<u8>>,
}

/// What became of a batch.
pub(super) enum Written {
    /// It is being written.
    More(Writer),
    /// The file takes no more; this is what it holds.
    Full(Spooled),
}

/// A blocking thread did not come back: the runtime is going away.
#[derive(Debug)]
pub(super) struct SpoolLost;

impl Writer {
    /// Begins with a first batch.
    pub(super) async fn start(spool: Spool, digest: bool, batch: Vec<u8>) -> Self {
        let spooled = Spooled {
            spool,
            file: None,
            bytes: 0,
            digest: None,
            failed: false,
        };
        Self::store(spooled, digest.then(Md5::new), batch).await
    }

    async fn store(mut spooled: Spooled, digest: Option<Md5>, batch: Vec<u8>) -> Self {
        let place = spooled.spool.writer().await;
        let batch = Arc::new(batch);
        let (stored, also_placed) = (Arc::clone(&batch), place.clone());
        let storing = spawn_blocking(move || {
            spooled.store(&stored);
            drop(place);
            spooled
        });
        let hashing = digest.map(|mut digest| {
            let hashed = Arc::clone(&batch);
            spawn_blocking(move || {
                digest.update(&*hashed);
                drop(also_placed);
                digest
            })
        });
        Self {
            storing,
            hashing,
            batch,
        }
    }

    /// Hands over the next batch as soon as the one before is written, and leaves an empty buffer in its place. If that one
    /// was not taken, it is in its place instead, and the new one is lost.
    pub(super) async fn write(self, batch: &mut Vec<u8>) -> Result<Written, SpoolLost> {
        let (spooled, digest, mut before) = self.done().await?;
        if spooled.failed {
            *batch = before;
            return Ok(Written::Full(spooled));
        }
        before.clear();
        // The first batch was all that had been in memory.
        before.shrink_to(batch.capacity());
        let next = Self::store(spooled, digest, mem::replace(batch, before)).await;
        Ok(Written::More(next))
    }

    /// What has been stored in all, and what could not be.
    pub(super) async fn finish(self) -> Result<(Spooled, Vec<u8>), SpoolLost> {
        let (mut spooled, digest, mut rest) = self.done().await?;
        if spooled.failed {
            rest.shrink_to_fit();
        } else {
            rest = Vec::new();
        }
        // Of what was to be stored: if some of it was lost, it is not the file's.
        spooled.digest = digest.filter(|_| !spooled.failed);
        Ok((spooled, rest))
    }

    async fn done(self) -> Result<(Spooled, Option<Md5>, Vec<u8>), SpoolLost> {
        let spooled = self.storing.await.map_err(|_| SpoolLost)?;
        let digest = match self.hashing {
            Some(hashing) => Some(hashing.await.map_err(|_| SpoolLost)?),
            None => None,
        };
        // Both have given theirs back.
        let batch = Arc::into_inner(self.batch).unwrap_or_default();
        Ok((spooled, digest, batch))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    async fn spooled(spool: &Spool, batches: &[&[u8]]) -> (Spooled, Vec<u8>) {
        let mut writer = Writer::start(spool.clone(), true, batches[0].to_vec()).await;
        for batch in &batches[1..] {
            let mut buffer = batch.to_vec();
            match writer.write(&mut buffer).await.unwrap() {
                Written::More(more) => writer = more,
                Written::Full(spooled) => return (spooled, buffer),
            }
            assert!(buffer.is_empty());
        }
        writer.finish().await.unwrap()
    }

    #[tokio::test]
    async fn batches_are_stored_in_order_and_room_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path().to_owned(), 10);
        let (mut stored, rest) = spooled(&spool, &[b"abc", b"def", b"ghij"]).await;
        assert!(rest.is_empty());
        assert_eq!((stored.bytes(), spool.used_bytes()), (10, 10));
        let digest = stored.take_digest().map(Md5::finalize);
        assert_eq!(digest, Some(Md5::digest(b"abcdefghij")));
        let mut read = [0; 10];
        stored.file().unwrap().read_exact_at(&mut read, 0).unwrap();
        assert_eq!(&read, b"abcdefghij");
        // Nothing to be seen, nothing to be left behind.
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        drop(stored);
        assert_eq!(spool.used_bytes(), 0);
    }

    #[tokio::test]
    async fn what_does_not_fit_is_given_back_and_what_follows_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path().to_owned(), 5);
        let (stored, rest) = spooled(&spool, &[b"abc", b"def", b"g"]).await;
        assert_eq!(rest, b"def");
        assert_eq!((stored.bytes(), spool.used_bytes()), (3, 3));
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_stores_nothing() {
        let spool = Spool::new("/nonexistent".into(), 5);
        let (stored, rest) = spooled(&spool, &[b"abc"]).await;
        assert_eq!(rest, b"abc");
        assert!(Spool::check(spool.folder()).is_err());
        assert_eq!((stored.bytes(), spool.used_bytes()), (0, 0));
        assert!(stored.file().is_none());
    }
}
