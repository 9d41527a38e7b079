//! Attach: from an exact position, live and afterwards, at each reader's own pace.

use remex::{
    error::Reason as Refusal,
    v1::{AttachRequest, Event, event::Kind},
};
use tonic_types::StatusExt;

use super::support::{detached, from, output, started_id};
use crate::supervision::support::{RequestExt, Server, count, shell};

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
