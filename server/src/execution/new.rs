//! What a caller asks for, and how it came.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use bytes::Bytes;
use remex_daemon::net::{Caller, Transport};
use remex_supervisor::process::CommandSpec;

use super::Durability;
use crate::{audit::CallRecord, policy::gate::Permit, traces::CallTrace};

/// What a caller asks for.
#[derive(Debug)]
pub struct NewExecution {
    /// The command.
    pub spec: CommandSpec,
    /// The first bytes of stdin.
    pub stdin: Bytes,
    /// stdin goes on after them.
    pub stdin_open: bool,
    /// Its output is waited for to the end, not only as long as its leader runs.
    pub until_end: bool,
    /// The caller's labels.
    pub labels: BTreeMap<String, String>,
    /// Leave of the policy, if there is one.
    pub permit: Option<Permit>,
    /// Who asks.
    pub caller: Caller,
    /// What it came through.
    pub through: Through,
    /// What is told of the call.
    pub record: CallRecord,
    /// The trace that the call is part of.
    pub trace: CallTrace,
    /// How it is kept; `None`: it ends with its caller, and this server.
    pub durability: Option<Durability>,
}

/// What a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Through {
    /// How the caller is connected.
    pub transport: Transport,
    /// A gateway asks, for a client of its own.
    pub gateway: bool,
    /// That client's address as the gateway tells it, where it is another than the caller's. Nothing here believes it.
    pub client: Option<IpAddr>,
}

impl Through {
    /// What `caller` came through, with the address of a client of its own if it is a gateway that says one.
    pub fn of(caller: &Caller, client: Option<&[u8]>) -> Self {
        let address = |client: &[u8]| std::str::from_utf8(client).ok()?.parse().ok();
        Self {
            transport: caller.transport,
            gateway: client.is_some(),
            client: client
                .filter(|client| !caller.is_at(client))
                .and_then(address),
        }
    }
}

impl fmt::Display for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.gateway { "gateway " } else { "grpc " })?;
        f.write_str(match self.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Unix => "unix",
        })?;
        match self.client {
            Some(client) => write!(f, " for {client}"),
            None => Ok(()),
        }
    }
}
