//! A legacy listener, from its URL: which socket, which service, which wire. Once parsed nothing about it is checked again,
//! and what cannot go together (a wire over UDP, an acknowledgement without `ascii-length`) cannot be written down. Pure.

use std::{net::SocketAddr, str::FromStr, time::Duration};

use remex_client::wire::{Ack, Endian, Filename, Wire, WireName};
use remex_daemon::{
    admission::Network,
    net::{Address, UnixAddress},
};

use super::{ListenerError, Problem, keys::Keys, values};
use crate::{limits, wire::Charset};

/// The settings of a legacy listener.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerConfig {
    /// Where it listens, and what it does there.
    pub kind: Kind,
    /// `users`: local users that may connect beside those of `--users`; names, numbers or `*`, separated by commas.
    pub users: Option<String>,
    /// `allow`: networks of other machines that may connect. Empty: any.
    pub allow: Vec<Network>,
}

/// What a listener's sockets carry.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Connections.
    Stream {
        /// TCP or a Unix socket.
        address: Address,
        /// What is done with each.
        service: StreamService,
    },
    /// Datagrams.
    Datagram {
        /// The UDP address.
        address: SocketAddr,
        /// What is done with each.
        service: DatagramService,
    },
}

/// What a connection gets.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamService {
    /// Its commands run.
    Exec {
        /// How its replies are laid out.
        wire: Wire,
        /// How its commands run.
        exec: Exec,
        /// How the end of a command is found.
        framing: Framing,
    },
    /// Its bytes come back, upper-cased.
    Echo {
        /// How long more is waited for after each piece.
        gather: Duration,
    },
}

/// How the end of a command is found, beside what the segments say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Framing {
    /// `request_end`: the byte that ends a command.
    pub request_end: Option<u8>,
    /// `gather`: how long more is waited for after each piece, for clients that write byte by byte.
    pub gather: Duration,
}

/// What a datagram gets.
#[derive(Debug, Clone, PartialEq)]
pub enum DatagramService {
    /// Its command runs.
    Exec {
        /// The longest reply, in bytes.
        max_datagram: usize,
        /// How its command runs.
        exec: Exec,
    },
    /// It comes back, upper-cased.
    Echo,
    /// The time, in its format.
    Time {
        /// What a format that is not UTF-8 is in, and the reply.
        charset: Charset,
        /// The format, whatever is asked; `None`: the datagram's.
        format: Option<String>,
    },
}

/// How a listener's commands run.
#[derive(Debug, Clone, PartialEq)]
pub struct Exec {
    /// The clients' charset.
    pub charset: Charset,
    /// After which a command is ended; `None`: never.
    pub timeout: Option<Duration>,
    /// How long output is waited for when the command has ended.
    pub drain: Drain,
    /// The shell that runs the text with `-c`; `None`: the server's `/bin/sh`.
    pub shell: Option<String>,
}

/// How long output is waited for when the command itself has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Drain {
    /// As the API has it: not for what was left in the background.
    #[default]
    Exit,
    /// Until nobody holds its stdout and stderr open any more.
    Eof,
}

impl Kind {
    /// Where it listens.
    pub fn address(&self) -> Address {
        match self {
            Self::Stream { address, .. } => address.clone(),
            Self::Datagram { address, .. } => Address::Tcp(*address),
        }
    }
}

