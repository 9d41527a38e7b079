//! What must hold of any datagram, whoever it says that it is from, and whatever a server answers: for the fuzz target, and for
//! the ordinary tests that replay its seeds and try some thousand inputs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use remex_daemon::{
    admission::{Access, Denied},
    net::{Caller, PeerUnknown, Transport, Users},
};
use remex_gateway::{
    config::{DatagramService, Kind, ListenerConfig},
    datagram::amplification::{self, NotServed},
};

/// It may use the listener, and that one may not.
const USERS: [u32; 2] = [0, 4_294_967_000];

/// Asks a listener of the input who is answered, and with how much.
pub(crate) fn check(input: &[u8]) {
    let mut input = Input(input);
    let service = input.one_of(["exec", "echo", "time"]);
    let is_ipv4 = input.one_of([true, false]);
    let owner = input.one_of([
        Owner::OtherMachine,
        Owner::User,
        Owner::OtherUser,
        Owner::Nobody,
    ]);
    let from = SocketAddr::new(input.source(), 40_000);
    let networks: Vec<_> = (0..input.byte() % 4)
        .map(|_| input.network(from.ip(), is_ipv4))
        .collect();
    let Some((kind, access)) = listener(service, is_ipv4, &networks) else {
        return;
    };
    // As the fields say, and not as `admit` finds out.
    let is_local = matches!(owner, Owner::User | Owner::OtherUser);
    let is_named = networks.iter().any(|network| network.has(from.ip()));

    let served = amplification::admit(&kind, &access, owner.sender(from));
    let may_be = match owner {
        Owner::User => true,
        Owner::OtherUser | Owner::Nobody => false,
        Owner::OtherMachine if service == "echo" => is_named || networks.is_empty(),
        Owner::OtherMachine => is_named,
    };
    match served {
        Ok(caller) => {
            assert!(may_be, "{service} answers {from}, {networks:?}");
            assert_eq!(caller.is_local(), is_local);
            echoed(&mut input, &caller);
        }
        Err(why) => {
            assert!(!may_be, "{service} does not answer {from}, {networks:?}");
            let is_told = why.told().is_some();
            assert!(
                is_local || !is_told,
                "another machine is told that it may not"
            );
            assert!(!is_local || matches!(why, NotServed::Denied(Denied::User { .. })));
        }
    }
}

/// Whatever came, and whatever a server made of it: what goes back is no longer.
fn echoed(input: &mut Input<'_>, caller: &Caller) {
    let request_bytes = usize::from(u16::from_be_bytes(input.bytes()));
    let reply = input.0;
    let sent = amplification::echo(request_bytes, Ok(reply.to_vec().into()), caller);
    match sent {
        Some(sent) => assert!(sent == reply && sent.len() <= request_bytes),
        None => assert!(reply.len() > request_bytes),
    }
    let why = String::from_utf8_lossy(reply);
    let told = amplification::echo(request_bytes, Err(&why), caller);
    assert_eq!(
        told.is_some(),
        caller.is_local(),
        "another machine is told why"
    );
}

/// Its service, and who may use it, as its URL says; `None`: there is none such.
fn listener(
    service: &str,
    is_ipv4: bool,
    networks: &[Network],
) -> Option<(DatagramService, Access)> {
    let address = if is_ipv4 { "0.0.0.0" } else { "[::]" };
    let networks: Vec<_> = networks
        .iter()
        .map(|network| format!("{}/{}", network.address, network.bits))
        .collect();
    let query = if networks.is_empty() {
        String::new()
    } else {
        format!("?allow={}", networks.join(","))
    };
    let listener: ListenerConfig = format!("udp://{address}:9/{service}{query}").parse().ok()?;
    let Kind::Datagram { service, .. } = listener.kind else {
        unreachable!("its URL is one for datagrams");
    };
    let (users, allow) = (Users::daemon(), listener.allow);
    Some((service, Access { users, allow }))
}

/// Whose the kernel says that a source is.
#[derive(Clone, Copy)]
enum Owner {
    OtherMachine,
    User,
    OtherUser,
    Nobody,
}

impl Owner {
    fn sender(self, from: SocketAddr) -> Result<Caller, PeerUnknown> {
        let uid = match self {
            Self::OtherMachine => None,
            Self::User => Some(USERS[0]),
            Self::OtherUser => Some(USERS[1]),
            Self::Nobody => return Err(PeerUnknown::NoOwner(from)),
        };
        Ok(Caller {
            transport: Transport::Udp,
            address: Some(from),
            uid,
            ..Caller::unix(0)
        })
    }
}

#[derive(Debug)]
struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether `address` begins as this one does, bit for bit.
    fn has(&self, address: IpAddr) -> bool {
        let own = bits(self.address);
        let others = bits(address.to_canonical());
        own.len() == others.len()
            && own
                .iter()
                .zip(others)
                .take(self.bits.into())
                .all(|(own, other)| *own == other)
    }
}

fn bits(address: IpAddr) -> Vec<bool> {
    let bytes = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
        .collect()
}

/// What is left of an input. Behind its end are zeros.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn one_of<T: Copy, const COUNT: usize>(&mut self, all: [T; COUNT]) -> T {
        all[usize::from(self.byte()) % COUNT]
    }

    fn bytes<const COUNT: usize>(&mut self) -> [u8; COUNT] {
        std::array::from_fn(|_| self.byte())
    }

    fn source(&mut self) -> IpAddr {
        match self.byte() % 3 {
            0 => Ipv4Addr::from(self.bytes()).into(),
            1 => Ipv6Addr::from(self.bytes::<16>()).into(),
            _ => Ipv4Addr::from(self.bytes()).to_ipv6_mapped().into(),
        }
    }

    /// One of a family: about `source`, or anywhere.
    fn network(&mut self, source: IpAddr, is_ipv4: bool) -> Network {
        let (is_near, length) = (self.byte().is_multiple_of(2), self.byte());
        let address = match source.to_canonical() {
            near if is_near && near.is_ipv4() == is_ipv4 => near,
            _ if is_ipv4 => Ipv4Addr::from(self.bytes()).into(),
            _ => IpAddr::from(Ipv6Addr::from(self.bytes::<16>())).to_canonical(),
        };
        let most = if address.is_ipv4() { 32 } else { 128 };
        Network {
            address,
            bits: length % (most + 1),
        }
    }
}
