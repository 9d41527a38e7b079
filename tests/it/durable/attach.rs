//! Attach: from an exact position, live and afterwards, at each reader's own pace.

use std::hash::{DefaultHasher, Hasher};

use http::Request;
use prost::Message;
use remex::{
    error::Reason as Refusal,
    v1::{AttachRequest, AttachResponse, Event, event::Kind},
};
use tokio::task::JoinSet;
use tonic_types::StatusExt;

use super::support::{Events, detached, from, output, started_id};
use crate::{
    harness::{
        http2::{Http2, framed},
        soon,
    },
    supervision::support::{RequestExt, Server, count, shell},
};

/// Bytes that no two places have in common, fast.
fn flood(bytes: usize) -> String {
    format!("seq 1 100000000 | head -c {bytes}")
}

#[tokio::test]
async fn every_position_gives_the_rest_as_it_was() {
    let server = Server::start(&[]).await;
    let request =
        shell("for i in 1 2 3 4 5 6 7 8; do echo out $i; echo err $i >&2; sleep 0.02; done");
    let live = server.start_events(detached(request)).await.end().await;
    let id = started_id(&live[0]);
    for after in 0..=live.len() {
        let rest = server.attach(from(&id, after as u64)).await.end().await;
        assert_eq!(rest, live[after..], "after {after}");
    }
    let ahead = server.try_attach(from(&id, live.len() as u64 + 1)).await;
    let ahead = ahead.map(drop).unwrap_err();
    assert_eq!(Refusal::of(&ahead), Some(Refusal::PositionAhead));
    let details = ahead.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.metadata["last_sequence"], live.len().to_string());
    server.daemon.stop().await;
}

#[tokio::test]
async fn readers_who_come_at_any_time_get_the_same() {
    let server = Server::start(&[]).await;
    let bytes = count(4, 64) * 1024 * 1024;
    let id = server.detach(shell(flood(bytes))).await;
    let mut readers = Vec::new();
    for _ in 0..8 {
        let reader = server.attach(from(&id, 0)).await;
        readers.push(tokio::spawn(reader.end()));
    }
    let mut all: Vec<Vec<Event>> = Vec::new();
    for reader in readers {
        all.push(reader.await.unwrap());
    }
    all.push(server.attach(from(&id, 0)).await.end().await);
    assert_eq!(output(&all[0]).len(), bytes);
    for other in &all[1..] {
        assert!(*other == all[0], "two readers were told different things");
    }
    server.daemon.stop().await;
}

#[tokio::test]
async fn a_reader_that_stands_still_holds_up_nobody() {
    let server = Server::start(&[]).await;
    let bytes = 16 * 1024 * 1024;
    let mut still = server.start_events(detached(shell(flood(bytes)))).await;
    let id = started_id(&still.next().await.unwrap());
    let ended = server.wait(&id).await;
    assert_eq!(ended.stdout_bytes_total, bytes as u64);
    let other = server.attach(from(&id, 0)).await.end().await;
    assert_eq!(output(&other).len(), bytes);
    let late = still.end().await;
    assert!(
        late == other,
        "the one that stood still was told something else"
    );
    server.daemon.stop().await;
}

/// All that a reader is told, in short, and how much output that was.
async fn digest(mut reader: Events<AttachResponse>) -> (u64, usize) {
    let mut hasher = DefaultHasher::new();
    let mut bytes = 0;
    while let Some(event) = reader.next().await {
        hasher.write(&event.encode_to_vec());
        bytes += output(&[event]).len();
        // A hundred of them have no room for all of it.
        reader.all.drain(..reader.all.len() - 1);
    }
    (hasher.finish(), bytes)
}

/// The events in the body of a call's response, each in its frame.
fn events_of(mut body: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while let [_, a, b, c, d, rest @ ..] = body {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let message = AttachResponse::decode(&rest[..length]).unwrap();
        events.extend(message.event);
        body = &rest[length..];
    }
    events
}

#[tokio::test]
async fn of_a_hundred_readers_one_that_stops_holds_up_neither_the_others_nor_the_command() {
    const READERS: usize = 100;
    let server = Server::start(&[]).await;
    // Far more than fits on the way to one that does not read: a window of 64 KiB.
    let bytes = count(1, 8) * 1024 * 1024;
    let text = format!("read go; {}", flood(bytes));
    let id = server.detach(shell(text).stdin_open()).await;
    let mut connection = Http2::connect(&server.daemon).await;
    let attach = Request::post("http://localhost/remex.v1.ExecService/Attach")
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let (response, _request) = connection.send(attach, framed(&from(&id, 0))).await;
    let mut stopped = soon("an attach", response).await.unwrap().into_body();
    let mut readers = JoinSet::new();
    for _ in 1..READERS {
        readers.spawn(digest(server.attach(from(&id, 0)).await));
    }
    server.write_to(&id, b"\n").await;
    let ended = server.wait(&id).await;
    assert_eq!(ended.stdout_bytes_total, bytes as u64);
    let all = server.attach(from(&id, 0)).await;
    let (told, length) = digest(all).await;
    assert_eq!(length, bytes);
    for other in readers.join_all().await {
        assert_eq!(
            other,
            (told, length),
            "two readers were told different things"
        );
    }
    // It goes on, and has missed nothing.
    let mut body = Vec::new();
    while let Some(data) = soon("data", stopped.data()).await {
        let data = data.unwrap();
        stopped.flow_control().release_capacity(data.len()).unwrap();
        body.extend_from_slice(&data);
    }
    let late = events_of(&body);
    let all = server.attach(from(&id, 0)).await.end().await;
    assert!(late == all, "the one that stopped was told something else");
    server.daemon.stop().await;
}

#[tokio::test]
async fn one_who_does_not_follow_ends_at_what_is_there() {
    let server = Server::start(&[]).await;
    let id = server
        .detach(shell("echo there; exec cat").stdin_open())
        .await;
    let mut reader = server.attach(from(&id, 0)).await;
    reader.until("there").await;
    let what_is_there = server
        .attach(AttachRequest {
            no_follow: true,
            ..from(&id, 0)
        })
        .await
        .end()
        .await;
    assert_eq!(output(&what_is_there), b"there\n");
    assert!(matches!(
        what_is_there.last().unwrap().kind,
        Some(Kind::Output(_))
    ));
    server.signal_to(&id, 9).await;
    reader.end().await;
    server.daemon.stop().await;
}
