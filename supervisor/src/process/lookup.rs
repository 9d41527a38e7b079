//! Which file a program's name means, in the command's own PATH and working directory.
//!
//! The kernel may hold whoever looks: a folder may be on a server that is gone. So what the kernel knows already is asked
//! for first, which never waits; the same is done by a child, which can be killed, if that is not enough.

#![expect(
    unsafe_code,
    reason = "looks in a child that shares memory, where rustix's retries and errors in errno are not allowed"
)]

use std::{
    ffi::{CStr, CString, c_long},
    io,
    mem::{MaybeUninit, size_of},
    os::unix::ffi::OsStrExt,
    path::Path,
    ptr,
};

use super::{
    clone::Work,
    error::{StartError, words},
    raw,
};

/// Where a program is looked for if the command has no PATH, as execvp(3) has it.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// How the kernel is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// For what it knows without waiting for anybody.
    Cached,
    /// For as long as it takes.
    Waiting,
}

/// What there is to be seen of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing against its execution.
    Executable,
    Absent,
    /// It, or a folder on the way to it, cannot be used, for this errno.
    Refused(i32),
    Folder,
    /// No execute permission for anybody.
    NotExecutable,
    /// The kernel does not know without waiting.
    Unknown,
}

/// A program to be found.
#[derive(Debug)]
pub(super) struct Search {
    /// As they would be executed, the first one first; each with its file as it is seen from here, where that is another.
    candidates: Vec<(CString, Option<CString>)>,
    /// The command's.
    directory: CString,
    /// Our own rights are those that count.
    as_self: bool,
    /// `None`: not found yet, or not at all.
    found: Option<usize>,
    refused: Option<(usize, Seen)>,
    /// What is there of the directory, if the program is not found.
    directory_seen: Seen,
}

impl Search {
    /// For `name`, which has no slash in it. `as_self` says that the command runs as the server's own user, so that its
    /// rights are asked for; another's are for the kernel to ask for when it executes.
    pub(super) fn new(name: &CStr, path: Option<&[u8]>, directory: &CStr, as_self: bool) -> Self {
        let name = name.to_bytes();
        let candidates = path.unwrap_or(DEFAULT_PATH).split(|&byte| byte == b':');
        let candidates = candidates.filter_map(|folder| {
            // An empty entry is the working directory, as POSIX has it.
            let folder = if folder.is_empty() { b"." } else { folder };
            let program = [folder, b"/", name].concat();
            let file = (!program.starts_with(b"/"))
                .then(|| CString::new([directory.to_bytes(), b"/", &program].concat()));
            Some((CString::new(program).ok()?, file.transpose().ok()?))
        });
        Self {
            candidates: candidates.collect(),
            directory: directory.to_owned(),
            as_self,
            found: None,
            refused: None,
            directory_seen: Seen::Unknown,
        }
    }

    /// Looks; `false`: the kernel does not know without waiting.
    pub(super) fn look(&mut self, how: How) -> bool {
        self.refused = None;
        for (index, (program, file)) in self.candidates.iter().enumerate() {
            let file = file.as_ref().unwrap_or(program);
            match look(file, how, self.as_self) {
                Seen::Unknown => return false,
                Seen::Absent => {}
                Seen::Executable => {
                    self.found = Some(index);
                    return true;
                }
                seen @ (Seen::Refused(_) | Seen::Folder | Seen::NotExecutable) => {
                    if self.refused.is_none() {
                        self.refused = Some((index, seen));
                    }
                }
            }
        }
        self.directory_seen = look(&self.directory, how, false);
        self.directory_seen != Seen::Unknown
    }

