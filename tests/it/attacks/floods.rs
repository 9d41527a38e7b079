//! HTTP/2 frames as fast as the server takes them, from connections that read what it answers and from ones that do not.

use super::{
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, Raw, SETTINGS,
        WINDOW_UPDATE, call, field, frame, stream_id,
    },
    trial::{Bounds, Trial, for_its_time},
};

const RUN: &str = "/remex.v1.ExecService/Run";
const INTERACT: &str = "/remex.v1.ExecService/Interact";
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// Frames of one write.
const BATCH: u32 = 256;
const CONNECTIONS: usize = 4;

const BOUNDS: Bounds = Bounds {
    peak: 64,
    after: 24,
};

/// Sends `first`, then what `batch` makes of each batch's number, on several connections for the attack's time. A connection
/// that the server closes is replaced.
async fn flood(name: &str, first: Vec<u8>, batch: impl Fn(u32) -> Vec<u8>) {
    let trial = Trial::start(&[]).await;
    let address = trial.server.daemon.socket("grpc");
    let one = async |reads: bool| {
        let Ok(raw) = Raw::connect(address).await else {
            return;
        };
        let mut raw = if reads { raw.listen() } else { raw };
        if raw.send(&first).await.is_err() {
            return;
        }
        for number in 0.. {
            if raw.send(&batch(number)).await.is_err() {
                return;
            }
        }
    };
    let attack = async {
        let one = &one;
        let each = (0..CONNECTIONS).map(|n| for_its_time(async move || one(n % 2 == 0).await));
        futures_util::future::join_all(each).await;
    };
    Box::pin(trial.attack(name, BOUNDS, attack))
        .await
        .stop()
        .await;
}

fn repeated(frame: &[u8]) -> Vec<u8> {
    frame.repeat(BATCH as usize)
}

#[tokio::test]
async fn pings() {
    let ping = frame(PING, 0, 0, &[7; 8]);
    flood("PING flood", Vec::new(), |_| repeated(&ping)).await;
}

#[tokio::test]
async fn settings() {
    // SETTINGS_INITIAL_WINDOW_SIZE, which every stream has to be told.
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]);
    flood("SETTINGS flood", Vec::new(), |_| repeated(&settings)).await;
}

#[tokio::test]
async fn empty_data() {
    let first = frame(HEADERS, END_HEADERS, 1, &call(INTERACT));
    let data = frame(DATA, 0, 1, &[]);
    flood("empty DATA flood", first, |_| repeated(&data)).await;
}

#[tokio::test]
async fn continuations() {
    let first = frame(HEADERS, 0, 1, &call(RUN));
    let more = frame(CONTINUATION, 0, 1, &field("x-filler", &"x".repeat(100)));
    flood("CONTINUATION flood", first, |_| repeated(&more)).await;
}

#[tokio::test]
async fn window_updates() {
    let update = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    flood("WINDOW_UPDATE flood", Vec::new(), |_| repeated(&update)).await;
}

#[tokio::test]
async fn rapid_resets() {
    let headers = call(RUN);
    flood("rapid reset", Vec::new(), |batch| {
        let streams = (batch * BATCH..).take(BATCH as usize).map(stream_id);
        let pair = |id| {
            let opened = frame(HEADERS, END_HEADERS, id, &headers);
            [opened, frame(RST_STREAM, 0, id, &CANCEL)].concat()
        };
        streams.flat_map(pair).collect()
    })
    .await;
}

/// Calls without a message, which are refused each with a reset of the server's own making or a status.
#[tokio::test]
async fn empty_calls() {
    let headers = call(RUN);
    flood("empty calls", Vec::new(), |batch| {
        let streams = (batch * BATCH..).take(BATCH as usize).map(stream_id);
        let opened = |id| frame(HEADERS, END_HEADERS | END_STREAM, id, &headers);
        streams.flat_map(opened).collect()
    })
    .await;
}
