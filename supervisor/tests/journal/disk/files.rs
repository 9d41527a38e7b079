//! The folders and files of a disk, as a journal uses them.

use std::{
    fmt,
    io::{self, IoSlice},
};

use remex_supervisor::journal::{Folder, StoredFile};

use super::{Change, Disk, Do};

/// Content is kept or lost in pieces of this size.
const PAGE: usize = 4096;

fn missing() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOENT)
}

/// A folder of such a disk.
#[derive(Clone)]
pub(crate) struct SimFolder {
    disk: Disk,
    node: usize,
}

impl fmt::Debug for SimFolder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "folder {}", self.node)
    }
}

impl SimFolder {
    pub(super) fn new(disk: Disk, node: usize) -> Self {
        Self { disk, node }
    }

    fn lookup(&self, name: &str, is_folder: bool) -> io::Result<usize> {
        let state = self.disk.0.borrow();
        let node = state.nodes[self.node].now.names.get(name).copied();
        let node = node.ok_or_else(missing)?;
        if state.nodes[node].is_folder == is_folder {
            Ok(node)
        } else {
            Err(io::Error::from_raw_os_error(libc::ENOTDIR))
        }
    }

    fn add(&self, name: &str, is_folder: bool) -> io::Result<usize> {
        let mut state = self.disk.0.borrow_mut();
        if state.nodes[self.node].now.names.contains_key(name) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        let node = state.new_node(is_folder);
        let names = vec![(name.to_owned(), Some(node))];
        state.change(self.node, Change::Names(names));
        Ok(node)
    }

    fn file(&self, node: usize) -> SimFile {
        SimFile {
            disk: self.disk.clone(),
            node,
        }
    }

    fn folder(&self, node: usize) -> Self {
        Self {
            disk: self.disk.clone(),
            node,
        }
    }

    fn forget_name(&self, name: &str) {
        let mut state = self.disk.0.borrow_mut();
        let names = vec![(name.to_owned(), None)];
        state.change(self.node, Change::Names(names));
    }
}

impl Folder for SimFolder {
    type File = SimFile;

    fn make_folder(&self, name: &str) -> io::Result<Self> {
        self.disk.begin(Do::MakeFolder)?;
        Ok(self.folder(self.add(name, true)?))
    }

    fn open_folder(&self, name: &str) -> io::Result<Self> {
        Ok(self.folder(self.lookup(name, true)?))
    }

    fn remove_folder(&self, name: &str) -> io::Result<()> {
        self.disk.begin(Do::RemoveFolder)?;
        let node = self.lookup(name, true)?;
        if !self.disk.0.borrow().nodes[node].now.names.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::ENOTEMPTY));
        }
        self.forget_name(name);
        Ok(())
    }

    fn names(&self, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        let names = self.disk.0.borrow().nodes[self.node].now.names.clone();
        for name in names.keys() {
            each(name);
        }
        Ok(())
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        self.disk.begin(Do::Create)?;
        Ok(self.file(self.add(name, false)?))
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        Ok(self.file(self.lookup(name, false)?))
    }

    fn open_to_write(&self, name: &str) -> io::Result<SimFile> {
        self.open(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.begin(Do::Remove)?;
        self.lookup(name, false)?;
        self.forget_name(name);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.begin(Do::Rename)?;
        let mut state = self.disk.0.borrow_mut();
        let node = state.nodes[self.node].now.names.get(from).copied();
        let node = node.ok_or_else(missing)?;
        let names = vec![(from.to_owned(), None), (to.to_owned(), Some(node))];
        state.change(self.node, Change::Names(names));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.begin(Do::SyncFolder)?;
        self.disk.0.borrow_mut().sync(self.node);
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.disk.0.borrow();
        Ok(state
            .free
            .map_or(u64::MAX, |free| free.saturating_sub(state.used())))
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.0.borrow_mut();
        for byte in bytes {
            state.random = state
                .random
                .wrapping_mul(1_664_525)
                .wrapping_add(1_013_904_223);
            *byte = state.random.to_be_bytes()[0] | 1;
        }
        Ok(())
    }
}

/// A file of such a disk.
pub(crate) struct SimFile {
    disk: Disk,
    node: usize,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "file {}", self.node)
    }
}

impl StoredFile for SimFile {
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.0.borrow();
        let bytes = &state.nodes[self.node].now.bytes;
        let from = usize::try_from(offset).unwrap().min(bytes.len());
        let count = to.len().min(bytes.len() - from);
        to[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let begun = self.disk.begin(Do::Write);
        let mut state = self.disk.0.borrow_mut();
        let mut bytes = slices
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect::<Vec<_>>();
        match (&begun, state.crash) {
            (Ok(()), _) => bytes.truncate(state.write_at_most.unwrap_or(usize::MAX)),
            (Err(_), Some(crash)) if state.done.len() == crash.at + 1 => {
                bytes.truncate(crash.written);
            }
            (Err(_), _) => bytes.clear(),
        }
        let mut at = usize::try_from(offset).unwrap();
        let length = state.nodes[self.node].now.bytes.len();
        state.take((at + bytes.len()).saturating_sub(length))?;
        let count = bytes.len();
        while !bytes.is_empty() {
            let rest = bytes.split_off(bytes.len().min(PAGE - at % PAGE));
            let piece = std::mem::replace(&mut bytes, rest);
            let next = at + piece.len();
            state.change(self.node, Change::Write { at, bytes: piece });
            at = next;
        }
        begun.map(|()| count)
    }

    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        self.disk.begin(Do::Allocate)?;
        let mut state = self.disk.0.borrow_mut();
        let length = state.nodes[self.node].now.bytes.len();
        assert_eq!(length as u64, from, "room is taken behind the end");
        let to = usize::try_from(to).unwrap();
        state.take(to - length)?;
        state.change(self.node, Change::Length(to));
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.disk.begin(Do::Truncate)?;
        let length = usize::try_from(length).unwrap();
        self.disk
            .0
            .borrow_mut()
            .change(self.node, Change::Length(length));
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.0.borrow().nodes[self.node].now.bytes.len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.begin(Do::Sync)?;
        self.disk.0.borrow_mut().sync(self.node);
        Ok(())
    }
}
