//! TLS handshakes: bounded in time and in number. Where there are too many, it is the one that has lasted longest that is
//! given up, of whoever has most of them: an honest client needs milliseconds for its own, and gets them.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use remex_daemon::net::{Caller, PeerStream};
use rustls::{AlertDescription, CertificateError, Error as TlsError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::peers::Peer;
use crate::identity::Tls;

/// A handshake has to be over within this time.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Handshakes at once, of all peers.
pub const MAX_HANDSHAKES: usize = 512;

/// Handshakes at once of one peer.
pub const MAX_HANDSHAKES_OF_A_PEER: usize = 128;

/// How long a peer whose handshake failed has to read why: closed at once, a connection loses what was said last.
const FAREWELL: Duration = Duration::from_secs(1);

/// What such a peer may send meanwhile.
const FAREWELL_BYTES: u64 = 64 * 1024;

/// Those under way. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Handshakes(Arc<Mutex<UnderWay>>);

#[derive(Debug, Default)]
struct UnderWay {
    /// The oldest first; none is empty.
    peers: HashMap<Peer, VecDeque<Entry>>,
    all: usize,
    begun: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    given_up: CancellationToken,
}

/// A handshake that is counted, until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    handshakes: Handshakes,
    peer: Peer,
    number: u64,
    given_up: CancellationToken,
}

/// Why a handshake did not come about.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoHandshake {
    #[error("no TLS handshake within {HANDSHAKE_TIMEOUT:?}")]
    Late,
    #[error("its TLS handshake was given up for newer ones: it has too many under way")]
    GivenUp,
    #[error("{}", why(.0))]
    Failed(#[from] io::Error),
}

impl UnderWay {
    fn begin(&mut self, peer: Peer) -> (u64, CancellationToken) {
        let own = self.peers.get(&peer).map_or(0, VecDeque::len);
        if own >= MAX_HANDSHAKES_OF_A_PEER {
            self.give_up(peer);
        } else if self.all >= MAX_HANDSHAKES {
            let most = self.peers.iter().max_by_key(|(_, entries)| entries.len());
            if let Some((&most, _)) = most {
                self.give_up(most);
            }
        }
        self.begun += 1;
        let (number, given_up) = (self.begun, CancellationToken::new());
        self.peers.entry(peer).or_default().push_back(Entry {
            number,
            given_up: given_up.clone(),
        });
        self.all += 1;
        (number, given_up)
    }

    /// The oldest of `peer`.
    fn give_up(&mut self, peer: Peer) {
        let oldest = self.peers.get(&peer).and_then(VecDeque::front);
        if let Some(oldest) = oldest {
            oldest.given_up.cancel();
            let number = oldest.number;
            self.end(peer, number);
        }
    }

    fn end(&mut self, peer: Peer, number: u64) {
        let Some(entries) = self.peers.get_mut(&peer) else {
            return;
        };
        // One that was given up has ended before.
        if let Ok(index) = entries.binary_search_by_key(&number, |entry| entry.number) {
            entries.remove(index);
            self.all -= 1;
        }
        if entries.is_empty() {
            self.peers.remove(&peer);
        }
    }
}

impl Handshakes {
    /// Counts one of `caller`'s.
    pub(super) fn begin(&self, caller: &Caller) -> Turn {
        let peer = Peer::of(caller);
        let (number, given_up) = self.lock().begin(peer);
        Turn {
            handshakes: self.clone(),
            peer,
            number,
            given_up,
        }
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.handshakes.lock().end(self.peer, self.number);
    }
}

/// Shakes hands with the peer of `stream`.
pub(super) async fn shake(
    stream: PeerStream,
    tls: &Tls,
    turn: Turn,
) -> Result<TlsStream<PeerStream>, NoHandshake> {
    let accepting = TlsAcceptor::from(tls.config()).accept(stream);
    let accepted = tokio::select! {
        biased;
        () = turn.given_up.cancelled() => return Err(NoHandshake::GivenUp),
        accepted = timeout(HANDSHAKE_TIMEOUT, accepting.into_fallible()) => accepted,
    };
    match accepted {
        Err(_) => Err(NoHandshake::Late),
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err((error, stream))) => {
            tokio::select! {
                biased;
                () = turn.given_up.cancelled() => {}
                _ = timeout(FAREWELL, part(stream)) => {}
            }
            Err(error.into())
        }
    }
}

/// Waits until the peer has taken what it was told.
async fn part(mut stream: PeerStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = stream.take(FAREWELL_BYTES);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Ok(())
}

/// Whose fault it is, and what it is.
fn why(error: &io::Error) -> String {
    use AlertDescription as A;
    use CertificateError as C;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let why = match inner {
        Some(TlsError::NoCertificatesPresented) => "it has no client certificate",
        Some(TlsError::InvalidCertificate(error)) => match error {
            C::UnknownIssuer => "none of the CAs in --tls-client-ca has signed its certificate",
            C::Expired | C::ExpiredContext { .. } => "its certificate has expired",
            C::NotValidYet | C::NotValidYetContext { .. } => "its certificate is not valid yet",
            C::InvalidPurpose | C::InvalidPurposeContext { .. } => {
                "its certificate is not for clients"
            }
            other => return format!("its certificate is of no use: {other}"),
        },
        Some(TlsError::InvalidMessage(_)) => "it does not speak TLS",
        Some(TlsError::NoApplicationProtocol) => "it does not speak HTTP/2 (ALPN h2)",
        Some(TlsError::PeerIncompatible(_)) => "it does not speak TLS 1.3 as this server does",
        Some(TlsError::AlertReceived(
            alert @ (A::UnknownCA
            | A::BadCertificate
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnsupportedCertificate
            | A::CertificateRevoked),
        )) => return format!("it does not take this server's certificate, --tls-cert: {alert:?}"),
        _ => return error.to_string(),
    };
    why.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(uid: u32) -> Caller {
        Caller::unix(uid)
    }

    #[test]
    fn the_oldest_of_a_peer_makes_room_for_its_newest() {
        let handshakes = Handshakes::default();
        let turns: Vec<_> = (0..=MAX_HANDSHAKES_OF_A_PEER)
            .map(|_| handshakes.begin(&caller(1)))
            .collect();
        let given_up = |turn: &Turn| turn.given_up.is_cancelled();
        assert!(given_up(&turns[0]));
        assert!(!turns[1..].iter().any(given_up));
        assert_eq!(handshakes.lock().all, MAX_HANDSHAKES_OF_A_PEER);
        drop(turns);
        assert_eq!(handshakes.lock().all, 0);
        assert!(handshakes.lock().peers.is_empty());
    }

    #[test]
    fn where_all_are_too_many_whoever_has_most_makes_room() {
        let handshakes = Handshakes::default();
        let honest = handshakes.begin(&caller(0));
        let mut turns = Vec::new();
        for uid in 1.. {
            for _ in 0..MAX_HANDSHAKES_OF_A_PEER - 1 {
                turns.push(handshakes.begin(&caller(uid)));
            }
            if turns.len() > 2 * MAX_HANDSHAKES {
                break;
            }
        }
        assert_eq!(handshakes.lock().all, MAX_HANDSHAKES);
        let second = handshakes.begin(&caller(0));
        assert!(!honest.given_up.is_cancelled() && !second.given_up.is_cancelled());
        assert_eq!(handshakes.lock().all, MAX_HANDSHAKES);
        drop((turns, honest, second));
        assert_eq!(handshakes.lock().all, 0);
    }
}
