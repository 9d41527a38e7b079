//! What a command may use, and as whom it runs.

use remex::{
    error::Reason as Refusal,
    v1::{Limits, exit::Reason},
};

use super::support::{RequestExt, Server, argv, duration, shell};
use crate::harness::{
    Home, eventually, soon,
    tools::{OTHER_USER, root},
};

/// The soft limit in a line of `/proc/PID/limits`.
fn soft<'a>(limits: &'a str, name: &str) -> &'a str {
    let line = limits.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next())
        .unwrap()
}

#[tokio::test]
async fn each_limit_is_the_commands() {
    let server = Server::start(&[]).await;
    let limits = Limits {
        address_space_bytes: Some(1 << 40),
        open_files: Some(64),
        file_size_bytes: Some(123_456),
        core_bytes: Some(0),
        niceness: Some(5),
        cpu_time: Some(duration(7000)),
        ..Limits::default()
    };
    let request = shell("cat /proc/self/limits; nice").limits(limits);
    let text = server.run(request).await.text();
    for (name, value) in [
        ("Max address space", "1099511627776"),
        ("Max open files", "64"),
        ("Max file size", "123456"),
        ("Max core file size", "0"),
        ("Max cpu time", "7"),
    ] {
        assert_eq!(soft(&text, name), value, "{name}");
    }
    assert_eq!(text.lines().last(), Some("5"));
    server.daemon.stop().await;
}

#[tokio::test]
async fn limits_bite() {
    let server = Server::start(&[]).await;
    let cpu = Limits {
        cpu_time: Some(duration(1000)),
        ..Limits::default()
    };
    let record = server.run(shell("while :; do :; done").limits(cpu)).await;
    assert_eq!(record.ending(), (-1, 24, Reason::Self_));
    let file = Limits {
        file_size_bytes: Some(1000),
        ..Limits::default()
    };
    let request = argv(["dd", "if=/dev/zero", "of=large", "bs=4096", "count=1"]).limits(file);
    let request = request.with(|command| {
        command.working_directory = server.daemon.home().folder().to_str().unwrap().into();
    });
    let record = server.run(request).await;
    assert_ne!(record.ending().0, 0);
    let large = std::fs::metadata(server.daemon.home().path("large")).unwrap();
    assert!(large.len() <= 1000);
    server.daemon.stop().await;
}

#[tokio::test]
async fn a_limit_that_cannot_be_applied_is_refused_and_says_why() {
    skip_unless!(root());
    let server = Server::start(&["--containment", "sweep"]).await;
    for limits in [
        Limits {
            tree_memory_bytes: Some(64 << 20),
            ..Limits::default()
        },
        Limits {
            tree_processes: Some(10),
            ..Limits::default()
        },
        // The kernel does not enforce it for root.
        Limits {
            user_processes: Some(10),
            ..Limits::default()
        },
    ] {
        let refused = server.refusal(argv(["true"]).limits(limits)).await;
        assert_eq!(Refusal::of(&refused), Some(Refusal::LimitUnavailable));
        assert!(refused.message().contains("processes") || refused.message().contains("memory"));
    }
    server.daemon.stop().await;
}

#[tokio::test]
async fn limits_on_the_tree_hold_or_are_refused() {
    let server = Server::start(&[]).await;
    let limits = Limits {
        tree_processes: Some(4),
        ..Limits::default()
    };
    let text = "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; kill $(jobs -p)";
    let request = shell(text).limits(limits);
    match server.exec().start(request.clone()).await {
        Ok(_) => {
            let record = server.run(request).await;
            assert_ne!(record.ending().0, 0, "eight processes where four may be");
        }
        Err(status) => {
            assert_eq!(Refusal::of(&status), Some(Refusal::LimitUnavailable));
            assert!(
                status.message().contains("controller"),
                "{}",
                status.message()
            );
        }
    }
    server.daemon.stop().await;
}

#[tokio::test]
async fn a_user_has_its_groups_home_and_login_environment() {
    skip_unless!(root());
    let server = Server::start(&[]).await;
    let number = OTHER_USER.to_string();
    let text = "id -u; id -un; id -G; pwd; echo $USER:$LOGNAME:$HOME";
    let expected = shell("id -u nobody; id -un nobody; id -G nobody");
    let expected = server.run(expected).await.text();
    for user in ["nobody", &number] {
        let request = shell(text).with(|command| command.user = user.into());
        let record = server.run(request).await;
        let text = record.text();
        assert!(text.starts_with(&expected), "{text} {expected}");
        let home = "nobody:nobody:/nonexistent\n";
        assert!(text.ends_with(home) && text.contains("\n/\n"), "{text}");
        assert_eq!(record.ending(), (0, 0, Reason::Self_));
        // Its terminal is its own.
        let request = shell("tty >/dev/null && echo x >/dev/tty && : <$(tty) && echo mine");
        let request = request
            .on_terminal()
            .with(|command| command.user = user.into());
        let record = server.run(request).await;
        assert_eq!(record.terminal, b"x\r\nmine\r\n");
    }
    // And its limit of processes is one that the kernel enforces.
    let limits = Limits {
        user_processes: Some(1000),
        ..Limits::default()
    };
    let request = shell("cat /proc/self/limits").limits(limits);
    let record = server
        .run(request.with(|command| command.user = "nobody".into()))
        .await;
    assert_eq!(soft(&record.text(), "Max processes"), "1000");
    server.daemon.stop().await;
}

/// A remexd without rights, which has no cgroups either.
#[tokio::test]
async fn without_the_right_to_switch_a_user_is_refused() {
    skip_unless!(root());
    let home = Home::new();
    let folder = home.path("unprivileged");
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(OTHER_USER), Some(OTHER_USER)).unwrap();
    let ready = folder.join("ready");
    let mut daemon = home
        .remexd(&[
            "--users",
            "*",
            "--state-dir",
            folder.join("state").to_str().unwrap(),
        ])
        .arg("--ready-file")
        .arg(&ready)
        .uid(OTHER_USER)
        .gid(OTHER_USER)
        .current_dir(&folder)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let addresses = eventually("the ready file", || std::fs::read_to_string(&ready).ok()).await;
    let endpoint = addresses
        .lines()
        .find_map(|line| line.strip_prefix("grpc "))
        .unwrap();
    let client = remex_client::Client::connect(&endpoint.parse().unwrap())
        .await
        .unwrap();
    let start = async |user: &str| {
        let request = argv(["id", "-u"]).with(|command| command.user = user.into());
        soon("a start", client.exec().start(request)).await
    };
    let refused = start("root").await.map(drop).unwrap_err();
    assert_eq!(Refusal::of(&refused), Some(Refusal::UserSwitchUnavailable));
    // Its own it is already.
    start("nobody").await.unwrap();
    let negative = Limits {
        niceness: Some(-5),
        ..Limits::default()
    };
    let request = argv(["true"]).limits(negative);
    let refused = soon("a start", client.exec().start(request)).await;
    let refused = refused.map(drop).unwrap_err();
    assert_eq!(Refusal::of(&refused), Some(Refusal::LimitUnavailable));
    daemon.kill().await.unwrap();
}
