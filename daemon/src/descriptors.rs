//! How many descriptors there are, and how many of them connections may have: what runs, and what ends it, needs some too.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections of one kind may have this part of all descriptors.
const SHARE: u64 = 4;

/// Fewer connections than this serve nobody.
const LEAST: usize = 8;

/// For so many descriptors one thing may be made ahead of need.
const DESCRIPTORS_PER_AHEAD: u64 = 128;

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

/// `most` things that are made ahead of need, or as many as leave descriptors for what is in use. None, where there are few.
pub fn ahead(most: usize) -> usize {
    ahead_of(getrlimit(Resource::Nofile).current, most)
}

fn ahead_of(descriptors: Option<u64>, most: usize) -> usize {
    let ahead = descriptors.map_or(u64::MAX, |descriptors| descriptors / DESCRIPTORS_PER_AHEAD);
    usize::try_from(ahead).map_or(most, |ahead| most.min(ahead))
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

    #[test]
    fn what_is_made_ahead_leaves_descriptors_for_what_is_in_use() {
        for (descriptors, ahead) in [(None, 4), (Some(1024), 4), (Some(256), 2), (Some(127), 0)] {
            assert_eq!(ahead_of(descriptors, 4), ahead, "{descriptors:?}");
        }
    }
}
