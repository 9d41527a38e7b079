//! The small files of a state folder, which a crash, a full disk or somebody's hand may leave as anything: they are read
//! without trust, written whole or not at all, and set aside where they are of no use, so that no start fails for them.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Opens the plain file at `path`. Whatever else has its name is an error, and neither waited for nor followed.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = options.custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no plain file",
        ))
    }
}

/// What is in the file at `path`, if it is there; with more than `most` bytes it is of no use.
pub fn read(path: &Path, most: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match open(path, File::options().read(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        let why = format!("it has more than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(Some(bytes))
}

/// Puts `bytes` into the file at `path`, in place of what was there, whole or not at all. Where they are there already, no room
/// is needed for them: a start may find the disk full.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if matches!(read(path, bytes.len()), Ok(Some(found)) if found == bytes) {
        return Ok(());
    }
    let draft = with_ending(path, ".new");
    // A crash has left it, or it is nothing of ours.
    remove(&draft)?;
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

/// Gives what is of no use another name, in place of what had that before, and says so.
pub fn set_aside(path: &Path, why: &dyn fmt::Display) -> io::Result<()> {
    let aside = with_ending(path, ".damaged");
    // A folder and a file do not take each other's place.
    remove(&aside)?;
    fs::rename(path, &aside)?;
    tracing::warn!(
        file = %path.display(),
        aside = %aside.display(),
        %why,
        "a file of the state folder is damaged; it is set aside"
    );
    Ok(())
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::{
        fs::{MetadataExt, symlink},
        net::UnixListener,
    };

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// Makes each thing that is no plain file of `path`, and has `check` look at it.
    fn each_that_is_no_file(path: &Path, check: impl Fn(&str)) {
        let clear = || remove(path).unwrap();
        clear();
        fs::create_dir_all(path.join("full")).unwrap();
        check("a folder");
        clear();
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        check("a pipe");
        clear();
        drop(UnixListener::bind(path).unwrap());
        check("a socket");
        clear();
        symlink("/nowhere/file", path).unwrap();
        check("a link to nothing");
        clear();
        symlink(path, path).unwrap();
        check("a link to itself");
        clear();
    }

    #[test]
    fn what_is_there_already_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let number = || fs::metadata(&path).unwrap().ino();
        replace(&path, b"abc").unwrap();
        let first = number();
        replace(&path, b"abc").unwrap();
        assert_eq!(number(), first);
        for other in [&b"ab"[..], b"abd", b"abcd"] {
            replace(&path, other).unwrap();
            assert_eq!(fs::read(&path).unwrap(), other);
        }
    }

    #[test]
    fn a_file_is_replaced_and_read_up_to_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(read(&path, 3).unwrap(), None);
        for bytes in [&b"abc"[..], b"", b"\xff"] {
            replace(&path, bytes).unwrap();
            assert_eq!(read(&path, 3).unwrap().as_deref(), Some(bytes));
        }
        replace(&path, b"abcd").unwrap();
        assert!(read(&path, 3).is_err());
    }

    #[test]
    fn pitfall_66_what_is_no_file_is_an_error_and_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        each_that_is_no_file(&path, |what| {
            read(&path, 100).expect_err(what);
            let writing = open(&path, File::options().write(true).create(true));
            writing.expect_err(what);
            set_aside(&path, &"the test made it").unwrap();
            assert_eq!(read(&path, 100).unwrap(), None);
            fs::symlink_metadata(folder.path().join("file.damaged")).expect(what);
            replace(&path, b"new").unwrap();
            assert_eq!(read(&path, 100).unwrap().as_deref(), Some(&b"new"[..]));
            fs::remove_file(&path).unwrap();
        });
    }

    #[test]
    fn pitfall_66_what_is_in_the_way_of_a_draft_or_of_what_is_set_aside_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for name in ["file.new", "file.damaged"] {
            each_that_is_no_file(&folder.path().join(name), |_| {
                replace(&path, b"1").unwrap();
                set_aside(&path, &"the test wants it").unwrap();
            });
        }
    }
}
