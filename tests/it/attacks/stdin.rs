//! Stdin that commands do not read.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures_util::{StreamExt, future::try_join, stream};
use h2::client::SendRequest;
use remex::{
    error::Reason,
    v1::{
        InteractRequest, ListRequest, StartRequest, StdinChunk, WriteRequest, event::Kind,
        execution::State, interact_request::Message,
    },
};
use remex_client::Client;
use tokio::task::JoinSet;

use super::{
    figures::mib,
    trial::{Bounds, Trial},
};
use crate::{
    harness::{Marker, http2::framed, soon},
    supervision::support::{argv, count, is_long},
    unfinished::{self, connect_until, send_as_taken, standstill},
};

const INTERACT: &str = "/remex.v1.ExecService/Interact";

const MIB: usize = 1 << 20;

/// What each caller sends, of which its command takes a pipe full.
const STDIN_BYTES: usize = 3 * MIB;
const CHUNK_BYTES: usize = 64 * 1024;

fn chunk(bytes: usize) -> StdinChunk {
    StdinChunk {
        data: vec![b'x'; bytes].into(),
        ..StdinChunk::default()
    }
}

fn interact(message: Message) -> Bytes {
    framed(&InteractRequest {
        message: Some(message),
    })
}

/// Feeds a command that does not read, until the server takes no more; it runs as long as its connection is there.
async fn feed(
    mut sender: SendRequest<Bytes>,
    request: StartRequest,
    sent: Arc<AtomicUsize>,
) -> Result<(), h2::Error> {
    let (response, mut stream) = sender.send_request(unfinished::request(INTERACT), false)?;
    let sending = async {
        let first = Message::Start(Box::new(request));
        send_as_taken(&mut stream, interact(first), &sent).await?;
        let chunk = interact(Message::StdinChunk(chunk(CHUNK_BYTES)));
        for _ in 0..STDIN_BYTES / CHUNK_BYTES {
            send_as_taken(&mut stream, chunk.clone(), &sent).await?;
        }
        std::future::pending().await
    };
    // h2 ends a connection whose small frames are not read.
    let reading = async {
        let mut body = response.await?.into_body();
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data?.len())?;
        }
        Ok(())
    };
    try_join(sending, reading).await.map(|((), ())| ())
}

/// One byte, there and back, by Interact.
async fn types(client: &Client) {
    let first = argv(["head", "-c", "1"]);
    let messages = [
        Message::Start(Box::new(first)),
        Message::StdinChunk(chunk(1)),
    ];
    let messages = messages.map(|message| InteractRequest {
        message: Some(message),
    });
    let outbound = stream::iter(messages).chain(stream::pending());
    let answered = soon("a start", client.exec().interact(outbound)).await;
    let mut responses = answered.expect("it starts").into_inner();
    while let Some(response) = soon("a response", responses.message())
        .await
        .expect("no error")
    {
        if let Some(Kind::Exited(_)) = response.event.and_then(|event| event.kind) {
            return;
        }
    }
    panic!("it has no end");
}

#[tokio::test]
async fn stdin_that_nobody_reads() {
    const CONNECTIONS: usize = 3;
    let trial = Trial::start(&[]).await;
    let daemon = &trial.server.daemon;
    let bounds = Bounds {
        // What may wait in all, what the connections' windows hold, and of each command its own share, a chunk that waits
        // for memory, and what runs it.
        peak: 256 + 3 * 16 + 300 * (64 + 64 + 200) / 1024,
        after: 32,
    };
    let marker = Marker::new();
    let sent = Arc::new(AtomicUsize::new(0));
    let (mut senders, mut connections) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        let (sender, connection) = connect_until(daemon).await;
        senders.push(sender);
        connections.push(connection);
    }
    let other = daemon.client().await;
    let attack = async {
        let mut feeding = JoinSet::new();
        for sender in senders {
            for _ in 0..count(3, 100) {
                let request = argv(["sleep", &marker.to_string()]);
                feeding.spawn(feed(sender.clone(), request, Arc::clone(&sent)));
            }
        }
        standstill(|| sent.load(Ordering::Relaxed)).await;
        let ended = feeding.try_join_next();
        assert!(ended.is_none(), "one has ended: {ended:?}");
        types(&other).await;
        let list = ListRequest {
            states: vec![State::Running.into()],
            ..ListRequest::default()
        };
        let list = soon("a list", other.exec().list(list)).await;
        let list = list.expect("a list").into_inner();
        let write = WriteRequest {
            execution_id: list.executions[0].execution_id.clone(),
            chunk: Some(chunk(MIB)),
        };
        if is_long() {
            // What a call of its own brings is refused.
            let refused = soon("an answer", other.exec().write(write)).await;
            let refused = refused.expect_err("there is no memory for it");
            assert_eq!(Reason::of(&refused), Some(Reason::TooManyExecutions));
        }
        for connection in connections {
            connection.abort();
        }
        marker.is_gone().await;
    };
    let trial = Box::pin(trial.attack("commands that do not read", bounds, attack)).await;
    eprintln!(
        "{} of stdin were taken",
        mib(sent.load(Ordering::Relaxed) as u64)
    );
    trial.stop().await;
}
