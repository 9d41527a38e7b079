//! The operations on files that a journal is made of: a trait, so that tests can fail each of them and lose what was not
//! synced; and the real ones, all relative to the descriptor of a folder.

use std::{
    fmt,
    fs::File,
    io::{self, IoSlice},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{self, AtFlags, Dir, FallocateFlags, Mode, OFlags},
    io::Errno,
    rand::{GetRandomFlags, getrandom},
};

use super::costs;

/// A folder, and what is done in it. Names are relative to it and never followed if they are symbolic links.
pub trait Folder: Sized + fmt::Debug {
    /// A file in it.
    type File: StoredFile + fmt::Debug;

    /// Makes a folder that only its owner may enter, and opens it.
    fn make_folder(&self, name: &str) -> io::Result<Self>;

    /// Opens one that is there.
    fn open_folder(&self, name: &str) -> io::Result<Self>;

    /// Removes an empty one.
    fn remove_folder(&self, name: &str) -> io::Result<()>;

    /// Tells `each` every name in the folder, in no order.
    fn names(&self, each: &mut dyn FnMut(&str)) -> io::Result<()>;

    /// Makes a file that only its owner may open; one of that name must not be there.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file to read it.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file to read and to write it.
    fn open_to_write(&self, name: &str) -> io::Result<Self::File>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives a file another name, in place of the one that had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Has the folder's names on disk.
    fn sync(&self) -> io::Result<()>;

    /// What its file system has left for whoever is not root.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Fills `bytes` with random ones.
    fn random(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// An open file.
pub trait StoredFile {
    /// Reads at `offset`, as much as there is; 0 is the end.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at `offset`, perhaps less than was asked.
    fn write_at(&self, bytes: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;

    /// Takes room on disk from `from` to `to`, which reads as zeros.
    fn allocate(&self, from: u64, to: u64) -> io::Result<()>;

    /// Sets its length.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Its length.
    fn length(&self) -> io::Result<u64>;

    /// Has its content on disk, and of its metadata what reading needs.
    fn sync(&self) -> io::Result<()>;
}

/// Zeros are written in pieces of this size where a file system cannot allocate.
const ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];

/// A folder of a real file system, by its descriptor.
#[derive(Debug, Clone)]
pub struct DiskFolder(Arc<OwnedFd>);

impl DiskFolder {
    /// Opens the folder at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self::from_fd(fs::open(path, flags, Mode::empty())?))
    }

    /// The folder that `fd` is open on.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(Arc::new(fd))
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = fs::openat(&*self.0, name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(File::from(fd))
    }
}

impl AsFd for DiskFolder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Folder for DiskFolder {
    type File = File;

    fn make_folder(&self, name: &str) -> io::Result<Self> {
        fs::mkdirat(&*self.0, name, Mode::RWXU)?;
        self.open_folder(name)
    }

    fn open_folder(&self, name: &str) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(Self::from_fd(fs::openat(
            &*self.0,
            name,
            flags,
            Mode::empty(),
        )?))
    }

    fn remove_folder(&self, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(&*self.0, name, AtFlags::REMOVEDIR)?)
    }

    fn names(&self, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        for entry in Dir::read_from(&*self.0)? {
            match entry?.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => each(name),
            }
        }
        Ok(())
    }

    fn create(&self, name: &str) -> io::Result<File> {
        self.open_file(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        self.open_file(name, OFlags::RDONLY)
    }

    fn open_to_write(&self, name: &str) -> io::Result<File> {
        self.open_file(name, OFlags::RDWR)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(&*self.0, name, AtFlags::empty())?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(fs::renameat(&*self.0, from, &*self.0, to)?)
    }

    fn sync(&self) -> io::Result<()> {
        fs::fsync(&*self.0)?;
        costs::synced();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let room = fs::fstatvfs(&*self.0)?;
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }

    fn random(&self, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match getrandom(&mut *bytes, GetRandomFlags::empty()) {
                Ok(filled) => bytes = &mut bytes[filled..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl StoredFile for File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        retry(|| FileExt::read_at(self, bytes, offset))
    }

    fn write_at(&self, bytes: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let written = retry(|| Ok(rustix::io::pwritev(self, bytes, offset)?))?;
        costs::wrote(written);
        Ok(written)
    }

    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        let bytes = to.saturating_sub(from);
        match retry(|| Ok(fs::fallocate(self, FallocateFlags::empty(), from, bytes)?)) {
            Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {
                write_zeros(self, from, to)
            }
            result => result,
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        retry(|| self.set_len(length))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn sync(&self) -> io::Result<()> {
        retry(|| self.sync_data())?;
        costs::synced();
        Ok(())
    }
}

/// Makes zeros of what is between two positions of `file`.
pub(super) fn write_zeros<F: StoredFile>(file: &F, mut from: u64, to: u64) -> io::Result<()> {
    while from < to {
        let most = usize::try_from(to - from).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        write_all(file, &ZEROS[..most], from)?;
        from += most as u64;
    }
    Ok(())
}

/// Writes all of `bytes` at `offset`.
pub(super) fn write_all<F: StoredFile>(
    file: &F,
    mut bytes: &[u8],
    mut offset: u64,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let more = written(file.write_at(&[IoSlice::new(bytes)], offset)?)?;
        bytes = &bytes[more..];
        offset += more as u64;
    }
    Ok(())
}

/// Reads from `offset` on, until `bytes` are full or there is no more.
pub(super) fn read_all<F: StoredFile>(
    file: &F,
    bytes: &mut [u8],
    offset: u64,
) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], offset + done as u64)? {
            0 => break,
            more => done += more,
        }
    }
    Ok(done)
}

/// What a write took; nothing at all is an error, as it would be tried for ever.
pub(super) fn written(bytes: usize) -> io::Result<usize> {
    match bytes {
        0 => Err(io::ErrorKind::WriteZero.into()),
        bytes => Ok(bytes),
    }
}

fn retry<T>(mut operation: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match operation() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
