//! The request ids that are taken: a file each, made with O_EXCL before anything runs.
//!
//! After a power cut a claim may be gone or torn while its journal, whose first record holds it too, is there. So after a
//! boot nothing is claimed before every journal's claim has been [restored](Claims::restore).

use std::{io, time::SystemTime};

use bytes::Bytes;

use super::{
    encode::put_claim,
    error::{BadRecord, Of, Operation, StorageError, Unsupported},
    format::{Look, look},
    record::{Content, Record},
    reservation::{Claim, RequestKey},
    storage::{DiskFolder, Folder, StoredFile, read_all, write_all},
};

/// What begins a claim's frame.
const MARKER: u32 = u32::from_le_bytes(*b"rmxc");

/// More of a claim is not read.
const MAX_CLAIM_BYTES: usize = 64 * 1024;

/// A claim that takes the place of another has this name for a moment.
const NEXT_NAME: &str = "next";

/// What became of an attempt to claim a request id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// It is the caller's.
    New,
    /// It has been taken.
    Taken(Claim),
    /// It is there and cannot be read: a crash came before all of it was written.
    Torn,
}

/// Why a claim could not be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// A later version wrote it.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// A file operation failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What [`Claims::sweep`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Claims that are kept.
    pub kept: usize,
    /// Claims that were forgotten.
    pub forgotten: usize,
    /// Claims that cannot be read, and are left as they are.
    pub torn: usize,
}

/// The folder of claims. One process has it, and claims one at a time.
#[derive(Debug)]
pub struct Claims<D: Folder = DiskFolder> {
    folder: D,
}

impl<D: Folder> Claims<D> {
    /// The claims in `folder`.
    pub fn open(folder: D) -> Self {
        Self { folder }
    }

    /// Takes a request id for an execution, if it is free.
    pub fn claim(&mut self, claim: &Claim) -> Result<Claimed, ClaimError> {
        let name = claim.key.name();
        let file = match self.folder.create(&name).of(Operation::Create) {
            Ok(file) => file,
            Err(error) if error.is_taken() => {
                let taken = self.read(&name)?;
                return Ok(taken.map_or(Claimed::Torn, Claimed::Taken));
            }
            Err(error) => return Err(error.into()),
        };
        if let Err(error) = write_claim(&file, claim) {
            // Else it is found to be torn.
            let _ = self.folder.remove(&name);
            return Err(error.into());
        }
        Ok(Claimed::New)
    }

    /// Who has a request id; `None` if it is free, or was torn.
    pub fn find(&self, key: &RequestKey) -> Result<Option<Claim>, ClaimError> {
        match self.read(&key.name()) {
            Err(ClaimError::Storage(error)) if error.is_missing() => Ok(None),
            result => result,
        }
    }