    /// The path to execute, relative to the directory if its entry of PATH is.
    pub(super) fn outcome(
        mut self,
        name: &CStr,
        path: Option<&[u8]>,
    ) -> Result<CString, StartError> {
        if let Some(index) = self.found {
            return Ok(self.candidates.swap_remove(index).0);
        }
        let no_directory = match self.directory_seen {
            Seen::Absent => Some(io::ErrorKind::NotFound.into()),
            Seen::Refused(errno) => Some(io::Error::from_raw_os_error(errno)),
            Seen::Executable | Seen::NotExecutable => Some(io::ErrorKind::NotADirectory.into()),
            Seen::Folder | Seen::Unknown => None,
        };
        if let Some(error) = no_directory {
            return Err(directory_error(&self.directory, error));
        }
        if let Some((index, seen)) = self.refused {
            return Err(unusable(&self.candidates[index].0, seen));
        }
        let path = path.unwrap_or(DEFAULT_PATH);
        // The whole PATH would be most of the message, and says little.
        let searched = match path.split(|&byte| byte == b':').count() {
            1 => format!(" in {:?}, its PATH", String::from_utf8_lossy(path)),
            count => format!(" in any of the {count} folders of its PATH"),
        };
        Err(not_found(name, searched))
    }
}

impl Work for Search {
    fn run(&mut self) {
        self.look(How::Waiting);
    }
}

impl Seen {
    fn why(self) -> String {
        match self {
            Self::Folder => "it is a folder".to_owned(),
            Self::NotExecutable => {
                "Permission denied: it has no execute permission (chmod +x)".to_owned()
            }
            Self::Refused(errno) => words(&io::Error::from_raw_os_error(errno)),
            Self::Executable | Self::Absent | Self::Unknown => String::new(),
        }
    }
}

/// What there is to be seen of `file`. `as_self` asks whether we ourselves may execute it. Allocates nothing and leaves
/// `errno` alone.
pub(crate) fn look(file: &CStr, how: How, as_self: bool) -> Seen {
    let seen = match how {
        How::Waiting => stat(libc::AT_FDCWD, file, 0),
        How::Cached => match open_cached(file) {
            Ok(fd) => {
                let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
                let seen = stat(fd, c"", flags);
                let _ = call(libc::SYS_close, [raw::int(fd), 0, 0, 0]);
                seen
            }
            // Without a descriptor to be had, a child that needs none looks.
            Err(
                libc::EAGAIN
                | libc::ENOSYS
                | libc::EPERM
                | libc::EINVAL
                | libc::EMFILE
                | libc::ENFILE
                | libc::ENOMEM,
            ) => return Seen::Unknown,
            Err(errno) => Err(errno),
        },
    };
    let stat = match seen {
        Ok(stat) => stat,
        Err(libc::ENOENT | libc::ENOTDIR) => return Seen::Absent,
        Err(errno) => return Seen::Refused(errno),
    };
    let mode = u32::from(stat.stx_mode);
    if mode & libc::S_IFMT == libc::S_IFDIR {
        return Seen::Folder;
    }
    if mode & 0o111 == 0 {
        return Seen::NotExecutable;
    }
    if !as_self || mode & 0o111 == 0o111 {
        // That an access list takes it from us all the same, the kernel says when it executes.
        return Seen::Executable;
    }
    if how == How::Cached {
        return Seen::Unknown;
    }
    let (at, file) = (raw::int(libc::AT_FDCWD), file.as_ptr() as usize);
    let (may, flags) = (libc::X_OK as usize, libc::AT_EACCESS as usize);
    match call(libc::SYS_faccessat2, [at, file, may, flags]) {
        // Before Linux 5.8 there is none; execve says it then.
        Ok(_) | Err(libc::ENOSYS) => Seen::Executable,
        Err(errno) => Seen::Refused(errno),
    }
}

fn open_cached(file: &CStr) -> Result<i32, i32> {
    const RESOLVE_CACHED: u64 = 0x20;
    // SAFETY: plain data, valid when zeroed.
    let mut open: libc::open_how = unsafe { MaybeUninit::zeroed().assume_init() };
    open.flags = (libc::O_PATH | libc::O_CLOEXEC) as u64;
    open.resolve = RESOLVE_CACHED;
    let at = raw::int(libc::AT_FDCWD);
    let open = (ptr::from_ref(&open) as usize, size_of::<libc::open_how>());
    let fd = call(
        libc::SYS_openat2,
        [at, file.as_ptr() as usize, open.0, open.1],
    )?;
    Ok(raw::descriptor(fd))
}

