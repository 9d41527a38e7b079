//! Files: ways around the lists, and what is granted whatever they hold.

use std::fs;

use remex::{
    error::Reason,
    v1::{Command, Isolation},
};

use super::support::{
    applied, assert_fails, assert_succeeds, folders, refused, shell, system, try_run, within,
};
use crate::supervision::support::Server;

/// Ways to what is in `$F/shut`, for whoever may use `$F/open`.
const WAYS: [(&str, &str); 19] = [
    ("read", "cat $F/shut/secret"),
    ("list", "ls $F/shut/"),
    ("dots", "cat $F/open/../shut/secret"),
    ("folder", "cd $F/shut && cat secret"),
    (
        "symlink",
        "ln -s $F/shut/secret $F/open/link && cat $F/open/link",
    ),
    (
        "symlinked-folder",
        "ln -s ../shut $F/open/link && cat $F/open/link/secret",
    ),
    (
        "written-symlink",
        "ln -s $F/shut/secret $F/open/link && echo x >$F/open/link",
    ),
    (
        "hard-link",
        "ln $F/shut/secret $F/open/hard && cat $F/open/hard",
    ),
    (
        "moved",
        "mv $F/shut/secret $F/open/moved && cat $F/open/moved",
    ),
    (
        "moved-in",
        "echo x >$F/open/new && mv $F/open/new $F/shut/new",
    ),
    (
        "descriptor",
        "exec 3<$F/open && cat /proc/self/fd/3/../shut/secret",
    ),
    ("root-of-process", "cat /proc/self/root$F/shut/secret"),
    ("write", "echo x >$F/shut/new"),
    ("append", "echo x >>$F/shut/secret"),
    ("truncate", "truncate -s 0 $F/shut/secret"),
    ("remove", "rm $F/shut/secret"),
    ("make-folder", "mkdir $F/shut/new"),
    ("script", "sh $F/shut/script"),
    ("program", "$F/shut/program"),
];

fn in_folder(parts: &[&str], folder: &std::path::Path) -> Isolation {
    let path = |part: &&str| folder.join(part).display().to_string();
    let mut isolation = Isolation {
        write_paths: parts.iter().map(path).collect(),
        execute_paths: system(),
        ..Isolation::default()
    };
    isolation
        .execute_paths
        .extend(isolation.write_paths.clone());
    isolation
}

async fn ways_out(user: &str) {
    let server = Server::start(&[]).await;
    let home = server.daemon.home().path("ways");
    for (name, text) in WAYS {
        let folder = folders(&home, name);
        let everybody = std::process::Command::new("chmod")
            .args(["-R", "a+rwX"])
            .arg(&folder)
            .status();
        assert!(everybody.unwrap().success());
        let command = |isolation| Command {
            user: user.to_owned(),
            ..shell(text, &folder, Some(isolation))
        };
        let ran = try_run(&server, command(in_folder(&["open"], &folder)))
            .await
            .unwrap();
        assert_fails(&ran, name);
        assert!(!ran.out.contains("secret"), "{name}: {ran:?}");
        let secret = fs::read_to_string(folder.join("shut/secret")).unwrap();
        assert_eq!(secret, "the secret\n", "{name}");
        assert_eq!(
            fs::read_dir(folder.join("shut")).unwrap().count(),
            3,
            "{name}"
        );
        // What the refused attempt has left.
        fs::remove_dir_all(folder.join("open")).unwrap();
        let folder = folders(&home, name);
        let again = std::process::Command::new("chmod")
            .args(["-R", "a+rwX"])
            .arg(&folder)
            .status();
        assert!(again.unwrap().success());
        let ran = try_run(&server, command(in_folder(&["open", "shut"], &folder)))
            .await
            .unwrap();
        assert_succeeds(&ran, name);
    }
    server.daemon.stop().await;
}

#[tokio::test]
async fn no_way_leads_out_of_the_lists() {
    ways_out("").await;
}

#[tokio::test]
async fn none_does_for_another_user() {
    skip_unless!(crate::harness::tools::root());
    ways_out("65534").await;
}

