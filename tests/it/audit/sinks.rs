//! Where lines go: a disk that is full, a pipe that nobody reads, a file that is rotated away, callers that are denied without
//! end; and that no line is lost.

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    process::Command,
    time::{Duration, Instant},
};

use remex::{
    error::Reason,
    v1::{EchoRequest, RunResponse},
};
use remex_client::Client;
use rustix::{
    fs::{FileType, Mode, OFlags, mknodat, open},
    process::Signal,
};
use tonic::Status;

use super::site::{Site, is_decision, is_end, is_of, lines_of};
use crate::{
    bad_input::argv,
    harness::{
        Daemon, Home, Marker,
        calls::{run, shell},
        eventually, soon,
        tools::root,
    },
    operate::scraper::Scrape,
    signals::is_draining,
    supervision::support::count,
};

/// More denials than are written in a minute.
const DENIALS: usize = 200;

fn is_refused(answer: Result<RunResponse, Status>) {
    let status = answer.expect_err("it ran");
    assert_eq!(Reason::of(&status), Some(Reason::StorageFull), "{status}");
    assert!(status.message().contains("audit log"), "{status}");
}

async fn echo(client: &Client) {
    let answer = soon("an echo", client.echo().echo(EchoRequest::default())).await;
    answer.expect("an echo");
}

#[tokio::test]
async fn no_line_is_lost_under_a_thousand_commands() {
    let site = Site::start(&[]).await;
    let (tasks, each) = (20, count(10, 50));
    let client = site.daemon.client().await;
    let running = (0..tasks).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut ids = Vec::new();
            for _ in 0..each {
                ids.push(run(&client, argv(&["true"])).await.unwrap().execution_id);
            }
            ids
        })
    });
    let ids = futures_util::future::join_all(running).await;
    let ids: BTreeSet<_> = ids.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(ids.len(), tasks * each);
    drop(client);
    let home = site.home.clone();
    // What is not written yet is, before it exits.
    site.daemon.stop().await;
    let lines = super::site::lines(&home);
    assert_eq!(lines.len(), 2 * ids.len());
    for is_one in [is_decision, is_end] {
        let told = lines.iter().filter(|line| is_one(line));
        let told = told.map(|line| line["execution_id"].as_str().unwrap().to_owned());
        assert_eq!(told.collect::<BTreeSet<_>>(), ids);
    }
}

/// On a disk of its own, which another file fills.
#[tokio::test]
async fn a_full_disk_stops_commands_only_if_they_are_not_to_run_untold() {
    skip_unless!(root());
    let home = Home::new();
    let disk = home.path("disk");
    fs::create_dir(&disk).unwrap();
    let (log, filler) = (disk.join("audit"), disk.join("filler"));
    // Mounted in a namespace of remexd's own, and seen through its root.
    let mount = format!(
        "mount -t tmpfs -o size=256k none {} && exec \"$@\"",
        disk.display()
    );
    let wrapper = ["unshare", "--mount", "sh", "-c", &mount, "sh"];
    for is_required in [true, false] {
        let mut flags = vec!["--audit-log", log.to_str().unwrap()];
        flags.extend(is_required.then_some("--audit-required"));
        let daemon = Daemon::spawn(&home, home.remexd_under(&wrapper, &flags)).await;
        let seen = |path: &std::path::Path| {
            format!(
                "/proc/{}/root{}",
                daemon.pid().as_raw_nonzero(),
                path.display()
            )
        };
        let client = daemon.client().await;
        run(&client, shell("exit 0")).await.unwrap();
        let full = fs::write(seen(&filler), vec![0; 1024 * 1024]).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        // What is left of the last page is filled by lines.
        let file = home.path("ran");
        let touch = format!("echo x >> {}", file.display());
        let mut refused = None;
        for _ in 0..200 {
            match run(&client, shell(&touch)).await {
                // Of what is required, the next one is refused.
                Ok(_) if !is_required && home.log().contains("No space left") => break,
                Ok(_) => {}
                Err(status) => {
                    refused = Some(status);
                    break;
                }
            }
        }
        let ran = || fs::read_to_string(&file).unwrap_or_default().len();
        let before = ran();
        if is_required {
            is_refused(Err(refused.expect("a refusal")));
            is_refused(run(&client, shell(&touch)).await);
            assert_eq!(ran(), before, "something ran untold");
            // Whatever starts nothing goes on.
            echo(&client).await;
        } else {
            assert!(refused.is_none(), "{refused:?}");
            run(&client, shell(&touch)).await.unwrap();
        }
        fs::remove_file(seen(&filler)).unwrap();
        soon("room", async {
            while run(&client, shell("exit 0")).await.is_err() {
                tokio::time::sleep(crate::harness::LOOK_AGAIN).await;
            }
        })
        .await;
        let seen = seen(&log).into();
        // What could not be written before is, in whole lines.
        eventually("the end of the last one", || {
            let lines = lines_of(&seen);
            let told = lines.iter().filter(|line| is_of("Run")(line)).count();
            let ends = lines.iter().filter(|line| is_end(line)).count();
            (told > 2 && told == ends).then_some(())
        })
        .await;
        drop(client);
        daemon.stop().await;
        let _ = fs::remove_file(home.path("log"));
        let _ = fs::remove_file(&file);
    }
}

