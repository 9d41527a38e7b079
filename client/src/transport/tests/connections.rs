//! The connections of many calls: how many there are, and what those calls do to each other.

use std::{future::poll_fn, time::Duration};

use bytes::Bytes;
use h2::server;
use http::Response;
use tokio::{sync::oneshot, task::JoinSet, time::Instant};
use tonic::Code;

use super::{Server, begin, length, listen, message, request, respond, send, soon};
use crate::transport::{
    MAX_CALLS_PER_CONNECTION, MAX_CONNECTIONS, Pool, STREAM_WINDOW_BYTES, never_ran,
};

#[tokio::test]
async fn calls_spread_over_as_many_connections_as_they_need() {
    let (mut server, pool) = Server::start().await;
    assert_eq!((MAX_CALLS_PER_CONNECTION, MAX_CONNECTIONS), (100, 64));
    let count = 2 * MAX_CALLS_PER_CONNECTION + 1;
    let calls: Vec<_> = (0..count)
        .map(|_| begin(&pool, request(message())))
        .collect();
    let mut accepted = Vec::new();
    for _ in 0..count {
        accepted.push(server.next().await);
    }
    let mut on = [0; 3];
    for (connection, _) in &accepted {
        on[*connection] += 1;
    }
    on.sort_unstable();
    assert_eq!(on, [1, MAX_CALLS_PER_CONNECTION, MAX_CALLS_PER_CONNECTION]);
    for (_, (_, answer)) in accepted {
        respond(answer);
    }
    for call in calls {
        let response = soon("an answer", call).await.unwrap().unwrap();
        assert_eq!(length(response).await.unwrap(), 0);
    }
    // One spare connection stays, one is closed when the next call finds it idle.
    let call = begin(&pool, request(message()));
    let (_, (_, answer)) = server.next().await;
    respond(answer);
    soon("an answer", call).await.unwrap().unwrap();
    soon("an end", server.ended.recv()).await.unwrap();
    assert!(server.ended.try_recv().is_err());
}

#[tokio::test]
async fn a_call_beyond_all_connections_is_refused_and_has_not_run() {
    let (mut server, pool) = Server::start().await;
    let most = MAX_CONNECTIONS * MAX_CALLS_PER_CONNECTION;
    let mut calls = JoinSet::new();
    for _ in 0..most {
        let pool = pool.clone();
        calls.spawn(async move { send(&pool, request(message())).await });
    }
    let mut accepted = Vec::new();
    for _ in 0..most {
        accepted.push(server.next().await);
    }
    let status = send(&pool, request(message())).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(never_ran(&status));
    // Room for one makes room for one.
    let (_, (_, answer)) = accepted.pop().unwrap();
    respond(answer);
    let answered = soon("an answer", calls.join_next()).await.unwrap();
    answered.unwrap().unwrap();
    calls.spawn(async move { send(&pool, request(message())).await });
    server.next().await;
}

#[tokio::test]
async fn a_connection_that_ended_idle_is_opened_again_for_the_next_call() {
    let (listener, endpoint) = listen().await;
    let pool = Pool::lazy(&endpoint);
    for _ in 0..3 {
        let call = begin(&pool, request(message()));
        let (stream, _) = soon("a connection", listener.accept()).await.unwrap();
        let mut connection = server::handshake(stream).await.unwrap();
        let (_, answer) = soon("a call", connection.accept()).await.unwrap().unwrap();
        respond(answer);
        connection.graceful_shutdown();
        // To its end, which is the client's.
        assert!(soon("its end", connection.accept()).await.is_none());
        soon("an answer", call).await.unwrap().unwrap();
    }
}

