//! A path between a client and a gateway: it splits, delays or puts together what the gateway sends, and keeps it as it
//! came, with the number of segments that the kernel has seen.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use remex_daemon::net::TcpInfo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::site::Peer;

/// What a path that delays adds to each segment.
const DELAY: Duration = Duration::from_millis(2);
/// Room for the largest segment of loopback, and more.
const SEGMENT_BYTES: usize = 1 << 20;

/// What a path does to segments.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Manner {
    /// Sends them on in pieces of so many bytes.
    Split(usize),
    /// Sends them on late.
    Delay,
    /// Sends them on when there are so many bytes of them.
    Coalesce(usize),
}

/// What a gateway has sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// What each read brought.
    pub(crate) reads: Vec<Vec<u8>>,
    /// The segments that they came in.
    pub(crate) segments: u32,
}

/// A path for one connection.
pub(crate) struct Path {
    address: SocketAddr,
    sent: Arc<Mutex<Sent>>,
}

impl Path {
    /// One that leads to `gateway`.
    pub(crate) async fn new(manner: Manner, gateway: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let sent = Arc::new(Mutex::default());
        let log = Arc::clone(&sent);
        tokio::spawn(async move {
            let (client, _) = listener.accept().await?;
            let gateway = TcpStream::connect(gateway).await?;
            carry(manner, client, gateway, &log).await
        });
        Self { address, sent }
    }

    /// The client at its near end.
    pub(crate) async fn connect(&self) -> Peer<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Peer { stream }
    }

    /// What the gateway has sent so far.
    pub(crate) fn sent(&self) -> Sent {
        self.sent.lock().unwrap().clone()
    }
}

/// Until both ends have been closed.
async fn carry(
    manner: Manner,
    client: TcpStream,
    gateway: TcpStream,
    sent: &Mutex<Sent>,
) -> io::Result<()> {
    for stream in [&client, &gateway] {
        stream.set_nodelay(true)?;
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_gateway, mut to_gateway) = gateway.into_split();
    let there = async {
        copy(&mut from_client, &mut to_gateway).await?;
        to_gateway.shutdown().await
    };
    let back = async {
        let mut waiting = Vec::new();
        loop {
            let mut segment = Vec::with_capacity(SEGMENT_BYTES);
            if from_gateway.read_buf(&mut segment).await? == 0 {
                to_client.write_all(&waiting).await?;
                return to_client.shutdown().await;
            }
            waiting.extend_from_slice(&segment);
            let segments = TcpInfo::of(from_gateway.as_ref())?.data_segs_in;
            {
                let mut sent = sent.lock().unwrap();
                sent.reads.push(segment);
                sent.segments = segments;
            }
            let piece = match manner {
                Manner::Split(bytes) => bytes,
                Manner::Delay => {
                    sleep(DELAY).await;
                    waiting.len()
                }
                Manner::Coalesce(bytes) if waiting.len() < bytes => continue,
                Manner::Coalesce(_) => waiting.len(),
            };
            for piece in waiting.chunks(piece) {
                to_client.write_all(piece).await?;
            }
            waiting.clear();
        }
    };
    tokio::try_join!(there, back)?;
    Ok(())
}
