//! Connections: TCP and Unix sockets.
//!
//! Hops: accept -> who it is and whether it may -> [`connection`] (its bytes) -> [`read`] (a command) -> the handler, while
//! [`presence`] watches the client -> [`send`] (the reply).

mod connection;
mod echo;
mod exec;
mod presence;
mod read;
mod send;

use std::{future::pending, net::SocketAddr, sync::Arc, time::Duration};

use remex_client::wire::Wire;
use remex_daemon::{
    admission::{Access, Denied, Refused},
    net::{Accepted, Acceptor, Caller},
};
use tokio::{
    select,
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use self::connection::Connection;
use crate::{config::StreamService, handler::Handler, shared::Shared};

/// One listener.
pub(crate) struct Service {
    /// What it is called, such as `tcp-exec`.
    pub(crate) name: &'static str,
    /// Who may use it at each time.
    pub(crate) access: watch::Receiver<Access>,
    pub(crate) kind: StreamService,
    pub(crate) handler: Handler,
    /// It takes no more connections: another one may take them in its place.
    pub(crate) accepting: CancellationToken,
    /// No more connections and commands.
    pub(crate) stop: CancellationToken,
    pub(crate) shared: Arc<Shared>,
}

impl Service {
    /// Accepts until it is to stop. Connections are tasks of the gateway's.
    pub(crate) async fn serve(self, mut acceptor: Acceptor, permits: Arc<Semaphore>) {
        let service = Arc::new(self);
        let shared = &service.shared;
        loop {
            let accepted = select! {
                biased;
                () = service.accepting.cancelled() => return,
                accepted = acceptor.accept() => accepted,
            };
            if permits.available_permits() == 0 {
                let most = service.handler.limits().connections;
                let refusals = service.handler.refusals();
                refusals.note(
                    Refused::Full,
                    acceptor.local(),
                    &format!("{most} connections"),
                );
            }
            let this = Arc::clone(&service);
            shared.tasks.spawn(async move {
                select! {
                    biased;
                    () = this.shared.kill.cancelled() => {}
                    () = this.admit(accepted) => {}
                }
            });
        }
    }

    async fn admit(&self, accepted: Accepted) {
        // From before the look at it: what changes behind that is heard of.
        let mut access = self.access.clone();
        let caller = self.identify(&access.borrow_and_update(), &accepted);
        let Accepted { stream, permit, .. } = accepted;
        match caller {
            Ok(caller) => {
                let Some(_entry) = self.shared.addresses.enter(&caller) else {
                    let why = "it has as many connections as one address may";
                    self.handler.note(Refused::Connections, &caller, &why);
                    return stream.reset();
                };
                let (uid, address) = (caller.uid, caller.address);
                select! {
                    biased;
                    // Dropped, a connection is reset, and its command killed.
                    () = revoked(access, uid, address) => {
                        let why = "it may not use this listener any more";
                        self.handler.refusals().note(Refused::Peer, &"a client", &why);
                    }
                    () = self.admitted(Connection::new(stream, caller)) => {}
                }
                drop(permit);
            }
            Err(denied) => {
                let refusals = self.handler.refusals();
                refusals.note(Refused::Peer, &denied.peer(), &denied);
                // They take no room from those who may.
                drop(permit);
                let Ok(_room) = self.shared.denied.try_acquire() else {
                    return stream.reset();
                };
                match &denied {
                    // A peer whose user is not known may be anybody's; both are told why, in their own wire.
                    Denied::User { .. } | Denied::Unknown(_) => {
                        let nobody = Box::new(Caller::unix(u32::MAX));
                        // In a box of its own, as it is nothing of an idle connection's.
                        let telling =
                            Box::pin(self.denied(Connection::new(stream, nobody), &denied));
                        let most = self.handler.limits().denied_wait;
                        // Who has not asked for anything by then is not told.
                        let _ = timeout(most, telling).await;
                    }
                    Denied::Address { .. } => stream.reset(),
                }
            }
        }
    }

    /// Who it is, if that one may come in. In a box, since an idle connection has it to its end.
    fn identify(&self, access: &Access, accepted: &Accepted) -> Result<Box<Caller>, Denied> {
        let mut caller = Box::new(access.admit(accepted.identify())?);
        caller.listener = Some(self.name);
        Ok(caller)
    }

    async fn admitted(&self, connection: Connection) {
        match &self.kind {
            StreamService::Exec {
                wire,
                exec,
                framing,
            } => self.exec(wire, exec, *framing).serve(connection).await,
            StreamService::Echo { gather } => self.echo(*gather).serve(connection).await,
        }
    }

    async fn denied(&self, connection: Connection, denied: &Denied) {
        match &self.kind {
            StreamService::Exec {
                wire,
                exec,
                framing,
            } => {
                let session = self.exec(wire, exec, *framing);
                session.deny(connection, denied).await;
            }
            StreamService::Echo { gather } => self.echo(*gather).deny(connection, denied).await,
        }
    }

    fn exec<'a>(
        &'a self,
        wire: &'a Wire,
        exec: &'a crate::config::Exec,
        framing: crate::config::Framing,
    ) -> exec::Session<'a> {
        exec::Session {
            wire,
            exec,
            framing,
            handler: &self.handler,
            stop: &self.stop,
        }
    }

    fn echo(&self, gather: Duration) -> echo::Session<'_> {
        echo::Session {
            gather,
            handler: &self.handler,
            stop: &self.stop,
        }
    }
}

/// Returns once a peer that was let in would not be any more.
async fn revoked(
    mut access: watch::Receiver<Access>,
    uid: Option<u32>,
    address: Option<SocketAddr>,
) {
    while access.changed().await.is_ok() {
        if access.borrow_and_update().judge(uid, address).is_err() {
            return;
        }
    }
    pending::<()>().await;
}
