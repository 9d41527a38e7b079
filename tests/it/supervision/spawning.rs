//! Spawns that the kernel holds, as a folder on a server that is gone does it, hold nobody else; and nothing that changes
//! its user shares memory with remexd.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, chown},
    },
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use remex::{
    error::Reason as Refusal,
    v1::{StartRequest, exit::Reason},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, Signal, kill_process},
};
use tokio::task::JoinHandle;

use super::support::{RequestExt, Server, argv, children_of, shell, stat_of};
use crate::harness::{
    Daemon, Home, eventually, soon,
    tools::{Missing, program, root},
};

/// A user that no database knows.
const STRANGER: u32 = 4_100_000_123;

/// By when others are served while spawns are held. It is milliseconds on a quiet machine.
const SERVED: Duration = Duration::from_secs(5);

/// What a file system answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    /// Nothing: who waits for it can be killed.
    Nothing,
    /// It takes requests and leaves them at that: who waits for those cannot be killed.
    Greeting,
}

/// A file system that has died, mounted where remexd alone sees it. It lets go of everybody when it is dropped.
struct Dead {
    folder: PathBuf,
    _fuse: File,
    _stop_reading: Option<OwnedFd>,
}

impl Dead {
    /// For a server that was started by [`apart`].
    fn mount(server: &Server, answers: Answers) -> Result<Self, Missing> {
        let folder = server.daemon.home().path("dead");
        fs::create_dir_all(&folder).expect("a folder");
        let fuse = File::options().read(true).write(true).open("/dev/fuse");
        let fuse = fuse.map_err(|_| Missing::new("/dev/fuse"))?;
        let pid = server.daemon.pid().as_raw_nonzero().to_string();
        let mounted = Command::new("nsenter")
            .args(["--target", &pid, "--mount", "mount", "-i", "-t", "fuse"])
            .args(["-o", "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other"])
            .arg("dead")
            .arg(&folder)
            .stdin(fuse.try_clone().expect("a descriptor"))
            .output()
            .expect("nsenter runs");
        if !mounted.status.success() {
            return Err(Missing::new(format!("a FUSE mount: {mounted:?}")));
        }
        let mut stop_reading = None;
        if answers == Answers::Greeting {
            let fuse = fuse.try_clone().expect("a descriptor");
            greet(&fuse);
            let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
            thread::spawn(move || take_requests(&fuse, &stopped));
            stop_reading = Some(stop);
        }
        Ok(Self {
            folder,
            _fuse: fuse,
            _stop_reading: stop_reading,
        })
    }

    fn path(&self) -> &str {
        self.folder.to_str().expect("UTF-8")
    }

    /// Commands that it holds, each in another step.
    fn requests(&self) -> [StartRequest; 3] {
        let path = format!("{}:/usr/bin:/bin", self.path());
        [
            argv(["true"]).with(|command| command.working_directory = self.path().into()),
            argv([&format!("{}/program", self.path())]),
            argv(["true"]).with(|command| {
                command.environment.insert("PATH".into(), path);
            }),
        ]
    }
}

/// Takes requests, and leaves them at that, until the other end of `stopped` is closed.
fn take_requests(mut fuse: &File, stopped: &OwnedFd) {
    loop {
        let mut fds = [
            PollFd::new(fuse, PollFlags::IN),
            PollFd::new(stopped, PollFlags::IN),
        ];
        poll(&mut fds, None).expect("it can be waited for");
        if !fds[1].revents().is_empty() || fuse.read(&mut vec![0; 1 << 17]).is_err() {
            return;
        }
    }
}

/// Answers FUSE_INIT, which is the first request.
fn greet(mut fuse: &File) {
    let mut request = vec![0; 1 << 17];
    let length = fuse.read(&mut request).expect("a request");
    assert!(length >= 40, "no FUSE_INIT");
    let mut answer = Vec::new();
    answer.extend(80_u32.to_le_bytes());
    answer.extend(0_u32.to_le_bytes());
    answer.extend(&request[8..16]);
    // Version 7.31, and the least of everything else.
    answer.extend(7_u32.to_le_bytes());
    answer.extend(31_u32.to_le_bytes());
    answer.resize(16 + 20, 0);
    answer.extend(4096_u32.to_le_bytes());
    answer.resize(80, 0);
    fuse.write_all(&answer).expect("it is answered");
}

/// A server in a mount namespace of its own.
async fn apart(home: &Home, flags: &[&str]) -> Result<Server, Missing> {
    root()?;
    for tool in ["unshare", "nsenter", "mount"] {
        program(tool)?;
    }
    let daemon = Daemon::spawn(
        home,
        home.remexd_under(&["unshare", "--mount", "--propagation", "private"], flags),
    )
    .await;
    let client = daemon.client().await;
    Ok(Server { daemon, client })
}

