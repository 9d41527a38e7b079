//! Who connects, and how.
//!
//! Hops: [`Address`] (what the user typed) -> [`Listener`] (bound) -> [`ListeningSocket`] (in the runtime) -> [`Acceptor`] (permit, accept, back off) ->
//! [`identify_tcp`] or `SO_PEERCRED` (whose socket it is) -> [`Caller`], with an [`Identity`] if it has proven one -> [`Users`] (may this one connect?).

mod acceptor;
mod address;
mod backoff;
mod caller;
mod handed;
mod identity;
mod listener;
mod listening;
mod locality;
mod names;
pub mod peer;
mod socket_file;
mod stream;
mod tcp_info;
mod text;
mod users;

pub use acceptor::{AcceptLimits, Accepted, Acceptor, RESERVE};
pub use address::{Address, AddressError, UnixAddress, authority, zone_index};
pub use backoff::Backoff;
pub use caller::{Caller, PeerCgroup, PeerUnknown, Transport};
pub use handed::{HandedError, HandedSockets, KEYS, Label};
pub use identity::{Identity, MAX_IDENTITY_BYTES, NoIdentity};
pub use listener::{
    BACKLOG, BindError, BoundAddress, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, Listener,
};
pub use listening::ListeningSocket;
pub use locality::{Locality, identify_tcp, identify_udp};
pub use names::group_id;
pub use stream::PeerStream;
pub use tcp_info::TcpInfo;
pub use text::deserialize_text;
pub use users::{Users, UsersError};