fn stat(folder: i32, file: &CStr, flags: i32) -> Result<libc::statx, i32> {
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    let arguments = [
        raw::int(folder),
        file.as_ptr() as usize,
        raw::int(flags),
        (libc::STATX_TYPE | libc::STATX_MODE) as usize,
        stat.as_mut_ptr() as usize,
        0,
    ];
    // SAFETY: a live string, and room for the answer.
    unsafe { raw::syscall(libc::SYS_statx, arguments) }?;
    // SAFETY: plain data, valid when zeroed, and filled by the call.
    Ok(unsafe { stat.assume_init() })
}

fn call(number: c_long, [a, b, c, d]: [usize; 4]) -> raw::Answer {
    // SAFETY: the calls here read live strings and structs of their callers, and open and close descriptors of their own.
    unsafe { raw::syscall(number, [a, b, c, d, 0, 0]) }
}

pub(super) fn directory_error(path: &CStr, source: io::Error) -> StartError {
    StartError::WorkingDirectory {
        path: Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())).to_owned(),
        source,
    }
}

/// Why `program` could not be executed: what is to be seen of the file itself, else what execve's errno says.
pub(super) fn exec_error(program: &CStr, seen: Option<Seen>, errno: i32) -> StartError {
    let source = io::Error::from_raw_os_error(errno);
    match seen {
        Some(Seen::Absent) => return not_found(program, String::new()),
        Some(seen @ (Seen::Refused(_) | Seen::Folder | Seen::NotExecutable)) => {
            return unusable(program, seen);
        }
        Some(Seen::Executable | Seen::Unknown) | None => {}
    }
    match errno {
        libc::EISDIR => unusable(program, Seen::Folder),
        libc::ESTALE => not_executable(
            program,
            "it was changed or replaced while it was looked at; try again",
        ),
        libc::ENAMETOOLONG => unusable(program, Seen::Refused(errno)),
        // The file is there, so it is the interpreter or loader it names that is not.
        libc::ENOENT => not_executable(
            program,
            "the interpreter that its first line, or its ELF header, names does not exist",
        ),
        libc::ENOEXEC => not_executable(
            program,
            "it is neither a binary for this machine nor a script that begins with #!",
        ),
        libc::E2BIG => StartError::TooLarge(
            "arguments and environment together are more than the kernel takes; pass data on stdin"
                .into(),
        ),
        libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE => StartError::Resources {
            step: "execute the program",
            source,
        },
        _ => not_executable(program, &words(&source)),
    }
}

fn not_found(argv0: &CStr, searched: String) -> StartError {
    StartError::ProgramNotFound {
        program: argv0.to_string_lossy().into_owned(),
        searched,
    }
}

/// What was seen of a program and is none to execute. No file can have a name that is too long.
fn unusable(program: &CStr, seen: Seen) -> StartError {
    match seen {
        Seen::Refused(libc::ENAMETOOLONG) => not_found(program, format!(": {}", seen.why())),
        _ => not_executable(program, &seen.why()),
    }
}

