//! Descriptors that outlive this program in its process: what it executes in its place gets them, by name.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt::{self, Write as _},
    fs::File,
    io::{self, Read, Seek, Write},
    iter,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd, RawFd},
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{self, Command},
};

use rustix::{
    fs::{MemfdFlags, memfd_create},
    io::{FdFlags, fcntl_setfd},
};

/// Says what was handed over: the process that it is for, then `NAME=DESCRIPTOR` for each, with blanks between.
pub(crate) const VARIABLE: &str = "REMEX_HANDED";

/// What is handed over to a process that an sd_listen_fds(3) of an earlier program may be said of still.
const ACTIVATION: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Descriptors by name.
#[derive(Debug, Default)]
pub struct Handover(Vec<(String, OwnedFd)>);

/// A program that can be executed in place of this one.
#[derive(Debug)]
pub struct Successor {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Successor {
    /// The program whose file this one was started from, as it is by now, with the same arguments.
    pub fn of_this_program(program: PathBuf) -> Self {
        Self {
            program,
            arguments: env::args_os().collect(),
        }
    }

    /// Its file.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// What it is called with, without its name.
    pub fn arguments(&self) -> impl Iterator<Item = &OsString> {
        self.arguments.iter().skip(1)
    }

    /// Executes it with what is in `handover`. Returns only if that fails.
    pub fn execute(&self, handover: &Handover) -> io::Error {
        let mut command = Command::new(&self.program);
        if let Some(name) = self.arguments.first() {
            command.arg0(name);
        }
        command
            .args(self.arguments())
            .env(VARIABLE, handover.said());
        for variable in ACTIVATION {
            command.env_remove(variable);
        }
        for (_, descriptor) in &handover.0 {
            if let Err(errno) = fcntl_setfd(descriptor, FdFlags::empty()) {
                return errno.into();
            }
        }
        command.exec()
    }
}

impl Handover {
    /// And a copy of this descriptor.
    pub fn add(&mut self, name: impl Into<String>, descriptor: impl AsFd) -> io::Result<()> {
        let copy = descriptor.as_fd().try_clone_to_owned()?;
        self.0.push((name.into(), copy));
        Ok(())
    }

    /// And the program that runs, which was started from `file`, with its arguments: so that what is executed in its place can
    /// have it again if it cannot serve.
    pub fn add_program(&mut self, file: &Path) -> io::Result<()> {
        let called: Vec<_> = iter::once(file.as_os_str().to_owned())
            .chain(env::args_os())
            .collect();
        let mut described = File::from(memfd_create(CALLED, MemfdFlags::CLOEXEC)?);
        described.write_all(called.join(OsStr::new("\0")).as_bytes())?;
        self.add(CALLED, described)?;
        self.add(PROGRAM, File::open("/proc/self/exe")?)
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The program that was handed over, as it was called.
    pub fn predecessor(&self) -> Option<Successor> {
        let mut called = called(self.get(CALLED)?)?.into_iter();
        called.next()?;
        Some(Successor {
            program: format!("/proc/self/fd/{}", self.get(PROGRAM)?.as_raw_fd()).into(),
            arguments: called.collect(),
        })
    }

    fn get(&self, name: &str) -> Option<&OwnedFd> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, descriptor)| descriptor)
    }

    fn said(&self) -> String {
        let mut said = process::id().to_string();
        for (name, descriptor) in &self.0 {
            // Writing to a String cannot fail.
            let _: fmt::Result = write!(said, " {name}={}", descriptor.as_raw_fd());
        }
        said
    }
}

/// The name of the program that was executed before this one.
pub(crate) const PROGRAM: &str = "program";

/// And of how it was called: the file that it was started from, and its arguments.
pub const CALLED: &str = "called";

/// The name of the lock of what outlives this program.
pub const LOCK: &str = "lock";

/// Behind the name of a Unix socket whose file goes with whoever serves it.
pub(crate) const WITH_FILE: &str = "+file";

/// What the environment says that this very process was handed, each with its name.
pub(crate) fn named() -> io::Result<Vec<(RawFd, String)>> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, VARIABLE);
    let said = env::var(VARIABLE).unwrap_or_default();
    let mut words = said.split_whitespace();
    if words.next() != Some(&process::id().to_string()) {
        return Ok(Vec::new());
    }
    let named = words.map(|word| {
        let (name, number) = word.rsplit_once('=').ok_or_else(invalid)?;
        let number: RawFd = number.parse().map_err(|_| invalid())?;
        let is_open = Path::new("/proc/self/fd").join(number.to_string()).exists();
        if number <= STDERR || !is_open {
            return Err(invalid());
        }
        Ok((number, name.to_owned()))
    });
    named.collect()
}

const STDERR: RawFd = 2;

/// The file that a program was started from, as [`CALLED`] says.
pub fn started_from(descriptor: &OwnedFd) -> Option<PathBuf> {
    called(descriptor)?.into_iter().next().map(PathBuf::from)
}

fn called(descriptor: &OwnedFd) -> Option<Vec<OsString>> {
    let mut bytes = Vec::new();
    let mut file = File::from(descriptor.try_clone().ok()?);
    file.rewind().ok()?;
    file.read_to_end(&mut bytes).ok()?;
    let words = bytes.split(|byte| *byte == 0);
    Some(
        words
            .map(|word| OsStr::from_bytes(word).to_owned())
            .collect(),
    )
}
