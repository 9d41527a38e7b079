//! What remexd serves, before there is anything to serve on, and what is counted and told of it.

use std::{fmt::Display, net::SocketAddr, sync::Arc};

use remex::error::Reason;
use remex_client::Client;
use remex_daemon::{
    admission::Refused,
    descriptors,
    metrics::{Metrics, MetricsEndpoint},
    net::Users,
};
use remex_gateway::{Gateway, limits::Limits};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tonic_health::server::HealthReporter;

use super::{AppError, internal};
use crate::{
    audit::{AuditLog, Subject},
    config::Config,
    execution::{Executions, Measured},
    grpc::{self, counts::RefusedConnections, routes},
    policy::{counts::PolicyCounts, gate::PolicyGate},
    service::exec::ExecHandler,
    state_dir::StateDir,
};

/// What serves, before there is anything to serve on.
pub(super) struct Services {
    pub(super) server: grpc::Server,
    pub(super) users: watch::Sender<Arc<Users>>,
    pub(super) health: HealthReporter,
    pub(super) gateway: Gateway,
    pub(super) metrics: MetricsEndpoint,
}

/// All of them for `config`, over `executions`, as they are told in `audit`.
pub(super) async fn services(
    config: &Config,
    state_dir: &StateDir,
    executions: &Arc<Executions>,
    audit: &AuditLog,
    (tasks, stop): &(TaskTracker, CancellationToken),
) -> Result<Services, AppError> {
    let gate = PolicyGate::new(config.policy.current(), Arc::clone(executions.spawner()));
    let exec = ExecHandler::new(Arc::clone(executions), gate.clone(), tasks.clone());
    let (all, health) = routes::all(exec.clone(), audit)
        .await
        .map_err(internal("reflection"))?;
    let users = watch::Sender::new(Arc::new(config.users.clone()));
    let (trust, policy) = (config.reloader.current(), gate.counts().clone());
    let server = grpc::Server::new(
        all,
        users.subscribe(),
        trust,
        gate,
        audit.clone(),
        tasks.clone(),
    );
    let gateway = gateway(config, state_dir, routes::own(exec, audit));
    tell_refusals(&gateway, audit);
    let metrics = measure(executions, (&server, policy), &gateway, audit);
    Ok(Services {
        users,
        health,
        // To the end of the drain, which is what somebody will want to know of.
        metrics: MetricsEndpoint::new(metrics, tasks.clone(), stop.clone()),
        server,
        gateway,
    })
}

/// Tells in `audit` whom `gateway` refuses before anything of it comes to the services.
fn tell_refusals(gateway: &Gateway, audit: &AuditLog) {
    if !audit.is_on() {
        return;
    }
    let audit = audit.clone();
    let told = move |listener: &'static str, refused, peer: &dyn Display, why: &dyn Display| {
        let reason = match refused {
            Refused::Peer => Reason::PeerNotAllowed.as_str(),
            Refused::Connections => "CONNECTIONS",
            Refused::CrossProtocol => "CROSS_PROTOCOL",
            Refused::Source => "SOURCE",
            // Of the server's room, or of what was said, and not of who said it.
            Refused::Full
            | Refused::Commands
            | Refused::Idle
            | Refused::Unread
            | Refused::Command
            | Refused::Handshake
            | Refused::Credential
            | Refused::Rate => return,
        };
        let caller = peer.to_string();
        // Another port is the same peer.
        let address = caller.parse::<SocketAddr>().ok();
        let subject = Subject {
            caller: match address {
                Some(address) => format!("ip:{}", address.ip().to_canonical()),
                None => caller,
            },
            from: address,
            through: listener.to_owned(),
        };
        audit.refused(&subject, None, reason, &why.to_string());
    };
    gateway.observe_refusals(Box::new(told));
}

/// All that is counted. What else counts adds itself here, as a [`MetricSource`](remex_daemon::metrics::MetricSource).
fn measure(
    executions: &Arc<Executions>,
    (server, policy): (&grpc::Server, PolicyCounts),
    gateway: &Gateway,
    audit: &AuditLog,
) -> Metrics {
    let mut metrics = Metrics::new(remex::VERSION);
    metrics.add(Measured(Arc::clone(executions)));
    metrics.add(server.reasons().clone());
    metrics.add(RefusedConnections(Arc::clone(server.refusals())));
    metrics.add(policy);
    metrics.add(gateway.counts());
    metrics.add(audit.clone());
    metrics
}

/// What serves the old protocol, over `services` in this process.
fn gateway(config: &Config, state_dir: &StateDir, services: Routes) -> Gateway {
    let spool = config.spool_dir.as_deref().unwrap_or(state_dir.path());
    let mut limits = Limits::default();
    limits.connections = descriptors::share(limits.connections);
    Gateway::new(Client::from_service(services), limits, spool.to_owned())
}
