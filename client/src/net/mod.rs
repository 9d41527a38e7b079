//! Sockets: from a host and a port, or a path, to a stream of bytes; and no more than that, since `remex legacy` speaks
//! something else over them than gRPC.

mod eyeballs;
mod host;

use std::{
    io,
    net::SocketAddrV6,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags},
    net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with},
};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream, lookup_host};

pub use self::host::{Host, HostPort, NoHostPort};
pub(crate) use self::host::{Syntax, parse};

/// Time between two of TCP's probes of a connection in silence. They and retransmission alone decide whether a server is
/// still there: one that is stopped or asleep for a while is, and nothing of HTTP/2 or of ours is shorter.
const KEEPALIVE: Duration = Duration::from_mins(1);
/// Probes without an answer after which it is not.
const KEEPALIVE_PROBES: u32 = 15;

/// The longest path that fits into a socket's address.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// The addresses of `server`, in the resolver's order.
pub async fn lookup(server: &HostPort) -> io::Result<Vec<std::net::SocketAddr>> {
    let HostPort { host, port } = server;
    Ok(match host {
        Host::Name(name) => lookup_host((name.as_str(), *port)).await?.collect(),
        // IPv4 within IPv6 needs no IPv6 on this machine.
        Host::Address(address) => vec![(address.to_canonical(), *port).into()],
        Host::Zoned { address, zone } => {
            vec![SocketAddrV6::new(*address, *port, 0, index_of(zone)?).into()]
        }
    })
}

/// The number by which this machine knows a zone.
fn index_of(zone: &str) -> io::Result<u32> {
    if let Ok(index) = zone.parse() {
        return Ok(index);
    }
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    netdevice::name_to_index(socket, zone).map_err(|_| {
        let unknown = format!("this machine has no network interface {zone:?}");
        io::Error::new(io::ErrorKind::NotFound, unknown)
    })
}

/// A connection over TCP to the first address of `server` that answers; they are tried 250 ms apart (RFC 8305).
pub async fn connect_tcp(server: &HostPort) -> io::Result<TcpStream> {
    let stream = eyeballs::connect(lookup(server).await?).await?;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE)
        .with_retries(KEEPALIVE_PROBES);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

/// A connection to the Unix socket at `path`, however long that is.
pub async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().len() <= MAX_SOCKET_PATH_BYTES {
        return UnixStream::connect(path).await;
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // A path too long for the address is reached through a handle of its folder.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    UnixStream::connect(short).await
}

/// The path in what follows `unix:`, which is `/PATH` or `///PATH`.
pub fn socket_path(rest: &str) -> Option<PathBuf> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    (path.starts_with('/') && !path.contains('\0')).then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn tcp_asks_every_minute_and_nothing_gives_up_sooner() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap().to_string();
        let stream = connect_tcp(&server.parse().unwrap()).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
        assert!(socket.tcp_nodelay().unwrap());
    }

    #[tokio::test]
    async fn zones_are_interfaces_of_this_machine() {
        for (text, index) in [("[fe80::1%lo]:1", 1), ("[fe80::1%7]:1", 7)] {
            let addresses = lookup(&text.parse().unwrap()).await.unwrap();
            let address = SocketAddrV6::new("fe80::1".parse().unwrap(), 1, 0, index);
            assert_eq!(addresses, [address.into()], "{text}");
        }
        for zone in [
            "no-such-zone",
            "a-name-longer-than-any-interface",
            "99999999999",
        ] {
            let server = format!("[fe80::1%{zone}]:1").parse().unwrap();
            let error = lookup(&server).await.unwrap_err().to_string();
            assert!(error.contains(zone), "{error}");
        }
    }

    #[test]
    fn a_sockets_path_is_absolute() {
        let path = Some(PathBuf::from("/run/x"));
        assert_eq!(socket_path("/run/x"), path);
        assert_eq!(socket_path("///run/x"), path);
        for text in ["", "x", "//host/x", "/a\0b"] {
            assert_eq!(socket_path(text), None, "{text:?}");
        }
    }
}
