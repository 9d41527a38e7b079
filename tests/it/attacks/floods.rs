//! HTTP/2 frames as fast as the server takes them, from connections that read what it answers and from ones that do not.

use std::{io, net::SocketAddr};

use super::{
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, Raw, SETTINGS,
        WINDOW_UPDATE, call, field, frame, stream_id,
    },
    trial::{Bounds, Trial, for_its_time},
};
use crate::tls::{
    site::{Leaf, Site},
    stream::stream,
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

/// What the attackers come over.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Over {
    Plaintext,
    Tls,
}

/// A server, and the way to it.
enum Target {
    Plaintext(SocketAddr),
    Tls(SocketAddr, Box<(Site, Leaf)>),
}

impl Target {
    async fn start(over: Over) -> (Trial, Self) {
        if over == Over::Plaintext {
            let trial = Trial::start(&[]).await;
            let address = trial.server.daemon.socket("grpc");
            return (trial, Self::Plaintext(address));
        }
        let site = Site::new();
        let leaf = site.ca.client("runner.example");
        let [cert, key, ca] = ["server.pem", "server.key", "ca.pem"].map(|name| site.at(name));
        // Whoever is honest comes by the first one.
        let socket = format!("unix:{}", site.at("grpc.sock"));
        let listen = ["--listen", &socket, "--listen", "127.0.0.1:0"];
        let tls = [
            "--tls-cert",
            &cert,
            "--tls-key",
            &key,
            "--tls-client-ca",
            &ca,
        ];
        let trial = Trial::start(&[&listen[..], &tls].concat()).await;
        let mut addresses = trial.server.daemon.addresses().iter();
        let address = addresses.find_map(|(_, url)| url.strip_prefix("https://")?.parse().ok());
        let address = address.expect("where TLS is served");
        (trial, Self::Tls(address, Box::new((site, leaf))))
    }

    async fn connect(&self) -> io::Result<Raw> {
        match self {
            Self::Plaintext(address) => Raw::connect(*address).await,
            Self::Tls(address, shown) => {
                let (site, leaf) = &**shown;
                Raw::over(stream(*address, site, Some(leaf)).await?).await
            }
        }
    }
}

/// Sends `first`, then what `batch` makes of each batch's number, on several connections for the attack's time. A connection
/// that the server closes is replaced.
async fn flood(over: Over, name: &str, first: Vec<u8>, batch: impl Fn(u32) -> Vec<u8>) {
    let (trial, target) = Target::start(over).await;
    let name = format!("{name}, {over:?}");
    let one = async |reads: bool| {
        let Ok(raw) = target.connect().await else {
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
    Box::pin(trial.attack(&name, BOUNDS, attack))
        .await
        .stop()
        .await;
}

/// Two tests of each: in plaintext, and over TLS, where a short run does with those that a server answers.
macro_rules! over_each {
    ($($name:ident: $long:tt;)*) => {$(
        mod $name {
            use super::Over;

            #[tokio::test]
            async fn in_plaintext() {
                super::$name(Over::Plaintext).await;
            }

            #[tokio::test]
            async fn over_tls() {
                over_each!($long);
                super::$name(Over::Tls).await;
            }
        }
    )*};
    (always) => {};
    (long) => {
        long_only!();
    };
}

over_each! {
    pings: always;
    settings: long;
    empty_data: long;
    continuations: long;
    window_updates: long;
    rapid_resets: always;
    empty_calls: long;
}

fn repeated(frame: &[u8]) -> Vec<u8> {
    frame.repeat(BATCH as usize)
}

async fn pings(over: Over) {
    let ping = frame(PING, 0, 0, &[7; 8]);
    flood(over, "PING flood", Vec::new(), |_| repeated(&ping)).await;
}

async fn settings(over: Over) {
    // SETTINGS_INITIAL_WINDOW_SIZE, which every stream has to be told.
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]);
    flood(over, "SETTINGS flood", Vec::new(), |_| repeated(&settings)).await;
}

async fn empty_data(over: Over) {
    let first = frame(HEADERS, END_HEADERS, 1, &call(INTERACT));
    let data = frame(DATA, 0, 1, &[]);
    flood(over, "empty DATA flood", first, |_| repeated(&data)).await;
}

async fn continuations(over: Over) {
    let first = frame(HEADERS, 0, 1, &call(RUN));
    let more = frame(CONTINUATION, 0, 1, &field("x-filler", &"x".repeat(100)));
    flood(over, "CONTINUATION flood", first, |_| repeated(&more)).await;
}

async fn window_updates(over: Over) {
    let update = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    flood(over, "WINDOW_UPDATE flood", Vec::new(), |_| {
        repeated(&update)
    })
    .await;
}

async fn rapid_resets(over: Over) {
    let headers = call(RUN);
    flood(over, "rapid reset", Vec::new(), |batch| {
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
async fn empty_calls(over: Over) {
    let headers = call(RUN);
    flood(over, "empty calls", Vec::new(), |batch| {
        let streams = (batch * BATCH..).take(BATCH as usize).map(stream_id);
        let opened = |id| frame(HEADERS, END_HEADERS | END_STREAM, id, &headers);
        streams.flat_map(opened).collect()
    })
    .await;
}
