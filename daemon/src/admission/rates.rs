//! How many datagrams are taken: a source, and in all. What is remembered of sources is bounded, for addresses can be forged.

use std::{net::IpAddr, num::NonZeroU32};

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

/// The limits of a gateway's UDP listeners together.
pub struct Rates {
    sources: DefaultKeyedRateLimiter<IpAddr>,
    most_sources: usize,
    all: DefaultDirectRateLimiter,
}

impl Rates {
    /// So many datagrams a second from one source and in all; at most `sources` sources are remembered.
    pub fn new(per_source: u32, per_second: u32, sources: usize) -> Self {
        Self {
            sources: RateLimiter::keyed(quota(per_source)),
            most_sources: sources,
            all: RateLimiter::direct(quota(per_second)),
        }
    }

    /// Whether another datagram of `source` is taken.
    pub fn take(&self, source: IpAddr) -> bool {
        if self.sources.len() >= self.most_sources {
            // Sources that were silent for a while are forgotten; a flood of forged ones leaves the bound in all.
            self.sources.retain_recent();
            if self.sources.len() >= self.most_sources {
                return self.all.check().is_ok();
            }
        }
        self.sources.check_key(&source.to_canonical()).is_ok() && self.all.check().is_ok()
    }
}

/// So many a second, and as many at once. Zero is one: a limit is a number of datagrams.
fn quota(a_second: u32) -> Quota {
    Quota::per_second(NonZeroU32::new(a_second).unwrap_or(NonZeroU32::MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(a_source: u32, in_all: u32, sources: usize) -> Rates {
        Rates::new(a_source, in_all, sources)
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// How many of a burst are taken: each attempt takes microseconds, a refill of a rate this low at least 100 ms.
    fn taken(rates: &Rates, source: IpAddr, burst: u32) -> u32 {
        (0..burst).map(|_| u32::from(rates.take(source))).sum()
    }

    #[test]
    fn a_source_has_its_limit_and_leaves_the_others_theirs() {
        let rates = rates(5, 1000, 100);
        assert_eq!(taken(&rates, address(1), 20), 5);
        assert_eq!(taken(&rates, address(2), 20), 5);
    }

    #[test]
    fn all_sources_together_have_one_too() {
        let rates = rates(5, 8, 100);
        assert_eq!(taken(&rates, address(1), 20), 5);
        assert_eq!(taken(&rates, address(2), 20), 3);
    }

    #[test]
    fn forged_sources_are_not_remembered_without_end() {
        let rates = rates(1, 1000, 10);
        for last in 0..=255 {
            rates.take(address(last));
        }
        assert_eq!(rates.sources.len(), 10);
    }
}
