//! Getting a connection, losing it, and what is said when there is none.

use std::{
    os::unix::net::UnixListener,
    time::{Duration, Instant},
};

use remex::v1::{EchoRequest, echo_request, echo_response};
use remex_client::{CONNECT_TIMEOUT, Client, ConnectError, Endpoint};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
    time::timeout,
};
use tonic::{Code, Status};

use crate::fake::{self, Fake};

async fn echo(client: &Client) -> Result<String, Status> {
    let content = Some(echo_request::Content::Text("hello".into()));
    let reply = client.echo().echo(EchoRequest { content }).await?;
    match reply.into_inner().content {
        Some(echo_response::Content::Text(text)) => Ok(text),
        other => panic!("{other:?}"),
    }
}

async fn local_listener() -> (TcpListener, Endpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, format!("http://{address}").parse().unwrap())
}

#[tokio::test]
async fn calls_go_over_tcp() {
    let server = Fake::start();
    let client = Client::connect(&server.endpoint).await.unwrap();
    assert_eq!(echo(&client).await.unwrap(), "HELLO");
}

#[tokio::test]
async fn calls_go_over_a_socket_with_a_long_path() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a".repeat(100)).join("b".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let short = folder.path().join("s");
    let listener = UnixListener::bind(&short).unwrap();
    let path = deep.join("remexd.sock");
    std::fs::rename(&short, &path).unwrap();
    let server = Fake::unix(listener, &path);
    let client = Client::connect(&server.endpoint).await.unwrap();
    assert_eq!(echo(&client).await.unwrap(), "HELLO");
}

#[tokio::test]
async fn calls_go_to_a_service_in_the_same_process() {
    let client = Client::from_service(fake::routes());
    assert_eq!(echo(&client).await.unwrap(), "HELLO");
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_refused_with_a_hint() {
    // Bound, so that nobody else gets the port meanwhile, and not listening.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = format!("http://{}", nobody.local_addr().unwrap());
    let endpoint: Endpoint = endpoint.parse().unwrap();
    let error = Client::connect(&endpoint).await.err().unwrap();
    assert!(matches!(error, ConnectError::Io { .. }), "{error}");
    assert!(error.to_string().contains("remexd runs there"), "{error}");
}

#[tokio::test]
async fn a_silent_port_is_given_up_in_time() {
    let (listener, endpoint) = local_listener().await;
    let begin = Instant::now();
    let error = Client::connect(&endpoint).await.err().unwrap();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
    assert!(begin.elapsed() < CONNECT_TIMEOUT + Duration::from_secs(2));
    drop(listener);
}

#[tokio::test]
async fn another_protocol_is_told_from_grpc() {
    let (listener, endpoint) = local_listener().await;
    let peer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        let reply = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        stream.write_all(reply).await.unwrap();
        stream
    };
    let (error, _stream) = tokio::join!(Client::connect(&endpoint), peer);
    let error = error.err().unwrap();
    assert!(matches!(error, ConnectError::NotHttp2 { .. }), "{error}");
}

#[tokio::test]
async fn a_connection_closed_at_once_is_told() {
    let (listener, endpoint) = local_listener().await;
    let peer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
    });
    let error = Client::connect(&endpoint).await.err().unwrap();
    assert!(matches!(error, ConnectError::Closed { .. }), "{error}");
    peer.await.unwrap();
}

#[tokio::test]
async fn a_lazy_client_finds_the_server_when_it_is_there_and_again_after_a_restart() {
    // On an address of its own: nobody else takes its port between two servers.
    let server = Fake::on(([127, 0, 0, 3], 0).into());
    let (endpoint, port) = (server.endpoint.clone(), server.port());
    server.stop().await;
    let client = Client::connect_lazy(&endpoint);
    for _ in 0..2 {
        let status = echo(&client).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        let server = Fake::on(([127, 0, 0, 3], port).into());
        let found = timeout(Duration::from_secs(10), async {
            while echo(&client).await.is_err() {
                tokio::task::yield_now().await;
            }
        });
        found.await.expect("the server is found again");
        server.stop().await;
    }
}
