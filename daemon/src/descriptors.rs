//! How many descriptors there are, and how many of them connections may have: what runs, and what ends it, needs some too.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections of one kind may have this part of all descriptors.
const SHARE: u64 = 4;

/// Fewer connections than this serve nobody.
const LEAST: usize = 8;

/// Raises this process's limit as far as it may go.
pub fn raise() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // Where that is denied, the limit stays what it is, and so do the shares of it.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// `most` connections, or as many as there are descriptors for.
pub fn share(most: usize) -> usize {
    share_of(getrlimit(Resource::Nofile).current, most)
}

fn share_of(descriptors: Option<u64>, most: usize) -> usize {
    let share = descriptors.map_or(u64::MAX, |descriptors| descriptors / SHARE);
    let share = usize::try_from(share).unwrap_or(usize::MAX);
    most.min(share.max(LEAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        for (descriptors, share) in [
            (None, 4096),
            (Some(1_048_576), 4096),
            (Some(1024), 256),
            (Some(64), 16),
            (Some(8), LEAST),
        ] {
            assert_eq!(share_of(descriptors, 4096), share, "{descriptors:?}");
        }
    }
}