fn not_executable(program: &CStr, why: &str) -> StartError {
    StartError::ProgramNotExecutable {
        program: program.to_string_lossy().into_owned(),
        why: why.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn file(folder: &Path, name: &str, mode: u32) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(name), "#!/bin/sh\n").unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn c(path: &Path) -> CString {
        CString::new(path.as_os_str().as_bytes()).unwrap()
    }

    fn find(name: &str, path: Option<&str>, directory: &Path) -> Result<String, StartError> {
        let name = CString::new(name).unwrap();
        let path = path.map(str::as_bytes);
        let find = |how| {
            let mut search = Search::new(&name, path, &c(directory), true);
            search.look(how).then(|| {
                search
                    .outcome(&name, path)
                    .map(|found| found.into_string().unwrap())
            })
        };
        let found = find(How::Waiting).unwrap();
        // What the kernel knows by now is the same.
        if let Some(cached) = find(How::Cached) {
            assert_eq!(format!("{cached:?}"), format!("{found:?}"));
        }
        found
    }

    #[test]
    fn the_first_executable_on_path_wins() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        file(&a, "tool", 0o644);
        file(&b, "tool", 0o755);
        let path = format!("/nowhere:{}:{}", a.display(), b.display());
        let found = find("tool", Some(&path), dir.path()).unwrap();
        assert_eq!(found, format!("{}/tool", b.display()));
        // Relative entries, and the empty one, mean the working directory.
        assert_eq!(find("tool", Some("b"), dir.path()).unwrap(), "b/tool");
        assert_eq!(find("tool", Some(""), &b).unwrap(), "./tool");
    }

    #[test]
    fn what_the_kernel_knows_is_found_without_waiting() {
        // Root's rights and everybody's are the same here.
        assert_eq!(look(c"/bin/sh", How::Waiting, true), Seen::Executable);
        assert_eq!(look(c"/bin/sh", How::Cached, true), Seen::Executable);
        assert_eq!(look(c"/bin/no-such-file", How::Waiting, true), Seen::Absent);
        assert_eq!(look(c"/bin/no-such-file", How::Cached, true), Seen::Absent);
    }

    #[test]
    fn what_was_not_executed_says_why() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), "tool", 0o755);
        file(dir.path(), "data", 0o644);
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
        let error = |program: &str, errno| {
            let program = c(&dir.path().join(program));
            exec_error(&program, Some(look(&program, How::Waiting, true)), errno)
        };
        assert!(matches!(
            error("absent", libc::ENOENT),
            StartError::ProgramNotFound { .. }
        ));
        for (program, errno, expected) in [
            ("data", libc::EACCES, "chmod +x"),
            ("/etc", libc::EACCES, "folder"),
            ("tool", libc::ENOENT, "interpreter"),
            ("tool", libc::ENOEXEC, "neither a binary"),
            ("tool", libc::EACCES, "Permission denied"),
            ("tool", libc::ETXTBSY, "Text file busy"),
            ("loop", libc::ELOOP, "Too many levels of symbolic links"),
        ] {
            match error(program, errno) {
                StartError::ProgramNotExecutable { why, .. } => {
                    assert!(why.contains(expected), "{program}: {why}");
                    assert!(!why.contains("os error"), "{program}: {why}");
                }
                error => panic!("{program}: {error}"),
            }
        }
    }

    #[test]
    fn what_is_found_and_cannot_be_executed_says_why() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), "data", 0o644);
        let error = find("data", Some("."), dir.path()).unwrap_err();
        assert!(
            matches!(error, StartError::ProgramNotExecutable { .. }),
            "{error}"
        );
        assert!(matches!(
            find("no-such-program", None, dir.path()),
            Err(StartError::ProgramNotFound { .. })
        ));
    }

    #[test]
    fn where_the_directory_is_not_there_either_that_is_said() {
        let error = find("no-such-program", None, Path::new("/no/such")).unwrap_err();
        assert!(
            matches!(error, StartError::WorkingDirectory { .. }),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_looked_up_says_why() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
        let long = "x".repeat(300);
        for (program, why) in [
            ("loop", "Too many levels of symbolic links"),
            (&long, "File name too long"),
        ] {
            let error = find(program, Some("."), dir.path())
                .unwrap_err()
                .to_string();
            assert!(error.contains(why), "{error}");
        }
        let long = c(Path::new(&long));
        for seen in [Some(look(&long, How::Waiting, true)), None] {
            let error = exec_error(&long, seen, libc::ENAMETOOLONG);
            assert!(
                matches!(error, StartError::ProgramNotFound { .. }),
                "{error}"
            );
        }
        // A PATH of a hundred folders is not printed.
        let path = vec!["/nowhere"; 100].join(":");
        let error = find("tool", Some(&path), dir.path())
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            r#"program "tool" not found in any of the 100 folders of its PATH"#
        );
    }

    #[test]
    fn without_a_path_the_default_is_searched() {
        let found = find("sh", None, Path::new("/")).unwrap();
        assert!(found.ends_with("/sh"), "{found}");
    }
}