/// A pipe that somebody has open, and does not read.
fn unread_pipe(home: &Home) -> (String, fs::File) {
    let pipe = home.path("pipe");
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, mode, 0).unwrap();
    let reader = open(&pipe, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    (pipe.to_str().unwrap().to_owned(), reader.into())
}

#[tokio::test]
async fn a_pipe_that_nobody_reads_holds_up_no_command_for_long_and_stops_them_if_so_configured() {
    let home = Home::new();
    let (pipe, mut reader) = unread_pipe(&home);
    for is_required in [true, false] {
        let mut flags = vec!["--audit-log", &pipe];
        flags.extend(is_required.then_some("--audit-required"));
        let daemon = Daemon::start_in(&home, &flags).await;
        let client = daemon.client().await;
        let said = || home.log().contains("nobody reads it");
        // Each line says up to 4 KiB of it, and the pipe holds 64.
        let long = format!(": {}", "x".repeat(8000));
        let mut last = Ok(RunResponse::default());
        for _ in 0..100 {
            last = run(&client, shell(&long)).await;
            if last.is_err() || said() {
                break;
            }
        }
        eventually("the complaint", || said().then_some(())).await;
        let next = run(&client, shell("exit 0")).await;
        if is_required {
            is_refused(next);
        } else {
            last.unwrap();
            next.unwrap();
        }
        echo(&client).await;
        // Once somebody reads, everything is there, and commands start.
        let mut read = Vec::new();
        soon("room", async {
            loop {
                let _ = reader.read_to_end(&mut read);
                if home.log().contains("lines are written again") {
                    return;
                }
                tokio::time::sleep(crate::harness::LOOK_AGAIN).await;
            }
        })
        .await;
        run(&client, shell("exit 0")).await.unwrap();
        drop(client);
        daemon.stop().await;
        let _ = reader.read_to_end(&mut read);
        let text = String::from_utf8(read).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let lines: Vec<serde_json::Value> = lines.collect();
        let told = lines.iter().filter(|line| is_of("Run")(line)).count();
        let ends = lines.iter().filter(|line| is_end(line)).count();
        assert!(told > 2 && told == ends, "{told} {ends}");
        assert!(lines.iter().all(|line| line["event"] != "lost"));
        fs::remove_file(home.path("log")).unwrap();
    }
}

/// By the metric at once, and in the log as soon as that can be written.
#[tokio::test]
async fn lines_that_are_lost_are_counted() {
    let home = Home::new();
    let (pipe, mut reader) = unread_pipe(&home);
    let flags = ["--audit-log", &pipe, "--metrics", "127.0.0.1:0"];
    let daemon = Daemon::start_in(&home, &flags).await;
    let url = daemon.url("metrics");
    let lost = async || {
        let scrape = Scrape::of(url).await;
        scrape.count("remex_audit_lines_lost_total")
    };
    assert_eq!(lost().await, 0);
    let client = daemon.client().await;
    // Of each, nothing comes. Escaped, its line is some 48 KiB long, and their room has 4 MiB.
    let controls = "\u{1}".repeat(4096);
    let long = argv(&["/no/such/program", &controls, &controls]);
    let lost = soon("a line that is lost", async {
        loop {
            let calls = (0..50).map(|_| run(&client, long.clone()));
            let answers = futures_util::future::join_all(calls).await;
            assert!(answers.iter().all(Result::is_err), "one has run");
            let lost = lost().await;
            if lost > 0 {
                return lost;
            }
        }
    })
    .await;
    let mut read = Vec::new();
    eventually("the line on them", || {
        let _ = reader.read_to_end(&mut read);
        let told = String::from_utf8_lossy(&read).contains("\"event\":\"lost\"");
        told.then_some(())
    })
    .await;
    drop(client);
    daemon.stop().await;
    let _ = reader.read_to_end(&mut read);
    let text = String::from_utf8(read).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let counts = lines.filter(|line: &serde_json::Value| line["event"] == "lost");
    let told: u64 = counts.map(|line| line["count"].as_u64().unwrap()).sum();
    assert_eq!(told, lost);
}

