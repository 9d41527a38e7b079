//! Clients that ride through lost connections: not a byte of output or stdin is lost or comes twice, the exit code is the
//! command's, and it ran once.

use std::{fmt::Write as _, fs, process::Stdio};

use remex_client::{Attach, Client, Command, Event, Interaction};
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Child,
};

use crate::{
    harness::{
        Daemon, Home,
        command_line::{remex, result, said},
        eventually,
        relay::Relay,
        soon,
        terminal::Screen,
    },
    supervision::support::count,
};

/// As seq(1) writes it: lines that are all different.
fn numbers(last: u64) -> String {
    (1..=last).fold(String::new(), |mut all, number| {
        writeln!(all, "{number}").expect("room");
        all
    })
}

/// More than any window or buffer between a client and its command: some 4 MiB, or 64 in a long run.
fn input() -> Vec<u8> {
    numbers(count(600_000, 8_000_000) as u64).into()
}

/// Writes what it reads, notes that it ran, and ends with 7.
fn script(home: &Home) -> String {
    format!("echo run >> {}; cat; exit 7", home.path("ran").display())
}

fn ran(home: &Home) -> String {
    fs::read_to_string(home.path("ran")).unwrap_or_default()
}

/// Feeds `input` to `child` while its output comes, and does `disturb` each time that as much more of it has come.
async fn disturbed(
    child: &mut Child,
    input: Vec<u8>,
    times: usize,
    mut disturb: impl AsyncFnMut(),
) {
    let mut stdin = child.stdin.take().expect("stdin");
    let mut stdout = child.stdout.take().expect("stdout");
    let expected = input.clone();
    let feeding = tokio::spawn(async move { stdin.write_all(&input).await });
    let step = expected.len() / (times + 1);
    let mut all = Vec::with_capacity(expected.len());
    let mut buffer = vec![0; 64 * 1024];
    let mut done = 0;
    loop {
        let read = soon("output", stdout.read(&mut buffer))
            .await
            .expect("a pipe");
        if read == 0 {
            break;
        }
        all.extend_from_slice(&buffer[..read]);
        if done < times && all.len() > (done + 1) * step {
            done += 1;
            disturb().await;
        }
    }
    soon("stdin", feeding)
        .await
        .expect("no panic")
        .expect("it takes all of it");
    assert_eq!(done, times, "it was not disturbed");
    let first = all
        .iter()
        .zip(&expected)
        .position(|(one, other)| one != other);
    assert_eq!((all.len(), first), (expected.len(), None), "another byte");
}

#[tokio::test]
async fn run_resume_goes_on_when_remexd_is_killed_and_comes_back() {
    let home = Home::new();
    let listen = format!("unix:{}", home.path("remexd.sock").display());
    let flags = ["--listen", &listen];
    let mut daemon = Some(Daemon::start_in(&home, &flags).await);
    let script = script(&home);
    let mut child = remex(&listen, &["run", "--resume", "--shell", &script])
        .stdin(Stdio::piped())
        .spawn()
        .expect("remex runs");
    disturbed(&mut child, input(), count(3, 30), async || {
        let mut killed = daemon.take().expect("it serves");
        killed.signal(Signal::KILL);
        killed.wait().await;
        drop(killed);
        daemon = Some(Daemon::start_in(&home, &flags).await);
    })
    .await;
    let (code, _, stderr) = said(child).await;
    assert_eq!((code, &*ran(&home)), (7, "run\n"), "{stderr}");
    assert!(stderr.contains("connected again"), "{stderr}");
    daemon.expect("it serves").stop().await;
}

#[tokio::test]
async fn run_resume_goes_on_when_the_connection_is_cut() {
    let daemon = Daemon::start(&[]).await;
    let relay = Relay::to(daemon.socket("grpc")).await;
    let script = script(daemon.home());
    let server = format!("http://{}", relay.address());
    let mut child = remex(&server, &["run", "--resume", "--shell", &script])
        .stdin(Stdio::piped())
        .spawn()
        .expect("remex runs");
    disturbed(&mut child, input(), count(5, 100), async || relay.cut()).await;
    let (code, _, stderr) = said(child).await;
    assert_eq!((code, &*ran(daemon.home())), (7, "run\n"), "{stderr}");
    daemon.stop().await;
}

