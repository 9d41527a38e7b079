//! New names for executions and state folders, in the order in which they were made.

use std::{
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use uuid::{ContextV7, Timestamp, Uuid};

/// Orders the names of one millisecond.
static CONTEXT: Mutex<ContextV7> = Mutex::new(ContextV7::new());

/// A name that sorts behind all before it. A clock before 1970, of a machine without a battery, counts as 1970, where
/// [`Uuid::now_v7`] would panic.
pub fn new_id() -> Uuid {
    at(SystemTime::now())
}

fn at(now: SystemTime) -> Uuid {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let context = CONTEXT.lock().unwrap_or_else(PoisonError::into_inner);
    let timestamp = Timestamp::from_unix(&*context, now.as_secs(), now.subsec_nanos());
    Uuid::new_v7(timestamp)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn pitfall_52_a_clock_before_1970_makes_names_all_the_same() {
        let before = UNIX_EPOCH - Duration::from_secs(1);
        let (one, two) = (at(before), at(before));
        assert_ne!(one, two);
        assert!(at(UNIX_EPOCH + Duration::from_secs(1)) > one);
        assert!(new_id() < new_id());
    }
}
