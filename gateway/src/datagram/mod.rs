//! Datagrams: one in, one out.
//!
//! Hops: receive -> is it a client's, and not too many? -> a task: whose it is and whether it may ([`amplification`]) -> the
//! handler -> one datagram back.

pub mod amplification;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Zoned;
use remex_daemon::{
    admission::{Access, Refused, check_source},
    logging::LineLimit,
    net::{Backoff, Caller, PeerUnknown, Transport, identify_udp},
};
use rustix::fs::fstat;
use tokio::{
    net::UdpSocket,
    select,
    sync::{OwnedSemaphorePermit, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use self::amplification::NotServed;
use crate::{
    config::{DatagramService, Exec},
    handler::{Answer, Form, Handler, Reply},
    shared::Shared,
    wire::{Charset, encode, foreign, request, time},
};

/// Room for every datagram there is, and one byte to tell that it was longer.
const RECEIVE_BYTES: usize = 65_536;

/// One listener.
pub(crate) struct Service {
    /// What it is called, such as `tcp-exec`.
    pub(crate) name: &'static str,
    /// Who may use it at each time.
    pub(crate) access: watch::Receiver<Access>,
    pub(crate) kind: DatagramService,
    pub(crate) handler: Handler,
    pub(crate) socket: Arc<UdpSocket>,
    pub(crate) local: SocketAddr,
    /// It takes nothing more from the socket: another one may take it in its place.
    pub(crate) accepting: CancellationToken,
    pub(crate) shared: Arc<Shared>,
}

impl Service {
    /// Receives until it is to stop. Datagrams are tasks of the gateway's.
    pub(crate) async fn serve(self) {
        let service = Arc::new(self);
        let mut buffer = vec![0; RECEIVE_BYTES];
        let (mut backoff, lines) = (Backoff::default(), LineLimit::new());
        loop {
            let received = select! {
                biased;
                () = service.accepting.cancelled() => return,
                received = service.socket.recv_from(&mut buffer) => received,
            };
            match received {
                Ok((length, from)) => {
                    backoff.succeed();
                    service.received(&buffer[..length], from);
                }
                Err(error) => {
                    if !backoff.is_failing() && lines.count().is_some() {
                        tracing::error!(local = %service.local, %error, "cannot receive; trying again");
                    }
                    service.pause(backoff.fail()).await;
                }
            }
        }
    }

    async fn pause(&self, pause: Duration) {
        select! {
            () = self.accepting.cancelled() => {}
            () = sleep(pause) => {}
        }
    }

    fn received(self: &Arc<Self>, datagram: &[u8], from: SocketAddr) {
        let Some(permit) = self.accepted(from) else {
            return;
        };
        let this = Arc::clone(self);
        let datagram = Bytes::copy_from_slice(datagram);
        self.shared.tasks.spawn(async move {
            let _permit = permit;
            select! {
                biased;
                () = this.shared.kill.cancelled() => {}
                () = this.answer(datagram, from) => {}
            }
        });
    }

    fn accepted(&self, from: SocketAddr) -> Option<OwnedSemaphorePermit> {
        let refusals = self.handler.refusals();
        if let Err(forbidden) = check_source(from, &self.shared.udp_listeners.borrow()) {
            refusals.note(Refused::Source, &from, &forbidden);
            return None;
        }
        if !self.shared.rates.take(from.ip()) {
            refusals.note(Refused::Rate, &from, &"too many datagrams a second");
            return None;
        }
        // Commands may take their time; what is answered at once does not wait for them.
        let room = match self.kind {
            DatagramService::Exec { .. } => &self.shared.datagram_commands,
            DatagramService::Echo | DatagramService::Time { .. } => &self.shared.datagrams,
        };
        let permit = Arc::clone(room).try_acquire_owned();
        if permit.is_err() {
            refusals.note(Refused::Rate, &from, &"too many datagrams at once");
        }
        permit.ok()
    }

    async fn answer(&self, datagram: Bytes, from: SocketAddr) {
        let access = self.access.borrow().clone();
        let caller = match amplification::admit(&self.kind, &access, self.identify(from)) {
            Ok(caller) => caller,
            Err(why) => return self.refuse(&why, from).await,
        };
        if let Some(foreign) = foreign(&datagram) {
            let refusals = self.handler.refusals();
            return refusals.note(Refused::CrossProtocol, &caller, &foreign);
        }
        let reply = match &self.kind {
            DatagramService::Exec { max_datagram, exec } => {
                self.exec(&datagram, *max_datagram, exec, &caller).await
            }
            DatagramService::Echo => self.echo(datagram, &caller).await,
            DatagramService::Time { charset, format } => {
                self.handler.count_request();
                time(&datagram, *charset, format.as_deref())
            }
        };
        if let Some(reply) = reply {
            self.send(&reply, from).await;
        }
    }

    fn identify(&self, from: SocketAddr) -> Result<Caller, PeerUnknown> {
        // A socket that has no inode is nobody's, which 0 stands for.
        let inode = fstat(&*self.socket).map_or(0, |stat| stat.st_ino);
        let caller = identify_udp(from, self.local, inode).caller(Transport::Udp, from)?;
        Ok(Caller {
            listener: Some(self.name),
            ..caller
        })
    }

    async fn refuse(&self, why: &NotServed, from: SocketAddr) {
        let refusals = self.handler.refusals();
        match why {
            NotServed::Denied(denied) => refusals.note(Refused::Peer, &denied.peer(), denied),
            NotServed::NotNamed => refusals.note(Refused::Peer, &from, why),
        }
        if let Some(told) = why.told() {
            self.send(told.as_bytes(), from).await;
        }
    }

    async fn exec(
        &self,
        datagram: &[u8],
        max_datagram: usize,
        exec: &Exec,
        caller: &Caller,
    ) -> Option<Bytes> {
        let form = Form::datagram(max_datagram, exec.charset);
        let (Answer::Reply(reply) | Answer::Last(reply)) =
            self.handler.exec(datagram, exec, form, caller).await;
        let Reply { body, permit, .. } = reply;
        let bytes = body.into_bytes();
        drop(permit);
        Some(bytes)
    }

    async fn echo(&self, datagram: Bytes, caller: &Caller) -> Option<Bytes> {
        let request_bytes = datagram.len();
        let answer = self.handler.echo(datagram, caller).await;
        let answer = answer.as_ref().cloned();
        amplification::echo(request_bytes, answer.map_err(Status::message), caller)
    }

    async fn send(&self, reply: &[u8], to: SocketAddr) {
        if let Err(error) = self.socket.send_to(reply, to).await {
            tracing::debug!(local = %self.local, %to, %error, "cannot send a reply");
        }
    }
}

fn time(datagram: &[u8], charset: Charset, format: Option<&str>) -> Option<Bytes> {
    let format = match format {
        Some(format) => format.into(),
        None => request::decode(datagram, charset.encoding())?,
    };
    Some(encode(&time::format(&format, &Zoned::now()), charset).into())
}
