//! How many wrong tokens each peer may send: guessing is bounded, and so is what is remembered of it.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use remex_daemon::net::Caller;

/// Wrong tokens of one peer within [`GUESS_WINDOW`]. Whoever sends more is not listened to until that is over, be its token
/// right or wrong.
pub const MAX_GUESSES: u32 = 20;

/// See [`MAX_GUESSES`].
pub const GUESS_WINDOW: Duration = Duration::from_mins(1);

/// Peers that are remembered at once; a further one takes the place of the one that has been there longest.
pub const MAX_GUESSING_PEERS: usize = 4096;

/// Whom guesses are counted for: a user of this machine, an address elsewhere. Of IPv6 it is the /64, which is what a single
/// machine has at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    User(u32),
    Address(IpAddr),
}

impl Source {
    fn of(caller: &Caller) -> Self {
        match (caller.uid, caller.address) {
            (None, Some(address)) => Self::Address(match address.ip().to_canonical() {
                IpAddr::V4(address) => address.into(),
                IpAddr::V6(address) => {
                    let network = u128::from(address) >> 64 << 64;
                    Ipv6Addr::from(network).into()
                }
            }),
            (uid, _) => Self::User(uid.unwrap_or(u32::MAX)),
        }
    }
}

/// The counts.
#[derive(Debug, Default)]
pub struct Guesses(Mutex<HashMap<Source, Count>>);

#[derive(Debug, Clone, Copy)]
struct Count {
    since: Instant,
    wrong: u32,
}

impl Guesses {
    /// How long `caller`, as the kernel knows it, is not listened to; `None`: it is.
    pub fn held(&self, caller: &Caller, now: Instant) -> Option<Duration> {
        let counts = self.lock();
        let count = counts.get(&Source::of(caller))?;
        let left = GUESS_WINDOW.checked_sub(now.saturating_duration_since(count.since))?;
        (count.wrong >= MAX_GUESSES && !left.is_zero()).then_some(left)
    }

    /// Counts a wrong token of `caller`.
    pub fn wrong(&self, caller: &Caller, now: Instant) {
        let mut counts = self.lock();
        let source = Source::of(caller);
        if counts.len() >= MAX_GUESSING_PEERS && !counts.contains_key(&source) {
            make_room(&mut counts, now);
        }
        let count = counts.entry(source).or_insert(Count {
            since: now,
            wrong: 0,
        });
        if now.saturating_duration_since(count.since) >= GUESS_WINDOW {
            *count = Count {
                since: now,
                wrong: 0,
            };
        }
        count.wrong = count.wrong.saturating_add(1);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Source, Count>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_room(counts: &mut HashMap<Source, Count>, now: Instant) {
    counts.retain(|_, count| now.saturating_duration_since(count.since) < GUESS_WINDOW);
    if counts.len() < MAX_GUESSING_PEERS {
        return;
    }
    let oldest = counts.iter().min_by_key(|(_, count)| count.since);
    if let Some((&source, _)) = oldest {
        counts.remove(&source);
    }
}

#[cfg(test)]
mod tests {
    use remex_daemon::net::Transport;

    use super::*;

    fn caller(address: &str, uid: Option<u32>) -> Caller {
        Caller {
            transport: Transport::Tcp,
            address: Some(address.parse().unwrap()),
            uid,
            identity: None,
            cgroup: remex_daemon::net::PeerCgroup::default(),
            listener: None,
        }
    }

    #[test]
    fn a_peer_may_guess_as_often_as_the_limit_and_leaves_the_others_theirs() {
        let guesses = Guesses::default();
        let begin = Instant::now();
        let (one, other) = (caller("192.0.2.7:1", None), caller("192.0.2.8:1", None));
        for _ in 0..MAX_GUESSES {
            assert_eq!(guesses.held(&one, begin), None);
            guesses.wrong(&one, begin);
        }
        // Another port is the same machine.
        let again = caller("[::ffff:192.0.2.7]:2", None);
        assert_eq!(guesses.held(&again, begin), Some(GUESS_WINDOW));
        assert_eq!(guesses.held(&other, begin), None);
        let later = begin + GUESS_WINDOW;
        assert_eq!(guesses.held(&one, later), None);
        guesses.wrong(&one, later);
        assert_eq!(guesses.held(&one, later), None);
    }

    #[test]
    fn addresses_of_one_network_are_one_peer_and_local_users_are_told_apart() {
        let guesses = Guesses::default();
        let now = Instant::now();
        for host in 1..=MAX_GUESSES {
            guesses.wrong(&caller(&format!("[2001:db8::{host:x}]:1"), None), now);
            guesses.wrong(&caller(&format!("127.0.0.{host}:1"), Some(1000)), now);
        }
        assert!(
            guesses
                .held(&caller("[2001:db8::ffff:1]:1", None), now)
                .is_some()
        );
        assert!(
            guesses
                .held(&caller("[2001:db8:0:1::1]:1", None), now)
                .is_none()
        );
        assert!(
            guesses
                .held(&caller("127.0.0.99:1", Some(1000)), now)
                .is_some()
        );
        assert!(
            guesses
                .held(&caller("127.0.0.99:1", Some(1001)), now)
                .is_none()
        );
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_latest_is_in_it() {
        let guesses = Guesses::default();
        let begin = Instant::now();
        let peers = u32::try_from(MAX_GUESSING_PEERS).unwrap() + 10;
        for uid in 0..peers {
            let now = begin + Duration::from_millis(uid.into());
            for _ in 0..MAX_GUESSES {
                guesses.wrong(&caller("127.0.0.1:1", Some(uid)), now);
            }
            assert!(
                guesses
                    .held(&caller("127.0.0.1:1", Some(uid)), now)
                    .is_some()
            );
        }
        assert_eq!(guesses.lock().len(), MAX_GUESSING_PEERS);
        let now = begin + Duration::from_millis(peers.into());
        assert!(guesses.held(&caller("127.0.0.1:1", Some(0)), now).is_none());
    }
}
