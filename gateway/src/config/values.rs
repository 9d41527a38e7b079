//! The values of a listener's keys, from text, each with what it is told to be if it is not. Pure.

use std::time::Duration;

use remex_client::wire;
use remex_daemon::admission::Network;

use crate::limits::{
    DATAGRAM_BYTES, LEAST_DATAGRAM_BYTES, MOST_GATHER, MOST_SIZE_KEY_BYTES, MOST_TIMEOUT,
};

pub(super) const NETWORKS: &str = "addresses or networks, separated by commas, such as 192.0.2.0/24,2001:db8::/32,fe80::%25eth0/64";
pub(super) const DATAGRAM: &str = "a number of bytes from 128 to 65507";
pub(super) const DURATION: &str =
    "a time such as 30s, 500ms, 1h30m or a number of seconds, at most a year; 0 is none";
pub(super) const CHARSET: &str = "a charset's WHATWG label, such as gbk or utf-8, in which ASCII is ASCII and no state is kept (not utf-16, not iso-2022-jp)";
pub(super) const GATHER: &str = "a time such as 20ms, at most 10s; 0 is none";
pub(super) const MARK: &str = "a byte, from 0x00 to 0xff";
pub(super) const FORMAT: &str = "a format of strftime, such as %25H:%25M:%25S";
pub(super) const SIZE_KEY: &str =
    "1 to 64 letters, digits, - and _, and no other key of the header";

pub(super) fn networks(list: &str) -> Option<Vec<Network>> {
    let networks = list.split(',').map(|text| text.trim().parse().ok());
    networks.collect()
}

pub(super) fn datagram(text: &str) -> Option<usize> {
    let bytes = text.parse().ok()?;
    (LEAST_DATAGRAM_BYTES..=DATAGRAM_BYTES)
        .contains(&bytes)
        .then_some(bytes)
}

/// A duration as it is typed everywhere, at most a year; `None` if it is something else.
pub(super) fn duration(text: &str) -> Option<Duration> {
    remex::duration::parse(text)
        .ok()
        .filter(|time| *time <= MOST_TIMEOUT)
}

/// `gather`.
pub(super) fn gather(text: &str) -> Option<Duration> {
    duration(text).filter(|time| *time <= MOST_GATHER)
}

/// `0x04`.
pub(super) fn mark(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("0x")?;
    let hex =
        (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

pub(super) fn size_key(key: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let fits = (1..=MOST_SIZE_KEY_BYTES).contains(&key.len());
    (fits && key.bytes().all(plain) && !wire::key::ALL.contains(&key)).then(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let millis = |number| Some(Duration::from_millis(number));
        for (text, expected) in [
            ("30s", millis(30_000)),
            ("500ms", millis(500)),
            ("5m", millis(300_000)),
            ("8760h", millis(31_536_000_000)),
            ("0", Some(Duration::ZERO)),
            ("0s", Some(Duration::ZERO)),
            ("30", millis(30_000)),
            ("1.5s", millis(1500)),
            ("1h30m", millis(5_400_000)),
            ("8761h", None),
            ("8760h1ms", None),
            ("s", None),
            ("-1s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615h", None),
            ("", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    #[test]
    fn marks_are_bytes() {
        for (text, expected) in [
            ("0x00", Some(0)),
            ("0x4", Some(4)),
            ("0xFF", Some(255)),
            ("0x100", None),
            ("0x", None),
            ("0x+4", None),
            ("4", None),
            ("", None),
        ] {
            assert_eq!(mark(text), expected, "{text}");
        }
        assert_eq!(gather("20ms"), Some(Duration::from_millis(20)));
        assert_eq!(gather("10s"), Some(Duration::from_secs(10)));
        assert_eq!(gather("10001ms"), None);
    }

    #[test]
    fn datagrams_have_both_bounds() {
        for (text, expected) in [
            ("127", None),
            ("128", Some(128)),
            ("1024", Some(1024)),
            ("65507", Some(65_507)),
            ("65508", None),
            ("x", None),
        ] {
            assert_eq!(datagram(text), expected, "{text}");
        }
    }

    #[test]
    fn size_keys_are_plain_and_new() {
        let longest = "k".repeat(64);
        for key in ["data_size", "size", "total-size", &longest] {
            assert_eq!(size_key(key).as_deref(), Some(key));
        }
        let longer = "k".repeat(65);
        for key in ["", "größe", "a b", "a\"", "md5", "exit_code", &longer] {
            assert_eq!(size_key(key), None, "{key}");
        }
    }

    #[test]
    fn networks_are_lists() {
        let two = networks("192.0.2.0/24, 2001:db8::/32").unwrap();
        assert_eq!(two.len(), 2);
        for list in ["", "192.0.2.0/33", "a,b", "192.0.2.7,"] {
            assert_eq!(networks(list), None, "{list}");
        }
    }
}
