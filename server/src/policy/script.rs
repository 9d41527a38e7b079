//! Whether a script may be executed by its path, since a `#!` file cannot be by a descriptor that is closed on exec: only if
//! the user it runs as could change nothing on the way to it, nor itself, nor its interpreter.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Component, Path, PathBuf},
};

use remex_supervisor::process::Examined;
use rustix::io::Errno;

/// Links on the way to an interpreter that are followed, as the kernel has it.
const MAX_LINKS: usize = 40;

/// A script is not to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UntrustedScript {
    /// Somebody else could be run in its place.
    #[error(
        "the script {script:?} cannot be vouched for: the user it runs as may change {file:?}; take that right away, or have \
         the rule name its interpreter"
    )]
    Writable {
        /// Which script.
        script: String,
        /// What can be changed.
        file: String,
    },
    /// Its first line leads to nothing that could be looked at.
    #[error("the script {script:?} cannot be vouched for: {why}")]
    Interpreter {
        /// Which script.
        script: String,
        /// What is wrong with its first line.
        why: &'static str,
    },
}

/// Who could change something.
#[derive(Debug, Clone, Copy)]
struct Changer<'a> {
    uid: u32,
    groups: &'a [u32],
}

/// What says who may change a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rights {
    uid: u32,
    gid: u32,
    mode: u32,
    /// There is an access list beside the mode.
    has_list: bool,
}

impl Changer<'_> {
    /// Whether this user could change what has these `rights`, or give itself the right to. Of root it is asked who else
    /// could.
    fn can_change(self, rights: Rights) -> bool {
        const GROUP_WRITES: u32 = 0o020;
        const OTHERS_WRITE: u32 = 0o002;
        let by_group = rights.mode & GROUP_WRITES != 0
            && (rights.has_list || self.groups.contains(&rights.gid) || self.uid == 0);
        let by_owner = match self.uid {
            0 => rights.uid != 0,
            uid => rights.uid == uid,
        };
        by_owner || by_group || rights.mode & OTHERS_WRITE != 0
    }
}

/// Whether the script that was examined may be executed; what is no script may. Asks the file system.
pub fn vouch(examined: &Examined) -> Result<(), UntrustedScript> {
    let Some(line) = &examined.interpreter else {
        return Ok(());
    };
    let script = String::from_utf8_lossy(&examined.real).into_owned();
    let changer = Changer {
        uid: examined.uid,
        groups: &examined.groups,
    };
    let invalid = |why| UntrustedScript::Interpreter {
        script: script.clone(),
        why,
    };
    let interpreter = interpreter(line).map_err(invalid)?;
    let real = Path::new(OsStr::from_bytes(&examined.real));
    for path in [real, Path::new(OsStr::from_bytes(interpreter))] {
        if let Some(file) = changeable(path, changer) {
            return Err(UntrustedScript::Writable {
                script,
                file: file.display().to_string(),
            });
        }
    }
    Ok(())
}

/// The interpreter of a first line. One that is searched for is whatever is found.
fn interpreter(line: &[u8]) -> Result<&[u8], &'static str> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let line = line.trim_ascii();
    let path = line.split(is_blank).next().unwrap_or(line);
    if !path.starts_with(b"/") {
        return Err("its first line names no interpreter by an absolute path");
    }
    let name = path.rsplit(|byte| *byte == b'/').next();
    if name == Some(b"env") {
        return Err(
            "its first line has env search for the interpreter; write the interpreter's own path there",
        );
    }
    Ok(path)
}

/// The first of `path`'s folders and links, and itself, that `changer` could change, or that cannot be looked at.
fn changeable(path: &Path, changer: Changer<'_>) -> Option<PathBuf> {
    let mut way = PathBuf::from("/");
    let mut links = 0;
    let mut rest: Vec<_> = path.components().rev().map(owned).collect();
    loop {
        let metadata = fs::symlink_metadata(&way);
        let Ok(metadata) = metadata else {
            return Some(way);
        };
        if metadata.is_symlink() {
            links += 1;
            let target = fs::read_link(&way).ok();
            let Some(target) = target.filter(|_| links <= MAX_LINKS) else {
                return Some(way);
            };
            // The folder that holds a link says who may make it lead elsewhere, and has been looked at.
            rest.extend(target.components().rev().map(owned));
            way.pop();
        } else if changer.can_change(rights(&way, &metadata)) {
            return Some(way);
        }
        match rest.pop() {
            None => return None,
            Some(Step::Root) => way = PathBuf::from("/"),
            Some(Step::Up) => {
                way.pop();
            }
            Some(Step::Here) => {}
            Some(Step::Down(name)) => way.push(name),
        }
    }
}

