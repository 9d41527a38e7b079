//! Many clients at once.

use super::support::{Legacy, count, remexd};

const CLIENTS: usize = 200;

#[tokio::test]
async fn all_are_answered_in_their_order() {
    let daemon = remexd(&["tcp://127.0.0.1:0/exec"]).await;
    let address = daemon.socket("tcp-exec");
    let rounds = count(4, 50);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            tokio::spawn(async move {
                let mut client = Legacy::connect(address).await;
                for round in 0..rounds {
                    let reply = client.ask(&format!("echo {number} {round}")).await;
                    assert_eq!(reply.text(), format!("{number} {round}\n"));
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("it was answered");
    }
    daemon.stop().await;
}
