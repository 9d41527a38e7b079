//! Connections, tried with bare sockets.

use tokio::{net::TcpStream, time::timeout};

use super::{
    super::testing::{greet, listen, read_to_end, say},
    *,
};
use crate::execution::testing::executions;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn server() -> Server {
    let (_, users) = watch::channel(Arc::new(Users::daemon()));
    let (_, trust) = watch::channel(Arc::default());
    let folder = tempfile::tempdir().unwrap();
    let executions = executions(folder.path(), 1);
    let gate = PolicyGate::open(Arc::clone(executions.spawner()));
    let audit = AuditLog::default();
    Server::new(
        Routes::default(),
        users,
        trust,
        gate,
        audit,
        TaskTracker::new(),
    )
}

#[tokio::test]
async fn pitfall_26_an_idle_connection_is_asked_to_go() {
    let (acceptor, to) = listen();
    let idle = Duration::from_millis(50);
    let serving = server()
        .with_idle(idle)
        .serve(acceptor, CancellationToken::new());
    let serving = tokio::spawn(serving);
    let stream = TcpStream::connect(to).await.unwrap();
    let (_sender, connection) = h2::client::handshake(stream).await.unwrap();
    timeout(PATIENCE, connection).await.unwrap().unwrap();
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_has_10_minutes_and_10_s_more_to_go() {
    let (acceptor, to) = listen();
    let peer = greet(to);
    let serving = tokio::spawn(server().serve(acceptor, CancellationToken::new()));
    let begun = Instant::now();
    let asked = read_to_end(peer).await.expect("it was asked to go");
    assert_eq!((asked - begun).as_secs(), 600);
    assert_eq!(asked.elapsed().as_secs(), 10);
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn pitfall_26_a_client_has_10_s_to_say_that_it_speaks_http2() {
    let (acceptor, to) = listen();
    let peer = say(to, b"PRI * HTTP/2.0");
    let serving = tokio::spawn(server().serve(acceptor, CancellationToken::new()));
    let begun = Instant::now();
    assert_eq!(read_to_end(peer).await, None);
    assert_eq!(begun.elapsed().as_secs(), 10);
    serving.abort();
}

#[test]
fn what_all_connections_may_send_unread_is_bounded() {
    let all: u64 = (1..=MAX_CONNECTIONS)
        .map(|nth| u64::from(window(nth)))
        .sum();
    assert!(all < 1280 * 1024 * 1024, "{all}");
    for (connections, bytes) in [
        (1, 16 * 1_048_576),
        (32, 16 * 1_048_576),
        (33, 1_048_576),
        (512, 1_048_576),
        (513, 65_535),
        (4096, 65_535),
    ] {
        assert_eq!(window(connections), bytes, "of {connections}");
    }
}
