//! A gateway on ports of its own, and clients that check what they get byte by byte.

use std::{future::Future, net::SocketAddr, path::PathBuf, time::Duration};

use remex_client::Client;
use remex_daemon::net::{BoundAddress, HandedSockets, Users};
use remex_gateway::{Bound, Gateway, config::Legacy, limits::Limits};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket, UnixStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::fake::Fake;

/// Far beyond what anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what has to happen.
pub(crate) async fn soon<T>(happens: impl Future<Output = T>) -> T {
    timeout(PATIENCE, happens)
        .await
        .expect("it happens in time")
}

/// For what needs root and does not have it; in CI it has to.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(crate) fn skip<T>(what: &str) -> Option<T> {
    assert_ne!(
        std::env::var("CI").as_deref(),
        Ok("true"),
        "{what} needs root"
    );
    eprintln!("skipped: {what} needs root");
    None
}

pub(crate) struct Site {
    pub(crate) fake: Fake,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) local: BoundAddress,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Site {
    pub(crate) fn start(url: &str) -> Self {
        Self::with(url, Limits::default())
    }

    pub(crate) fn with(url: &str, limits: Limits) -> Self {
        let fake = Fake::new();
        let client = Client::from_service(fake.routes());
        Self::of(url, limits, fake, client)
    }

    pub(crate) fn of(url: &str, limits: Limits, fake: Fake, client: Client) -> Self {
        let listener = url.parse().unwrap_or_else(|error| panic!("{error}"));
        let users = Users::daemon();
        let bound = Bound::bind(Legacy { listener, users }, &HandedSockets::default()).unwrap();
        let local = bound.local().clone();
        let folder = tempfile::tempdir().unwrap();
        let spool = folder.path().to_owned();
        let gateway = Gateway::new(client, limits, spool);
        gateway.listeners().renew(vec![bound].into());
        let stop = CancellationToken::new();
        let serving = tokio::spawn(gateway.serve(stop.clone()));
        Self {
            fake,
            folder,
            local,
            stop,
            serving,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self.local {
            BoundAddress::Tcp(address) | BoundAddress::Udp(address) => address,
            BoundAddress::Unix(_) => panic!("a Unix socket"),
        }
    }

    pub(crate) async fn connect(&self) -> Peer<TcpStream> {
        let stream = TcpStream::connect(self.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Peer { stream }
    }

    pub(crate) async fn connect_unix(&self) -> Peer<UnixStream> {
        let BoundAddress::Unix(path) = &self.local else {
            panic!("{}", self.local);
        };
        let stream = UnixStream::connect(path).await.unwrap();
        Peer { stream }
    }

    pub(crate) async fn udp(&self) -> UdpSocket {
        let address = self.address();
        let socket = UdpSocket::bind((address.ip(), 0)).await.unwrap();
        socket.connect(address).await.unwrap();
        socket
    }

    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// The end of a gateway that was stopped.
    pub(crate) async fn stopped(self) {
        soon(self.serving).await.unwrap();
    }

    /// Drops the gateway as it is.
    pub(crate) async fn abort(self) {
        self.serving.abort();
        assert!(soon(self.serving).await.unwrap_err().is_cancelled());
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

/// A legacy client.
pub(crate) struct Peer<S> {
    pub(crate) stream: S,
}

/// A `json-header` reply.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) header: Value,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Peer<S> {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    pub(crate) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        soon(self.stream.read_exact(&mut bytes)).await.unwrap();
        bytes
    }

    pub(crate) async fn some(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 65_536];
        let count = soon(self.stream.read(&mut bytes)).await.unwrap();
        bytes.truncate(count);
        bytes
    }

    pub(crate) async fn int32(&mut self) -> usize {
        let bytes = self.exactly(4).await;
        usize::try_from(i32::from_le_bytes(bytes.try_into().unwrap())).unwrap()
    }

    pub(crate) async fn reply(&mut self) -> Reply {
        let length = self.int32().await;
        let header: Value = serde_json::from_slice(&self.exactly(length).await).unwrap();
        let size = header["total_size"].as_u64().unwrap();
        let body = self.exactly(usize::try_from(size).unwrap()).await;
        Reply { header, body }
    }

    pub(crate) async fn ask(&mut self, command: &str) -> Reply {
        self.send(command).await;
        self.reply().await
    }

    /// Nothing more, and the end.
    pub(crate) async fn end(&mut self) {
        assert_eq!(self.some().await, b"");
    }

    /// Whatever else comes, up to the end.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        soon(self.stream.read_to_end(&mut bytes)).await.unwrap();
        bytes
    }

    /// A reset.
    pub(crate) async fn reset(&mut self) {
        let error = soon(self.stream.read_to_end(&mut Vec::new()))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

pub(crate) async fn ask_udp(socket: &UdpSocket, datagram: impl AsRef<[u8]>) -> Vec<u8> {
    socket.send(datagram.as_ref()).await.unwrap();
    let mut reply = vec![0; 65_536];
    let count = soon(socket.recv(&mut reply)).await.unwrap();
    reply.truncate(count);
    reply
}