#[tokio::test]
async fn what_ends_while_nobody_is_connected_is_told_all_the_same() {
    let home = Home::new();
    let listen = format!("unix:{}", home.path("remexd.sock").display());
    let flags = ["--listen", &listen];
    let mut daemon = Daemon::start_in(&home, &flags).await;
    let (go, here) = (home.path("go"), home.path("here"));
    let script = format!(
        "echo begin; touch {}; while [ ! -e {} ]; do sleep 0.01; done; seq 1 50000; exit 9",
        here.display(),
        go.display()
    );
    let child = remex(
        &listen,
        &["run", "-n", "--resume", "-q", "--shell", &script],
    )
    .spawn()
    .expect("remex runs");
    eventually("the command", || here.exists().then_some(())).await;
    daemon.signal(Signal::KILL);
    daemon.wait().await;
    drop(daemon);
    fs::write(&go, "").expect("a file");
    let daemon = Daemon::start_in(&home, &flags).await;
    let (code, stdout, stderr) = said(child).await;
    assert_eq!((code, &*stderr), (9, ""));
    assert!(
        stdout == format!("begin\n{}", numbers(50_000)),
        "its output is another"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_at_first_is_an_error_at_once() {
    let home = Home::new();
    let nowhere = format!("unix:{}", home.path("nobody").display());
    let child = remex(&nowhere, &["run", "--resume", "true"]).spawn();
    let (code, stdout, stderr) = said(child.expect("remex runs")).await;
    assert_eq!(
        (code, &*stdout, stderr.lines().count()),
        (255, "", 1),
        "{stderr}"
    );
}

/// Reads until there are `bytes` of output.
async fn read(interaction: &mut Interaction, output: &mut Vec<u8>, bytes: usize) {
    while output.len() < bytes {
        match soon("an event", interaction.next())
            .await
            .expect("no error")
        {
            Some(Event::Output { offset, data, .. }) => {
                assert_eq!(offset, output.len() as u64);
                output.extend_from_slice(&data);
            }
            Some(Event::Started { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn another_client_goes_on_at_the_exact_byte_of_both() {
    let daemon = Daemon::start(&[]).await;
    let client = daemon.client().await;
    let command = Command::shell("cat; exit 5")
        .stdin("first ")
        .on_disconnect(remex_client::v1::OnDisconnect::Detach);
    let mut one = client.interact(command).await.expect("it starts");
    let id = one.id().to_owned();
    let mut output = Vec::new();
    let mut stdin = one.stdin.take().expect("stdin");
    stdin.write("second ").await.expect("it runs");
    read(&mut one, &mut output, 13).await;
    let position = one.position();
    // Before its stdin, which would end else.
    drop((one, client));
    drop(stdin);

    let client = daemon.client().await;
    let attach = Attach::to(&id).after(position);
    let mut other = client
        .attach_interactive(attach)
        .await
        .expect("it is there");
    let mut stdin = other.stdin.take().expect("stdin");
    assert_eq!(stdin.accepted(), 13);
    stdin.write("third").await.expect("it runs");
    drop(stdin);
    read(&mut other, &mut output, 18).await;
    assert_eq!(output, b"first second third");
    let end = soon("an end", other.next()).await.expect("no error");
    assert!(
        matches!(end, Some(Event::Exited(ref exit)) if exit.code == Some(5)),
        "{end:?}"
    );
    let after_the_end = Attach::to(&id).after(other.position());
    let mut nothing = client.attach(after_the_end).await.expect("it is known");
    assert_eq!(
        soon("an end", nothing.next()).await.expect("no error"),
        None
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_call_that_is_made_twice_runs_once() {
    let daemon = Daemon::start(&[]).await;
    let relay = Relay::to(daemon.socket("grpc")).await;
    let endpoint = format!("http://{}", relay.address())
        .parse()
        .expect("an address");
    let client = Client::connect(&endpoint).await.expect("a connection");
    let ran = daemon.home().path("ran");
    let text = format!(
        "echo run >> {}; sleep 0.5; echo done; exit 3",
        ran.display()
    );
    let running = tokio::spawn(async move { client.run(Command::shell(text).resume()).await });
    eventually("the command", || ran.exists().then_some(())).await;
    relay.cut();
    let outcome = soon("an outcome", running)
        .await
        .expect("no panic")
        .expect("no error");
    assert_eq!(
        (outcome.exit.code, &outcome.stdout[..]),
        (Some(3), &b"done\n"[..])
    );
    assert_eq!(fs::read_to_string(&ran).expect("it ran"), "run\n");
    daemon.stop().await;
}

/// What is typed meanwhile waits, and comes to the same program on the same terminal.
#[tokio::test]
async fn a_terminal_that_was_attached_to_goes_on_when_remexd_is_killed_and_comes_back() {
    let home = Home::new();
    let listen = format!("unix:{}", home.path("remexd.sock").display());
    let flags = ["--listen", &listen];
    let mut daemon = Daemon::start_in(&home, &flags).await;
    let script = "while read x; do echo \"got $x $(stty size)\"; [ \"$x\" = q ] && exit 5; done";
    let (code, id, stderr) = result(remex(&listen, &["start", "-t", "--shell", script])).await;
    assert_eq!((code, &*stderr), (0, ""));
    let attach = remex(&listen, &["attach", "--resume", id.trim_end()]);
    let mut screen = Screen::run(attach, 30, 90);
    screen.types(b"one\r");
    screen.shows("got one 30 90").await;
    for round in 0..count(2, 20) {
        daemon.signal(Signal::KILL);
        daemon.wait().await;
        drop(daemon);
        screen.types(format!("away {round}\r").as_bytes());
        daemon = Daemon::start_in(&home, &flags).await;
        screen.shows(&format!("got away {round} 30 90")).await;
    }
    screen.types(b"q\r");
    screen.shows("got q 30 90").await;
    let (code, stderr) = screen.said().await;
    assert_eq!(code, 5, "{stderr}");
    assert!(stderr.contains("connected again"), "{stderr}");
    daemon.stop().await;
}
