//! Files that hold secrets: read only if nobody but their owner may read them.

use std::{
    fs::{self, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The longest such file that is read, in bytes.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// What the group and everybody else may do with a file.
const OTHERS: u32 = 0o077;

const ROOT: u32 = 0;

/// The file is of no use. The message begins with its name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFileError {
    /// It is not there, or may not be read.
    #[error("{}: cannot be read: {source}", file.display())]
    Read {
        /// Which one.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its secret is none.
    #[error("{}: others may read or write it (mode {mode:04o}): chmod 600 {}", file.display(), file.display())]
    Open {
        /// Which one.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Its owner may read it, and is somebody else.
    #[error("{}: belongs to user {owner}, who may read it: chown it to the user that this runs as, or to root", file.display())]
    Foreign {
        /// Which one.
        file: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// It is no such file.
    #[error("{}: is larger than {MAX_BYTES} bytes", .0.display())]
    TooLarge(PathBuf),
}

/// Reads the file at `path`. What is judged is what is read: its permissions are asked of the open file.
pub fn read(path: &Path) -> Result<Vec<u8>, SecretFileError> {
    let failed = |source| SecretFileError::Read {
        file: path.to_owned(),
        source,
    };
    let file = fs::File::open(path).map_err(failed)?;
    judge(path, &file.metadata().map_err(failed)?)?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    if read.map_err(failed)? as u64 > MAX_BYTES {
        return Err(SecretFileError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

fn judge(path: &Path, metadata: &Metadata) -> Result<(), SecretFileError> {
    let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
    if mode & OTHERS != 0 {
        let file = path.to_owned();
        return Err(SecretFileError::Open { file, mode });
    }
    if owner != ROOT && owner != rustix::process::geteuid().as_raw() {
        let file = path.to_owned();
        return Err(SecretFileError::Foreign { file, owner });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

    #[test]
    fn only_what_its_owner_alone_may_read_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "x").unwrap();
        for mode in [0o600, 0o400, 0o700] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path).unwrap(), b"x", "{mode:o}");
        }
        for mode in [0o604, 0o640, 0o644, 0o620, 0o602, 0o610, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&path).unwrap_err();
            assert!(matches!(error, SecretFileError::Open { .. }), "{error}");
            let text = error.to_string();
            let named = text.contains(&format!("{mode:04o}")) && text.contains("chmod 600");
            assert!(named, "{text}");
        }
    }

    #[test]
    fn the_file_behind_a_link_is_judged_and_another_users_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("secret"), folder.path().join("link"));
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(read(&link), Err(SecretFileError::Open { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(read(&link).is_ok());
        // Only root may give a file away.
        if chown(&path, Some(65534), None).is_ok() {
            let error = read(&link).unwrap_err();
            assert!(matches!(
                error,
                SecretFileError::Foreign { owner: 65534, .. }
            ));
        }
    }

    #[test]
    fn a_file_has_to_be_there_and_of_a_sane_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert!(matches!(read(&path), Err(SecretFileError::Read { .. })));
        let filled = vec![b'x'; usize::try_from(MAX_BYTES).unwrap() + 1];
        fs::write(&path, &filled[1..]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(read(&path).is_ok());
        fs::write(&path, filled).unwrap();
        assert!(matches!(read(&path), Err(SecretFileError::TooLarge(_))));
    }
}
