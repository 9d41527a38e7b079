//! What lines say: who, from where, through what, what was asked, by which rule, and how it ended.

use std::{fs, os::unix::fs::MetadataExt, thread};

use remex::{
    error::Reason,
    v1::{self, EchoRequest, GetRequest, StartRequest, WaitRequest},
};
use rustix::{
    process::{Signal, Uid},
    thread::set_thread_uid,
};
use serde_json::{Value, json};

use super::site::{Site, is_decision, is_end, is_of};
use crate::{
    bad_input::argv,
    durable::support::detached,
    gateway::support::Legacy,
    harness::{
        Marker,
        calls::{run, shell},
        eventually, soon,
        tools::{OTHER_USER, root},
    },
};

/// A rule that lets root run `programs`.
fn rule(programs: &str) -> String {
    format!(
        "[[rule]]\nname = 'some programs'\ndecision = 'allow'\nusers = ['root']\nprograms = {programs}\narguments = 'any'\n\
         environment = ['KEY']\nworking_directories = ['/usr']\nforce.isolation = 'off'\n"
    )
}

#[tokio::test]
async fn a_decision_and_an_end_say_who_what_by_which_rule_and_how() {
    skip_unless!(root());
    let policy = tempfile::NamedTempFile::new().unwrap();
    fs::write(&policy, rule("['/bin/sh']")).unwrap();
    let site = Site::start(&["--policy", policy.path().to_str().unwrap()]).await;
    let command = v1::Command {
        environment: [("KEY".to_owned(), "s3cr3t-value".to_owned())].into(),
        working_directory: "/usr".to_owned(),
        ..argv(&[
            "sh",
            "-c",
            "echo out; echo err >&2; exit 7",
            "--password=s3cr3t-arg",
        ])
    };
    let ran = site.run(command).await.unwrap();
    let decisions = site.told(1, is_decision).await;
    let ends = site.told(1, is_end).await;
    let decision = &decisions[0];
    for (key, value) in [
        ("outcome", json!("allowed")),
        ("rpc", json!("Run")),
        ("caller", json!("unix:0")),
        ("through", json!("grpc tcp")),
        ("rule", json!("some programs")),
        ("execution_id", json!(ran.execution_id)),
        (
            "command",
            json!({
                "argv": ["sh", "-c", "echo out; echo err >&2; exit 7", "--password=[redacted]"],
                "working_directory": "/usr", "environment": ["KEY"]
            }),
        ),
    ] {
        assert_eq!(decision[key], value, "{key} of {decision:#}");
    }
    let from = decision["from"].as_str().unwrap();
    assert!(from.starts_with("127.0.0.1:"), "{from}");
    let end = &ends[0];
    for (key, value) in [
        ("caller", json!("unix:0")),
        ("from", json!(from)),
        ("through", json!("grpc tcp")),
        ("execution_id", json!(ran.execution_id)),
        ("program", json!("sh")),
        ("code", json!(7)),
        ("reason", json!("SELF")),
        ("stdin_bytes", json!(0)),
        ("stdout_bytes", json!(4)),
        ("stderr_bytes", json!(4)),
    ] {
        assert_eq!(end[key], value, "{key} of {end:#}");
    }
    let time = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    assert!(time(decision, "time") <= time(end, "time"));
    assert!(time(end, "started") <= time(end, "time"));
    assert!(end["wall_seconds"].as_f64().unwrap() > 0.0);
    let text = fs::read_to_string(site.home.path("audit")).unwrap();
    assert!(!text.contains("s3cr3t"), "{text}");
    site.daemon.stop().await;
}

