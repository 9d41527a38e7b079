//! Happy eyeballs (RFC 8305): the addresses of a name are tried a short time apart, and the first that answers is taken.
//! An address that is dead, of whatever family, costs that time and no more.

use std::{collections::VecDeque, io, net::SocketAddr, time::Duration};

use tokio::{net::TcpStream, task::JoinSet, time::sleep};

/// RFC 8305's Connection Attempt Delay.
pub(super) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to the first of `addresses` that answers; if none does, the error is that of the first that failed.
pub(super) async fn connect(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = interleave(addresses);
    // Dropped with the future, which gives up what is under way.
    let mut attempts = JoinSet::new();
    let mut first_error = None;
    loop {
        if let Some(address) = waiting.pop_front() {
            attempts.spawn(TcpStream::connect(address));
        }
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(error))) => drop(first_error.get_or_insert(error)),
                Some(Err(error)) => drop(first_error.get_or_insert(error.into())),
                None => {
                    let unknown = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                    return Err(first_error.unwrap_or_else(unknown));
                }
            },
            () = sleep(ATTEMPT_DELAY), if !waiting.is_empty() => {}
        }
    }
}

/// Families take turns, beginning with that of the resolver's first choice.
fn interleave(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let Some(preferred) = addresses.first().map(SocketAddr::is_ipv6) else {
        return VecDeque::new();
    };
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == preferred);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = VecDeque::new();
    loop {
        let turn = [first.next(), second.next()];
        if turn == [None, None] {
            return turns;
        }
        turns.extend(turn.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream as Blocking};

    use socket2::{Domain, Socket, Type};
    use tokio::time::Instant;

    use super::*;

    /// An address whose machine seems dead: its queue is full, so the kernel answers no further SYN.
    struct Dead {
        address: SocketAddr,
        _sockets: (Socket, Vec<Socket>),
    }

    fn dead(host: &str) -> Dead {
        let any: SocketAddr = format!("{host}:0").parse().unwrap();
        let listener = Socket::new(Domain::for_address(any), Type::STREAM, None).unwrap();
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let fill = || {
            let socket = Socket::new(Domain::for_address(any), Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            // Under way, or done: either takes a place.
            let _ = socket.connect(&address.into());
            socket
        };
        let filling = (0..4).map(|_| fill()).collect();
        Dead {
            address,
            _sockets: (listener, filling),
        }
    }

    #[test]
    fn families_take_turns() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let addresses = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"].map(at);
        let turns = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"].map(at);
        assert_eq!(interleave(addresses.into()), turns);
        assert!(interleave(Vec::new()).is_empty());
    }

    #[tokio::test]
    async fn pitfall_61_dead_addresses_cost_a_delay_each_whatever_their_family() {
        let dead = [dead("127.0.0.1"), dead("127.0.0.1"), dead("127.0.0.1")];
        for dead in &dead {
            let silent = Blocking::connect_timeout(&dead.address, Duration::from_millis(100));
            assert!(silent.is_err(), "{} answers", dead.address);
        }
        let alive = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut addresses: Vec<_> = dead.iter().map(|dead| dead.address).collect();
        addresses.push(alive.local_addr().unwrap());
        let begin = Instant::now();
        let stream = connect(addresses).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive.local_addr().unwrap());
        assert!(begin.elapsed() >= 3 * ATTEMPT_DELAY, "one after the other");
        assert!(
            begin.elapsed() < Duration::from_secs(4),
            "within the bound on connecting"
        );
    }

    #[tokio::test]
    async fn an_address_that_refuses_costs_nothing_and_the_first_error_is_told() {
        let refusing = TcpListener::bind("127.0.0.1:0").unwrap();
        let refused = refusing.local_addr().unwrap();
        drop(refusing);
        let alive = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = alive.local_addr().unwrap();
        let begin = Instant::now();
        connect(vec![refused, refused, address]).await.unwrap();
        // Two delays would have passed.
        assert!(begin.elapsed() < 2 * ATTEMPT_DELAY);
        let error = connect(vec![refused, refused]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(
            connect(Vec::new()).await.unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