/// In a drain for two seconds, and where a second signal ends all at once, for 200 ms of the one that this may take.
#[tokio::test]
async fn lines_that_nobody_takes_hold_up_the_end_for_a_stated_time() {
    for (is_drain, patience) in [
        (true, Duration::from_secs(2)),
        (false, Duration::from_millis(200)),
    ] {
        let home = Home::new();
        let (pipe, _reader) = unread_pipe(&home);
        let flags = ["--audit-log", &pipe, "--drain-timeout", "10m"];
        let mut daemon = Daemon::start_in(&home, &flags).await;
        let client = daemon.client().await;
        let long = format!(": {}", "x".repeat(8000));
        soon("a pipe that is full", async {
            while !home.log().contains("nobody reads it") {
                run(&client, shell(&long)).await.unwrap();
            }
        })
        .await;
        let marker = Marker::new();
        let sleep = remex_client::Command::shell(format!("sleep {marker}"));
        let running = if is_drain {
            None
        } else {
            Some(client.start(sleep).await.unwrap())
        };
        let mut sent = Instant::now();
        daemon.signal(Signal::TERM);
        if !is_drain {
            is_draining(&client).await;
            sent = Instant::now();
            daemon.signal(Signal::TERM);
        }
        daemon.wait().await;
        assert!(sent.elapsed() >= patience, "{:?}", sent.elapsed());
        let patience = format!("patience={patience:?}");
        home.logged(&["lines are left that could not be written", &patience])
            .await;
        drop(running);
        marker.is_gone().await;
    }
}

#[tokio::test]
async fn a_file_that_was_renamed_is_left_at_sighup_and_no_line_is_lost() {
    let site = Site::start(&[]).await;
    let client = site.daemon.client().await;
    let log = site.home.path("audit");
    let rotations = count(5, 50);
    let mut rotated = Vec::new();
    let mut commands = 0;
    for rotation in 0..rotations {
        let old = site.home.path(&format!("audit.{rotation}"));
        fs::rename(&log, &old).unwrap();
        rotated.push(old);
        // What comes before it is opened anew goes where it went before.
        site.daemon.signal(Signal::HUP);
        soon("the new file", async {
            while !log.exists() {
                run(&client, argv(&["true"])).await.unwrap();
                commands += 1;
            }
        })
        .await;
        run(&client, argv(&["true"])).await.unwrap();
        commands += 1;
    }
    drop(client);
    // One that is of no use is not taken, and nothing is lost for that.
    fs::rename(&log, site.home.path("audit.last")).unwrap();
    rotated.push(site.home.path("audit.last"));
    fs::write(&log, "").unwrap();
    fs::set_permissions(&log, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    site.daemon.signal(Signal::HUP);
    eventually("the complaint", || {
        site.home.log().contains("not opened anew").then_some(())
    })
    .await;
    site.run(argv(&["true"])).await.unwrap();
    commands += 1;
    site.daemon.stop().await;
    assert_eq!(fs::read_to_string(&log).unwrap(), "");
    let lines: Vec<_> = rotated.iter().flat_map(lines_of).collect();
    for is_one in [is_decision, is_end] {
        assert_eq!(lines.iter().filter(|line| is_one(line)).count(), commands);
    }
}

/// A caller that may do nothing asks without end: ten lines, and one on the others, while an honest one is told each time.
#[tokio::test]
async fn a_denied_caller_fills_nothing() {
    skip_unless!(root());
    let home = Home::new();
    let policy = home.path("policy");
    let rule = "[[rule]]\nname = 'local'\ndecision = 'allow'\nusers = ['root']\nlisteners = ['tcp-exec']\nshell = true\n\
                force.isolation = 'off'\n";
    fs::write(&policy, rule).unwrap();
    let flags = [
        "--policy",
        policy.to_str().unwrap(),
        "--legacy",
        "tcp://127.0.0.1:0/exec",
    ];
    let site = Site::start_in(&home, &flags).await;
    let client = site.daemon.client().await;
    for round in 0..DENIALS {
        // Denied, and what fails before it could be.
        let command = if round % 2 == 0 {
            shell("echo x")
        } else {
            remex::v1::Command::default()
        };
        run(&client, command).await.unwrap_err();
    }
    drop(client);
    let tcp = site.daemon.socket("tcp-exec");
    let mut honest = crate::gateway::support::Legacy::connect(tcp).await;
    for _ in 0..20 {
        assert_eq!(honest.ask("echo ran").await.text(), "ran\n");
    }
    drop(honest);
    site.told(20, is_of("Start")).await;
    site.told(10, is_of("Run")).await;
    site.daemon.stop().await;
    let lines = super::site::lines(&home);
    let counted: Vec<_> = lines
        .iter()
        .filter(|line| line["event"] == "denials")
        .collect();
    assert_eq!(counted.len(), 1, "{counted:?}");
    assert_eq!(counted[0]["count"], DENIALS - 10);
    assert_eq!(counted[0]["caller"], "unix:0");
}

#[tokio::test]
async fn reload_opens_it_anew_too() {
    let site = Site::start(&[]).await;
    let log = site.home.path("audit");
    fs::rename(&log, site.home.path("old")).unwrap();
    let state = site.home.path("state");
    let mut reload = Command::new(crate::harness::binaries::binary("remexd"));
    reload.arg("reload").arg("--state-dir").arg(&state);
    let reloaded = tokio::process::Command::from(reload).output();
    let reloaded = soon("remexd reload", reloaded).await.unwrap();
    assert!(reloaded.status.success(), "{reloaded:?}");
    eventually("the new file", || log.exists().then_some(())).await;
    site.daemon.stop().await;
}