/// Sends `frame` again and again, as long as the peer takes it.
async fn flood(mut body: h2::SendStream<Bytes>, frame: Bytes) {
    loop {
        body.reserve_capacity(frame.len());
        match poll_fn(|cx| body.poll_capacity(cx)).await {
            Some(Ok(capacity)) if capacity >= frame.len() => {
                if body.send_data(frame.clone(), false).is_err() {
                    return;
                }
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
}

#[tokio::test]
async fn pitfall_57_any_number_of_cancelled_calls_ends_no_other() {
    const CALLS: usize = 3000;
    let (mut server, pool) = Server::start().await;
    let other = begin(&pool, request(message()));
    let (number, (_, answer)) = server.next().await;
    let other_answer = (number, answer);
    for _ in 0..CALLS {
        let call = begin(&pool, request(message()));
        let (number, (_, mut answer)) = server.next().await;
        assert_eq!(number, other_answer.0, "the same connection");
        let body = answer.send_response(Response::new(()), false).unwrap();
        server
            .tasks
            .spawn(flood(body, Bytes::from_static(&[0; 1024])));
        drop(soon("the headers", call).await.unwrap().unwrap());
    }
    respond(other_answer.1);
    soon("an answer", other).await.unwrap().unwrap();
}

#[tokio::test]
async fn pitfall_65_calls_that_nobody_reads_hold_up_no_other_and_end_no_connection() {
    // As many as one connection has, but the one that goes on.
    const UNREAD: usize = MAX_CALLS_PER_CONNECTION - 1;
    const SMALL_FRAMES: usize = 5000;
    let (mut server, pool) = Server::start().await;
    let mut unread = Vec::new();
    for index in 0..UNREAD {
        let call = begin(&pool, request(message()));
        let (number, (_, mut answer)) = server.next().await;
        assert_eq!(number, 0);
        let mut body = answer.send_response(Response::new(()), false).unwrap();
        unread.push(soon("the headers", call).await.unwrap().unwrap());
        if index % 2 == 0 {
            // All that its window takes.
            let window = STREAM_WINDOW_BYTES as usize;
            body.send_data(vec![0; window].into(), false).unwrap();
        } else {
            for _ in 0..SMALL_FRAMES {
                body.send_data(Bytes::from_static(&[0; 32]), false).unwrap();
            }
        }
        server.tasks.spawn(async move {
            poll_fn(|cx| body.poll_reset(cx)).await.unwrap();
        });
    }
    let call = begin(&pool, request(message()));
    let (number, (_, mut answer)) = server.next().await;
    assert_eq!(number, 0);
    let mut body = answer.send_response(Response::new(()), false).unwrap();
    let bytes = 4 * STREAM_WINDOW_BYTES as usize;
    body.send_data(vec![0; bytes].into(), true).unwrap();
    let response = soon("the headers", call).await.unwrap().unwrap();
    let read = soon("all of it", length(response)).await.unwrap();
    assert_eq!(read, bytes);
    assert!(server.ended.try_recv().is_err());
    drop(unread);
}

#[tokio::test]
async fn attempts_to_connect_have_a_pause_between_them() {
    let (listener, endpoint) = listen().await;
    let pool = Pool::lazy(&endpoint);
    let (stop, mut stopped) = oneshot::channel::<()>();
    let peer = tokio::spawn(async move {
        let mut accepted = 0;
        loop {
            tokio::select! {
                stream = listener.accept() => drop(stream.unwrap()),
                _ = &mut stopped => return accepted,
            }
            accepted += 1;
        }
    });
    let begun = Instant::now();
    let mut failed: u32 = 0;
    while begun.elapsed() < Duration::from_millis(500) {
        let status = send(&pool, request(message())).await.unwrap_err();
        assert!(never_ran(&status), "{status:?}");
        failed += 1;
    }
    stop.send(()).unwrap();
    let accepted: u32 = peer.await.unwrap();
    // 50, 100, 200 and 400 ms apart; a little more on a machine that is late.
    assert!((2..=8).contains(&accepted), "{accepted} connections");
    assert!(failed > accepted);
}

#[tokio::test]
async fn calls_made_together_share_one_connection() {
    let (mut server, pool) = Server::start().await;
    let calls: Vec<_> = (0..MAX_CALLS_PER_CONNECTION)
        .map(|_| begin(&pool, request(message())))
        .collect();
    for _ in 0..calls.len() {
        let (number, (_, answer)) = server.next().await;
        assert_eq!(number, 0);
        respond(answer);
    }
}