    /// Frees a request id, as nothing ran.
    pub fn release(&mut self, key: &RequestKey) -> Result<(), ClaimError> {
        match self.folder.remove(&key.name()).of(Operation::Remove) {
            Err(error) if !error.is_missing() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Puts back what a journal says of its claim, if a power cut took it. Another execution's claim is left alone, and
    /// returned.
    pub fn restore(&mut self, claim: &Claim) -> Result<Option<Claim>, ClaimError> {
        match self.claim(claim)? {
            Claimed::New => Ok(None),
            Claimed::Taken(taken) if taken.execution_id == claim.execution_id => Ok(None),
            Claimed::Taken(taken) => Ok(Some(taken)),
            Claimed::Torn => self.replace(claim).map(|()| None),
        }
    }

    /// Remembers that the execution is gone, on disk: before its journal is removed, which is what held the claim too.
    pub fn retire(&mut self, key: &RequestKey, at: SystemTime) -> Result<(), ClaimError> {
        self.set_retired(key, Some(at))
    }

    /// The execution is there all the same, as its journal could not be removed.
    pub fn reinstate(&mut self, key: &RequestKey) -> Result<(), ClaimError> {
        self.set_retired(key, None)
    }

    fn set_retired(
        &mut self,
        key: &RequestKey,
        retired_at: Option<SystemTime>,
    ) -> Result<(), ClaimError> {
        let Some(claim) = self.find(key)? else {
            return Ok(());
        };
        let claim = Claim {
            retired_at,
            ..claim
        };
        match self.replace(&claim) {
            // What is to go is what makes room. Once it has its name, the new one is there and that is all.
            Err(ClaimError::Storage(error))
                if error.is_full() && error.operation != Operation::SyncFolder =>
            {
                self.overwrite(&claim)
            }
            replaced => replaced,
        }
    }

    /// Forgets what was retired before `before`.
    pub fn sweep(&mut self, before: SystemTime) -> Result<Swept, ClaimError> {
        let mut names = Vec::new();
        self.folder
            .names(&mut |name| {
                if name != NEXT_NAME {
                    names.push(Box::<str>::from(name));
                }
            })
            .of(Operation::List)?;
        let mut swept = Swept::default();
        for name in names {
            let claim = match self.read(&name) {
                Ok(claim) => claim,
                // Released in the meantime; or a later version's.
                Err(ClaimError::Storage(error)) if error.is_missing() => continue,
                Err(ClaimError::Unsupported(_)) => {
                    swept.kept += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            match claim {
                None => swept.torn += 1,
                Some(claim) if claim.retired_at.is_some_and(|at| at < before) => {
                    self.folder.remove(&name).of(Operation::Remove)?;
                    swept.forgotten += 1;
                }
                Some(_) => swept.kept += 1,
            }
        }
        Ok(swept)
    }

    fn read(&self, name: &str) -> Result<Option<Claim>, ClaimError> {
        let file = self.folder.open(name).of(Operation::Open)?;
        let mut bytes = vec![0; MAX_CLAIM_BYTES];
        let done = read_all(&file, &mut bytes, 0).of(Operation::Read)?;
        let Look::Frame(length) = look(&bytes[..done], MARKER) else {
            return Ok(None);
        };
        bytes.truncate(length);
        match Record::decode(&Bytes::from(bytes)).map(|record| record.content) {
            Ok(Content::Claim(claim)) if claim.key.name() == name => Ok(Some(*claim)),
            Ok(_) | Err(BadRecord::Malformed) => Ok(None),
            Err(BadRecord::Unsupported(unsupported)) => Err(unsupported.into()),
        }
    }

    /// Puts a claim in the place of the one that is there, whole or not at all, and on disk.
    fn replace(&mut self, claim: &Claim) -> Result<(), ClaimError> {
        // A crash may have left one.
        match self.folder.remove(NEXT_NAME).of(Operation::Remove) {
            Err(error) if !error.is_missing() => return Err(error.into()),
            _ => {}
        }
        let file = self.folder.create(NEXT_NAME).of(Operation::Create)?;
        write_claim(&file, claim)?;
        file.sync().of(Operation::Sync)?;
        let name = claim.key.name();
        self.folder.rename(NEXT_NAME, &name).of(Operation::Rename)?;
        Ok(self.folder.sync().of(Operation::SyncFolder)?)
    }

    /// Writes a claim over the one that is there, which takes no room. A power cut may tear it: its journal, which is still there,
    /// has it too.
    fn overwrite(&mut self, claim: &Claim) -> Result<(), ClaimError> {
        let file = self.folder.open_to_write(&claim.key.name());
        let file = file.of(Operation::Open)?;
        write_claim(&file, claim)?;
        file.sync().of(Operation::Sync)?;
        Ok(self.folder.sync().of(Operation::SyncFolder)?)
    }
}

fn write_claim<F: StoredFile>(file: &F, claim: &Claim) -> Result<(), StorageError> {
    let mut bytes = Vec::new();
    put_claim(&mut bytes, MARKER, claim, SystemTime::now());
    let result = if bytes.len() > MAX_CLAIM_BYTES {
        Err(io::ErrorKind::InvalidInput.into())
    } else {
        write_all(file, &bytes, 0)
    };
    result.of(Operation::Write)
}
