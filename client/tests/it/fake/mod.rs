//! A small server for the client to talk to. It runs commands on pipes by the standard library, keeps records in
//! memory, and plays a few endings that are hard to come by.

mod echo;
mod exec;
mod process;

use std::{net::SocketAddr, os::unix::net::UnixListener, path::Path};

use remex::v1::{echo_service_server::EchoServiceServer, exec_service_server::ExecServiceServer};
use remex_client::Endpoint;
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::{service::Routes, transport::Server};

use self::{echo::Echo, exec::Exec};

/// A running server, with threads of its own. Stopping or dropping it cuts its connections.
pub(crate) struct Fake {
    pub(crate) endpoint: Endpoint,
    runtime: Option<Runtime>,
}

impl Fake {
    /// On a port of its own.
    pub(crate) fn start() -> Self {
        Self::on(([127, 0, 0, 1], 0).into())
    }

    /// One of an older version: it drops what it does not know.
    pub(crate) fn old() -> Self {
        Self::serve(([127, 0, 0, 1], 0).into(), services(Exec::default()))
    }

    /// On `address`.
    pub(crate) fn on(address: SocketAddr) -> Self {
        Self::serve(address, routes())
    }

    fn serve(address: SocketAddr, routes: Routes) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
            let server = Server::builder().add_routes(routes);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Self {
            endpoint: format!("http://{address}").parse().unwrap(),
            runtime: Some(runtime),
        }
    }

    /// On a Unix socket that is reached by the name `path`.
    pub(crate) fn unix(listener: UnixListener, path: &Path) -> Self {
        let runtime = Runtime::new().unwrap();
        listener.set_nonblocking(true).unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            let server = Server::builder().add_routes(routes());
            let incoming = UnixListenerStream::new(listener);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Self {
            endpoint: Endpoint::Unix(path.to_owned()),
            runtime: Some(runtime),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        match &self.endpoint {
            Endpoint::Http(server) | Endpoint::Https(server) => server.port,
            Endpoint::Unix(path) => panic!("{} has no port", path.display()),
        }
    }

    /// Stops serving, and waits until the port is free.
    pub(crate) async fn stop(mut self) {
        let runtime = self.runtime.take();
        tokio::task::spawn_blocking(move || drop(runtime))
            .await
            .unwrap();
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The services, to be called in this process.
pub(crate) fn routes() -> Routes {
    services(Exec::with_features(&["drain", "user"]))
}

fn services(exec: Exec) -> Routes {
    Routes::new(EchoServiceServer::new(Echo)).add_service(ExecServiceServer::new(exec))
}
