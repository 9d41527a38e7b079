//! What has got around other systems' rules, tried; and that the same succeeds where a rule allows it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use remex::v1;

use super::site::{Site, allow, shell};
use crate::{
    bad_input::argv,
    harness::{binaries::binary, tools::root},
};

/// That root runs `words` by a rule for exactly that path, and by one for `program` alone does not.
async fn only_by_its_own_rule(words: &[&str], program: &str) {
    let arguments = "arguments = 'any'";
    let site = Site::start(
        &allow(&format!("programs = ['{program}']\n{arguments}")),
        &[],
    )
    .await;
    site.denied(argv(words), "program").await;
    let own = allow(&format!("programs = ['{}']\n{arguments}", words[0]));
    site.reload(&own, "the policy was read again").await;
    site.allowed(argv(words)).await;
    site.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_36_links_and_copies_are_not_what_they_are_called() {
    skip_unless!(root());
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    symlink("/bin/true", at("echo")).unwrap();
    only_by_its_own_rule(&[&at("echo")], "/bin/echo").await;
    // The same file under another name acts by that name.
    fs::copy("/bin/true", at("one")).unwrap();
    fs::hard_link(at("one"), at("two")).unwrap();
    only_by_its_own_rule(&[&at("two")], &at("one")).await;
    symlink(at("one"), at("three")).unwrap();
    only_by_its_own_rule(&[&at("three")], &at("one")).await;
}

#[tokio::test]
async fn pitfall_36_a_descriptor_is_no_way_around() {
    skip_unless!(root());
    let site = Site::start(&allow("programs = ['/bin/echo']"), &[]).await;
    for path in [
        "/proc/self/fd/0",
        "/dev/fd/1",
        "/proc/self/cwd",
        "/proc/self/root/bin/true",
    ] {
        site.denied(argv(&[path]), "program").await;
    }
    site.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_36_path_and_preload_of_a_caller_need_a_rule() {
    skip_unless!(root());
    let folder = tempfile::tempdir().unwrap();
    fs::copy("/bin/true", folder.path().join("echo")).unwrap();
    let path = v1::Command {
        environment: [(
            "PATH".to_owned(),
            folder.path().to_str().unwrap().to_owned(),
        )]
        .into(),
        ..argv(&["echo"])
    };
    let site = Site::start(&allow("programs = ['/bin/echo']"), &[]).await;
    site.denied(path.clone(), "environment").await;
    let named = allow("programs = ['/bin/echo']\nenvironment = ['PATH']");
    site.reload(&named, "the policy was read again").await;
    // It may say where to look, and still run what is allowed alone.
    site.denied(path.clone(), "program").await;
    let there = folder.path().join("echo");
    let named = allow(&format!(
        "programs = ['{}']\nenvironment = ['PATH']",
        there.display()
    ));
    site.reload(&named, "the policy was read again").await;
    site.allowed(path).await;
    site.daemon.stop().await;
}

#[tokio::test]
async fn promise_1_a_script_runs_only_if_its_user_could_not_have_changed_it() {
    skip_unless!(root());
    // Below a folder that root alone may write.
    let folder = tempfile::tempdir_in("/var").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let script = folder.path().join("script");
    let write = |text: &str, mode| {
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(mode)).unwrap();
    };
    let path = script.to_str().unwrap();
    let site = Site::start(
        &allow(&format!("programs = ['{path}']\nrun_as = ['nobody']")),
        &[],
    )
    .await;
    let as_nobody = || v1::Command {
        user: "nobody".into(),
        ..argv(&[path])
    };
    write("#!/bin/sh\necho ran\n", 0o755);
    assert_eq!(site.allowed(argv(&[path])).await, "ran\n");
    assert_eq!(site.allowed(as_nobody()).await, "ran\n");
    let refused = async |words: &str| {
        let status = site.run(as_nobody()).await.unwrap_err();
        assert!(status.message().contains(words), "{status}");
        assert_eq!(status.code(), tonic::Code::PermissionDenied, "{status}");
    };
    write("#!/bin/sh\necho ran\n", 0o757);
    refused("may change").await;
    write("#!/usr/bin/env sh\necho ran\n", 0o755);
    refused("env").await;
    write("#!/bin/sh\necho ran\n", 0o755);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    refused("may change").await;
    site.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_35_a_command_that_calls_back_needs_a_rule_of_its_own() {
    skip_unless!(root());
    let remex = binary("remex");
    let rule = |more: &str| {
        allow(&format!(
            "programs = ['{}', '/bin/true']\narguments = 'any'\n{more}",
            remex.display()
        ))
    };
    for socket in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let listen = if socket {
            format!("unix:{}/sock", folder.path().display())
        } else {
            "127.0.0.1:0".to_owned()
        };
        let site = Site::start(&rule(""), &["--listen", &listen]).await;
        let server = site.daemon.url("grpc").to_owned();
        let back = || {
            let words = ["--server", &server, "run", "--", "/bin/true"];
            argv(&[&[remex.to_str().unwrap()], &words[..]].concat())
        };
        let client = site.daemon.client().await;
        let refused = super::site::run(&client, back()).await.unwrap();
        let said = String::from_utf8_lossy(&refused.stderr_data).into_owned();
        assert_eq!(refused.exit.unwrap().code, Some(255), "{said}");
        assert!(
            said.contains("policy") && said.contains("from_executions"),
            "{said}"
        );
        site.reload(&rule("from_executions = true"), "the policy was read again")
            .await;
        let ran = super::site::run(&client, back()).await.unwrap();
        let said = String::from_utf8_lossy(&ran.stderr_data).into_owned();
        assert_eq!(ran.exit.unwrap().code, Some(0), "{said}");
        drop(client);
        site.daemon.stop().await;
    }
}

#[tokio::test]
async fn the_shell_is_no_argument_of_anything() {
    skip_unless!(root());
    let site = Site::start(
        &allow("programs = ['/bin/sh']\narguments = ['-c', 'echo a']"),
        &[],
    )
    .await;
    assert_eq!(site.allowed(argv(&["sh", "-c", "echo a"])).await, "a\n");
    site.denied(argv(&["sh", "-c", "echo b"]), "arguments")
        .await;
    site.denied(shell("echo a"), "program").await;
    site.daemon.stop().await;
}
