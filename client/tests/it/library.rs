//! The library's own types: run, start, interact.

use std::time::Duration;

use remex_client::{
    Client, Command, Error, Event, ExitReason, Reason, STDIN_WINDOW_BYTES, Signal, Stream, v1,
};
use tokio::time::timeout;

use crate::fake::{self, Fake};

const PATIENCE: Duration = Duration::from_secs(20);

fn client() -> Client {
    Client::from_service(fake::routes())
}

#[tokio::test]
async fn run_answers_with_output_and_exit() {
    let command = Command::shell("cat; echo oops >&2; exit 7").stdin("in");
    let outcome = client().run(command).await.unwrap();
    assert_eq!(
        (&outcome.stdout[..], &outcome.stderr[..]),
        (&b"in"[..], &b"oops\n"[..])
    );
    assert_eq!(
        (outcome.exit.code, outcome.exit.success()),
        (Some(7), false)
    );
    assert!(!outcome.truncated);
    let cut = client()
        .run(Command::new("echo").arg("abc").max_output_bytes(2))
        .await
        .unwrap();
    assert_eq!(
        (&cut.stdout[..], cut.stdout_bytes_total, cut.truncated),
        (&b"ab"[..], 4, true)
    );
}

#[tokio::test]
async fn the_largest_answer_is_taken() {
    const MAX: u64 = 16 << 20;
    let server = Fake::start();
    let client = Client::connect(&server.endpoint).await.unwrap();
    let script = format!("head -c {MAX} /dev/zero; head -c {MAX} /dev/zero >&2");
    let outcome = client
        .run(Command::shell(script).max_output_bytes(MAX))
        .await
        .unwrap();
    assert_eq!(
        (outcome.stdout.len() as u64, outcome.stderr.len() as u64),
        (MAX, MAX)
    );
}

#[tokio::test]
async fn start_tells_events_from_started_to_exited() {
    let mut execution = client()
        .start(Command::shell("echo out; kill -9 $$"))
        .await
        .unwrap();
    assert_eq!(execution.id(), "exec-1");
    let mut events = Vec::new();
    while let Some(event) = execution.next().await.unwrap() {
        events.push(event);
    }
    assert!(
        matches!(events[0], Event::Started { pid: 2.. }),
        "{events:?}"
    );
    let (stream, offset, data) = (Stream::Stdout, 0, "out\n".into());
    assert_eq!(
        events[1],
        Event::Output {
            stream,
            offset,
            data
        }
    );
    match &events[2] {
        Event::Exited(exit) => {
            assert_eq!((exit.code, exit.signal), (None, Some(Signal::KILL)));
            assert_eq!((exit.reason, exit.status_code()), (ExitReason::Own, 137));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(events.len(), 3);
    assert_eq!(execution.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_refusal_has_its_reason() {
    let error = client().start(Command::new("/no/such")).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::ProgramNotFound));
    let error = client().interact(Command::new("/")).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::ProgramNotExecutable));
}

#[tokio::test]
async fn stdin_goes_through_whole_behind_what_came_with_the_command() {
    let data: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut interaction = client()
        .interact(Command::new("cat").stdin("first"))
        .await
        .unwrap();
    let mut stdin = interaction.stdin.take().unwrap();
    let sent = data.clone();
    let writer = tokio::spawn(async move { stdin.write(sent).await });
    let mut read = Vec::new();
    loop {
        match interaction.next().await.unwrap() {
            Some(Event::Output { data, offset, .. }) => {
                assert_eq!(offset, read.len() as u64);
                read.extend(data);
            }
            Some(Event::Exited(exit)) => break assert!(exit.success()),
            Some(_) => {}
            None => panic!("no exit"),
        }
    }
    writer.await.unwrap().unwrap();
    assert_eq!(&read[..5], b"first");
    assert!(read[5..] == data);
}

#[tokio::test]
async fn a_signal_gets_through_when_stdin_does_not() {
    let mut interaction = client().interact(Command::new("fake:deaf")).await.unwrap();
    // The script takes chunks and accepts none of them, so the window fills.
    let mut stdin = interaction.stdin.take().unwrap();
    let more = vec![0; usize::try_from(STDIN_WINDOW_BYTES).unwrap() + 1];
    let mut writer = tokio::spawn(async move { stdin.write(more).await });
    assert!(
        timeout(Duration::from_millis(100), &mut writer)
            .await
            .is_err()
    );
    interaction.control().signal(Signal::TERM).await.unwrap();
    let exit = timeout(PATIENCE, async {
        loop {
            match interaction.next().await.unwrap() {
                Some(Event::Exited(exit)) => break exit,
                Some(_) => {}
                None => panic!("no exit"),
            }
        }
    });
    assert_eq!(exit.await.unwrap().status_code(), 143);
    let ended = timeout(PATIENCE, writer).await.unwrap().unwrap();
    assert!(ended.is_err(), "a write that waits ends with the command");
}

#[tokio::test]
async fn records_by_id() {
    let client = client();
    let mut first = client
        .start(Command::new("sleep").arg("1000"))
        .await
        .unwrap();
    let second = client.run(Command::new("true")).await.unwrap();
    let record = client.get(first.id()).await.unwrap();
    assert_eq!(record.execution_id, first.id());
    assert_eq!(record.command.unwrap().argv, ["sleep", "1000"]);

    let mut ids = Vec::new();
    let mut request = v1::ListRequest::default();
    loop {
        let page = client.list(request.clone()).await.unwrap();
        ids.extend(
            page.executions
                .into_iter()
                .map(|record| record.execution_id),
        );
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(ids, [second.execution_id.as_str(), first.id()]);

    let chunk = v1::StdinChunk {
        offset: Some(3),
        data: "abc".into(),
        ..v1::StdinChunk::default()
    };
    assert_eq!(client.write(first.id(), chunk).await.unwrap(), 6);

    client.kill(first.id(), Signal::TERM).await.unwrap();
    // The end of its events is that of the execution, which has to be followed for that.
    while first.next().await.unwrap().is_some() {}
    let exit = timeout(PATIENCE, client.wait(first.id())).await.unwrap();
    assert_eq!(exit.unwrap().signal, Some(Signal::TERM));
    let error = client.kill(first.id(), Signal::TERM).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::ExecutionEnded));
    for missing in [
        client.get("exec-9").await.map(drop),
        client.wait("exec-9").await.map(drop),
        client.kill("exec-9", Signal::TERM).await,
        client
            .write("exec-9", v1::StdinChunk::default())
            .await
            .map(drop),
    ] {
        assert_eq!(
            missing.unwrap_err().reason(),
            Some(Reason::ExecutionNotFound)
        );
    }
}

#[tokio::test]
async fn what_cannot_connect_has_run_nothing_whichever_call_it_is() {
    // Bound, so that nobody else gets the port meanwhile, and not listening.
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = format!("http://{}", nobody.local_addr().unwrap());
    let client = Client::connect_lazy(&endpoint.parse().unwrap());
    for error in [
        client.run(Command::new("true")).await.unwrap_err(),
        client.start(Command::new("true")).await.unwrap_err(),
        client.interact(Command::new("true")).await.unwrap_err(),
        client.get("exec-1").await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Connect(_)), "{error:?}");
        assert!(error.never_ran());
        assert!(error.to_string().contains(&endpoint), "{error}");
    }
}
