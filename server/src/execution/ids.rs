//! New ids: UUIDs of version 7, which sort by age.

use std::{
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

use uuid::{ContextV7, Timestamp, Uuid};

/// Makes ids, each above the one before it, even within a tick of the clock and if that is set back.
#[derive(Debug)]
pub(super) struct Ids(Mutex<ContextV7>);

impl Ids {
    pub(super) fn new() -> Self {
        Self(Mutex::new(ContextV7::new()))
    }

    /// The next id, at `time`. A clock that shows a time before 1970 stands still in ids.
    pub(super) fn next(&self, time: SystemTime) -> Uuid {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp = Timestamp::from_unix(&self.0, since.as_secs(), since.subsec_nanos());
        Uuid::new_v7(timestamp)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ids_sort_by_age_whatever_the_clock_does() {
        let ids = Ids::new();
        let day = Duration::from_hours(24);
        let times = [
            UNIX_EPOCH - day,
            UNIX_EPOCH,
            UNIX_EPOCH + 20_000 * day,
            UNIX_EPOCH + 20_000 * day,
            UNIX_EPOCH - day,
        ];
        let made: Vec<_> = times.iter().map(|&time| ids.next(time)).collect();
        assert!(made.is_sorted(), "{made:?}");
        assert_eq!(made[0].get_version_num(), 7);
    }
}