/// The line is there before the command is: it finds itself in it.
#[tokio::test]
async fn a_command_finds_its_own_line_when_it_starts() {
    let site = Site::start(&[]).await;
    let log = site.home.path("audit");
    let marker = Marker::new();
    let command = format!("grep -c {marker} {}", log.display());
    for count in 1..20 {
        let ran = site.run(shell(&command)).await.unwrap();
        assert_eq!(
            String::from_utf8_lossy(&ran.stdout_data),
            format!("{count}\n")
        );
    }
    let decisions = site.told(19, is_of("Run")).await;
    assert!(
        decisions
            .iter()
            .all(|line| line["command"]["shell"] == command)
    );
    site.daemon.stop().await;
}

#[tokio::test]
async fn what_is_denied_and_what_fails_is_told_with_its_reason_and_without_secrets() {
    skip_unless!(root());
    let policy = tempfile::NamedTempFile::new().unwrap();
    fs::write(&policy, rule("['/bin/true', '/bin/no-such-program']")).unwrap();
    let site = Site::start(&["--policy", policy.path().to_str().unwrap()]).await;
    let client = site.daemon.client().await;
    let denied = run(&client, argv(&["echo", "--token", "s3cr3t"])).await;
    assert_eq!(Reason::of(&denied.unwrap_err()), Some(Reason::PolicyDenied));
    let failed = run(&client, argv(&["/bin/no-such-program"])).await;
    assert_eq!(
        Reason::of(&failed.unwrap_err()),
        Some(Reason::ProgramNotFound)
    );
    let echo = client.echo().echo(EchoRequest::default()).await;
    echo.unwrap();
    let get = GetRequest {
        execution_id: "018f0000-0000-7000-8000-000000000000".to_owned(),
        ..GetRequest::default()
    };
    client.exec().get(get).await.unwrap_err();
    let lines = site.told(4, is_decision).await;
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            (text("rpc"), text("outcome"), text("reason"), text("rule"))
        })
        .collect();
    let expected = [
        ("Run", "denied", "POLICY_DENIED", "some programs"),
        ("Run", "failed", "PROGRAM_NOT_FOUND", ""),
        ("Echo", "allowed", "", "some programs"),
        ("Get", "failed", "EXECUTION_NOT_FOUND", "some programs"),
    ];
    let expected =
        expected.map(|(a, b, c, d)| (a.to_owned(), b.to_owned(), c.to_owned(), d.to_owned()));
    assert_eq!(told, expected);
    assert_eq!(
        lines[0]["command"]["argv"],
        json!(["echo", "--token", "[redacted]"])
    );
    assert!(site.lines().iter().all(|line| !is_end(line)), "nothing ran");
    site.daemon.stop().await;
}

/// Whoever is not let in is told of before anything of it is judged: of gRPC, of the old protocol over TCP and UDP.
#[tokio::test]
async fn who_is_not_let_in_is_told_of_through_whatever_it_came() {
    skip_unless!(root());
    let urls = ["tcp://127.0.0.1:0/exec", "udp://127.0.0.1:0/exec"];
    let site = Site::start(&["--legacy", urls[0], "--legacy", urls[1]]).await;
    let (grpc, tcp) = (site.daemon.socket("grpc"), site.daemon.socket("tcp-exec"));
    let udp = site.daemon.socket("udp-exec");
    let file = site.home.path("file");
    let touch = format!("touch {}", file.display());
    let (sender, receiver) = tokio::sync::oneshot::channel();
    thread::spawn(move || {
        use std::io::{Read, Write};
        set_thread_uid(Uid::from_raw(OTHER_USER)).unwrap();
        let mut grpc = std::net::TcpStream::connect(grpc).unwrap();
        grpc.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .unwrap();
        let _ = grpc.read_to_end(&mut Vec::new());
        let mut legacy = std::net::TcpStream::connect(tcp).unwrap();
        legacy.write_all(touch.as_bytes()).unwrap();
        let _ = legacy.read_to_end(&mut Vec::new());
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(touch.as_bytes(), udp).unwrap();
        let _ = socket.recv(&mut [0; 1024]).unwrap();
        sender.send(()).unwrap();
    });
    soon("three refusals", receiver).await.unwrap();
    let lines = site.told(3, is_decision).await;
    for (line, through) in lines.iter().zip(["grpc tcp", "tcp-exec", "udp-exec"]) {
        assert_eq!(line["through"], through, "{line:#}");
        assert_eq!(line["caller"], format!("unix:{OTHER_USER}"));
        assert_eq!(line["outcome"], "denied");
        assert_eq!(line["reason"], "PEER_NOT_ALLOWED");
        let why = line["why"].as_str().unwrap();
        assert!(
            why.contains("may not") && line.get("rpc").is_none(),
            "{why}"
        );
    }
    assert!(!file.exists());
    // Who is let in is known by its user, and by the listener.
    let mut client = Legacy::connect(tcp).await;
    assert_eq!(client.ask("echo ran").await.text(), "ran\n");
    let lines = site.told(1, is_of("Start")).await;
    assert_eq!(
        (&lines[0]["caller"], &lines[0]["through"]),
        (&json!("unix:0"), &json!("tcp-exec"))
    );
    assert_eq!(lines[0]["command"], json!({"shell": "echo ran"}));
    site.told(1, is_end).await;
    site.daemon.stop().await;
}

