//! Where metrics are scraped: few connections, each for one answer and a short while, so that whoever holds them up holds up
//! other scrapers at most.

use std::{convert::Infallible, future::ready, io, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{select, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Metrics,
    scrape::{PATH, answer},
};
use crate::{
    ConfigError, Text,
    net::{
        AcceptLimits, Accepted, Acceptor, Address, AddressError, BoundAddress, Listener,
        ListeningSocket, PeerStream,
    },
};

/// Scrapers at once; further ones wait until one has gone.
pub const SCRAPERS: usize = 8;

/// What one of them may take from its connection to the last byte of its answer.
pub const SCRAPE_TIME: Duration = Duration::from_secs(5);

/// The most that is kept of a request.
const REQUEST_BYTES: usize = 8 * 1024;

/// What `--metrics` says, if it says anything.
pub fn address(text: Option<Text<'_>>) -> Result<Option<Address>, ConfigError> {
    let Some((text, origin)) = text else {
        return Ok(None);
    };
    let wrong = |why: &str| origin.wrong(format!("{}: {why}", text.escape_debug()));
    let address: Result<Address, AddressError> = text.parse();
    match address.map_err(|error| wrong(&error.to_string()))? {
        address @ Address::Tcp(_) if address.is_loopback() => Ok(Some(address)),
        Address::Tcp(_) => Err(wrong(
            "other machines reach it, and metrics are for whoever asks; listen on 127.0.0.1, and let a Prometheus of this machine \
             or a reverse proxy that knows its callers scrape it",
        )),
        Address::Unix(_) => Err(wrong(
            "Prometheus scrapes over TCP alone; give an address such as 127.0.0.1:9464",
        )),
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct MetricsListener(Acceptor);

impl MetricsListener {
    /// Over what is bound; in the runtime.
    pub fn new(listener: Listener) -> io::Result<Self> {
        let limits = AcceptLimits {
            connections: SCRAPERS,
        };
        Acceptor::new(listener, limits.permits()).map(Self)
    }

    /// What it listens on.
    pub(super) fn socket(&self) -> &ListeningSocket {
        self.0.socket()
    }

    /// Where metrics are scraped, `http://127.0.0.1:9464/metrics`.
    pub fn url(&self) -> String {
        let BoundAddress::Tcp(address) = self.0.local() else {
            return String::new();
        };
        format!("http://{address}{PATH}")
    }

    /// Answers scrapers until `stop`.
    pub async fn serve(mut self, metrics: Arc<Metrics>, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        loop {
            let accepted = select! {
                biased;
                () = stop.cancelled() => return,
                accepted = self.0.accept() => accepted,
            };
            let (metrics, stop) = (Arc::clone(&metrics), stop.clone());
            tasks.spawn(async move {
                select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = serve(accepted, &metrics) => {}
                }
            });
        }
    }
}

async fn serve(accepted: Accepted, metrics: &Metrics) {
    let Accepted { stream, permit, .. } = accepted;
    let PeerStream::Tcp(stream) = stream else {
        return;
    };
    let service = service_fn(|request| ready(Ok::<_, Infallible>(answer(metrics, &request))));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SCRAPE_TIME)
        .keep_alive(false)
        .max_buf_size(REQUEST_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(SCRAPE_TIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a scraper's connection was lost"),
        Err(_) => tracing::debug!("a scraper took longer than {SCRAPE_TIME:?}"),
    }
    drop(permit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;

    #[test]
    fn metrics_are_for_this_machine() {
        let parse = |text: &str| address(Some((text.to_owned(), Origin::Flag("--metrics"))));
        for text in ["127.0.0.1:9464", "[::1]:0", "localhost:1"] {
            assert!(parse(text).unwrap().is_some(), "{text}");
        }
        for text in [
            "0.0.0.0:9464",
            "192.0.2.7:9464",
            "[::]:1",
            "unix:/run/metrics",
            "9464",
            "",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.contains("--metrics") && error.contains(text),
                "{error}"
            );
        }
        assert!(address(None).unwrap().is_none());
    }
}
