//! What of a configuration is another than before, key by key, for whoever reloads it. Pure.

use std::fmt::Debug;

/// A key, and its value as it can be compared.
type KeyValue = (&'static str, String);

/// A configuration, as it can be told from another of the same daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloadable {
    /// What a reload changes.
    live: Vec<KeyValue>,
    /// What holds from the next start on.
    fixed: Vec<KeyValue>,
}

/// What came of reading a configuration again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// The keys whose new values hold now.
    pub changed: Vec<String>,
    /// Those whose new values hold from the next start on.
    pub needs_restart: Vec<String>,
}

impl Reloadable {
    /// And a key whose `value` a reload changes.
    #[must_use]
    pub fn live(mut self, key: &'static str, value: &dyn Debug) -> Self {
        self.live.push((key, format!("{value:?}")));
        self
    }

    /// And a key whose `value` holds to the end.
    #[must_use]
    pub fn fixed(mut self, key: &'static str, value: &dyn Debug) -> Self {
        self.fixed.push((key, format!("{value:?}")));
        self
    }

    /// What a reload from this one to `new` changes, in a daemon that was started with `started`.
    pub fn differences(&self, new: &Self, started: &Self) -> Differences {
        Differences {
            changed: differing(&self.live, &new.live),
            needs_restart: differing(&started.fixed, &new.fixed),
        }
    }
}

/// The keys whose values differ.
fn differing(old: &[KeyValue], new: &[KeyValue]) -> Vec<String> {
    let pairs = old.iter().zip(new).filter(|(old, new)| old.1 != new.1);
    pairs.map(|(old, _)| old.0.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_to_the_end_is_compared_with_the_start() {
        let config = |level: u8, folder: &str| {
            let config = Reloadable::default().live("level", &level);
            config.fixed("folder", &folder)
        };
        let started = config(1, "/a");
        let first = config(2, "/b");
        let differences = started.differences(&first, &started);
        assert_eq!(differences.changed, ["level"]);
        assert_eq!(differences.needs_restart, ["folder"]);
        // The level has changed already; the folder still waits for a start.
        let differences = first.differences(&first, &started);
        assert_eq!(differences.changed, [""; 0]);
        assert_eq!(differences.needs_restart, ["folder"]);
        assert_eq!(first.differences(&started, &started).needs_restart, [""; 0]);
    }
}