/// A step of a path.
enum Step {
    Root,
    Here,
    Up,
    Down(PathBuf),
}

fn owned(component: Component<'_>) -> Step {
    match component {
        Component::RootDir => Step::Root,
        Component::CurDir | Component::Prefix(_) => Step::Here,
        Component::ParentDir => Step::Up,
        Component::Normal(name) => Step::Down(name.into()),
    }
}

fn rights(path: &Path, metadata: &fs::Metadata) -> Rights {
    let mut list = [0; 1];
    let has_list = match rustix::fs::getxattr(path, "system.posix_acl_access", &mut list) {
        Err(Errno::NODATA | Errno::NOTSUP) => false,
        // One that is there, or of which nobody knows.
        Ok(_) | Err(_) => true,
    };
    Rights {
        uid: metadata.uid(),
        gid: metadata.gid(),
        mode: metadata.mode(),
        has_list,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn whoever_owns_or_may_write_can_change() {
        let rights = |uid, gid, mode| Rights {
            uid,
            gid,
            mode,
            has_list: false,
        };
        let user = Changer {
            uid: 7,
            groups: &[70, 71],
        };
        let root = Changer {
            uid: 0,
            groups: &[0],
        };
        for (changer, rights, expected) in [
            (user, rights(0, 0, 0o755), false),
            (user, rights(7, 0, 0o555), true),
            (user, rights(8, 0, 0o755), false),
            (user, rights(0, 70, 0o775), true),
            (user, rights(0, 72, 0o775), false),
            (user, rights(0, 70, 0o755), false),
            (user, rights(0, 0, 0o757), true),
            (user, rights(0, 0, 0o1777), true),
            (root, rights(0, 0, 0o755), false),
            (root, rights(7, 0, 0o755), true),
            (root, rights(0, 50, 0o775), true),
            (root, rights(0, 0, 0o1777), true),
        ] {
            let can = changer.can_change(rights);
            assert_eq!(can, expected, "{changer:?} {rights:?}");
        }
        let listed = Rights {
            has_list: true,
            ..rights(0, 72, 0o775)
        };
        assert!(user.can_change(listed));
        let masked = Rights {
            mode: 0o755,
            ..listed
        };
        assert!(!user.can_change(masked));
    }

    #[test]
    fn the_first_line_names_the_interpreter() {
        for (line, expected) in [
            ("/bin/sh", Some("/bin/sh")),
            (" /bin/sh -e", Some("/bin/sh")),
            ("\t/usr/bin/perl\t-w", Some("/usr/bin/perl")),
            ("/usr/bin/env python3", None),
            ("sh", None),
            ("", None),
        ] {
            let found = interpreter(line.as_bytes()).ok();
            assert_eq!(found, expected.map(str::as_bytes), "{line:?}");
        }
    }

    #[test]
    fn every_folder_and_link_on_the_way_counts() {
        let nobody_else = Changer {
            uid: 4_321_000,
            groups: &[4_321_000],
        };
        assert_eq!(changeable(Path::new("/bin/sh"), nobody_else), None);
        assert_eq!(
            changeable(Path::new("/no-such-file"), nobody_else).unwrap(),
            Path::new("/no-such-file")
        );
        let folder = tempfile::tempdir_in("/var").unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(at("open")).unwrap();
        fs::write(at("open/script"), "").unwrap();
        symlink("open/script", at("link")).unwrap();
        assert_eq!(changeable(&at("link"), nobody_else), None);
        fs::set_permissions(at("open"), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(changeable(&at("link"), nobody_else), Some(at("open")));
        symlink(at("loop"), at("loop")).unwrap();
        assert_eq!(changeable(&at("loop"), nobody_else), Some(at("loop")));
    }
}
