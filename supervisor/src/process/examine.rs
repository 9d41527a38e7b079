//! Which file a program is, and which folder a command runs in, so that somebody can judge them: the way by which they were
//! named, the way without any link, and what tells a file from another one that takes its place.
//!
//! As in `lookup`, the kernel may hold whoever looks: what it knows already is asked for first, and the rest by a child.

#![expect(
    unsafe_code,
    reason = "looks in a child that shares memory, where rustix's retries and errors in errno are not allowed"
)]

use std::{
    ffi::{CStr, CString, c_int, c_long},
    io,
    mem::{MaybeUninit, size_of},
    os::fd::{FromRawFd, OwnedFd},
    ptr,
};

use super::{
    clone::Work,
    error::StartError,
    lookup::{How, Seen, directory_error, exec_error},
    plan::{FileId, Judged, Plan},
    raw,
};

/// The longest path that the kernel gives or takes, with its NUL.
const PATH_BYTES: usize = 4096;

/// As much of a script's first line as the kernel reads.
const LINE_BYTES: usize = 256;

/// Of preadv2: for what is there without waiting.
const NOWAIT: usize = 0x8;

const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
const RESOLVE_NO_SYMLINKS: u64 = 0x04;
const RESOLVE_CACHED: u64 = 0x20;

/// What a command would execute, and where, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// The program's absolute path, as it was found. It may lead over links.
    pub named: Vec<u8>,
    /// The path of that file without any link.
    pub real: Vec<u8>,
    /// The first line of a script, behind its `#!`.
    pub interpreter: Option<Vec<u8>>,
    /// The working directory's path without any link.
    pub directory: Vec<u8>,
    /// The user it runs as.
    pub uid: u32,
    /// That user's first group.
    pub gid: u32,
    /// All of its groups.
    pub groups: Vec<u32>,
}

/// The files that were examined, held so that no other one can have their numbers.
#[derive(Debug)]
pub(super) struct Held {
    _files: Vec<OwnedFd>,
}

/// A look at a program and a folder. Closes what it has opened when it is dropped.
#[derive(Debug)]
pub(super) struct Examination {
    program: CString,
    directory: CString,
    /// Of `directory` that cannot be entered, `/` will do.
    or_root: bool,
    file: Opened,
    folder: Opened,
    /// The file again, to be read; -1 if it may not be.
    reading: c_int,
    line: [u8; LINE_BYTES],
    line_bytes: usize,
    /// Which of both cannot be used, for this errno.
    failed: Option<(Which, i32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Program,
    Directory,
}

/// Something that was opened to be named alone (O_PATH).
#[derive(Debug)]
struct Opened {
    fd: c_int,
    /// Without any link, with its NUL.
    path: [u8; PATH_BYTES],
    id: FileId,
    mode: u32,
}

impl Opened {
    const NOTHING: Self = Self {
        fd: -1,
        path: [0; PATH_BYTES],
        id: FileId::NONE,
        mode: 0,
    };

    fn close(&mut self) {
        close(&mut self.fd);
    }

    fn path(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.path).unwrap_or_default()
    }
}

impl Examination {
    /// Of the program and the folder of `plan`. A program that is searched for in folders is in `plan` already.
    pub(super) fn new(plan: &Plan) -> Result<Box<Self>, StartError> {
        let program = plan.program.as_bytes();
        let program = if program.starts_with(b"/") {
            plan.program.clone()
        } else {
            CString::new([plan.directory.as_bytes(), b"/", program].concat())
                .map_err(|_| directory_error(&plan.directory, io::ErrorKind::InvalidInput.into()))?
        };
        Ok(Box::new(Self {
            program,
            directory: plan.directory.clone(),
            or_root: plan.or_root,
            file: Opened::NOTHING,
            folder: Opened::NOTHING,
            reading: -1,
            line: [0; LINE_BYTES],
            line_bytes: 0,
            failed: None,
        }))
    }

    /// Looks; `false`: the kernel does not know without waiting.
    pub(super) fn look(&mut self, how: How) -> bool {
        self.close();
        self.failed = None;
        let looked = self.look_at_both(how);
        match looked {
            Ok(()) => true,
            Err((_, libc::EAGAIN | libc::ENOSYS)) if how == How::Cached => false,
            Err(failed) => {
                self.failed = Some(failed);
                true
            }
        }
    }

