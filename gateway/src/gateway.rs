//! The gateway: listeners that are bound, the services behind a client, one shutdown.

use std::{
    fmt, io,
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use remex_client::Client;
use remex_daemon::{
    admission::{Access, Addresses, Rates, Refused},
    net::{self, Acceptor, Address, BindError, BoundAddress, Users},
};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{select, sync::Semaphore, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    body::Spool,
    config::{DatagramService, Kind, ListenerConfig, StreamService},
    counts::{GatewayCounts, ListenerCounts},
    datagram,
    handler::Handler,
    limits::Limits,
    shared::Shared,
    stream,
};

/// A legacy listener that has its socket.
#[derive(Debug)]
pub struct Bound {
    listener: ListenerConfig,
    access: Access,
    socket: BoundSocket,
    local: BoundAddress,
    counts: Arc<ListenerCounts>,
}

#[derive(Debug)]
enum BoundSocket {
    Stream(net::Listener, StreamService),
    Datagram(UdpSocket, SocketAddr, DatagramService),
}

impl Bound {
    /// Binds `listener`, for `users` of this machine.
    pub fn bind(listener: ListenerConfig, users: Users) -> Result<Self, BindError> {
        let (socket, local) = match listener.kind.clone() {
            Kind::Stream { address, service } => {
                let socket = net::Listener::bind(&address)?;
                let local = socket.local();
                (BoundSocket::Stream(socket, service), local)
            }
            Kind::Datagram { address, service } => {
                let socket = bind_udp(address).map_err(|error| udp_error(address, error))?;
                let local = socket
                    .local_addr()
                    .map_err(|error| udp_error(address, error))?;
                let bound = BoundAddress::Udp(local);
                (BoundSocket::Datagram(socket, local, service), bound)
            }
        };
        let access = Access {
            users,
            allow: listener.allow.clone(),
        };
        Ok(Self {
            listener,
            access,
            socket,
            local,
            counts: Arc::default(),
        })
    }

    /// What was asked for.
    pub fn listener(&self) -> &ListenerConfig {
        &self.listener
    }

    /// Where it listens, with the port that the kernel chose.
    pub fn local(&self) -> &BoundAddress {
        &self.local
    }
}

fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn udp_error(address: SocketAddr, error: io::Error) -> BindError {
    let asked = Address::Tcp(address);
    match Errno::from_io_error(&error) {
        Some(Errno::ADDRINUSE) => BindError::InUse(asked),
        Some(Errno::ACCESS) => BindError::Denied(asked),
        Some(Errno::ADDRNOTAVAIL) => BindError::NotLocal(address),
        _ => BindError::Io {
            address: asked,
            source: error,
        },
    }
}

/// Serves legacy listeners.
pub struct Gateway {
    bound: Vec<Bound>,
    client: Client,
    limits: Limits,
    spool_folder: PathBuf,
}

impl Gateway {
    /// One that serves `bound` with what `client` calls, and spools long replies in `spool_folder`.
    pub fn new(client: Client, bound: Vec<Bound>, limits: Limits, spool_folder: PathBuf) -> Self {
        Self {
            bound,
            client,
            limits,
            spool_folder,
        }
    }

    /// What its listeners count.
    pub fn counts(&self) -> GatewayCounts {
        let listeners = self.bound.iter();
        GatewayCounts::new(listeners.map(|bound| {
            let (at, name) = (bound.local.to_string(), bound.listener.name());
            (at, name, Arc::clone(&bound.counts))
        }))
    }

    /// Has `observer` told whom each listener refuses, of what kind that is, and why; the listener by what it serves, `tcp-exec`.
    pub fn observe_refusals(
        &self,
        observer: impl Fn(&'static str, Refused, &dyn fmt::Display, &dyn fmt::Display)
        + Clone
        + Send
        + Sync
        + 'static,
    ) {
        for bound in &self.bound {
            let (name, observer) = (bound.listener.name(), observer.clone());
            let told = move |refused, peer: &dyn fmt::Display, why: &dyn fmt::Display| {
                observer(name, refused, peer, why);
            };
            bound.counts.refusals.observe(Box::new(told));
        }
    }

    /// As [`Self::serve`], but what still runs `drain` after `stop` is cut off.
    pub async fn serve_within(self, stop: CancellationToken, drain: Duration) -> io::Result<()> {
        let too_long = async {
            stop.cancelled().await;
            sleep(drain).await;
        };
        select! {
            served = self.serve(stop.clone()) => served,
            () = too_long => {
                tracing::warn!("what still runs after {drain:?} is cut off");
                Ok(())
            }
        }
    }

    /// Serves until `stop`, then until what runs has ended. Dropping the future resets what is left, and kills its
    /// commands.
    pub async fn serve(self, stop: CancellationToken) -> io::Result<()> {
        let kill = CancellationToken::new();
        let _kill_on_drop = kill.clone().drop_guard();
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        if let Err(error) = Spool::check(&self.spool_folder) {
            tracing::warn!(
                folder = %self.spool_folder.display(), %error,
                "replies that are too long for memory will be cut: their folder takes nothing; see --spool-dir"
            );
        }
        let spool = Spool::new(self.spool_folder, self.limits.spool_bytes);
        let udp_listeners = self.bound.iter().filter_map(|bound| match bound.local {
            BoundAddress::Udp(address) => Some(address),
            BoundAddress::Tcp(_) | BoundAddress::Unix(_) => None,
        });
        let shared = Arc::new(Shared {
            addresses: Addresses::new(self.limits.connections_per_address),
            rates: Rates::new(
                self.limits.datagrams_per_source,
                self.limits.datagrams_per_second,
                self.limits.sources,
            ),
            datagram_commands: Arc::new(Semaphore::new(self.limits.datagram_commands)),
            datagrams: Arc::new(Semaphore::new(self.limits.datagrams_in_flight)),
            denied: Arc::new(Semaphore::new(self.limits.denied_connections)),
            udp_listeners: udp_listeners.collect(),
            tasks: TaskTracker::new(),
            stop,
            kill,
        });
        let handler = Handler::new(self.client, self.limits, spool);
        for bound in self.bound {
            let handler = handler.counting(Arc::clone(&bound.counts));
            spawn(bound, handler, &shared, &permits)?;
        }
        shared.stop.cancelled().await;
        shared.tasks.close();
        shared.tasks.wait().await;
        Ok(())
    }
}

fn spawn(
    bound: Bound,
    handler: Handler,
    shared: &Arc<Shared>,
    permits: &Arc<Semaphore>,
) -> io::Result<()> {
    let name = bound.listener().name();
    let Bound { access, socket, .. } = bound;
    match socket {
        BoundSocket::Stream(listener, service) => {
            let acceptor = Acceptor::new(listener, Arc::clone(permits))?;
            let service = stream::Service {
                name,
                access,
                kind: service,
                handler,
                shared: Arc::clone(shared),
            };
            let permits = Arc::clone(permits);
            let serving = service.serve(acceptor, permits);
            shared.tasks.spawn(killable(Arc::clone(shared), serving));
        }
        BoundSocket::Datagram(socket, local, service) => {
            let service = datagram::Service {
                name,
                access,
                kind: service,
                handler,
                socket: tokio::net::UdpSocket::from_std(socket)?,
                local,
                shared: Arc::clone(shared),
            };
            shared
                .tasks
                .spawn(killable(Arc::clone(shared), service.serve()));
        }
    }
    Ok(())
}

async fn killable(shared: Arc<Shared>, serving: impl Future<Output = ()>) {
    select! {
        biased;
        () = shared.kill.cancelled() => {}
        () = serving => {}
    }
}
