//! What an isolated command is: no more than it was started as, on a terminal too, and nobody outside hears its signals.

use std::fs;

use remex::v1::{Command, Isolation, Terminal, isolation::Network};

use super::support::{assert_fails, assert_succeeds, folders, network, shell, system, try_run};
use crate::{
    harness::{
        Daemon, Home,
        tools::{OTHER_USER, root},
    },
    supervision::support::Server,
};

/// A set-user-id program makes nobody root, and does without isolation.
#[tokio::test]
async fn a_set_user_id_program_gives_nothing() {
    skip_unless!(root());
    let server = Server::start(&[]).await;
    let folder = folders(&server.daemon.home().path(""), "suid");
    let made = std::process::Command::new("sh")
        .args([
            "-c",
            "cp /usr/bin/id \"$0/id\" && chmod 4755 \"$0/id\" && chmod a+rx \"$0\"",
        ])
        .arg(&folder)
        .status();
    assert!(made.unwrap().success());
    let command = |isolation| Command {
        user: OTHER_USER.to_string(),
        ..shell(
            "$F/id -u; grep NoNewPrivs /proc/self/status",
            &folder,
            isolation,
        )
    };
    let free = try_run(&server, command(None)).await.unwrap();
    assert_eq!(free.out.lines().next(), Some("0"), "{free:?}");
    assert!(free.out.contains("NoNewPrivs:\t0"), "{free:?}");
    for isolation in [network(Network::None), Isolation::default()] {
        let ran = try_run(&server, command(Some(isolation))).await.unwrap();
        assert_eq!(
            ran.out.lines().next(),
            Some(&*OTHER_USER.to_string()),
            "{ran:?}"
        );
        assert!(ran.out.contains("NoNewPrivs:\t1"), "{ran:?}");
    }
    server.daemon.stop().await;
}

/// Root keeps what it has over files and processes of users, not what reaches the kernel and its devices.
#[tokio::test]
async fn root_has_no_capability_that_leads_out() {
    const SYS_MODULE: u64 = 1 << 16;
    const SYS_ADMIN: u64 = 1 << 21;
    const MKNOD: u64 = 1 << 27;
    const DAC_READ_SEARCH: u64 = 1 << 2;
    const DAC_OVERRIDE: u64 = 1 << 1;
    skip_unless!(root());
    let server = Server::start(&[]).await;
    let folder = server.daemon.home().path("");
    let effective = async |isolation| {
        let text = "grep CapEff /proc/self/status";
        let ran = try_run(&server, shell(text, &folder, isolation))
            .await
            .unwrap();
        let (_, mask) = ran.out.trim().split_once(":\t").unwrap();
        u64::from_str_radix(mask, 16).unwrap()
    };
    let free = effective(None).await;
    assert_eq!(free & SYS_ADMIN, SYS_ADMIN);
    let isolated = effective(Some(Isolation::default())).await;
    assert_eq!(
        isolated & (SYS_MODULE | SYS_ADMIN | MKNOD | DAC_READ_SEARCH),
        0,
        "{isolated:x}"
    );
    assert_eq!(isolated & DAC_OVERRIDE, DAC_OVERRIDE, "{isolated:x}");
    server.daemon.stop().await;
}

/// An isolated command of the daemon's own user cannot end the daemon.
#[tokio::test]
async fn signals_stay_inside() {
    let server = Server::start(&[]).await;
    let folder = server.daemon.home().path("");
    let pid = server.daemon.pid();
    for (text, succeeds) in [
        (format!("kill -0 {pid}"), false),
        ("sleep 1000 & kill $!".to_owned(), true),
    ] {
        let free = try_run(&server, shell(&text, &folder, None)).await.unwrap();
        assert_succeeds(&free, &text);
        let ran = try_run(&server, shell(&text, &folder, Some(Isolation::default())))
            .await
            .unwrap();
        assert_eq!(ran.code == 0, succeeds, "{text}: {ran:?}");
    }
    server.daemon.stop().await;
}

/// Its terminal is its own, by /dev/tty too.
#[tokio::test]
async fn on_a_terminal_too() {
    let server = Server::start(&[]).await;
    let folder = folders(&server.daemon.home().path(""), "terminal");
    let isolation = Isolation {
        execute_paths: system(),
        ..Isolation::default()
    };
    for user in ["", "65534"] {
        if !user.is_empty() && root().is_err() {
            continue;
        }
        let command = |text, isolation| Command {
            terminal: Some(Terminal::default()),
            user: user.to_owned(),
            ..shell(text, &folder, isolation)
        };
        let text = "stty -F /dev/tty size && echo typed >/dev/tty && test -t 0";
        let ran = try_run(&server, command(text, Some(isolation.clone())))
            .await
            .unwrap();
        assert_succeeds(&ran, text);
        assert!(
            ran.out.contains("24 80") && ran.out.contains("typed"),
            "{ran:?}"
        );
        let text = "cat $F/shut/secret";
        let ran = try_run(&server, command(text, Some(isolation.clone())))
            .await
            .unwrap();
        assert_fails(&ran, text);
        let ran = try_run(&server, command(text, None)).await.unwrap();
        assert_succeeds(&ran, text);
    }
    server.daemon.stop().await;
}

/// Whatever the daemon was started with.
#[tokio::test]
async fn the_umask_is_022() {
    let home = Home::new();
    let wrapper = ["sh", "-c", "umask 077; exec \"$@\"", "sh"];
    let daemon = Daemon::spawn(&home, home.remexd_under(&wrapper, &[])).await;
    let client = daemon.client().await;
    let server = Server { daemon, client };
    for user in ["", "65534"]
        .into_iter()
        .filter(|user| user.is_empty() || root().is_ok())
    {
        let command = Command {
            user: user.to_owned(),
            ..shell("umask", &home.path(""), None)
        };
        assert_eq!(try_run(&server, command).await.unwrap().out, "0022\n");
    }
    server.daemon.stop().await;
}

/// A descriptor of the making of the ruleset is in no command.
#[tokio::test]
async fn no_descriptor_comes_along() {
    let server = Server::start(&[]).await;
    let folder = server.daemon.home().path("");
    fs::write(server.daemon.home().path("file"), "").unwrap();
    let mut isolation = super::support::within(&folder);
    isolation.read_paths.push("/proc".into());
    let ran = try_run(&server, shell("ls /proc/$$/fd", &folder, Some(isolation)))
        .await
        .unwrap();
    assert_eq!(ran.out, "0\n1\n2\n", "{ran:?}");
    server.daemon.stop().await;
}
