//! Which file a program's name means, in the command's own PATH and working directory.

use std::{
    ffi::{CStr, CString, OsStr},
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use rustix::fs::{Access, AtFlags, CWD, FileType};

use super::error::StartError;

/// Where a program is looked for if the command has no PATH, as execvp(3) has it.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// The path to execute, resolved from `directory` when it is relative. A name with a slash is one, whatever is there:
/// that is for the kernel to say.
///
/// `switch` says that the command runs as another user, whose rights the kernel asks for when it executes; else ours are
/// asked for here.
pub(super) fn program(
    argv0: &CStr,
    path: Option<&[u8]>,
    directory: &Path,
    switch: bool,
) -> Result<CString, StartError> {
    let name = argv0.to_bytes();
    if name.contains(&b'/') {
        return Ok(argv0.to_owned());
    }
    let path = path.unwrap_or(DEFAULT_PATH);
    let searched = || format!(" in PATH {:?}", String::from_utf8_lossy(path));
    if name.is_empty() {
        return Err(not_found(argv0, searched()));
    }
    let mut refused = None;
    for folder in path.split(|&byte| byte == b':') {
        // An empty entry is the working directory, as POSIX has it.
        let folder = if folder.is_empty() { b"." } else { folder };
        let candidate = [folder, b"/", name].concat();
        match look(directory, &candidate, switch) {
            Ok(()) => return CString::new(candidate).map_err(|_| not_found(argv0, searched())),
            Err(Verdict::Absent) => {}
            Err(Verdict::Refused(why)) => {
                let candidate = String::from_utf8_lossy(&candidate).into_owned();
                refused.get_or_insert((candidate, why));
            }
        }
    }
    Err(match refused {
        Some((program, why)) => StartError::ProgramNotExecutable {
            program,
            why: why.into(),
        },
        None => not_found(argv0, searched()),
    })
}

enum Verdict {
    Absent,
    Refused(&'static str),
}

fn look(directory: &Path, candidate: &[u8], switch: bool) -> Result<(), Verdict> {
    let file = directory.join(OsStr::from_bytes(candidate));
    let stat = rustix::fs::stat(&file).map_err(|errno| match errno {
        rustix::io::Errno::ACCESS => Verdict::Refused("permission denied"),
        _ => Verdict::Absent,
    })?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Verdict::Refused("it is a folder"));
    }
    if stat.st_mode & 0o111 == 0 {
        return Err(Verdict::Refused("no execute permission (chmod +x)"));
    }
    if !switch && rustix::fs::accessat(CWD, &file, Access::EXEC_OK, AtFlags::EACCESS).is_err() {
        return Err(Verdict::Refused("permission denied"));
    }
    Ok(())
}

/// Why `program` could not be executed: what is to be seen of the file itself, else what execve's errno says.
pub(super) fn exec_error(program: &CStr, directory: &Path, switch: bool, errno: i32) -> StartError {
    let source = io::Error::from_raw_os_error(errno);
    match look(directory, program.to_bytes(), switch) {
        Ok(()) => {}
        Err(Verdict::Absent) => return not_found(program, String::new()),
        Err(Verdict::Refused(why)) => return not_executable(program, why),
    }
    match errno {
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
        _ => StartError::ProgramNotExecutable {
            program: program.to_string_lossy().into_owned(),
            why: source.to_string(),
        },
    }
}

fn not_found(argv0: &CStr, searched: String) -> StartError {
    StartError::ProgramNotFound {
        program: argv0.to_string_lossy().into_owned(),
        searched,
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

    fn find(argv0: &str, path: Option<&str>, directory: &Path) -> Result<String, StartError> {
        let argv0 = CString::new(argv0).unwrap();
        program(&argv0, path.map(str::as_bytes), directory, false)
            .map(|found| found.into_string().unwrap())
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
    fn a_path_with_a_slash_is_not_looked_up() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), "tool", 0o755);
        for argv0 in ["./tool", "./absent"] {
            assert_eq!(find(argv0, Some("/nowhere"), dir.path()).unwrap(), argv0);
        }
    }

    #[test]
    fn what_was_not_executed_says_why() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), "tool", 0o755);
        file(dir.path(), "data", 0o644);
        let error = |program: &str, errno| {
            let program = CString::new(program).unwrap();
            exec_error(&program, dir.path(), false, errno)
        };
        assert!(matches!(
            error("./absent", libc::ENOENT),
            StartError::ProgramNotFound { .. }
        ));
        for (program, errno, expected) in [
            ("./data", libc::EACCES, "chmod +x"),
            ("/etc", libc::EACCES, "folder"),
            ("./tool", libc::ENOENT, "interpreter"),
            ("./tool", libc::ENOEXEC, "neither a binary"),
            ("./tool", libc::EACCES, "denied"),
        ] {
            match error(program, errno) {
                StartError::ProgramNotExecutable { why, .. } => {
                    assert!(why.contains(expected), "{program}: {why}");
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
    fn without_a_path_the_default_is_searched() {
        let found = find("sh", None, Path::new("/")).unwrap();
        assert!(found.ends_with("/sh"), "{found}");
    }
}