impl ListenerConfig {
    /// One that takes the daemon's own user and root, and every other machine.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            users: None,
            allow: Vec::new(),
        }
    }

    /// What the ready line and the logs call it: `tcp-exec`, `udp-echo`, `unix-exec`.
    pub fn name(&self) -> &'static str {
        use DatagramService as D;
        use StreamService as S;
        match &self.kind {
            Kind::Stream { address, service } => match (address, service) {
                (Address::Tcp(_), S::Exec { .. }) => "tcp-exec",
                (Address::Tcp(_), S::Echo { .. }) => "tcp-echo",
                (Address::Unix(_), S::Exec { .. }) => "unix-exec",
                (Address::Unix(_), S::Echo { .. }) => "unix-echo",
            },
            Kind::Datagram { service, .. } => match service {
                D::Exec { .. } => "udp-exec",
                D::Echo => "udp-echo",
                D::Time { .. } => "udp-time",
            },
        }
    }

    /// How its commands run, if it runs any.
    pub fn exec(&self) -> Option<&Exec> {
        match &self.kind {
            Kind::Stream {
                service: StreamService::Exec { exec, .. },
                ..
            }
            | Kind::Datagram {
                service: DatagramService::Exec { exec, .. },
                ..
            } => Some(exec),
            Kind::Stream { .. } | Kind::Datagram { .. } => None,
        }
    }

    /// The IP address, if it has one.
    pub(super) fn ip_address(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Stream {
                address: Address::Tcp(address),
                ..
            }
            | Kind::Datagram { address, .. } => Some(*address),
            Kind::Stream { .. } => None,
        }
    }

    /// Each network of `allow` can apply to some peer.
    fn check_allow(&self) -> Result<(), Problem> {
        let Some(address) = self.ip_address().filter(|_| !self.allow.is_empty()) else {
            return Ok(());
        };
        if self.is_loopback() {
            return Err(Problem::AllowLocal(self.url()));
        }
        for network in &self.allow {
            let why = if network.is_loopback() {
                "local processes are let in by users=, not by their address"
            } else if network.is_nobodys() {
                "it is no machine's own address"
            } else if network.is_ipv4() != address.ip().to_canonical().is_ipv4() {
                "no machine has such an address for this listener: one speaks IPv4, the other IPv6"
            } else {
                continue;
            };
            return Err(Problem::AllowNever {
                network: *network,
                why,
            });
        }
        Ok(())
    }

    /// Whether only this machine reaches it.
    pub fn is_loopback(&self) -> bool {
        match &self.kind {
            Kind::Stream { address, .. } => address.is_loopback(),
            Kind::Datagram { address, .. } => Address::Tcp(*address).is_loopback(),
        }
    }
}

impl FromStr for ListenerConfig {
    type Err = ListenerError;

    fn from_str(url: &str) -> Result<Self, ListenerError> {
        parse(url).map_err(|problem| ListenerError {
            url: url.escape_debug().to_string(),
            problem,
        })
    }
}

fn parse(url: &str) -> Result<ListenerConfig, Problem> {
    if url.contains('#') {
        return Err(Problem::Fragment);
    }
    let (front, query) = url.split_once('?').unwrap_or((url, ""));
    let mut keys = Keys::parse(query)?;
    let users = keys.take_as(
        "users",
        "names, numbers or *, separated by commas",
        |list| (!list.is_empty()).then(|| list.to_owned()),
    )?;
    let allow = keys.take_as("allow", values::NETWORKS, values::networks)?;
    let Some((scheme, rest)) = front.split_once(':') else {
        return Err(Problem::Scheme);
    };
    let kind = match (scheme, rest.strip_prefix("//")) {
        ("tcp", Some(rest)) => tcp(rest, &mut keys)?,
        ("udp", Some(rest)) => udp(rest, &mut keys)?,
        ("unix", _) => unix(front, &mut keys)?,
        _ => return Err(Problem::Scheme),
    };
    if allow.is_some()
        && matches!(
            &kind,
            Kind::Stream {
                address: Address::Unix(_),
                ..
            }
        )
    {
        return Err(Problem::MisplacedKey {
            key: "allow".to_owned(),
            what: "a Unix socket".to_owned(),
        });
    }
    let listener = ListenerConfig {
        kind,
        users,
        allow: allow.unwrap_or_default(),
    };
    keys.finish(listener.name())?;
    listener.check_allow()?;
    Ok(listener)
}

/// `127.0.0.1:8080/exec` as address and service.
fn address(rest: &str) -> Result<(SocketAddr, &str), Problem> {
    let (authority, service) = rest.split_once('/').ok_or(Problem::NoService)?;
    match Address::from_uri(authority)? {
        Address::Tcp(address) => Ok((address, service)),
        Address::Unix(_) => Err(Problem::Scheme),
    }
}