    fn look_at_both(&mut self, how: How) -> Result<(), (Which, i32)> {
        let directory = |errno| (Which::Directory, errno);
        let mut folder = name(&self.directory, &mut self.folder, how);
        let is_held = matches!(folder, Err(libc::EAGAIN));
        if folder.is_err() && !is_held && self.or_root {
            folder = name(c"/", &mut self.folder, how);
        }
        folder.map_err(directory)?;
        if self.folder.mode & libc::S_IFMT != libc::S_IFDIR {
            return Err(directory(libc::ENOTDIR));
        }
        let program = |errno| (Which::Program, errno);
        name(&self.program, &mut self.file, how).map_err(program)?;
        match self.file.mode & libc::S_IFMT {
            libc::S_IFREG => self.read_line(how).map_err(program),
            libc::S_IFDIR => Err(program(libc::EISDIR)),
            _ => Err(program(libc::EACCES)),
        }
    }

    /// The beginning of the file that was opened, or of none: it is opened again by its own path, which no link can lead
    /// elsewhere, and has to be the same. What may not be read is no script that could be executed either.
    fn read_line(&mut self, how: How) -> Result<(), i32> {
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
        let resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
        match open(self.file.path(), flags, resolve, how) {
            Ok(fd) => self.reading = fd,
            Err(libc::EACCES | libc::EPERM) => return Ok(()),
            Err(errno) => return Err(errno),
        }
        let (id, _) = identify(self.reading, how)?;
        if id != self.file.id {
            return Err(libc::ESTALE);
        }
        let wait = if how == How::Cached { NOWAIT } else { 0 };
        let buffer = libc::iovec {
            iov_base: self.line.as_mut_ptr().cast(),
            iov_len: LINE_BYTES,
        };
        let buffer = ptr::from_ref(&buffer) as usize;
        let read = call(
            libc::SYS_preadv2,
            [raw::int(self.reading), buffer, 1, 0, 0, wait],
        );
        match read {
            Ok(bytes) => {
                self.line_bytes = bytes;
                Ok(())
            }
            // A file system that cannot say, which the child will.
            Err(libc::EOPNOTSUPP) if how == How::Cached => Err(libc::EAGAIN),
            Err(errno) => Err(errno),
        }
    }

    /// What was seen, and the plan that executes it and nothing else.
    pub(super) fn end(
        mut self: Box<Self>,
        plan: &mut Plan,
        own: (u32, u32, &[u32]),
    ) -> Result<(Examined, Held), StartError> {
        match self.failed {
            Some((Which::Directory, errno)) => {
                let error = io::Error::from_raw_os_error(errno);
                return Err(directory_error(&self.directory, error));
            }
            Some((Which::Program, errno)) => {
                let is_absent = matches!(errno, libc::ENOENT | libc::ENOTDIR);
                let seen = is_absent.then_some(Seen::Absent);
                return Err(exec_error(&plan.program, seen, errno));
            }
            None => {}
        }
        let line = self.line.get(..self.line_bytes).unwrap_or_default();
        let interpreter = line.strip_prefix(b"#!").map(|line| {
            let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
            line.to_vec()
        });
        let (uid, gid, groups) = match &plan.identity {
            Some(identity) => (identity.uid, identity.gid, identity.groups.as_slice()),
            None => own,
        };
        let examined = Examined {
            named: self.program.as_bytes().to_vec(),
            real: self.file.path().to_bytes().to_vec(),
            interpreter,
            directory: self.folder.path().to_bytes().to_vec(),
            uid,
            gid,
            groups: groups.to_vec(),
        };
        self.folder.path().clone_into(&mut plan.directory);
        plan.or_root = false;
        plan.judged = Some(Judged {
            path: self.file.path().to_owned(),
            id: self.file.id,
            by_path: examined.interpreter.is_some(),
        });
        let fds = [&mut self.file.fd, &mut self.folder.fd, &mut self.reading];
        let taken = fds.map(|fd| std::mem::replace(fd, -1));
        let files = taken.into_iter().filter(|fd| *fd >= 0).map(|fd| {
            // SAFETY: the kernel made it for this look, which has just given it up.
            unsafe { OwnedFd::from_raw_fd(fd) }
        });
        let held = Held {
            _files: files.collect(),
        };
        Ok((examined, held))
    }

    fn close(&mut self) {
        self.file.close();
        self.folder.close();
        close(&mut self.reading);
    }
}

impl Drop for Examination {
    fn drop(&mut self) {
        self.close();
    }
}

