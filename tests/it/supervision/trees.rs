//! What commands do to the groups that hold them, and what the machine denies: neither saves a process from its KILL, and
//! neither is felt by the next command.

use std::{
    fs,
    net::TcpStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use remex::{error::Reason as Refusal, v1::exit::Reason};
use rustix::process::Signal;

use super::{
    leaks::cgroups,
    support::{RequestExt, Server, argv, count, shell},
};
use crate::harness::{
    Daemon, Home, Marker, soon,
    tools::{self, Missing},
};

/// A server as root with cgroups, and the folder that its groups are in.
async fn with_cgroups() -> Result<(Server, PathBuf), Missing> {
    tools::root()?;
    let server = Server::start(&[]).await;
    let base = cgroups(&server).ok_or_else(|| Missing::new("a cgroup v2 that can be written"))?;
    Ok((server, base))
}

/// Sets `$own` to the folder of the command's own group.
fn own_group(base: &std::path::Path) -> String {
    let base = base.display();
    format!("own={base}/$(sed -n 's|^0::.*/||p' /proc/self/cgroup)")
}

/// More commands than there are groups made ahead of need run as if nothing had been.
async fn assert_next_ones_run(server: &Server) {
    for _ in 0..40 {
        let record = server
            .run(shell("sed -n 's|^0::||p' /proc/self/cgroup"))
            .await;
        assert_eq!(record.ending(), (0, 0, Reason::Self_), "{record:?}");
    }
}

#[tokio::test]
async fn pitfall_41_a_group_that_a_command_wrote_to_is_not_used_again() {
    let (server, base) = skip_unless!(with_cgroups().await);
    let own = own_group(&base);
    for change in [
        "echo 1 > $own/cgroup.freeze; sleep 1000",
        "echo 0 > $own/cgroup.max.descendants",
        "mkdir $own/a; echo threaded > $own/a/cgroup.type",
        // And groups that wait for the next command.
        "for group in $own/../*/; do echo 1 > $group/cgroup.freeze; done",
    ] {
        let request = shell(format!("{own}; {change}"));
        let record = server.run(request.timeout(300).kill_after(100)).await;
        assert!(matches!(
            record.exit().reason(),
            Reason::Timeout | Reason::Self_
        ));
        assert_next_ones_run(&server).await;
    }
    // A process that hides where the next command will be.
    let marker = Marker::new();
    let hide = format!(
        "{own}; for group in $own/../*/; do [ $group -ef $own ] || {{ sleep {marker} >/dev/null 2>&1 & echo $! > $group/cgroup.procs; }}; done"
    );
    assert_eq!(
        server.run(shell(hide)).await.ending(),
        (0, 0, Reason::Self_)
    );
    assert_next_ones_run(&server).await;
    marker.kill();
    marker.is_gone().await;
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_42_a_leader_that_has_left_its_cgroup_is_killed() {
    let (server, base) = skip_unless!(with_cgroups().await);
    let outside = base.parent().unwrap().join("cgroup.procs");
    let outside = outside.display();
    let marker = Marker::new();
    let leave = format!("echo $$ > {outside}; echo out; exec sleep {marker}");
    let begun = Instant::now();
    let record = server.run(shell(&*leave).timeout(200)).await;
    assert_eq!(record.ending(), (-1, 15, Reason::Timeout));
    let record = server.run(
        shell(format!("trap '' TERM; {leave}"))
            .timeout(200)
            .kill_after(100),
    );
    assert_eq!(record.await.ending(), (-1, 9, Reason::Timeout));
    let mut running = server.begin(shell(&*leave)).await;
    running.until("out").await;
    running.signal(9).await.unwrap();
    assert_eq!(running.end().await.ending(), (-1, 9, Reason::Signal));
    assert!(marker.processes().is_empty());
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    server.daemon.stop().await;
}

/// A program may take a second TERM for impatience.
async fn one_term(server: Server) {
    let marker = Marker::new();
    let child = "trap 'echo child' TERM; echo ready; while :; do sleep 0.05; done";
    let text = format!(
        "trap 'echo leader' TERM; setsid sh -c \"{child}\" {marker} & while :; do sleep 0.05; done"
    );
    let mut running = server
        .begin(shell(text).timeout(1000).kill_after(1000))
        .await;
    running.until("ready").await;
    let record = running.end().await;
    assert_eq!(record.ending(), (-1, 9, Reason::Timeout));
    let text = record.text();
    for name in ["leader", "child"] {
        assert_eq!(text.matches(name).count(), 1, "{text}");
    }
    assert!(marker.processes().is_empty());
    server.daemon.stop().await;
}

/// It is known by its parent alone, which the KILL takes away.
async fn without_environment(server: Server) {
    let marker = Marker::new();
    let text = format!(
        "setsid env -i sleep {marker} & setsid env -i sh -c \"trap '' TERM; echo ready; sleep {marker}; :\" & wait"
    );
    for timeout in [None, Some(500)] {
        let mut request = shell(&*text).kill_after(100);
        if let Some(timeout) = timeout {
            request = request.timeout(timeout);
        }
        let mut running = server.begin(request).await;
        running.until("ready").await;
        if timeout.is_none() {
            running.signal(9).await.unwrap();
        }
        running.end().await;
        let left = marker.processes();
        assert!(left.is_empty(), "{left:?}");
    }
    server.daemon.stop().await;
}

/// Each leaves one behind, of which remexd keeps no more than its name.
async fn left_behind(server: Server) {
    let marker = Marker::new();
    let leave = || shell(format!("setsid sleep {marker} >/dev/null 2>&1 &"));
    server.run(leave()).await;
    let before = server.daemon.open_files();
    let commands = count(100, 2_000);
    for _ in 0..commands {
        assert_eq!(server.run(leave()).await.ending(), (0, 0, Reason::Self_));
    }
    crate::harness::eventually("no more descriptors than before", || {
        (server.daemon.open_files() <= before + 4).then_some(())
    })
    .await;
    assert!(marker.processes().len() >= commands);
    marker.kill();
    marker.is_gone().await;
    server.daemon.stop().await;
}

with_each_containment! {
    each_process_gets_one_term => one_term;
    pitfall_05_what_clears_its_environment_is_gone_too => without_environment;
    pitfall_69_what_is_left_behind_holds_no_descriptors => left_behind;
}

/// Commands that do not mind TERM, all at once, and somebody else's between them.
#[tokio::test]
async fn pitfall_43_one_look_serves_all_trees_of_the_sweep() {
    let server = Server::start(&["--containment", "sweep"]).await;
    let threads = server.daemon.status("Threads");
    let marker = Marker::new();
    let text = format!("trap '' TERM; sleep {marker}; sleep {marker}");
    let commands = count(100, 400);
    let begun = join_all((0..commands).map(|_| server.begin(shell(&*text).kill_after(100)))).await;
    drop(begun);
    let cancelled = Instant::now();
    let mut slowest = Duration::ZERO;
    while !marker.processes().is_empty() {
        let asked = Instant::now();
        server.run(shell(":")).await;
        slowest = slowest.max(asked.elapsed());
    }
    let took = cancelled.elapsed();
    eprintln!(
        "{commands} cancelled, gone after {took:?}; another's command took {slowest:?} at most"
    );
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    assert!(server.daemon.status("Threads") <= threads + 1);
    server.daemon.stop().await;
}

/// With every descriptor taken by connections that say nothing.
async fn without_descriptors(flags: &[&str]) {
    skip_unless!(tools::program("prlimit"));
    let home = Home::new();
    let remexd = home.remexd(flags);
    let remexd = remexd.as_std();
    let mut command = tokio::process::Command::new("prlimit");
    command
        .arg("--nofile=64")
        .arg(remexd.get_program())
        .args(remexd.get_args())
        .current_dir(home.folder())
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let daemon = Daemon::spawn(&home, command).await;
    let client = daemon.client().await;
    let server = Server { daemon, client };
    let marker = Marker::new();
    let text =
        format!("trap '' TERM; setsid sleep {marker} & echo ready; sleep {marker}; sleep {marker}");
    let mut timed = server
        .begin(shell(&*text).timeout(3000).kill_after(200))
        .await;
    let mut killed = server.begin(shell(&*text)).await;
    timed.until("ready").await;
    killed.until("ready").await;
    let address = server.daemon.socket("grpc");
    let idle: Vec<_> = (0..80).map(|_| TcpStream::connect(address)).collect();
    // Connections leave room for commands: these take what is left.
    let (others, mut more) = (Marker::new(), Vec::new());
    let refused = loop {
        let mut exec = server.exec();
        let started = exec.start(argv(["sleep", &others.to_string()]));
        match soon("an answer", started).await {
            Ok(stream) => more.push(stream),
            Err(status) => break status,
        }
    };
    assert_eq!(
        Refusal::of(&refused),
        Some(Refusal::SpawnFailed),
        "{refused}"
    );
    killed.signal(9).await.unwrap();
    assert_eq!(killed.end().await.ending(), (-1, 9, Reason::Signal));
    assert_eq!(timed.end().await.ending(), (-1, 9, Reason::Timeout));
    let left = marker.processes();
    assert!(left.is_empty(), "{left:?}");
    drop((idle, more));
    others.is_gone().await;
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_44_without_a_descriptor_to_be_had_what_is_killed_is_gone_by_default() {
    without_descriptors(&[]).await;
}

#[tokio::test]
async fn pitfall_44_without_a_descriptor_to_be_had_what_is_killed_is_gone_by_sweep() {
    without_descriptors(&["--containment", "sweep"]).await;
}

#[tokio::test]
async fn pitfall_51_without_proc_the_sweep_is_refused() {
    skip_unless!(tools::root());
    skip_unless!(tools::program("unshare"));
    let home = Home::new();
    let remexd = home.remexd(&["--containment", "sweep"]);
    let remexd = remexd.as_std();
    let mut command = tokio::process::Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", "umount -l /proc; exec \"$0\" \"$@\""])
        .arg(remexd.get_program())
        .args(remexd.get_args())
        .current_dir(home.folder())
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let output = soon("a refusal", command.output()).await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(stderr.contains("/proc is not mounted"), "{stderr}");
}

/// A crash with a command that runs, and one file of the state folder damaged in it.
async fn damaged(flags: &[&str], file: &str, bytes: &[u8]) {
    let mut server = Server::start(flags).await;
    let marker = Marker::new();
    let text = format!("setsid sleep {marker} & sleep {marker} & echo ready; wait");
    let mut running = server.begin(shell(text)).await;
    running.until("ready").await;
    server.daemon.signal(Signal::KILL);
    server.daemon.wait().await;
    let home = server.daemon.home().clone();
    fs::write(home.path("state").join(file), bytes).unwrap();
    let next = Server::start_in(&home, flags).await;
    assert!(marker.processes().is_empty());
    let aside = format!("{file}.damaged");
    home.logged(&[&aside]).await;
    assert_eq!(fs::read(home.path("state").join(aside)).unwrap(), bytes);
    next.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_66_a_damaged_file_is_named_and_the_start_goes_on() {
    for flags in [&[][..], &["--containment", "sweep"]] {
        damaged(flags, "containment", b"\xff\0torn").await;
        damaged(flags, "containment", b"/sys").await;
        damaged(flags, "containment", b"").await;
        damaged(flags, "survivors", b"torn").await;
    }
}

#[tokio::test]
async fn leftovers_that_are_frozen_are_killed() {
    let (mut server, base) = skip_unless!(with_cgroups().await);
    let marker = Marker::new();
    let text = format!("{}; sleep {marker} & echo ready; wait", own_group(&base));
    let mut running = server.begin(shell(text)).await;
    running.until("ready").await;
    let groups = fs::read_dir(&base).unwrap().flatten();
    for group in groups.filter(|group| group.path().is_dir()) {
        fs::write(group.path().join("cgroup.freeze"), "1").unwrap();
    }
    server.daemon.signal(Signal::KILL);
    server.daemon.wait().await;
    let home = server.daemon.home().clone();
    let next = Server::start_in(&home, &[]).await;
    assert!(marker.processes().is_empty());
    next.daemon.stop().await;
}