/// Asks for `request` in a task of its own, which ends with what is answered, and how long that took.
fn ask(server: &Server, request: StartRequest) -> JoinHandle<(Option<Refusal>, Duration)> {
    let mut exec = server.exec();
    tokio::spawn(async move {
        let begin = Instant::now();
        let answer = soon("an answer", exec.start(request)).await;
        let refusal = answer.err().and_then(|status| Refusal::of(&status));
        (refusal, begin.elapsed())
    })
}

/// That a command runs, and soon.
async fn is_served(server: &Server) {
    let begin = Instant::now();
    let record = server.run(argv(["/bin/true"])).await;
    assert_eq!(record.ending(), (0, 0, Reason::Self_));
    let record = server.run(shell("exit 3")).await;
    assert_eq!(record.exit().code, Some(3));
    assert!(begin.elapsed() < SERVED, "{:?}", begin.elapsed());
}

/// Children of `parent` that run as `user`.
fn children_as(parent: Pid, user: u32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        let uid = uid.and_then(|uids| uids.split_whitespace().next()?.parse().ok());
        let stat = stat_of(pid).unwrap_or_default();
        let is_child = stat.split(' ').nth(1) == Some(&parent.as_raw_nonzero().to_string());
        is_child && uid == Some(user)
    })
    .collect()
}

async fn all_children_are_gone(pid: Pid) {
    let pid = pid.as_raw_nonzero().get();
    eventually("the end of all children", || {
        children_of(pid).is_empty().then_some(())
    })
    .await;
}

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

