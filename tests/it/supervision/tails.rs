//! Every byte, and the exit last.

use std::{process::Stdio, sync::OnceLock, time::Duration};

use remex::v1::{RunRequest, exit::Reason};
use tokio::io::AsyncReadExt;

use super::support::{Server, argv, count, is_long, shell};
use crate::harness::{Marker, eventually, soon};

/// Longer than what others that hold the output open are waited for.
const HOLD_UP: Duration = Duration::from_millis(1500);
const LONG_HOLD_UP: Duration = Duration::from_secs(5);

/// What a reader may leave unread without the command noticing: less than the window of one call.
const UNREAD_BYTES: usize = 512 << 10;

const LAST: usize = 2_000_000;

/// What `seq 1 2000000` prints.
fn expected() -> &'static [u8] {
    static EXPECTED: OnceLock<Vec<u8>> = OnceLock::new();
    EXPECTED.get_or_init(|| {
        let mut all = String::new();
        for number in 1..=LAST {
            all += &number.to_string();
            all.push('\n');
        }
        all.into_bytes()
    })
}

fn hold_up() -> Duration {
    if is_long() { LONG_HOLD_UP } else { HOLD_UP }
}

/// Not `assert_eq`, whose message would be 30 MB.
#[track_caller]
fn assert_all(stdout: &[u8]) {
    assert_eq!(stdout.len(), expected().len());
    assert!(stdout == expected(), "some byte differs");
}

async fn all_of_start(server: Server) {
    for _ in 0..count(2, 200) {
        let record = server.run(argv(["seq", "1", "2000000"])).await;
        assert_all(&record.stdout);
        assert_eq!(record.ending(), (0, 0, Reason::Self_));
    }
    server.daemon.stop().await;
}

/// Run reads most commands once, at their end; this is what does not fit into that: more than a pipe holds, a stream that
/// ends early, others that hold the output open, and a command that takes longer.
async fn all_of_run(server: Server) {
    let marker = Marker::new();
    let held = format!("sleep {marker} & echo out");
    let full = "x".repeat(65_536);
    for (text, stdout, stderr) in [
        (
            "seq 1 200000; echo err >&2",
            &expected()[..1_288_895],
            "err\n",
        ),
        ("head -c 65536 /dev/zero | tr '\\0' x", full.as_bytes(), ""),
        (
            "echo out; exec >&-; sleep 0.1; echo err >&2",
            b"out\n",
            "err\n",
        ),
        (&held, b"out\n", ""),
        ("(sleep 0.02; echo late) & echo out", b"out\nlate\n", ""),
        ("sleep 0.1; echo out; echo err >&2", b"out\n", "err\n"),
        ("true", b"", ""),
    ] {
        let request = RunRequest {
            command: shell(text).command,
            max_output_bytes: 16 << 20,
            ..RunRequest::default()
        };
        let response = soon("a run", server.exec().run(request)).await.unwrap();
        let response = response.into_inner();
        assert!(response.stdout_data == stdout, "{text}");
        assert_eq!(response.stderr_data, stderr, "{text}");
        assert_eq!(response.stdout_bytes_total, stdout.len() as u64);
        assert_eq!(response.exit.unwrap().code, Some(0), "{text}");
    }
    marker.kill();
    server.daemon.stop().await;
}

/// The reader falls asleep before the end, which the command reaches meanwhile.
async fn all_of_a_slow_start(server: Server) {
    let mut running = server.begin(argv(["seq", "1", "2000000"])).await;
    while running.record().stdout.len() < expected().len() - UNREAD_BYTES {
        assert!(running.next().await.is_some());
    }
    eventually("the end", || (!running.leader_lives()).then_some(())).await;
    // A reader that is slow is what this is about; no other time decides anything.
    tokio::time::sleep(hold_up()).await;
    let record = running.end().await;
    assert_all(&record.stdout);
    server.daemon.stop().await;
}

async fn all_of_remex_run(server: Server) {
    for _ in 0..count(2, 200) {
        let output = server.remex(&["run", "--", "seq", "1", "2000000"]).output();
        let output = soon("remex run", output).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_all(&output.stdout);
    }
    // A pipe that nobody reads for a while.
    let mut command = server.remex(&["run", "--", "seq", "1", "2000000"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut read = vec![0; 1 << 20];
    stdout.read_exact(&mut read).await.unwrap();
    tokio::time::sleep(hold_up()).await;
    soon("the rest", stdout.read_to_end(&mut read))
        .await
        .unwrap();
    assert_all(&read);
    assert!(soon("its exit", child.wait()).await.unwrap().success());
    server.daemon.stop().await;
}

with_each_containment! {
    pitfall_01_the_tail_is_not_lost_and_the_exit_is_last => all_of_start;
    pitfall_01_nor_in_one_answer => all_of_run;
    pitfall_01_nor_with_a_slow_reader => all_of_a_slow_start;
    pitfall_01_nor_through_the_command_line => all_of_remex_run;
}
