//! What a journal keeps of the request and of who made it, for whoever finds it: never stdin, never the values of an
//! environment. As protobuf, so that an earlier version reads what a later one has written.

use std::{collections::BTreeMap, net::IpAddr, net::SocketAddr, time::Duration};

use bytes::Bytes;
use prost::Message;
use remex::v1;
use remex_daemon::net::{Caller, PeerCgroup, Transport};
use remex_supervisor::{
    journal::{Keep, OnFull},
    lifecycle::presence::OnDisconnect,
    process::{AppliedParts, CommandSpec},
};

use crate::execution::{Durability, NewExecution, Through};

/// The message that is written.
#[derive(Clone, PartialEq, Message)]
struct Details {
    /// As it was asked for: `command`, `labels`, `request_id`, `on_disconnect`, `disconnect_grace`, `keep`, `stdin_open`.
    #[prost(message, optional, tag = "1")]
    request: Option<v1::StartRequest>,
    /// The user of a caller on this machine.
    #[prost(uint32, optional, tag = "2")]
    uid: Option<u32>,
    /// The address of a caller that came by one, without its port.
    #[prost(string, tag = "3")]
    address: String,
    /// What it came over: 1 TCP, 2 UDP, 3 Unix.
    #[prost(uint32, tag = "4")]
    transport: u32,
    /// A gateway asked, for a client of its own.
    #[prost(bool, tag = "5")]
    gateway: bool,
    /// That client's address.
    #[prost(string, tag = "6")]
    client: String,
    /// Who the caller had proven to be.
    #[prost(string, tag = "7")]
    identity: String,
    /// What holds of its isolation, without that itself.
    #[prost(message, optional, tag = "8")]
    applied: Option<v1::AppliedIsolation>,
}

/// What is known of a request again.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) spec: CommandSpec,
    pub(super) applied: Option<AppliedParts>,
    pub(super) until_end: bool,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) caller: Caller,
    pub(super) through: Through,
    pub(super) durability: Durability,
}

impl Known {
    /// Where what was asked for cannot be read, and by whom: it is nobody's, so that only those see it who see everybody's.
    pub(super) fn nothing() -> Self {
        Self {
            spec: CommandSpec {
                kill_after: Duration::ZERO,
                ..CommandSpec::new(Vec::new())
            },
            applied: None,
            until_end: false,
            labels: BTreeMap::new(),
            caller: Caller {
                transport: Transport::Unix,
                address: None,
                uid: None,
                identity: None,
                cgroup: PeerCgroup::default(),
                listener: None,
            },
            through: Through {
                transport: Transport::Unix,
                gateway: false,
                client: None,
            },
            durability: Durability {
                request_id: None,
                on_disconnect: OnDisconnect::Detach,
                keep: Keep::default(),
            },
        }
    }
}

/// For the journal.
pub(super) fn encode(
    new: &NewExecution,
    durability: &Durability,
    applied: Option<AppliedParts>,
) -> Bytes {
    let (on_disconnect, grace) = match durability.on_disconnect {
        OnDisconnect::Kill => (v1::OnDisconnect::Kill, None),
        OnDisconnect::Grace(grace) => (v1::OnDisconnect::Grace, grace.try_into().ok()),
        OnDisconnect::Detach => (v1::OnDisconnect::Detach, None),
    };
    let on_full = match durability.keep.on_full {
        OnFull::Block => v1::keep::OnFull::Block,
        OnFull::DropOldest => v1::keep::OnFull::DropOldest,
    };
    let text = |address: IpAddr| address.to_canonical().to_string();
    Details {
        request: Some(v1::StartRequest {
            command: Some(crate::service::record_command(&new.spec, new.until_end)),
            labels: new.labels.clone().into_iter().collect(),
            request_id: durability.request_id.clone().unwrap_or_default(),
            on_disconnect: on_disconnect.into(),
            disconnect_grace: grace,
            keep: Some(v1::Keep {
                max_bytes: durability.keep.max_bytes,
                on_full: on_full.into(),
                no_output: durability.keep.no_output,
            }),
            stdin_open: new.stdin_open,
            ..v1::StartRequest::default()
        }),
        uid: new.caller.uid,
        address: new
            .caller
            .address
            .map(|address| text(address.ip()))
            .unwrap_or_default(),
        transport: match new.caller.transport {
            Transport::Tcp => 1,
            Transport::Udp => 2,
            Transport::Unix => 3,
        },
        gateway: new.through.gateway,
        client: new.through.client.map(text).unwrap_or_default(),
        identity: new
            .caller
            .identity
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        applied: applied.map(|parts| v1::AppliedIsolation {
            isolation: None,
            landlock_abi: parts.landlock_abi,
            not_applied: parts.not_applied,
        }),
    }
    .encode_to_vec()
    .into()
}

/// What `bytes` say; `None`: nothing that this version understands.
pub(super) fn decode(bytes: &Bytes) -> Option<Known> {
    let details = Details::decode(bytes.clone()).ok()?;
    let request = details.request?;
    let on_disconnect = match request.on_disconnect() {
        v1::OnDisconnect::Unspecified => return None,
        v1::OnDisconnect::Kill => OnDisconnect::Kill,
        v1::OnDisconnect::Grace => OnDisconnect::Grace(
            request
                .disconnect_grace
                .and_then(|grace| Duration::try_from(grace).ok())
                .unwrap_or_default(),
        ),
        v1::OnDisconnect::Detach => OnDisconnect::Detach,
    };
    let keep = request.keep.unwrap_or_default();
    let transport = match details.transport {
        1 => Transport::Tcp,
        2 => Transport::Udp,
        _ => Transport::Unix,
    };
    let address = details.address.parse::<IpAddr>().ok();
    // One whose owner's name this version does not understand is nobody's, rather than its address's.
    let identity = match details.identity.as_str() {
        "" => None,
        text => Some(text.parse().ok()?),
    };
    let (spec, until_end) = crate::service::command_of_record(request.command?)?;
    let applied = details.applied.map(|parts| AppliedParts {
        landlock_abi: parts.landlock_abi,
        not_applied: parts.not_applied,
    });
    Some(Known {
        spec,
        applied,
        until_end,
        labels: request.labels.into_iter().collect(),
        caller: Caller {
            transport,
            address: address.map(|address| SocketAddr::new(address, 0)),
            uid: details.uid,
            identity,
            cgroup: PeerCgroup::default(),
            listener: None,
        },
        through: Through {
            transport,
            gateway: details.gateway,
            client: details.client.parse().ok(),
        },
        durability: Durability {
            request_id: Some(request.request_id).filter(|id| !id.is_empty()),
            on_disconnect,
            keep: Keep {
                max_bytes: keep.max_bytes,
                on_full: match keep.on_full() {
                    v1::keep::OnFull::DropOldest => OnFull::DropOldest,
                    v1::keep::OnFull::Unspecified | v1::keep::OnFull::Block => OnFull::Block,
                },
                no_output: keep.no_output,
            },
        },
    })
}
