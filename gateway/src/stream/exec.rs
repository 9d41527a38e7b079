//! A connection whose commands run, one after the other. Bytes that come while one runs are the next.

use std::{io, time::Duration};

use remex_client::wire::Wire;
use remex_daemon::admission::{Denied, Refused};
use tokio::{
    select,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    connection::Connection,
    presence::until_gone,
    read::{self, Arrived, Reading, most_pending},
    send::{self, Pace},
};
use crate::{
    config::{Exec, Framing},
    handler::{Answer, Form, Handler, Reply},
    limits::Limits,
    wire::{Then, head, request::is_lone_newline},
};

/// What a connection's commands need.
pub(super) struct Session<'a> {
    pub(super) wire: &'a Wire,
    pub(super) exec: &'a Exec,
    pub(super) framing: Framing,
    pub(super) handler: &'a Handler,
    pub(super) stop: &'a CancellationToken,
}

/// What becomes of a connection after an answer.
enum Next {
    Command,
    Linger,
    Close,
}

impl Session<'_> {
    /// Serves until the client or the gateway ends it.
    pub(super) async fn serve(&self, mut connection: Connection) {
        let limits = self.limits();
        let mut replied = None;
        loop {
            let bytes = match self.next(&mut connection, limits.idle).await {
                Ok(Arrived::Bytes(bytes)) => bytes,
                Ok(Arrived::Foreign(foreign)) => {
                    self.handler
                        .note(Refused::CrossProtocol, &connection.caller, &foreign);
                    return connection.reset();
                }
                Ok(Arrived::Idle) => {
                    let why = format!("no command for {:?}", limits.idle);
                    self.handler.note(Refused::Idle, &connection.caller, &why);
                    return;
                }
                Ok(Arrived::End | Arrived::Stopped) | Err(_) => return,
            };
            if self.belongs_to_the_last(&connection, &bytes, replied) {
                continue;
            }
            // In a box of its own: an idle connection is small.
            match Box::pin(self.command(&mut connection, &bytes)).await {
                Next::Command => replied = Some(Instant::now()),
                Next::Linger => return Box::pin(connection.linger(limits.linger)).await,
                Next::Close => return,
            }
        }
    }

    /// Whether it is but the newline that some clients send behind a command in a write of its own.
    fn belongs_to_the_last(
        &self,
        connection: &Connection,
        bytes: &[u8],
        replied: Option<Instant>,
    ) -> bool {
        let Some(replied) = replied else {
            return false;
        };
        let in_time = connection.arrived.is_none_or(|arrived| {
            arrived.saturating_duration_since(replied) <= self.limits().newline_wait
        });
        self.framing.request_end.is_none() && is_lone_newline(bytes) && in_time
    }

    /// Tells a peer that it may not, when it asks for something.
    pub(super) async fn deny(&self, mut connection: Connection, denied: &Denied) {
        let limits = self.limits();
        let Ok(Arrived::Bytes(_)) = self.next(&mut connection, limits.denied_wait).await else {
            return;
        };
        let reply = self
            .handler
            .say(format!("remex: {denied}"), self.form())
            .await;
        if self.reply(&mut connection, &reply).await.is_ok() {
            connection.linger(limits.linger).await;
        }
    }

    async fn next(&self, connection: &mut Connection, idle: Duration) -> io::Result<Arrived> {
        let limits = self.limits();
        let reading = Reading {
            most: most_pending(limits),
            segments: true,
            end: self.framing.request_end,
            gather: self.framing.gather,
        };
        read::message(connection, reading, idle, limits, self.stop).await
    }

    async fn command(&self, connection: &mut Connection, bytes: &[u8]) -> Next {
        connection.owes();
        let caller = connection.caller.clone();
        let answer = select! {
            biased;
            answer = self.handler.exec(bytes, self.exec, self.form(), &caller) => answer,
            () = until_gone(connection, most_pending(self.limits())) => {
                tracing::debug!(%caller, "the client went away; its command is killed");
                return Next::Close;
            }
        };
        let (reply, then) = match answer {
            Answer::Reply(reply) => (reply, Next::Command),
            Answer::Last(reply) => (reply, Next::Linger),
        };
        match self.reply(connection, &reply).await {
            Ok(()) => {
                connection.owes_nothing();
                then
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::TimedOut {
                    let why = format!("too little taken in {:?}", self.limits().write_stall);
                    self.handler.note(Refused::Unread, &caller, &why);
                }
                Next::Close
            }
        }
    }

    async fn reply(&self, connection: &mut Connection, reply: &Reply) -> io::Result<()> {
        let limits = self.limits();
        let pace = Pace::of(limits);
        let head = head(self.wire, &reply.summary);
        match head.then {
            Then::Body => {
                return send::reply(
                    &mut connection.stream,
                    &head.bytes,
                    &reply.body,
                    self.wire.tail(),
                    pace,
                )
                .await;
            }
            Then::Pause => {
                send::gather(&mut connection.stream, &[&head.bytes], pace).await?;
                sleep(limits.ack_pause).await;
            }
            Then::Ack => {
                // What came before the length is no answer to it.
                connection.fill(most_pending(limits))?;
                send::gather(&mut connection.stream, &[&head.bytes], pace).await?;
                acknowledged(connection, reply.summary.body_bytes(), limits).await?;
            }
        }
        send::reply(
            &mut connection.stream,
            &[],
            &reply.body,
            self.wire.tail(),
            pace,
        )
        .await
    }

    fn form(&self) -> Form {
        Form::stream(self.wire, self.exec.charset, self.limits())
    }

    fn limits(&self) -> &Limits {
        self.handler.limits()
    }
}

/// Waits for the acknowledgement of a body's length, and drops it; one that has half-closed can send none.
async fn acknowledged(
    connection: &mut Connection,
    body_bytes: u64,
    limits: &Limits,
) -> io::Result<()> {
    let mut commands = connection.take();
    while connection.pending.is_empty() && !connection.half_closed {
        timeout(limits.ack_wait, connection.readable()).await??;
        connection.fill(most_pending(limits))?;
    }
    let arrived = connection.take();
    let acknowledgement = connection.acknowledgement.bytes(&arrived, body_bytes);
    commands.extend_from_slice(&arrived[acknowledgement..]);
    connection.pending = commands;
    Ok(())
}