fn tcp(rest: &str, keys: &mut Keys) -> Result<Kind, Problem> {
    let (address, service) = address(rest)?;
    Ok(Kind::Stream {
        address: Address::Tcp(address),
        service: stream_service(service, keys)?,
    })
}

fn unix(front: &str, keys: &mut Keys) -> Result<Kind, Problem> {
    let mut address: UnixAddress = front.parse()?;
    for key in ["mode", "group"] {
        if let Some(value) = keys.take(key) {
            address.set(key, &value)?;
        }
    }
    let service = keys.take("service").ok_or(Problem::NoUnixService)?;
    Ok(Kind::Stream {
        address: Address::Unix(address),
        service: stream_service(&service, keys)?,
    })
}

fn stream_service(name: &str, keys: &mut Keys) -> Result<StreamService, Problem> {
    match name {
        "exec" => Ok(StreamService::Exec {
            wire: wire(keys)?,
            exec: exec(keys, None)?,
            framing: Framing {
                request_end: keys.take_as("request_end", values::MARK, values::mark)?,
                gather: gather(keys)?,
            },
        }),
        "echo" => Ok(StreamService::Echo {
            gather: gather(keys)?,
        }),
        "time" => Err(Problem::TimeOverStream),
        "" => Err(Problem::NoService),
        _ => Err(Problem::UnknownService(name.to_owned())),
    }
}

fn gather(keys: &mut Keys) -> Result<Duration, Problem> {
    let gather = keys.take_as("gather", values::GATHER, values::gather)?;
    Ok(gather.unwrap_or_default())
}

fn udp(rest: &str, keys: &mut Keys) -> Result<Kind, Problem> {
    let (address, service) = address(rest)?;
    let service = match service {
        "exec" => DatagramService::Exec {
            max_datagram: keys
                .take_as("max_datagram", values::DATAGRAM, values::datagram)?
                .unwrap_or(limits::DATAGRAM_BYTES),
            exec: exec(keys, Some(limits::DATAGRAM_TIMEOUT))?,
        },
        "echo" => DatagramService::Echo,
        "time" => DatagramService::Time {
            charset: charset(keys)?,
            format: keys.take_as("format", values::FORMAT, |format| {
                (!format.is_empty()).then(|| format.to_owned())
            })?,
        },
        "" => return Err(Problem::NoService),
        _ => return Err(Problem::UnknownService(service.to_owned())),
    };
    Ok(Kind::Datagram { address, service })
}

const DRAINS: [(&str, Drain); 2] = [("exit", Drain::Exit), ("eof", Drain::Eof)];

fn wire(keys: &mut Keys) -> Result<Wire, Problem> {
    let endian = |keys: &mut Keys| keys.take_one_of("endian", &Endian::NAMES);
    Ok(match keys.take_one_of("wire", &WireName::NAMES)? {
        WireName::JsonHeader => Wire::JsonHeader {
            endian: endian(keys)?,
            size_key: keys.take_as("size_key", values::SIZE_KEY, values::size_key)?,
            filename: keys.take_one_of("filename", &Filename::NAMES)?,
        },
        WireName::Length => Wire::Length {
            endian: endian(keys)?,
        },
        WireName::AsciiLength => Wire::AsciiLength {
            ack: keys.take_one_of("ack", &Ack::NAMES)?,
        },
        WireName::Raw => Wire::Raw {
            reply_end: keys.take_as("reply_end", values::MARK, values::mark)?,
        },
    })
}

fn exec(keys: &mut Keys, timeout: Option<Duration>) -> Result<Exec, Problem> {
    Ok(Exec {
        charset: charset(keys)?,
        timeout: keys
            .take_as("timeout", values::DURATION, values::duration)?
            .map_or(timeout, |time| (!time.is_zero()).then_some(time)),
        drain: keys.take_one_of("drain", &DRAINS)?,
        shell: keys.take_as("shell", "a program, such as /bin/bash", |shell| {
            (!shell.is_empty()).then(|| shell.to_owned())
        })?,
    })
}

fn charset(keys: &mut Keys) -> Result<Charset, Problem> {
    Ok(keys
        .take_as("charset", values::CHARSET, Charset::for_label)?
        .unwrap_or(Charset::UTF_8))
}
