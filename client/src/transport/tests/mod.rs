//! Calls and connections, against h2's own server, or frames written by hand where that is too well-behaved. What both need
//! is here.

mod calls;
mod connections;

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{RecvStream, server};
use http::{Request, Response};
use http_body::{Body as _, Frame};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tonic::{Status, body::Body};
use tower::Service;

use super::Pool;
use crate::Endpoint;

const PATIENCE: Duration = Duration::from_secs(30);

type Accepted = (Request<RecvStream>, server::SendResponse<Bytes>);

async fn listen() -> (TcpListener, Endpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    (listener, endpoint.parse().unwrap())
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(output) = timeout(PATIENCE, future).await else {
        panic!("{what} did not happen");
    };
    output
}

/// A body of what comes out of a channel.
struct Messages(mpsc::Receiver<Bytes>);

impl http_body::Body for Messages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.0
            .poll_recv(cx)
            .map(|message| Some(Ok(Frame::data(message?))))
    }
}

fn messages(capacity: usize) -> (mpsc::Sender<Bytes>, Body) {
    let (sender, messages) = mpsc::channel(capacity);
    (sender, Body::new(Messages(messages)))
}

/// A message, then the end.
fn message() -> Body {
    let (sender, body) = messages(1);
    sender.try_send(Bytes::from_static(b"hello")).unwrap();
    body
}

fn request(body: Body) -> Request<Body> {
    let path = "/remex.v1.EchoService/Echo";
    Request::post(path).body(body).unwrap()
}

async fn send(pool: &Pool, request: Request<Body>) -> Result<Response<Body>, Status> {
    pool.clone().call(request).await
}

fn begin(pool: &Pool, request: Request<Body>) -> JoinHandle<Result<Response<Body>, Status>> {
    let pool = pool.clone();
    tokio::spawn(async move { send(&pool, request).await })
}

/// What is left of a body.
async fn rest(mut body: RecvStream) -> Result<usize, h2::Error> {
    let mut bytes = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        bytes += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    Ok(bytes)
}

async fn length(response: Response<Body>) -> Result<usize, Status> {
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        bytes += frame?.into_data().map_or(0, |data| data.len());
    }
    Ok(bytes)
}

fn respond(mut respond: server::SendResponse<Bytes>) {
    respond.send_response(Response::new(()), true).unwrap();
}

/// A server that hands its calls over, each with the number of its connection.
struct Server {
    calls: mpsc::UnboundedReceiver<(usize, Accepted)>,
    /// Numbers of connections that have ended.
    ended: mpsc::UnboundedReceiver<usize>,
    tasks: JoinSet<()>,
}

impl Server {
    fn on(listener: TcpListener, builder: &server::Builder) -> Self {
        let builder = builder.clone();
        let (call, calls) = mpsc::unbounded_channel();
        let (end, ended) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (builder, call, end) = (builder.clone(), call.clone(), end.clone());
                connections.spawn(async move {
                    let mut connection = builder.handshake(stream).await.unwrap();
                    while let Some(Ok(accepted)) = connection.accept().await {
                        let _ = call.send((number, accepted));
                    }
                    let _ = end.send(number);
                });
            }
        });
        Self {
            calls,
            ended,
            tasks,
        }
    }

    async fn start() -> (Self, Pool) {
        let (listener, endpoint) = listen().await;
        let server = Self::on(listener, &server::Builder::new());
        (server, Pool::lazy(&endpoint))
    }

    async fn next(&mut self) -> (usize, Accepted) {
        soon("a call", self.calls.recv()).await.unwrap()
    }
}
