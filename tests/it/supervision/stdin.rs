//! stdin: positions, its end, and commands that do not want it.

use remex::{
    error::Reason as Refusal,
    v1::{StartRequest, StdinChunk, WriteRequest, exit::Reason},
};
use remex_client::{Command, Event};
use tonic::Status;

use super::support::{RequestExt, Running, Server, argv, shell};
use crate::harness::soon;

fn open(request: StartRequest) -> StartRequest {
    StartRequest {
        stdin_open: true,
        ..request
    }
}

fn chunk(offset: Option<u64>, data: &'static str, eof: bool) -> StdinChunk {
    StdinChunk {
        offset,
        data: data.into(),
        eof,
        ..StdinChunk::default()
    }
}

async fn write(server: &Server, running: &Running, chunk: StdinChunk) -> Result<u64, Status> {
    let request = WriteRequest {
        execution_id: running.id.clone(),
        chunk: Some(chunk),
    };
    let written = soon("a write", server.exec().write(request)).await;
    written.map(|response| response.into_inner().stdin_accepted_bytes)
}

#[tokio::test]
async fn positions_make_a_repeated_write_harmless() {
    let server = Server::start(&[]).await;
    let running = server.begin(open(argv(["cat"])).stdin("ab")).await;
    for (sent, accepted) in [
        (chunk(Some(2), "cd", false), 4),
        (chunk(Some(2), "cd", false), 4),
        (chunk(Some(3), "de", false), 5),
        (chunk(None, "f", false), 6),
        (chunk(Some(0), "ab", false), 6),
    ] {
        assert_eq!(write(&server, &running, sent).await.unwrap(), accepted);
    }
    let hole = write(&server, &running, chunk(Some(7), "x", false)).await;
    let hole = hole.unwrap_err();
    assert_eq!(Refusal::of(&hole), Some(Refusal::StdinHole));
    assert_eq!(
        write(&server, &running, chunk(None, "g", true))
            .await
            .unwrap(),
        7
    );
    // What brings nothing new is fine behind the end, too, if the command has not ended meanwhile.
    match write(&server, &running, chunk(None, "h", false)).await {
        Ok(position) => panic!("written behind the end, up to {position}"),
        Err(status) => assert!(matches!(
            Refusal::of(&status),
            Some(Refusal::StdinClosed | Refusal::ExecutionEnded)
        )),
    }
    let record = running.end().await;
    assert_eq!(record.text(), "abcdefg");
    server.daemon.stop().await;
}

#[tokio::test]
async fn what_is_written_behind_the_end_is_refused() {
    let server = Server::start(&[]).await;
    for request in [argv(["sleep", "1000"]), argv(["sleep", "1000"]).stdin("ab")] {
        let running = server.begin(request).await;
        let refused = write(&server, &running, chunk(None, "x", false)).await;
        let refused = refused.unwrap_err();
        assert_eq!(Refusal::of(&refused), Some(Refusal::StdinClosed));
        running.signal(9).await.unwrap();
        running.end().await;
    }
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_09_a_command_that_never_reads_its_stdin_keeps_its_exit_code() {
    let server = Server::start(&[]).await;
    for (code, request) in [
        (0, argv(["true"])),
        (7, shell("exit 7")),
        (8, shell("exec <&-; sleep 0.1; exit 8")),
    ] {
        let record = server.run(request.stdin(vec![b'x'; 3 << 20])).await;
        assert_eq!(record.ending(), (code, 0, Reason::Self_));
    }
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_09_a_command_that_closes_its_stdout_keeps_its_exit_code_and_stderr() {
    let server = Server::start(&[]).await;
    let text = "echo out; exec >&-; sleep 0.2; echo err >&2; exit 5";
    let record = server.run(shell(text)).await;
    assert_eq!(record.stdout, b"out\n");
    assert_eq!(record.stderr, b"err\n");
    assert_eq!(record.ending(), (5, 0, Reason::Self_));
    // Both closed: it is its exit that is waited for.
    let text = "exec >&- 2>&-; sleep 0.3; exit 6";
    assert_eq!(
        server.run(shell(text)).await.ending(),
        (6, 0, Reason::Self_)
    );
    server.daemon.stop().await;
}

/// More than every buffer on the way holds, through both ends of Interact.
#[tokio::test]
async fn stdin_comes_back_whole() {
    const BYTES: usize = 24 << 20;
    let server = Server::start(&[]).await;
    let mut interaction = server.client.interact(Command::new("cat")).await.unwrap();
    let mut stdin = interaction.stdin.take().unwrap();
    let sent: Vec<u8> = (0..=250).cycle().take(BYTES).collect();
    let feed = async {
        stdin.write(sent.clone()).await.unwrap();
        drop(stdin);
    };
    let read = async {
        let mut all = Vec::new();
        while let Some(event) = interaction.next().await.unwrap() {
            match event {
                Event::Output { data, .. } => all.extend_from_slice(&data),
                Event::Exited(exit) => assert!(exit.success(), "{exit:?}"),
                _ => {}
            }
        }
        all
    };
    let ((), all) = soon("the echo", async { tokio::join!(feed, read) }).await;
    assert!(all == sent, "{} of {BYTES} bytes, or others", all.len());
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_17_a_server_that_ends_first_loses_no_response() {
    let server = Server::start(&[]).await;
    for _ in 0..20 {
        let command = Command::shell("echo out; exit 3");
        let mut interaction = server.client.interact(command).await.unwrap();
        let mut stdin = interaction.stdin.take().unwrap();
        let feed = async {
            // It goes on for as long as somebody takes it.
            while stdin.write(vec![b'x'; 1 << 16]).await.is_ok() {}
        };
        let read = async {
            let mut out = Vec::new();
            let mut code = None;
            while let Some(event) = interaction.next().await.unwrap() {
                match event {
                    Event::Output { data, .. } => out.extend_from_slice(&data),
                    Event::Exited(exit) => code = exit.code,
                    _ => {}
                }
            }
            (out, code)
        };
        let ((), (out, code)) = soon("the end", async { tokio::join!(feed, read) }).await;
        assert_eq!((&out[..], code), (&b"out\n"[..], Some(3)));
    }
    server.daemon.stop().await;
}