async fn others_are_served(flags: &[&str], answers: Answers, times: usize) {
    let home = Home::new();
    let server = skip_unless!(apart(&home, flags).await);
    let dead = skip_unless!(Dead::mount(&server, answers));
    is_served(&server).await;
    let threads = server.daemon.status("Threads");
    let asked: Vec<_> = (0..times)
        .flat_map(|_| dead.requests())
        .map(|request| ask(&server, request))
        .collect();
    let stranger = argv(["true"]).with(|command| {
        command.user = STRANGER.to_string();
        command.working_directory = dead.path().into();
    });
    let stranger = ask(&server, stranger);
    while !asked.iter().all(JoinHandle::is_finished) {
        is_served(&server).await;
        tokio::task::yield_now().await;
    }
    for asked in asked.into_iter().chain([stranger]) {
        let (refusal, took) = asked.await.unwrap();
        assert_eq!(refusal, Some(Refusal::SpawnFailed));
        assert!(took >= Duration::from_secs(9), "{took:?}");
        assert!(took < Duration::from_secs(20), "{took:?}");
    }
    // Its own, with a thread or two for the user database.
    assert!(server.daemon.status("Threads") <= threads + 4);
    is_served(&server).await;
    drop(dead);
    all_children_are_gone(server.daemon.pid()).await;
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_40_a_dead_file_system_holds_nobody_else() {
    others_are_served(&[], Answers::Nothing, 10).await;
}

#[tokio::test]
async fn pitfall_40_a_dead_file_system_holds_nobody_else_by_sweep() {
    others_are_served(&["--containment", "sweep"], Answers::Nothing, 10).await;
}

#[tokio::test]
async fn pitfall_40_what_cannot_be_killed_holds_nobody_else() {
    others_are_served(&[], Answers::Greeting, 3).await;
}

#[tokio::test]
async fn a_drain_ends_a_spawn_that_is_under_way() {
    for user in ["", "4100000123"] {
        let home = Home::new();
        let server = skip_unless!(apart(&home, &["--drain-timeout", "1s"]).await);
        let dead = skip_unless!(Dead::mount(&server, Answers::Nothing));
        let held = argv(["touch", "ran"]).with(|command| {
            command.user = user.into();
            command.working_directory = dead.path().into();
        });
        let asked = ask(&server, held);
        let remexd = server.daemon.pid();
        let uid = user.parse().unwrap_or(0);
        // For root, the zygote is there from the start.
        let before = usize::from(user.is_empty());
        eventually("a child", || {
            (children_as(remexd, uid).len() > before).then_some(())
        })
        .await;
        let children = children_as(remexd, uid);
        let begin = Instant::now();
        server.daemon.stop().await;
        assert!(
            begin.elapsed() < Duration::from_secs(8),
            "{:?}",
            begin.elapsed()
        );
        let (refusal, _) = asked.await.unwrap();
        assert!(
            refusal.is_none_or(|reason| reason == Refusal::Draining),
            "{refusal:?}"
        );
        drop(dead);
        eventually("the end of all", || {
            let lives = |pid: &i32| Path::new(&format!("/proc/{pid}")).exists();
            (!children.iter().any(lives)).then_some(())
        })
        .await;
    }
}

async fn the_next_start_serves(flags: &[&str]) {
    let home = Home::new();
    let server = skip_unless!(apart(&home, flags).await);
    let dead = skip_unless!(Dead::mount(&server, Answers::Nothing));
    let asked = ask(&server, dead.requests()[0].clone());
    let Server { mut daemon, client } = server;
    let pid = daemon.pid().as_raw_nonzero().get();
    eventually("a child", || (!children_of(pid).is_empty()).then_some(())).await;
    let port = daemon.socket("grpc").to_string();
    daemon.signal(Signal::KILL);
    daemon.wait().await;
    asked.abort();
    drop(client);
    let begin = Instant::now();
    let next = Server::start_in(&home, &[flags, &["--listen", &port]].concat()).await;
    is_served(&next).await;
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    next.daemon.stop().await;
    drop(dead);
}

#[tokio::test]
async fn pitfall_40_after_a_crash_the_next_start_serves() {
    the_next_start_serves(&[]).await;
}

#[tokio::test]
async fn pitfall_40_after_a_crash_the_next_start_serves_by_sweep() {
    the_next_start_serves(&["--containment", "sweep"]).await;
}

#[tokio::test]
async fn pitfall_50_what_remexd_was_started_with_is_put_right_and_not_passed_on() {
    skip_unless!(root());
    skip_unless!(program("setpriv"));
    let home = Home::new();
    // The capabilities come last: they would not survive the change of user otherwise.
    let wrapper = [
        "env",
        "--ignore-signal=CHLD,HUP,USR1",
        "--block-signal=TERM,CHLD,USR2",
        "setpriv",
        "--inh-caps",
        "+setuid,+setgid",
        "--ambient-caps",
        "+setuid,+setgid",
    ];
    let daemon = Daemon::spawn(&home, home.remexd_under(&wrapper, &[])).await;
    let server = Server {
        client: daemon.client().await,
        daemon,
    };
    // With SIGCHLD ignored, no exit would be known.
    assert_eq!(server.run(shell("exit 7")).await.exit().code, Some(7));
    for user in ["", "4100000123"] {
        let status = argv(["cat", "/proc/self/status"]);
        let status = status.with(|command| command.user = user.into());
        let record = server.run(status).await;
        let text = record.text();
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_default().trim().to_owned()
        };
        let mut zero = vec!["SigBlk:", "SigIgn:", "SigCgt:", "CapInh:", "CapAmb:"];
        if !user.is_empty() {
            zero.extend(["CapPrm:", "CapEff:"]);
        }
        for key in zero {
            assert_eq!(value(key), "0000000000000000", "{key} as {user:?}");
        }
    }
    // nohup's SIGHUP is remexd's own affair.
    server.daemon.signal(Signal::HUP);
    is_served(&server).await;
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

#[tokio::test]
async fn pitfall_52_what_is_too_large_is_refused_before_any_work() {
    let server = Server::start(&[]).await;
    let many_arguments = argv([]).with(|command| command.argv = vec!["x".into(); 65_537]);
    let empty_arguments = argv(["true"]).with(|command| {
        command.argv.resize(200_000, String::new());
    });
    let many_variables = argv(["true"]).with(|command| {
        let variables = (0..66_000).map(|number| (format!("V{number}"), "1".to_owned()));
        command.environment.extend(variables);
    });
    let too_much = argv(["true"]).with(|command| command.argv.resize(30, "x".repeat(131_071)));
    for request in [many_arguments, empty_arguments, many_variables, too_much] {
        let begin = Instant::now();
        let status = server.refusal(request).await;
        assert_eq!(
            Refusal::of(&status),
            Some(Refusal::CommandTooLarge),
            "{status:?}"
        );
        assert!(begin.elapsed() < SERVED, "{:?}", begin.elapsed());
    }
    let variables = (0..30_000).map(|number| (format!("V{number}"), "1".to_owned()));
    let begin = Instant::now();
    let many = shell("env | grep -c ^V").with(|command| command.environment.extend(variables));
    assert_eq!(server.run(many).await.text(), "30000\n");
    assert!(begin.elapsed() < SERVED, "{:?}", begin.elapsed());
    server.daemon.stop().await;
}