impl Work for Box<Examination> {
    fn run(&mut self) {
        self.look(How::Waiting);
    }
}

/// Opens `path` to be named, and asks the kernel what it is called and what it is.
fn name(path: &CStr, opened: &mut Opened, how: How) -> Result<(), i32> {
    opened.close();
    opened.fd = open(path, libc::O_PATH, 0, how)?;
    let mut link = [0; LINK_BYTES];
    let length = read_link(descriptor_link(opened.fd, &mut link), &mut opened.path)?;
    // It fits with a NUL behind it, or it has been cut.
    match opened.path.get_mut(length) {
        Some(end) => *end = 0,
        None => return Err(libc::ENAMETOOLONG),
    }
    (opened.id, opened.mode) = identify(opened.fd, how)?;
    Ok(())
}

/// What tells a file from every other, and its mode.
pub(super) fn identify(fd: c_int, how: How) -> Result<(FileId, u32), i32> {
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    let flags = match how {
        How::Cached => libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC,
        How::Waiting => libc::AT_EMPTY_PATH,
    };
    let arguments = [
        raw::int(fd),
        c"".as_ptr() as usize,
        raw::int(flags),
        libc::STATX_BASIC_STATS as usize,
        stat.as_mut_ptr() as usize,
        0,
    ];
    call(libc::SYS_statx, arguments)?;
    // SAFETY: plain data, valid when zeroed, and filled by the call.
    let stat = unsafe { stat.assume_init() };
    let id = FileId {
        device: (stat.stx_dev_major, stat.stx_dev_minor),
        inode: stat.stx_ino,
        changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
    };
    Ok((id, stat.stx_mode.into()))
}

/// Opens `path`, which no link may be part of, to be executed or entered.
pub(super) fn open_plain(path: &CStr) -> Result<c_int, i32> {
    let resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    open(path, libc::O_PATH, resolve, How::Waiting)
}

fn open(path: &CStr, flags: c_int, resolve: u64, how: How) -> Result<c_int, i32> {
    // SAFETY: plain data, valid when zeroed.
    let mut open: libc::open_how = unsafe { MaybeUninit::zeroed().assume_init() };
    open.flags = u64::from((flags | libc::O_CLOEXEC).cast_unsigned());
    open.resolve = match how {
        How::Cached => resolve | RESOLVE_CACHED,
        How::Waiting => resolve,
    };
    let (at, path) = (raw::int(libc::AT_FDCWD), path.as_ptr() as usize);
    let open = ptr::from_ref(&open) as usize;
    let size = size_of::<libc::open_how>();
    let fd = call(libc::SYS_openat2, [at, path, open, size, 0, 0])?;
    Ok(raw::descriptor(fd))
}

fn close(fd: &mut c_int) {
    if *fd >= 0 {
        let _ = call(libc::SYS_close, [raw::int(*fd), 0, 0, 0, 0, 0]);
        *fd = -1;
    }
}

const LINK: &[u8] = b"/proc/self/fd/";
const DIGITS: usize = 10;
const LINK_BYTES: usize = LINK.len() + DIGITS + 1;

/// `/proc/self/fd/N`, without an allocation.
fn descriptor_link(fd: c_int, link: &mut [u8; LINK_BYTES]) -> &CStr {
    let mut digits = [0; DIGITS];
    let (mut rest, mut count) = (fd.unsigned_abs(), 0);
    for digit in &mut digits {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        count += 1;
        if rest == 0 {
            break;
        }
    }
    let number = digits.iter().take(count).rev();
    let text = LINK.iter().chain(number);
    for (to, from) in link.iter_mut().zip(text) {
        *to = *from;
    }
    CStr::from_bytes_until_nul(link).unwrap_or_default()
}

fn read_link(link: &CStr, into: &mut [u8; PATH_BYTES]) -> Result<usize, i32> {
    let (at, link) = (raw::int(libc::AT_FDCWD), link.as_ptr() as usize);
    let into = into.as_mut_ptr() as usize;
    call(libc::SYS_readlinkat, [at, link, into, PATH_BYTES, 0, 0])
}

fn call(number: c_long, arguments: [usize; 6]) -> raw::Answer {
    // SAFETY: the calls here read live strings and structs of their callers, fill buffers of the size that they are told, and open
    // and close descriptors of their own.
    unsafe { raw::syscall(number, arguments) }
}

#[cfg(test)]
mod tests;