/// The lists are of one kind: what none of them names is out of reach, for each right of its own.
#[tokio::test]
async fn each_list_grants_its_own() {
    let server = Server::start(&[]).await;
    let folder = folders(&server.daemon.home().path(""), "lists");
    let shut = folder.join("shut").display().to_string();
    let lists = |list: &str| {
        let mut isolation = Isolation {
            execute_paths: system(),
            ..Isolation::default()
        };
        match list {
            "read" => isolation.read_paths.push(shut.clone()),
            "write" => isolation.write_paths.push(shut.clone()),
            "execute" => isolation.execute_paths.push(shut.clone()),
            _ => {}
        }
        isolation
    };
    for (text, granted) in [
        ("cat $F/shut/secret", &["read", "write", "execute"][..]),
        ("echo x >>$F/shut/script", &["write"]),
        ("$F/shut/program", &["execute"]),
    ] {
        for list in ["none", "read", "write", "execute"] {
            let ran = try_run(&server, shell(text, &folder, Some(lists(list))))
                .await
                .unwrap();
            assert_eq!(
                ran.code == 0,
                granted.contains(&list),
                "{text}, {list}: {ran:?}"
            );
        }
    }
    server.daemon.stop().await;
}

/// A program alone is enough: its loader and libraries come with it.
#[tokio::test]
async fn a_program_has_its_loader_its_libraries_and_harmless_devices() {
    let server = Server::start(&[]).await;
    let sh = fs::canonicalize("/bin/sh").unwrap().display().to_string();
    let only_sh = Isolation {
        execute_paths: vec![sh],
        ..Isolation::default()
    };
    let text = r"
        for device in null zero full random urandom; do read x </dev/$device || test $device = null || exit 1; done 2>&1
        echo x >/dev/null && echo x >/dev/zero && ! echo x 2>/dev/null >/dev/full && echo done";
    // `read` would look for a newline in zeros for ever.
    let text = text.replace(
        "read x </dev/$device || test $device = null || exit 1",
        ": </dev/$device || exit 1",
    );
    let folder = server.daemon.home().path("");
    let ran = try_run(&server, shell(&text, &folder, Some(only_sh.clone())))
        .await
        .unwrap();
    assert_succeeds(&ran, "devices");
    assert!(ran.out.ends_with("done\n"), "{ran:?}");
    let ran = try_run(&server, shell("/bin/cat /dev/null", &folder, Some(only_sh)))
        .await
        .unwrap();
    assert_eq!(ran.code, 126, "{ran:?}");
    server.daemon.stop().await;
}

#[tokio::test]
async fn a_program_that_is_not_listed_is_refused_and_says_why() {
    let server = Server::start(&[]).await;
    let isolation = Isolation {
        read_paths: vec!["/etc".into()],
        ..Isolation::default()
    };
    let why = refused(&server, isolation, Reason::ProgramNotExecutable).await;
    assert!(why.contains("execute_paths"), "{why}");
    server.daemon.stop().await;
}

#[tokio::test]
async fn a_path_that_is_not_there_is_refused_or_grants_nothing() {
    let server = Server::start(&[]).await;
    let folder = server.daemon.home().path("");
    let mut isolation = within(&folder);
    isolation.read_paths.push("/no/such/path".into());
    let why = refused(&server, isolation.clone(), Reason::IsolationUnavailable).await;
    for word in ["read_paths", "/no/such/path"] {
        assert!(why.contains(word), "{why}");
    }
    isolation.best_effort = true;
    let ran = try_run(&server, shell("true", &folder, Some(isolation)))
        .await
        .unwrap();
    assert_succeeds(&ran, "best effort");
    server.daemon.stop().await;
}

/// The record has what was asked for, and that all of it holds.
#[tokio::test]
async fn promise_6_the_record_says_what_applied() {
    let server = Server::start(&[]).await;
    let folder = server.daemon.home().path("");
    let isolation = within(&folder);
    try_run(&server, shell("true", &folder, Some(isolation.clone())))
        .await
        .unwrap();
    let applied_parts = applied(&server).await.unwrap();
    assert_eq!(
        applied_parts.isolation.map(|one| one.write_paths),
        Some(isolation.write_paths)
    );
    assert!(applied_parts.landlock_abi >= 3 && applied_parts.not_applied.is_empty());
    try_run(&server, shell("true", &folder, None))
        .await
        .unwrap();
    assert_eq!(applied(&server).await, None);
    server.daemon.stop().await;
}
