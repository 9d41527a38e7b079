//! Over UDP whoever asks may be somebody else: nothing that it says makes an answer longer than itself.

use std::collections::BTreeSet;

use tokio::net::UdpSocket;

use super::support::{count, remexd};
use crate::{harness::soon, supervision::support::Random};

/// What is asked behind each, to know that there is nothing more.
const LAST: &[u8] = b"last";

#[tokio::test]
async fn promise_8_no_datagram_is_answered_with_more_than_came() {
    let daemon = remexd(&["udp://127.0.0.1:0/echo"]).await;
    let address = daemon.socket("udp-echo");
    let mut random = Random::new();
    let mut lengths = BTreeSet::new();
    for _ in 0..count(100, 10_000) {
        let most = random.below(1400) + 1;
        let length = random.below(most);
        let text = (0..length).map(|_| u8::try_from(random.below(256)).unwrap());
        let datagram: Vec<_> = text.collect();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut reply = vec![0; 64 * 1024];
        socket.send_to(&datagram, address).await.unwrap();
        // Both may be answered in either order, and what looks like another protocol not at all.
        for _ in 0..2 {
            socket.send_to(LAST, address).await.unwrap();
            let got = soon("an answer", socket.recv(&mut reply)).await.unwrap();
            if &reply[..got] != b"LAST" {
                assert!(got <= length, "{got} bytes for {length}: {datagram:?}");
                lengths.insert(got);
            }
        }
    }
    assert!(lengths.len() > 10, "hardly any was answered: {lengths:?}");
    daemon.stop().await;
}
