//! The query of a listener's URL: keys and values, each taken once by what it applies to. What nobody takes is an error that
//! names it. Pure.

use percent_encoding::percent_decode_str;

use super::Problem;

/// Every key that some listener takes, in the order that an error lists them.
pub(super) const KNOWN: [&str; 19] = [
    "service",
    "wire",
    "charset",
    "endian",
    "ack",
    "size_key",
    "max_datagram",
    "timeout",
    "drain",
    "shell",
    "users",
    "allow",
    "gather",
    "request_end",
    "reply_end",
    "filename",
    "format",
    "mode",
    "group",
];

/// The pairs of a query that are not taken yet.
#[derive(Debug)]
pub(super) struct Keys(Vec<(String, String)>);

impl Keys {
    /// Splits and decodes a query.
    pub(super) fn parse(query: &str) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let key = key.to_owned();
            if !KNOWN.contains(&key.as_str()) {
                return Err(Problem::UnknownKey(key));
            }
            if pairs.iter().any(|(seen, _)| *seen == key) {
                return Err(Problem::RepeatedKey(key));
            }
            let value = percent_decode_str(value)
                .decode_utf8()
                .ok()
                .filter(|value| !value.chars().any(char::is_control))
                .ok_or_else(|| Problem::Value {
                    key: key.clone(),
                    value: value.escape_debug().to_string(),
                    expected: "UTF-8 text without control characters".to_owned(),
                })?
                .into_owned();
            pairs.push((key, value));
        }
        Ok(Self(pairs))
    }

    /// Takes the value of `key`, if it is there.
    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        let index = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.swap_remove(index).1)
    }

    /// Takes the value of `key` as one of `names`, or its default.
    pub(super) fn take_one_of<T: Copy + Default>(
        &mut self,
        key: &str,
        names: &[(&str, T)],
    ) -> Result<T, Problem> {
        let Some(value) = self.take(key) else {
            return Ok(T::default());
        };
        let found = names.iter().find(|(name, _)| *name == value);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
            wrong(key, value, names.join(" or "))
        })
    }

    /// Takes the value of `key` as what `parse` makes of it.
    pub(super) fn take_as<T>(
        &mut self,
        key: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        match parse(&value) {
            Some(meaning) => Ok(Some(meaning)),
            None => Err(wrong(key, value, expected)),
        }
    }

    /// Refuses what is left: known keys that mean nothing for `what`.
    pub(super) fn finish(self, what: &str) -> Result<(), Problem> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((key, _)) => Err(Problem::MisplacedKey {
                key,
                what: what.to_owned(),
            }),
        }
    }
}

pub(super) fn wrong(key: &str, value: String, expected: impl Into<String>) -> Problem {
    Problem::Value {
        key: key.to_owned(),
        value,
        expected: expected.into(),
    }
}
