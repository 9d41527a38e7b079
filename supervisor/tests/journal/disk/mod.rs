//! A disk in memory that remembers what was synced: it can fail any operation, forget any sync, and lose power.
//!
//! What was not synced is a list of changes. A power cut keeps any of them and loses the others: of a file's content each
//! page, its length, of a folder each name.

mod files;

use std::{cell::RefCell, collections::BTreeMap, io, rc::Rc};

pub(crate) use self::files::SimFolder;

/// Where the root folder is.
const ROOT: usize = 0;

/// What is done with files, as far as it can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Do {
    MakeFolder,
    Create,
    Remove,
    RemoveFolder,
    Rename,
    Write,
    Allocate,
    Truncate,
    Sync,
    SyncFolder,
}

/// The disk. Clones are the same one; [`Disk::copy`] makes another.
#[derive(Clone)]
pub(crate) struct Disk(Rc<RefCell<State>>);

#[derive(Clone, Default)]
struct State {
    nodes: Vec<Node>,
    /// What was done, in order.
    done: Vec<Do>,
    /// The operation of that index fails so.
    fault: Option<(usize, i32)>,
    /// From the operation of that index on nothing is done any more.
    crash: Option<Crash>,
    /// The sync of that index, of files and folders alike, does nothing.
    forgotten_sync: Option<usize>,
    syncs: usize,
    /// Nothing more is taken than this.
    free: Option<u64>,
    /// A write takes no more than this at once.
    write_at_most: Option<usize>,
    random: u32,
}

/// The process dies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crash {
    /// At this operation.
    pub(crate) at: usize,
    /// Of which, if it is a write, so many bytes are done.
    pub(crate) written: usize,
}

#[derive(Clone, Default)]
struct Node {
    is_folder: bool,
    now: Content,
    synced: Content,
    changes: Vec<Change>,
}

#[derive(Clone, Default, PartialEq, Eq)]
struct Content {
    bytes: Vec<u8>,
    names: BTreeMap<String, usize>,
}

/// Something that was not synced.
#[derive(Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
    Names(Vec<(String, Option<usize>)>),
}

impl Content {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { at, bytes } => {
                let end = at + bytes.len();
                if self.bytes.len() < end {
                    self.bytes.resize(end, 0);
                }
                self.bytes[*at..end].copy_from_slice(bytes);
            }
            Change::Length(length) => self.bytes.resize(*length, 0),
            Change::Names(names) => {
                for (name, node) in names {
                    match node {
                        Some(node) => self.names.insert(name.clone(), *node),
                        None => self.names.remove(name),
                    };
                }
            }
        }
    }
}

impl State {
    fn change(&mut self, node: usize, change: Change) {
        self.nodes[node].now.apply(&change);
        self.nodes[node].changes.push(change);
    }

    fn sync(&mut self, node: usize) {
        let index = self.syncs;
        self.syncs += 1;
        if self.forgotten_sync != Some(index) {
            let node = &mut self.nodes[node];
            node.synced = node.now.clone();
            node.changes.clear();
        }
    }

    fn new_node(&mut self, is_folder: bool) -> usize {
        self.nodes.push(Node {
            is_folder,
            ..Node::default()
        });
        self.nodes.len() - 1
    }

    fn used(&self) -> u64 {
        let bytes = self.nodes.iter().map(|node| node.now.bytes.len() as u64);
        bytes.sum()
    }

    /// Whether the disk takes so many bytes more.
    fn take(&self, more: usize) -> io::Result<()> {
        match self.free {
            Some(free) if more as u64 > free.saturating_sub(self.used()) => {
                Err(io::Error::from_raw_os_error(libc::ENOSPC))
            }
            _ => Ok(()),
        }
    }
}

impl Disk {
    pub(crate) fn new() -> Self {
        let mut state = State::default();
        state.new_node(true);
        Self(Rc::new(RefCell::new(state)))
    }

    pub(crate) fn root(&self) -> SimFolder {
        SimFolder::new(self.clone(), ROOT)
    }

    pub(crate) fn copy(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    /// The operations so far.
    pub(crate) fn done(&self) -> Vec<Do> {
        self.0.borrow().done.clone()
    }

    pub(crate) fn syncs(&self) -> usize {
        self.0.borrow().syncs
    }

    /// The operation `index`, counted from the disk's beginning, fails with `errno`.
    pub(crate) fn fail(&self, index: usize, errno: i32) {
        self.0.borrow_mut().fault = Some((index, errno));
    }

    /// The process that uses the disk dies.
    pub(crate) fn crash(&self, crash: Crash) {
        self.0.borrow_mut().crash = Some(crash);
    }

    /// Another process uses it.
    pub(crate) fn restart(&self) {
        let mut state = self.0.borrow_mut();
        state.crash = None;
        state.fault = None;
    }

    /// The sync `index` does nothing, and says that it did.
    pub(crate) fn forget_sync(&self, index: usize) {
        self.0.borrow_mut().forgotten_sync = Some(index);
    }

    /// Content takes no more than `bytes` from now on.
    pub(crate) fn limit(&self, bytes: Option<u64>) {
        self.0.borrow_mut().free = bytes;
    }

    pub(crate) fn used(&self) -> u64 {
        self.0.borrow().used()
    }

    pub(crate) fn write_at_most(&self, bytes: usize) {
        self.0.borrow_mut().write_at_most = Some(bytes);
    }

    /// How many changes a power cut may lose.
    pub(crate) fn unsynced(&self) -> usize {
        let state = self.0.borrow();
        state.nodes.iter().map(|node| node.changes.len()).sum()
    }

    /// The disk after a power cut that kept those of the changes, in order of their files, that `keeps` says.
    pub(crate) fn after_power_cut(&self, mut keeps: impl FnMut(usize) -> bool) -> Self {
        let mut state = self.0.borrow().clone();
        let mut index = 0;
        for node in &mut state.nodes {
            let mut content = node.synced.clone();
            for change in std::mem::take(&mut node.changes) {
                if keeps(index) {
                    content.apply(&change);
                }
                index += 1;
            }
            node.now = content.clone();
            node.synced = content;
        }
        state.fault = None;
        state.crash = None;
        Self(Rc::new(RefCell::new(state)))
    }

    /// The content of a file, by its path.
    pub(crate) fn content(&self, path: &str) -> Vec<u8> {
        let state = self.0.borrow();
        state.nodes[find(&state, path)].now.bytes.clone()
    }

    /// Puts other content into a file.
    pub(crate) fn set_content(&self, path: &str, bytes: Vec<u8>) {
        let mut state = self.0.borrow_mut();
        let node = find(&state, path);
        state.nodes[node].now.bytes = bytes;
    }

    /// Counts an operation, and fails it if it is the one to fail.
    fn begin(&self, what: Do) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let index = state.done.len();
        state.done.push(what);
        match state.fault {
            _ if state.crash.is_some_and(|crash| index >= crash.at) => {
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
            Some((fault, errno)) if fault == index => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(()),
        }
    }
}

fn find(state: &State, path: &str) -> usize {
    let mut node = ROOT;
    for name in path.split('/') {
        node = state.nodes[node].now.names[name];
    }
    node
}