/// A caller that leaves is told when it leaves, and one that waits before its answer.
#[tokio::test]
async fn calls_that_last_are_told_when_they_are_decided() {
    let site = Site::start(&[]).await;
    let client = site.daemon.client().await;
    let request = detached(StartRequest {
        command: Some(shell("exec sleep 1000")),
        ..StartRequest::default()
    });
    drop(client.exec().start(request).await.unwrap());
    let id = site.told(1, is_of("Start")).await[0]["execution_id"].clone();
    let waiting = WaitRequest {
        execution_id: id.as_str().unwrap().to_owned(),
        ..WaitRequest::default()
    };
    let mut exec = client.exec();
    let waiting = tokio::spawn(async move { exec.wait(waiting).await });
    let told = site.told(1, is_of("Wait")).await;
    assert_eq!(
        (&told[0]["outcome"], &told[0]["execution_id"]),
        (&json!("allowed"), &id)
    );
    waiting.abort();
    // A first message that never comes.
    let (messages, stream) = tokio::sync::mpsc::channel::<v1::InteractRequest>(1);
    let stream = futures_util::stream::unfold(stream, async |mut stream| {
        stream.recv().await.map(|message| (message, stream))
    });
    let (mut exec, mut echo) = (client.exec(), client.echo());
    let mut interact = Box::pin(exec.interact(stream));
    tokio::select! {
        biased;
        answer = &mut interact => panic!("{answer:?}"),
        // It goes the same way, behind the other.
        answered = echo.echo(EchoRequest::default()) => drop(answered.unwrap()),
    }
    drop(interact);
    drop((messages, client));
    let told = site.told(1, is_of("Interact")).await;
    assert_eq!(
        (&told[0]["outcome"], &told[0]["reason"]),
        (&json!("failed"), &json!("CANCELLED"))
    );
    site.daemon.stop().await;
}

/// Each supervisor that is given the order is told, and that nothing came of those that were lost.
#[tokio::test]
async fn a_start_that_supervisors_are_lost_in_has_a_line_and_an_end_for_each() {
    let site = Site::start(&[]).await;
    site.home.spares_are_there().await;
    let folders = fs::read_dir(site.home.path("state/durable")).unwrap();
    let dying: Vec<_> = folders.map(|folder| folder.unwrap().path()).collect();
    for folder in &dying {
        fs::write(folder.join("crash-at"), "ordered").unwrap();
    }
    let request = detached(StartRequest {
        command: Some(shell("exit 3")),
        ..StartRequest::default()
    });
    let client = site.daemon.client().await;
    drop(client.exec().start(request).await.unwrap());
    let tries = dying.len() + 1;
    let ends = site.told(tries, is_end).await;
    let starts = site.told(tries, is_of("Start")).await;
    for (index, start) in starts.iter().enumerate() {
        assert_eq!(start["outcome"], "allowed");
        let mut of_it = ends
            .iter()
            .filter(|end| end["execution_id"] == start["execution_id"]);
        let end = of_it.next().expect("its end");
        if index + 1 < tries {
            let told = (&end["outcome"], &end["reason"]);
            assert_eq!(told, (&json!("failed"), &json!("SPAWN_FAILED")));
        } else {
            assert_eq!(end["code"], 3);
        }
        assert!(of_it.next().is_none(), "its end is told twice");
    }
    site.daemon.stop().await;
}

