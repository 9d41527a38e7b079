//! What has got around other systems' rules, tried; and that the same succeeds where a rule allows it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use remex::v1;

use super::site::{Site, allow, shell};
use crate::{
    bad_input::argv,
    harness::{
        binaries::binary,
        eventually,
        tools::{program, root},
    },
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

/// A limited caller needs no client of ours to call back: any socket will do.
#[tokio::test]
async fn pitfall_35_python_that_calls_back_by_the_old_protocol_needs_a_rule_of_its_own() {
    skip_unless!(root());
    let python = skip_unless!(program("python3"));
    // Itself, where what is in PATH is a script that looks for it.
    let where_it_is = [
        "-c",
        "import os, sys; print(os.path.realpath(sys.executable))",
    ];
    let found = std::process::Command::new(python)
        .args(where_it_is)
        .output();
    let python = String::from_utf8(found.unwrap().stdout).unwrap();
    let python = std::path::Path::new(python.trim_end());
    let listener = "tcp://127.0.0.1:0/exec?wire=raw";
    let rules = |more: &str| {
        let limited = allow(&format!(
            "programs = ['{}']\narguments = 'any'\nrpcs = ['Run']",
            python.display()
        ));
        let all = allow(&format!("listeners = ['tcp-exec']\nshell = true\n{more}"));
        limited + &all.replace("name = 'allow'", "name = 'all'")
    };
    let site = Site::start(&rules(""), &["--legacy", listener]).await;
    let (file, address) = (site.home.path("file"), site.daemon.socket("tcp-exec"));
    let text = format!(
        "import socket\ns = socket.create_connection(('127.0.0.1', {}))\ns.sendall(b'touch {}')\nprint(s.recv(4096))",
        address.port(),
        file.display()
    );
    let back = || argv(&[python.to_str().unwrap(), "-c", &text]);
    let said = site.allowed(back()).await;
    assert!(said.contains("policy") && !file.exists(), "{said}");
    // From outside the same is allowed.
    let mut outside = tokio::net::TcpStream::connect(address).await.unwrap();
    let touch = format!("touch {}", file.display());
    tokio::io::AsyncWriteExt::write_all(&mut outside, touch.as_bytes())
        .await
        .unwrap();
    eventually("the file", || file.exists().then_some(())).await;
    fs::remove_file(&file).unwrap();
    site.reload(
        &rules("from_executions = true"),
        "the policy was read again",
    )
    .await;
    site.allowed(back()).await;
    eventually("the file", || file.exists().then_some(())).await;
    drop(outside);
    site.daemon.stop().await;
}

/// What is executed by its descriptor is called what it was called, and acts by that; under another name it is another program.
#[tokio::test]
async fn pitfall_36_a_program_of_many_names_acts_by_the_one_that_is_allowed() {
    skip_unless!(root());
    let (bash, rbash) = (
        skip_unless!(program("bash")),
        skip_unless!(program("rbash")),
    );
    let rule = |program: &str| allow(&format!("programs = ['{program}']\narguments = 'any'"));
    let site = Site::start(&rule(rbash.to_str().unwrap()), &[]).await;
    let free = ["-c", "cd / && echo free"];
    let run = |name: &str| argv(&[&[name], &free[..]].concat());
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("bash");
    symlink(&rbash, &link).unwrap();
    // A shell that is called so is a restricted one.
    assert_eq!(site.allowed(run(rbash.to_str().unwrap())).await, "");
    for other in [&link, &bash] {
        site.denied(run(other.to_str().unwrap()), "program").await;
    }
    site.reload(&rule(link.to_str().unwrap()), "the policy was read again")
        .await;
    assert_eq!(site.allowed(run(link.to_str().unwrap())).await, "free\n");
    site.daemon.stop().await;
}

#[tokio::test]
async fn promise_4_no_pattern_lets_an_argument_out_of_its_folder() {
    skip_unless!(root());
    let site = Site::start(
        &allow("programs = ['/bin/cat']\narguments = ['/usr/share/*']"),
        &[],
    )
    .await;
    let out = [
        "/usr/share/..",
        "/usr/share/../../etc/passwd",
        "/usr/share/..passwd",
        "/usr/share//etc/passwd",
        "/usr/share/x/../../../etc/passwd",
    ];
    for argument in out {
        site.denied(argv(&["cat", argument]), "arguments").await;
    }
    let exact = allow("programs = ['/bin/cat']\narguments = ['/usr/share/../../etc/passwd']");
    site.reload(&exact, "the policy was read again").await;
    let said = site.allowed(argv(&["cat", out[1]])).await;
    assert!(said.contains("root:"), "{said}");
    site.daemon.stop().await;
}

/// With a rule that names the variable, the loader heeds it; without one nothing runs.
#[tokio::test]
async fn pitfall_36_what_the_loader_or_a_shell_would_heed_needs_a_rule() {
    skip_unless!(root());
    let names = [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "LD_AUDIT",
        "BASH_ENV",
        "ENV",
        "IFS",
        "TZ",
    ];
    let site = Site::start(&allow("programs = ['/usr/bin/env']"), &[]).await;
    let with = |name: &str| v1::Command {
        environment: [(name.to_owned(), "/no-such-file".to_owned())].into(),
        ..argv(&["env"])
    };
    for name in names {
        site.denied(with(name), "environment").await;
    }
    let named = allow(&format!(
        "programs = ['/usr/bin/env']\nenvironment = {names:?}"
    ));
    site.reload(&named, "the policy was read again").await;
    for name in names {
        let said = site.allowed(with(name)).await;
        assert!(said.contains(&format!("{name}=/no-such-file")), "{said}");
    }
    site.daemon.stop().await;
}
