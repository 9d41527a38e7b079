//! The files of Unix sockets.

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, symlink},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use remex_daemon::net::{BindError, Listener};
use tempfile::TempDir;

use crate::support::bind;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    (folder, path)
}

fn listen(path: &Path) -> Result<Listener, BindError> {
    bind(&format!("unix:{}", path.display()))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// What a process that was killed leaves behind.
fn stale(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
    assert!(UnixStream::connect(path).is_err());
}

#[test]
fn it_is_the_owners_alone_unless_asked_otherwise() {
    let (_folder, path) = folder();
    let listener = listen(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(
        listener.local().to_string(),
        format!("unix://{}", path.display())
    );
    UnixStream::connect(&path).unwrap();
    drop(listener);
    assert!(!path.exists());

    // The umask of most machines takes bits from this one.
    let _open = bind(&format!("unix:{}?mode=0666", path.display())).unwrap();
    assert_eq!(mode(&path), 0o666);
}

#[test]
fn it_is_given_to_the_group() {
    let (_folder, path) = folder();
    let own = rustix::process::getegid().as_raw();
    let group = if own == 0 { 4321 } else { own };
    let address = format!("unix:{}?mode=0660&group={group}", path.display());
    let _listener = bind(&address).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().gid(), group);
    assert_eq!(mode(&path), 0o660);

    let none = bind(&format!("unix:{}2?group=no-such-group", path.display()));
    assert!(matches!(none, Err(BindError::NoGroup(name)) if name == "no-such-group"));
}

#[test]
fn a_stale_socket_is_replaced() {
    let (_folder, path) = folder();
    stale(&path);
    let _listener = listen(&path).unwrap();
    UnixStream::connect(&path).unwrap();
}

#[test]
fn a_live_socket_is_not() {
    let (_folder, path) = folder();
    let first = listen(&path).unwrap();
    let error = listen(&path).unwrap_err();
    assert!(matches!(error, BindError::InUse(_)), "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()));
    UnixStream::connect(&path).unwrap();
    drop(first);
    listen(&path).unwrap();
}

#[test]
fn what_is_no_socket_never_is() {
    let (folder, path) = folder();
    fs::write(&path, "precious").unwrap();
    assert!(matches!(listen(&path), Err(BindError::NotASocket(_))));
    assert_eq!(fs::read(&path).unwrap(), b"precious");

    let target = folder.path().join("target.sock");
    stale(&target);
    let link = folder.path().join("link");
    symlink(&target, &link).unwrap();
    assert!(matches!(listen(&link), Err(BindError::NotASocket(_))));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && target.exists());

    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    assert!(matches!(listen(&inner), Err(BindError::NotASocket(_))));
}

#[test]
fn another_ones_socket_is_not_removed() {
    let (_folder, path) = folder();
    let ours = listen(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let _theirs = UnixListener::bind(&path).unwrap();
    drop(ours);
    UnixStream::connect(&path).unwrap();
}

#[test]
fn a_path_longer_than_the_kernels_works_through_its_folder() {
    let (folder, _) = folder();
    let deep = folder.path().join("d".repeat(120));
    fs::create_dir(&deep).unwrap();
    let path = deep.join("s.sock");
    let listener = listen(&path).unwrap();
    assert!(fs::metadata(&path).unwrap().file_type().is_socket());
    assert!(matches!(listen(&path), Err(BindError::InUse(_))));
    drop(listener);
    assert!(!path.exists());

    let endless = folder.path().join("n".repeat(120));
    assert!(matches!(listen(&endless), Err(BindError::NameTooLong(_))));
}

#[test]
fn a_folder_that_is_missing_is_said_to_be() {
    let (folder, _) = folder();
    let error = listen(&folder.path().join("none/s.sock")).unwrap_err();
    assert!(matches!(error, BindError::NoFolder(_)), "{error}");
}
