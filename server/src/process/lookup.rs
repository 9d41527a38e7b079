//! Which file a program's name means, in the command's own PATH and working directory.

use std::{
    ffi::{CStr, CString, OsStr},
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use rustix::{
    fs::{Access, AtFlags, CWD, FileType},
    io::Errno,
};

use super::error::{StartError, words};

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
    // The whole PATH would be most of the message, and says little.
    let searched = || match path.split(|&byte| byte == b':').count() {
        1 => format!(" in {:?}, its PATH", String::from_utf8_lossy(path)),
        count => format!(" in any of the {count} folders of its PATH"),
    };
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
        Some((program, why)) => StartError::ProgramNotExecutable { program, why },
        None => not_found(argv0, searched()),
    })
}

enum Verdict {
    Absent,
    Refused(String),
}

fn look(directory: &Path, candidate: &[u8], switch: bool) -> Result<(), Verdict> {
    let file = directory.join(OsStr::from_bytes(candidate));
    let refused = |why: &str| Err(Verdict::Refused(why.to_owned()));
    let stat = rustix::fs::stat(&file).map_err(|errno| match errno {
        Errno::NOENT | Errno::NOTDIR => Verdict::Absent,
        errno => Verdict::Refused(words(&errno.into())),
    })?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return refused("it is a folder");
    }
    if stat.st_mode & 0o111 == 0 {
        return refused("Permission denied: it has no execute permission (chmod +x)");
    }
    if switch {
        return Ok(());
    }
    rustix::fs::accessat(CWD, &file, Access::EXEC_OK, AtFlags::EACCESS)
        .map_err(|errno| Verdict::Refused(words(&errno.into())))
}

/// Why `program` could not be executed: what is to be seen of the file itself, else what execve's errno says.
pub(super) fn exec_error(program: &CStr, directory: &Path, switch: bool, errno: i32) -> StartError {
    let source = io::Error::from_raw_os_error(errno);
    match look(directory, program.to_bytes(), switch) {
        Ok(()) => {}
        Err(Verdict::Absent) => return not_found(program, String::new()),
        Err(Verdict::Refused(why)) => return not_executable(program, &why),
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
            why: words(&source),
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
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
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
            ("./tool", libc::EACCES, "Permission denied"),
            ("./tool", libc::ETXTBSY, "Text file busy"),
            ("./loop", libc::ELOOP, "Too many levels of symbolic links"),
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
