//! What is kept of output: what makes room, who waits, and what a reader finds where something is gone.

use remex::{
    error::Reason as Refusal,
    v1::{AttachRequest, Event, Keep, StartRequest, event::Kind, keep::OnFull},
};

use super::support::{detached, exit, from, output, started_id};
use crate::{
    harness::soon,
    supervision::support::{RequestExt, Server, shell},
};

const MIB: u64 = 1024 * 1024;

fn kept(mut request: StartRequest, keep: Keep) -> StartRequest {
    request.keep = Some(keep);
    detached(request)
}

/// Every byte of stdout is there, or counted in a gap, in order.
#[track_caller]
fn accounted(events: &[Event]) -> (u64, u64) {
    let (mut position, mut gone) = (0, 0);
    for event in events {
        match event.kind.as_ref().unwrap() {
            Kind::Output(output) => {
                assert_eq!(output.offset, position);
                position += output.data.len() as u64;
            }
            Kind::Gap(gap) => {
                assert_eq!((gap.stderr_bytes, gap.terminal_bytes), (0, 0));
                position += gap.stdout_bytes;
                gone += gap.stdout_bytes;
            }
            Kind::Started(_) | Kind::Exited(_) => {}
        }
    }
    (position, gone)
}

#[tokio::test]
async fn the_oldest_goes_where_that_was_asked_for() {
    let server = Server::start(&[]).await;
    let keep = Keep {
        max_bytes: MIB,
        on_full: OnFull::DropOldest.into(),
        no_output: false,
    };
    let request = kept(shell("seq 1 10000000 | head -c 8388608; echo end"), keep);
    let id = server.detach(request).await;
    let ended = server.wait(&id).await;
    let bytes = 8 * MIB + 4;
    assert_eq!(ended.stdout_bytes_total, bytes);
    assert!(
        ended.stored_bytes < 3 * MIB,
        "{} are stored",
        ended.stored_bytes
    );
    let all = server.attach(from(&id, 0)).await.end().await;
    let (position, gone) = accounted(&all);
    assert_eq!(position, bytes);
    assert!(gone > 6 * MIB, "{gone} are gone");
    assert!(matches!(all[0].kind, Some(Kind::Started(_))));
    assert!(matches!(all[1].kind, Some(Kind::Gap(_))));
    assert_eq!(all[2].sequence, ended.first_sequence);
    assert!(output(&all).ends_with(b"end\n"));
    // A position that is gone is none to go on from.
    let gone = server.try_attach(from(&id, 2)).await.map(drop).unwrap_err();
    assert_eq!(Refusal::of(&gone), Some(Refusal::PositionGone));
    let rest = server.attach(from(&id, ended.first_sequence)).await;
    assert_eq!(rest.end().await, all[3..]);
    server.daemon.stop().await;
}

#[tokio::test]
async fn without_a_reader_a_full_command_waits_and_a_reader_makes_room() {
    let server = Server::start(&[]).await;
    let keep = Keep {
        max_bytes: MIB,
        ..Keep::default()
    };
    // Not before its caller has gone, who would be sent the first of it.
    let text = "read go; seq 1 10000000 | head -c 8388608; echo end";
    let id = server.detach(kept(shell(text).stdin_open(), keep)).await;
    soon("nobody attached", async {
        while server.get(&id).await.attached > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    server.write_to(&id, b"\n").await;
    let record = soon("a command that waits", async {
        loop {
            let record = server.get(&id).await;
            if record.blocked {
                break record;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(record.stdout_bytes_total < 4 * MIB, "{record:?}");
    // An observer makes no room; it sees what is there.
    let observer = AttachRequest {
        observer: true,
        no_follow: true,
        ..from(&id, 0)
    };
    let seen = server.attach(observer).await.end().await;
    assert_eq!(accounted(&seen).1, 0);
    assert!(server.get(&id).await.blocked);
    // A caller who reads does, and misses nothing.
    let all = server.attach(from(&id, 0)).await.end().await;
    assert_eq!(accounted(&all), (8 * MIB + 4, 0));
    assert_eq!(exit(&all).code, Some(0));
    let ended = server.wait(&id).await;
    assert!(!ended.blocked && ended.stored_bytes < 3 * MIB, "{ended:?}");
    server.daemon.stop().await;
}

#[tokio::test]
async fn output_that_is_not_to_be_stored_reaches_who_is_there() {
    let server = Server::start(&[]).await;
    let keep = Keep {
        no_output: true,
        ..Keep::default()
    };
    let text =
        "x=secret; echo $x-1; read a; echo $x-$a; read b; seq 1 100000 | tail -c 400000; exit 4";
    let request = kept(shell(text).stdin_open(), keep);
    let mut events = server.start_events(request).await;
    events.until("secret-1").await;
    let id = started_id(&events.all[0]);
    let mut reader = server.attach(from(&id, 0)).await;
    server.write_to(&id, b"2\n").await;
    events.until("secret-2").await;
    reader.until("secret-2").await;
    server.write_to(&id, b"\n").await;
    let rest = tokio::spawn(reader.end());
    let live = events.end().await;
    let rest = rest.await.unwrap();
    let whole = 400_000 + 18;
    assert_eq!(accounted(&live), (whole, 0));
    assert_eq!(exit(&live).code, Some(4));
    // Who came later was told how much had gone by.
    assert_eq!(accounted(&rest), (whole, 9));
    let later = server.attach(from(&id, 0)).await.end().await;
    assert_eq!(accounted(&later), (whole, whole));
    assert_eq!(later.last(), live.last());
    // Nothing of it is on disk; the command is.
    let folder = server.daemon.home().path("state/durable").join(&id);
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        assert!(!bytes.windows(7).any(|part| part == b"secret-"));
    }
    server.daemon.stop().await;
}