/// Its end is told once, by whichever server learns of it.
#[tokio::test]
async fn the_end_of_a_durable_execution_is_told_by_who_learns_of_it_and_once() {
    let mut site = Site::start(&[]).await;
    let start = async |site: &Site, text: &str| {
        let request = detached(StartRequest {
            command: Some(shell(text)),
            ..StartRequest::default()
        });
        let client = site.daemon.client().await;
        let response = client.exec().start(request).await;
        drop(response.unwrap());
    };
    start(&site, "exit 3").await;
    let ends = site.told(1, is_end).await;
    assert_eq!(
        (&ends[0]["code"], &ends[0]["reason"]),
        (&json!(3), &json!("SELF"))
    );
    let gate = site.home.path("gate");
    let wait = format!(
        "until [ -e {} ]; do sleep 0.01; done; exit 4",
        gate.display()
    );
    start(&site, &wait).await;
    let starts = site.told(2, is_of("Start")).await;
    let id = starts[1]["execution_id"].as_str().unwrap().to_owned();
    let supervisor = eventually("its supervisor", || site.home.supervisor_of(&id)).await;
    site.daemon.signal(Signal::KILL);
    site.daemon.wait().await;
    fs::write(&gate, "").unwrap();
    eventually("its end", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", supervisor.as_raw_nonzero()));
        // A zombie's parent was killed, and may be anybody by now.
        stat.map_or(Some(()), |stat| stat.contains(") Z ").then_some(()))
    })
    .await;
    assert_eq!(site.lines().iter().filter(|line| is_end(line)).count(), 1);
    for _ in 0..2 {
        let home = site.home.clone();
        site = Site::start_in(&home, &[]).await;
        let ends = site.told(2, is_end).await;
        assert_eq!(ends[1]["execution_id"], id.as_str());
        assert_eq!(
            (&ends[1]["code"], &ends[1]["reason"]),
            (&json!(4), &json!("SELF"))
        );
        site.daemon.signal(Signal::TERM);
        site.daemon.wait().await;
    }
    assert_eq!(site.lines().iter().filter(|line| is_end(line)).count(), 2);
}

#[tokio::test]
async fn it_is_its_owners_alone_and_says_what_is_wrong_with_its_flags() {
    let site = Site::start(&[]).await;
    let log = site.home.path("audit");
    let metadata = fs::metadata(&log).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o600);
    fs::set_permissions(&log, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let path = log.to_str().unwrap();
    let link = site.home.path("link");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    for (flags, parts) in [
        (vec!["--audit-log", path], ["--audit-log", "chmod 600"]),
        (
            vec!["--audit-log", "/no-such/file"],
            ["--audit-log", "/no-such/file"],
        ),
        (
            vec!["--audit-log", link.to_str().unwrap()],
            ["--audit-log", "cannot be opened"],
        ),
        (
            vec!["--audit-required"],
            ["--audit-required", "without --audit-log"],
        ),
        (
            vec!["--audit-redact", "pin"],
            ["--audit-redact", "without --audit-log"],
        ),
        (
            vec!["--audit-log", "/dev/null", "--audit-redact", "-"],
            ["--audit-redact", "no part"],
        ),
    ] {
        let home = crate::harness::Home::new();
        for more in [&[][..], &["--check"]] {
            home.refused(&[&flags[..], more].concat())
                .await
                .assert(64, &parts);
        }
    }
    site.daemon.stop().await;
}
