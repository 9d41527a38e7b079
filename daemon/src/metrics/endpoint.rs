//! Where metrics are told, as it changes while they are.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Metrics, MetricsListener};
use crate::{
    Handover,
    net::{Address, BindError, Listener, ListeningSocket},
};

/// A listener or none, which can be replaced.
#[derive(Debug)]
pub struct MetricsEndpoint {
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    stop: CancellationToken,
    served: Mutex<Option<Served>>,
}

#[derive(Debug)]
struct Served {
    asked: Address,
    url: String,
    socket: ListeningSocket,
    stop: CancellationToken,
}

/// What takes its place.
#[derive(Debug)]
pub struct MetricsRenewal(Change);

#[derive(Debug)]
enum Change {
    /// As it is: this URL.
    Kept(String),
    Removed,
    New(Address, MetricsListener),
}

impl MetricsRenewal {
    /// Where metrics will be told, if anywhere.
    pub fn url(&self) -> Option<String> {
        match &self.0 {
            Change::Kept(url) => Some(url.clone()),
            Change::Removed => None,
            Change::New(_, listener) => Some(listener.url()),
        }
    }
}

impl MetricsEndpoint {
    /// None yet, for `metrics`; its tasks are tracked by `tasks`, and end with `stop`.
    pub fn new(metrics: Metrics, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self {
            metrics: Arc::new(metrics),
            tasks,
            stop,
            served: Mutex::default(),
        }
    }

    /// Leaves its socket to the program that is executed next in this process.
    pub fn hand_over(&self, to: &mut Handover) -> io::Result<()> {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served
            .as_ref()
            .map_or(Ok(()), |served| served.socket.hand_over("metrics", to))
    }

    /// Binds `address` by `bind`, if it is not bound yet. Nothing changes by it.
    pub fn prepare(
        &self,
        address: Option<&Address>,
        bind: impl FnOnce(&Address) -> Result<Listener, BindError>,
    ) -> Result<MetricsRenewal, BindError> {
        let Some(address) = address else {
            return Ok(MetricsRenewal(Change::Removed));
        };
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(served) = served.as_ref().filter(|served| served.asked == *address) {
            return Ok(MetricsRenewal(Change::Kept(served.url.clone())));
        }
        let listener = MetricsListener::new(bind(address)?);
        let listener = listener.map_err(|source| BindError::Io {
            address: address.clone(),
            source,
        })?;
        Ok(MetricsRenewal(Change::New(address.clone(), listener)))
    }

    /// Tells metrics where `renewal` says, and nowhere else.
    pub fn renew(&self, MetricsRenewal(change): MetricsRenewal) {
        let new = match change {
            Change::Kept(_) => return,
            Change::Removed => None,
            Change::New(asked, listener) => Some((asked, listener)),
        };
        let new = new.map(|(asked, listener)| {
            let (url, stop) = (listener.url(), self.stop.child_token());
            let socket = listener.socket().clone();
            let serving = listener.serve(Arc::clone(&self.metrics), stop.clone());
            self.tasks.spawn(serving);
            Served {
                asked,
                url,
                socket,
                stop,
            }
        });
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = std::mem::replace(&mut *served, new) {
            old.stop.cancel();
        }
    }
}
