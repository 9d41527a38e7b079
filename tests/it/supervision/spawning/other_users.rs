//! Nothing that changes its user shares memory with remexd; and which users there are.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown},
};

use remex::error::Reason as Refusal;
use rustix::process::{Pid, Signal, kill_process};

use super::{
    super::support::{RequestExt, Server, argv, shell, stat_of},
    STRANGER, all_children_are_gone, ask, children_as,
    dead::{Answers, Dead, apart},
    is_served,
};
use crate::harness::{Daemon, Home, eventually, tools::root};

/// Where a process's program is in its memory, which is another place in each that was executed by itself.
fn layout(pid: Pid) -> String {
    let maps = fs::read_to_string(format!("/proc/{}/maps", pid.as_raw_nonzero()));
    maps.expect("its maps")
        .lines()
        .next()
        .expect("a line")
        .to_owned()
}

#[tokio::test]
async fn pitfall_39_who_changes_its_user_shares_no_memory_with_remexd() {
    let home = Home::new();
    let server = skip_unless!(apart(&home, &[]).await);
    let dead = skip_unless!(Dead::mount(&server, Answers::Nothing));
    let remexd = server.daemon.pid();
    // It hangs when it is that user already, and has not executed anything.
    let held = argv(["true"]).with(|command| {
        command.user = STRANGER.to_string();
        command.working_directory = dead.path().into();
    });
    let asked = ask(&server, held);
    let child = eventually("a child that has changed its user", || {
        children_as(remexd, STRANGER).pop()
    })
    .await;
    let child = Pid::from_raw(child).unwrap();
    assert_ne!(layout(child), layout(remexd));
    // Everybody is served meanwhile, other users too.
    is_served(&server).await;
    let other = argv(["id", "-u"]).with(|command| command.user = (STRANGER + 1).to_string());
    let record = server.run(other).await;
    assert_eq!(record.text(), format!("{}\n", STRANGER + 1));
    // A caller that goes takes it along.
    asked.abort();
    eventually("its end", || {
        children_as(remexd, STRANGER).is_empty().then_some(())
    })
    .await;
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_39_remexd_is_not_dumpable() {
    skip_unless!(root());
    let home = Home::new();
    chown(home.folder(), Some(STRANGER), None).unwrap();
    let mut remexd = home.remexd(&[]);
    remexd.uid(STRANGER).gid(STRANGER);
    let daemon = Daemon::spawn(&home, remexd).await;
    let server = Server {
        client: daemon.client().await,
        daemon,
    };
    // What cannot be dumped belongs to root, whoever it runs as.
    let owner = || {
        let memory = format!("/proc/{}/mem", server.daemon.pid().as_raw_nonzero());
        fs::metadata(memory).unwrap().uid()
    };
    assert_eq!(owner(), 0);
    let running = server.begin(argv(["sleep", "1000"])).await;
    let command = fs::metadata(format!("/proc/{}/mem", running.pid)).unwrap();
    assert_eq!(
        command.uid(),
        STRANGER,
        "a command can be debugged by its owner"
    );
    assert_eq!(owner(), 0);
    running.signal(9).await.unwrap();
    running.end().await;
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_39_a_zygote_that_is_killed_is_made_anew() {
    skip_unless!(root());
    let server = Server::start(&[]).await;
    let zygote = || {
        let remexd = server.daemon.pid().as_raw_nonzero().to_string();
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.find(|&pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let stat = stat_of(pid).unwrap_or_default();
            line == b"remexd: zygote\0" && stat.split(' ').nth(1) == Some(&remexd)
        })
    };
    let stranger = || argv(["id", "-u"]).with(|command| command.user = STRANGER.to_string());
    for _ in 0..3 {
        let record = server.run(stranger()).await;
        assert_eq!(record.text(), format!("{STRANGER}\n"));
        let before = eventually("the zygote", zygote).await;
        kill_process(Pid::from_raw(before).unwrap(), Signal::KILL).unwrap();
        // Commands of remexd's own user need none.
        is_served(&server).await;
    }
    let record = server.run(stranger()).await;
    assert_eq!(record.text(), format!("{STRANGER}\n"));
    all_children_are_gone(server.daemon.pid()).await;
    server.daemon.stop().await;
}

#[tokio::test]
async fn users_by_number_and_by_what_remexd_is() {
    skip_unless!(root());
    let server = Server::start(&[]).await;
    let text = r#"echo "$(id -u):$(id -g):$(id -G) $HOME $SHELL $LOGNAME $PWD""#;
    for (user, expected) in [
        (
            "4100000123",
            "4100000123:4100000123:4100000123 / /bin/sh 4100000123 /",
        ),
        ("4100000123:7", "4100000123:7:7 / /bin/sh 4100000123 /"),
    ] {
        let record = server
            .run(shell(text).with(|command| command.user = user.into()))
            .await;
        assert_eq!(record.text().trim(), expected);
    }
    for user in ["root", "0"] {
        let record = server
            .run(shell(text).with(|command| command.user = user.into()))
            .await;
        assert!(
            record.text().starts_with("0:0:"),
            "{user}: {}",
            record.text()
        );
    }
    for user in ["no-such-user", "4294967295", "0:", "0:root"] {
        let status = server
            .refusal(argv(["true"]).with(|command| command.user = user.into()))
            .await;
        assert_eq!(Refusal::of(&status), Some(Refusal::UserNotFound), "{user}");
    }
    server.daemon.stop().await;
}
