//! A connection whose bytes come back, upper-cased, as they arrive.

use std::{io, time::Duration};

use remex_daemon::admission::{Denied, Refused};
use tokio_util::sync::CancellationToken;

use super::{
    connection::Connection,
    read::{self, Arrived, Reading},
    send::{self, Pace},
};
use crate::{handler::Handler, limits::Limits};

/// What an echo connection needs.
pub(super) struct Session<'a> {
    pub(super) handler: &'a Handler,
    pub(super) stop: &'a CancellationToken,
    pub(super) gather: Duration,
}

impl Session<'_> {
    /// Serves until the client or the gateway ends it.
    pub(super) async fn serve(&self, mut connection: Connection) {
        let limits = self.limits();
        loop {
            let bytes = match self.next(&mut connection, limits.idle).await {
                Ok(Arrived::Bytes(bytes)) => bytes,
                Ok(Arrived::Foreign(foreign)) => {
                    self.handler
                        .note(Refused::CrossProtocol, &connection.caller, &foreign);
                    return connection.reset();
                }
                Ok(Arrived::Idle | Arrived::End | Arrived::Stopped) | Err(_) => return,
            };
            connection.owes();
            let reply = match self.handler.echo(bytes.freeze(), &connection.caller).await {
                Ok(reply) => reply,
                Err(status) => {
                    let text = format!("remex: {}\n", status.message());
                    return self.last(connection, &text).await;
                }
            };
            if send::gather(&mut connection.stream, &[&reply], Pace::of(limits))
                .await
                .is_err()
            {
                return;
            }
            connection.owes_nothing();
        }
    }

    /// Tells a peer that it may not, when it asks for something.
    pub(super) async fn deny(&self, mut connection: Connection, denied: &Denied) {
        let asked = self.next(&mut connection, self.limits().denied_wait).await;
        if matches!(asked, Ok(Arrived::Bytes(_))) {
            self.last(connection, &format!("remex: {denied}\n")).await;
        }
    }

    async fn next(&self, connection: &mut Connection, idle: Duration) -> io::Result<Arrived> {
        let limits = self.limits();
        let reading = Reading {
            most: limits.request_bytes,
            segments: false,
            end: None,
            gather: self.gather,
        };
        read::message(connection, reading, idle, limits, self.stop).await
    }

    async fn last(&self, mut connection: Connection, text: &str) {
        let limits = self.limits();
        let sent = send::gather(&mut connection.stream, &[text.as_bytes()], Pace::of(limits)).await;
        if sent.is_ok() {
            connection.owes_nothing();
            connection.linger(limits.linger).await;
        }
    }

    fn limits(&self) -> &Limits {
        self.handler.limits()
    }
}
