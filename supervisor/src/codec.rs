//! Numbers and strings as they cross between processes of one machine: little-endian, a length before what has one. Pure.

use std::{
    ffi::{CStr, CString},
    time::{Duration, SystemTime},
};

/// Most items of one list.
const MAX_ITEMS: usize = 128 * 1024;

/// Puts values one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    /// All that was put.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn u8(&mut self, number: u8) {
        self.0.push(number);
    }

    pub(crate) fn bool(&mut self, is: bool) {
        self.u8(is.into());
    }

    pub(crate) fn u16(&mut self, number: u16) {
        self.0.extend(number.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, number: u32) {
        self.0.extend(number.to_le_bytes());
    }

    pub(crate) fn i32(&mut self, number: i32) {
        self.0.extend(number.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    /// Bytes of a fixed length.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.raw(bytes);
    }

    pub(crate) fn str(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn c_str(&mut self, string: &CStr) {
        self.bytes(string.to_bytes());
    }

    pub(crate) fn duration(&mut self, duration: Duration) {
        self.u64(duration.as_secs());
        self.u32(duration.subsec_nanos());
    }

    /// A point of the wall clock, to the nanosecond; what was before 1970 counts downwards.
    pub(crate) fn time(&mut self, time: SystemTime) {
        let (is_before, distance) = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => (false, since),
            Err(error) => (true, error.duration()),
        };
        self.bool(is_before);
        self.duration(distance);
    }

    pub(crate) fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            put(self, value);
        }
    }

    pub(crate) fn list<T>(&mut self, all: &[T], put: impl Fn(&mut Self, &T)) {
        self.length(all.len());
        for one in all {
            put(self, one);
        }
    }

    fn length(&mut self, length: usize) {
        // Nothing that crosses comes near it, and what did would not be decoded.
        self.u32(u32::try_from(length).unwrap_or(u32::MAX));
    }
}

/// Takes what an [`Encoder`] has put, in the same order; `None` where it is not there.
#[derive(Debug)]
pub(crate) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether all of it was taken.
    pub(crate) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// All that has not been taken.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn bool(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(crate) fn string(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    pub(crate) fn c_string(&mut self) -> Option<CString> {
        CString::new(self.bytes()?).ok()
    }

    pub(crate) fn duration(&mut self) -> Option<Duration> {
        let (seconds, nanoseconds) = (self.u64()?, self.u32()?);
        (nanoseconds < 1_000_000_000).then(|| Duration::new(seconds, nanoseconds))
    }

    pub(crate) fn time(&mut self) -> Option<SystemTime> {
        let is_before = self.bool()?;
        let distance = self.duration()?;
        if is_before {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        }
    }

    #[expect(
        clippy::option_option,
        reason = "that there is none is told from what is not there"
    )]
    pub(crate) fn option<T>(
        &mut self,
        take: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        if self.bool()? {
            take(self).map(Some)
        } else {
            Some(None)
        }
    }

    pub(crate) fn list<T>(&mut self, take: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::try_from(self.u32()?).ok()?;
        if count > MAX_ITEMS {
            return None;
        }
        (0..count).map(|_| take(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_before_and_after_1970_come_back() {
        for time in [
            SystemTime::UNIX_EPOCH,
            SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 7),
            SystemTime::UNIX_EPOCH - Duration::new(5, 999_999_999),
        ] {
            let mut encoder = Encoder::default();
            encoder.time(time);
            let bytes = encoder.into_bytes();
            let mut decoder = Decoder::new(&bytes);
            assert_eq!(decoder.time(), Some(time));
            assert!(decoder.is_at_end());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Decoder::new(&bytes).time();
            let _ = Decoder::new(&bytes).list(Decoder::string);
            let _ = Decoder::new(&bytes).option(Decoder::duration);
        }
    }
}
