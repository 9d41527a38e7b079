//! Output: apart, unchanged, bounded in memory, and one reader's slowness is nobody else's.

use std::time::Duration;

use remex::{
    error::Reason as Refusal,
    v1::{EchoRequest, RunRequest, StartRequest, echo_request, exit::Reason},
};

use super::support::{RequestExt, Running, Server, argv, count, duration, shell};
use crate::harness::soon;

/// What a reader who is slow, or absent, may cost remexd.
const RSS_BYTES: u64 = 16 << 20;

#[tokio::test]
async fn pitfall_13_stderr_behind_the_end_of_stdout_is_whole() {
    let server = Server::start(&[]).await;
    let record = server
        .run(shell("seq 1 1000; exec >&-; seq 1 300000 >&2"))
        .await;
    let expected = |last: usize| {
        let lines = (1..=last).map(|number| number.to_string() + "\n");
        lines.collect::<String>().into_bytes()
    };
    assert!(record.stdout == expected(1000));
    assert!(
        record.stderr == expected(300_000),
        "{}",
        record.stderr.len()
    );
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_13_any_bytes_arrive_as_they_are() {
    let server = Server::start(&[]).await;
    let all: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let record = server.run(argv(["cat"]).stdin(all.clone())).await;
    assert!(record.stdout == all);
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_13_a_character_at_the_edge_of_a_chunk_survives() {
    let server = Server::start(&[]).await;
    // Three bytes each: no chunk of 64 KiB ends between two of them.
    let text = "€".repeat(200_000);
    let request = StartRequest {
        text: true,
        ..argv(["cat"]).stdin(text.clone())
    };
    let mut stream = soon("a start", server.exec().start(request))
        .await
        .unwrap()
        .into_inner();
    let mut read = String::new();
    while let Some(message) = soon("a message", stream.message()).await.unwrap() {
        if let Some(remex::v1::event::Kind::Output(output)) = message.event.unwrap().kind {
            assert!(output.data.is_empty());
            read += &output.text;
        }
    }
    assert!(read == text, "{} of {}", read.len(), text.len());
    server.daemon.stop().await;
}

#[tokio::test]
async fn stdout_and_stderr_keep_the_order_in_which_they_were_read() {
    let server = Server::start(&[]).await;
    let text = "for i in 1 2 3; do echo $i; read x; echo $i >&2; read x; done";
    let request = StartRequest {
        stdin_open: true,
        ..shell(text)
    };
    let mut running = server.begin(request).await;
    let mut seen = String::new();
    while let Some(kind) = running.next().await {
        if let remex::v1::event::Kind::Output(output) = kind {
            seen += if output.stream == 1 { "out " } else { "err " };
            let request = remex::v1::WriteRequest {
                execution_id: running.id.clone(),
                chunk: Some(remex::v1::StdinChunk {
                    text: "\n".into(),
                    ..remex::v1::StdinChunk::default()
                }),
            };
            // The last one may come too late.
            let _ = soon("a write", server.exec().write(request)).await;
        }
    }
    assert_eq!(seen, "out err out err out err ");
    server.daemon.stop().await;
}

/// Echoes over the connection that others do not read from.
async fn others_are_served(server: &Server) {
    for _ in 0..20 {
        let request = EchoRequest {
            content: Some(echo_request::Content::Text("abc".into())),
        };
        soon("an echo", server.client.echo().echo(request))
            .await
            .unwrap();
        let record = server.run(argv(["echo", "abc"])).await;
        assert_eq!(record.text(), "abc\n");
    }
}

async fn slow_reader(server: Server) {
    // What connections, threads and buffers cost is there before it is measured.
    others_are_served(&server).await;
    let megabytes = count(128, 5120);
    let rss = server.daemon.rss_bytes();
    let mut highest = rss;
    let bytes = (megabytes << 20).to_string();
    let mut running = server
        .begin(argv(["head", "-c", &bytes, "/dev/zero"]))
        .await;
    let mut next = 0;
    let mut total = 0;
    while let Some(kind) = running.next().await {
        let remex::v1::event::Kind::Output(output) = kind else {
            continue;
        };
        assert!(output.data.iter().all(|&byte| byte == 0));
        total += output.data.len();
        // Not the bytes themselves: this test has no room for them either.
        running.forget();
        if total >= next {
            next += 8 << 20;
            tokio::time::sleep(Duration::from_millis(5)).await;
            highest = highest.max(server.daemon.rss_bytes());
        }
    }
    assert_eq!(total, megabytes << 20);
    assert!(highest - rss < RSS_BYTES, "{rss} to {highest}");
    server.daemon.stop().await;
}

async fn absent_reader(server: Server) {
    others_are_served(&server).await;
    let rss = server.daemon.rss_bytes();
    let request = shell("yes x & yes y >&2 & yes").timeout(1500);
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(server.begin(request.clone()).await);
    }
    others_are_served(&server).await;
    // Their commands block, and fall to their timeouts.
    for running in &idle {
        crate::harness::eventually("the end", || (!running.leader_lives()).then_some(())).await;
    }
    others_are_served(&server).await;
    let grown = server.daemon.rss_bytes();
    assert!(grown < rss + RSS_BYTES, "{rss} to {grown}");
    for running in idle {
        assert_eq!(running.end().await.exit().reason(), Reason::Timeout);
    }
    server.daemon.stop().await;
}

with_each_containment! {
    pitfall_14_a_slow_reader_costs_no_memory => slow_reader;
    pitfall_14_and_15_an_absent_reader_costs_no_memory_and_stalls_nobody_else => absent_reader;
}

#[tokio::test]
async fn pitfall_16_small_writes_that_nobody_reads_keep_the_connection() {
    let server = Server::start(&[]).await;
    let request = argv(["dd", "if=/dev/zero", "bs=1", "count=200000", "status=none"]);
    let mut running: Vec<Running> = Vec::new();
    for _ in 0..4 {
        running.push(server.begin(request.clone()).await);
    }
    for one in &running {
        crate::harness::eventually("the end", || (!one.leader_lives()).then_some(())).await;
    }
    others_are_served(&server).await;
    for one in running {
        let record = one.end().await;
        assert_eq!(record.stdout.len(), 200_000);
        // Put together, or there would be as many as writes.
        assert!(record.outputs < 20_000, "{}", record.outputs);
    }
    server.daemon.stop().await;
}

fn run(request: StartRequest, max_output_bytes: u64) -> RunRequest {
    RunRequest {
        command: request.command,
        max_output_bytes,
        ..RunRequest::default()
    }
}

#[tokio::test]
async fn pitfall_18_unary_output_is_cut_and_says_so() {
    let server = Server::start(&[]).await;
    let text = "head -c 40000000 /dev/zero; head -c 3000000 /dev/zero >&2";
    for (asked, stdout, stderr) in [(0, 1 << 20, 1 << 20), (16 << 20, 16 << 20, 3_000_000)] {
        let called = soon("a run", server.exec().run(run(shell(text), asked))).await;
        let response = called.unwrap().into_inner();
        assert_eq!(response.stdout_data.len(), stdout);
        assert_eq!(response.stderr_data.len(), stderr);
        assert_eq!(response.stdout_bytes_total, 40_000_000);
        assert_eq!(response.stderr_bytes_total, 3_000_000);
        assert!(response.stdout_truncated);
        assert_eq!(response.stderr_truncated, stderr < 3_000_000);
        assert_eq!(response.exit.unwrap().code, Some(0));
    }
    let refused = soon(
        "a run",
        server.exec().run(run(argv(["true"]), (16 << 20) + 1)),
    )
    .await;
    assert_eq!(
        Refusal::of(&refused.unwrap_err()),
        Some(Refusal::InvalidField)
    );
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_19_what_is_captured_is_bounded() {
    let server = Server::start(&[]).await;
    others_are_served(&server).await;
    let rss = server.daemon.rss_bytes();
    let bytes = (count(256, 4096) << 20).to_string();
    let request = run(argv(["head", "-c", &bytes, "/dev/zero"]), 0);
    let response = soon("a run", server.exec().run(request)).await.unwrap();
    assert_eq!(response.get_ref().stdout_bytes_total.to_string(), bytes);
    let peak = server.daemon.status("VmHWM") * 1024;
    assert!(peak < rss + RSS_BYTES, "{rss} to {peak}");
    server.daemon.stop().await;
}

#[tokio::test]
async fn silence_is_broken_as_often_as_was_asked_for() {
    let server = Server::start(&[]).await;
    let request = StartRequest {
        keepalive_interval: Some(duration(100)),
        ..argv(["sleep", "1000"])
    };
    let mut running = server.begin(request).await;
    for _ in 0..3 {
        let message = running.message().await.unwrap().unwrap();
        assert_eq!(message.event, None);
    }
    running.signal(9).await.unwrap();
    assert_eq!(running.end().await.ending(), (-1, 9, Reason::Signal));
    server.daemon.stop().await;
}
