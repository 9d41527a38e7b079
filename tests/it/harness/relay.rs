//! A relay in front of a server, which counts what goes to it, and whose connections can be cut.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// It ends when it is dropped, its connections too.
pub(crate) struct Relay {
    address: SocketAddr,
    passed: Arc<AtomicUsize>,
    connections: Arc<Mutex<JoinSet<()>>>,
    accepting: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let passed = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&passed);
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let accepted = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let pass = pass(client, server, Arc::clone(&counter));
                accepted.lock().expect("no panic").spawn(pass);
            }
        });
        Self {
            address,
            passed,
            connections,
            accepting,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that went to the server.
    pub(crate) fn passed(&self) -> usize {
        self.passed.load(Ordering::Relaxed)
    }

    /// Every connection ends, whatever is on its way. New ones are taken.
    pub(crate) fn cut(&self) {
        *self.connections.lock().expect("no panic") = JoinSet::new();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Passes both ways what comes, until the client has gone or the server.
async fn pass(mut client: TcpStream, server: SocketAddr, passed: Arc<AtomicUsize>) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    let (mut requests, mut responses) = client.split();
    let (mut answers, mut calls) = server.split();
    let there = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = requests.read(&mut buffer).await {
            passed.fetch_add(length, Ordering::Relaxed);
            if calls.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = there => {}
        _ = copy(&mut answers, &mut responses) => {}
    }
}
