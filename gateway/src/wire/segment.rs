//! Where a command ends. Nothing marks it, so the shape of the TCP segments has to say: what has arrived is a whole command
//! unless it fills whole segments exactly, for then the rest may be on its way. Pure.

/// Allowance for TCP options, which a segment's size counts differently from the connection's.
const OPTIONS_BYTES: u32 = 64;
/// What a full segment has at least on a path whose MTU was found to be small.
const FULL_SEGMENT_BYTES: u32 = 1200;

/// What `TCP_INFO` says of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    /// `tcpi_rcv_mss`: the largest segment seen, as the kernel estimates it.
    pub rcv_mss: u32,
    /// `tcpi_snd_mss`: what this side may send in a segment.
    pub snd_mss: u32,
    /// `tcpi_total_retrans`: how often this side had to send something again.
    pub total_retrans: u32,
    /// The peer is on this machine.
    pub loopback: bool,
}

/// Whether a command that has `len` bytes so far is all there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It is.
    Complete,
    /// More may be on its way: wait for it, up to [`segment_wait`](crate::limits::Limits::segment_wait).
    Wait,
    /// The same, up to [`segment_wait_lossy`](crate::limits::Limits::segment_wait_lossy): the path has lost something.
    WaitLong,
}

/// Judges `len` bytes. (Over a Unix socket one write arrives whole, and there is nothing to judge.)
pub fn arrival(len: usize, segments: Segments) -> Arrival {
    let Segments {
        rcv_mss,
        snd_mss,
        total_retrans,
        loopback,
    } = segments;
    let nearly = snd_mss.saturating_sub(OPTIONS_BYTES);
    let full = if loopback {
        nearly
    } else {
        nearly.min(FULL_SEGMENT_BYTES)
    };
    // A lone short segment always divides: rcv_mss is its own size.
    if rcv_mss == 0 || rcv_mss < full {
        return Arrival::Complete;
    }
    match usize::try_from(rcv_mss).map(|mss| len % mss) {
        Ok(0) if total_retrans > 0 => Arrival::WaitLong,
        Ok(0) => Arrival::Wait,
        _ => Arrival::Complete,
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrival::*, *};

    fn ethernet(rcv_mss: u32) -> Segments {
        Segments {
            rcv_mss,
            snd_mss: 1448,
            total_retrans: 0,
            loopback: false,
        }
    }

    fn loopback(rcv_mss: u32) -> Segments {
        Segments {
            rcv_mss,
            snd_mss: 32_768,
            total_retrans: 0,
            loopback: true,
        }
    }

    #[test]
    fn only_whole_full_segments_wait() {
        for (len, segments, expected) in [
            // A lone short segment.
            (6, ethernet(6), Complete),
            (536, ethernet(536), Complete),
            // Whole segments, and one that is not.
            (1448, ethernet(1448), Wait),
            (2896, ethernet(1448), Wait),
            (1500, ethernet(1448), Complete),
            (2897, ethernet(1448), Complete),
            // The peer's path may be narrower than ours.
            (1200, ethernet(1200), Wait),
            (1199, ethernet(1199), Complete),
            // On loopback a segment of Ethernet's size is a short one.
            (1448, loopback(1448), Complete),
            (1500, loopback(1500), Complete),
            (32_704, loopback(32_704), Wait),
            (32_703, loopback(32_703), Complete),
            (32_768, loopback(32_768), Wait),
        ] {
            assert_eq!(arrival(len, segments), expected, "{len} {segments:?}");
        }
    }

    #[test]
    fn a_full_segment_of_a_narrow_path_is_short_elsewhere() {
        let narrow = |rcv_mss| Segments {
            snd_mss: 1000,
            ..ethernet(rcv_mss)
        };
        assert_eq!(arrival(936, narrow(936)), Wait);
        assert_eq!(arrival(935, narrow(935)), Complete);
    }

    #[test]
    fn a_path_that_loses_is_waited_for_longer_and_for_no_more() {
        let lossy = Segments {
            total_retrans: 1,
            ..ethernet(1448)
        };
        for (len, expected) in [(1448, WaitLong), (2896, WaitLong), (1500, Complete)] {
            assert_eq!(arrival(len, lossy), expected, "{len}");
        }
    }

    #[test]
    fn numbers_that_mean_nothing_never_wait() {
        for (rcv_mss, snd_mss) in [(0, 0), (0, 1448), (1, 1448)] {
            let segments = Segments {
                rcv_mss,
                snd_mss,
                total_retrans: 1,
                loopback: false,
            };
            assert_eq!(arrival(10, segments), Complete);
        }
    }
}
