//! A network that takes its time: whatever comes in goes out 50 ms later, each way.

use std::time::Duration;

use remex_client::{Client, Endpoint, net::connect_tcp};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::{remexd::Remexd, support::Outcome};

const DELAY: Duration = Duration::from_millis(50);
const PIECE_BYTES: usize = 256 << 10;
/// Pieces under way, far more than HTTP/2's windows let be.
const PIECES: usize = 4096;

/// A client that reaches `remexd` over such a network.
pub(crate) async fn client(remexd: &Remexd) -> Outcome<Client> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint: Endpoint = format!("http://{}", listener.local_addr()?).parse()?;
    let Endpoint::Http(server) = remexd.endpoint()? else {
        return Err("it is not reached over TCP".into());
    };
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = connect_tcp(&server).await else {
                return;
            };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let (near_in, near_out) = near.into_split();
            let (far_in, far_out) = far.into_split();
            pass(near_in, far_out);
            pass(far_in, near_out);
        }
    });
    Ok(Client::connect(&endpoint).await?)
}

fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let (pieces, mut delayed) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
            let piece = (Instant::now() + DELAY, buffer[..bytes].to_vec());
            if pieces.send(piece).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((due, piece)) = delayed.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    });
}
