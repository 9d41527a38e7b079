//! Another program in place of this one, in the same process.

use std::{
    env, fs, io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use remex_daemon::{
    Handover, Successor,
    handover::{CALLED, LOCK, started_from},
    net::HandedSockets,
};

use crate::{
    control::{CONTROL, message::RunningProgram},
    listeners::Listeners,
    state_dir::StateDir,
};

/// The program that runs, and what is executed in its place once it has ended its work. Clones share that.
#[derive(Debug, Clone)]
pub struct Upgrade {
    file: Option<PathBuf>,
    /// Its device and inode; `None` without /proc, which remexd does not serve without.
    identity: Option<(u64, u64)>,
    next: Arc<Mutex<Option<Handover>>>,
}

impl Upgrade {
    /// Of the program that runs. To be called before its file can have been replaced, unless a program before it has `handed`
    /// over where that is.
    pub fn new(handed: &HandedSockets) -> Self {
        let running = fs::metadata("/proc/self/exe");
        let called = handed.other(CALLED);
        let file = called.as_ref().and_then(started_from);
        Self {
            file: file.or_else(|| env::current_exe().ok()),
            identity: running.ok().map(|running| (running.dev(), running.ino())),
            next: Arc::default(),
        }
    }

    /// What is executed now, and with what; `None`: nothing.
    pub fn take(&self) -> Option<(Successor, Handover)> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let handover = next.take()?;
        let file = self.file.clone()?;
        Some((Successor::of_this_program(file), handover))
    }

    /// What is to be executed, and with what, once this program has ended its work.
    pub(super) fn set(&self, handover: Handover) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = Some(handover);
    }

    /// All that the next program gets.
    pub(super) fn handover(
        &self,
        listeners: &Listeners,
        state_dir: &StateDir,
        control: Option<&OwnedFd>,
    ) -> io::Result<Handover> {
        let mut handover = Handover::default();
        let file = self.file.as_deref().ok_or(io::ErrorKind::NotFound)?;
        handover.add_program(file)?;
        handover.add(LOCK, state_dir.lock())?;
        listeners.hand_over(&mut handover)?;
        if let Some(socket) = control {
            handover.add(CONTROL, socket)?;
        }
        Ok(handover)
    }

    /// Which program runs.
    pub(super) fn program(&self) -> Result<RunningProgram, String> {
        let file = self.file.clone();
        let file =
            file.ok_or("the kernel does not say which file this program was started from")?;
        let successor = Successor::of_this_program(file);
        let arguments = successor.arguments().map(|argument| argument.to_str());
        let arguments: Option<Vec<_>> = arguments.map(|one| one.map(str::to_owned)).collect();
        Ok(RunningProgram {
            pid: std::process::id(),
            version: remex::VERSION.to_owned(),
            file: successor.program().to_owned(),
            identity: self
                .identity
                .ok_or("the kernel does not say which program runs")?,
            arguments: arguments.ok_or("what this program was called with is not UTF-8")?,
            directory: env::current_dir().map_err(|error| error.to_string())?,
        })
    }
}
