//! What is known of an execution before it runs: who asked for what under which name. Pure.
//!
//! A request is kept as a digest, field by field, so that a conflict can name the field. It is salted: neither a value nor
//! that two requests had the same one can be read off it.

use std::time::SystemTime;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{
    error::{BadRecord, Unsupported},
    fields::{Field, Fields, put_bytes},
    format,
    record::kind,
};

/// Most bytes of what whoever made a reservation wants back.
pub const MAX_DETAILS_BYTES: usize = 4 * 1024 * 1024;

/// Most bytes of a caller's name or of a request id that a claim takes.
pub const MAX_NAME_BYTES: usize = 4096;

/// Bytes kept of each field's digest.
const FIELD_BYTES: usize = 16;

/// A request id in its caller's scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey([u8; 32]);

impl RequestKey {
    /// The key of `request_id`, as `caller` chose it.
    pub fn new(caller: &str, request_id: &str) -> Self {
        let mut sum = Sha256::new();
        for part in [caller, request_id] {
            sum.update((part.len() as u64).to_le_bytes());
            sum.update(part);
        }
        Self(sum.finalize().into())
    }

    /// The name of its file: lower-case hexadecimal.
    pub(super) fn name(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let nibbles = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        nibbles
            .map(|nibble| char::from(DIGITS[usize::from(nibble)]))
            .collect()
    }
}

/// A request, as far as it has to be told from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestDigest {
    salt: [u8; 16],
    fields: Vec<(u8, [u8; FIELD_BYTES])>,
}

impl RequestDigest {
    /// The digest of a request of which `fields` are the numbers and values; `salt` is random.
    pub fn new(salt: [u8; 16], fields: &[(u8, &[u8])]) -> Self {
        let digest = |&(number, value): &(u8, &[u8])| (number, digest_field(salt, number, value));
        Self {
            salt,
            fields: fields.iter().map(digest).collect(),
        }
    }

    /// The number of the first field that differs from `fields`, or that only one of the two has.
    pub fn first_difference(&self, fields: &[(u8, &[u8])]) -> Option<u8> {
        let other = Self::new(self.salt, fields);
        let has = |request: &Self, field| request.fields.contains(field);
        let ours = self.fields.iter().filter(|field| !has(&other, field));
        let theirs = other.fields.iter().filter(|field| !has(self, field));
        ours.chain(theirs).map(|&(number, _)| number).min()
    }
}

fn digest_field(salt: [u8; 16], number: u8, value: &[u8]) -> [u8; FIELD_BYTES] {
    let mut sum = Sha256::new();
    sum.update(salt);
    sum.update([number]);
    sum.update(value);
    let whole: [u8; 32] = sum.finalize().into();
    let mut kept = [0; FIELD_BYTES];
    kept.copy_from_slice(&whole[..FIELD_BYTES]);
    kept
}

/// That a request id stands for an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Which.
    pub execution_id: String,
    /// The id in its scope.
    pub key: RequestKey,
    /// What was asked for.
    pub digest: RequestDigest,
    /// By whom.
    pub caller: String,
    /// Under which name.
    pub request_id: String,
    /// The boot in which it was claimed.
    pub boot_id: [u8; 16],
    /// Since when its record is gone.
    pub retired_at: Option<SystemTime>,
}

impl Claim {
    /// For another process.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes
    }

    /// What [`Self::to_bytes`] has made; `None` for anything else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::decode(bytes).ok()
    }

    /// Its bytes, without what tells whether they are whole.
    pub(super) fn encode(&self, to: &mut Vec<u8>) {
        put_bytes(to, 1, self.execution_id.as_bytes());
        put_bytes(to, 2, &self.key.0);
        put_bytes(to, 3, &self.digest.salt);
        for (number, digest) in &self.digest.fields {
            let mut value = [*number; 1 + FIELD_BYTES];
            value[1..].copy_from_slice(digest);
            put_bytes(to, 4, &value);
        }
        put_bytes(to, 5, self.caller.as_bytes());
        put_bytes(to, 6, self.request_id.as_bytes());
        put_bytes(to, 7, &self.boot_id);
        if let Some(retired_at) = self.retired_at {
            put_bytes(to, 8, &format::nanos(retired_at).to_le_bytes());
        }
    }

    /// What `bytes` say. Fields that are not known, of a later version, are skipped.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadRecord> {
        let mut claim = Self {
            execution_id: String::new(),
            key: RequestKey([0; 32]),
            digest: RequestDigest {
                salt: [0; 16],
                fields: Vec::new(),
            },
            caller: String::new(),
            request_id: String::new(),
            boot_id: [0; 16],
            retired_at: None,
        };
        for field in Fields(bytes) {
            claim.set(&field?)?;
        }
        if claim.execution_id.is_empty() {
            return Err(BadRecord::Malformed);
        }
        Ok(claim)
    }

    fn set(&mut self, field: &Field<'_>) -> Result<(), BadRecord> {
        match field.number {
            1 => self.execution_id = field.text()?,
            2 => self.key = RequestKey(field.array()?),
            3 => self.digest.salt = field.array()?,
            4 => {
                let [number, digest @ ..] = field.array::<{ 1 + FIELD_BYTES }>()?;
                self.digest.fields.push((number, digest));
            }
            5 => self.caller = field.text()?,
            6 => self.request_id = field.text()?,
            7 => self.boot_id = field.array()?,
            8 => self.retired_at = Some(format::time(i64::from_le_bytes(field.array()?))),
            other if field.is_needed => {
                return Err(BadRecord::Unsupported(Unsupported::Field {
                    kind: kind::CLAIM,
                    field: other,
                }));
            }
            _ => {}
        }
        Ok(())
    }
}

/// The first record of a journal: from here on the execution may have run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The request id that stands for it, if there is one.
    pub claim: Option<Claim>,
    /// The boot in which it was reserved.
    pub boot_id: [u8; 16],
    /// When.
    pub time: SystemTime,
    /// What whoever made it wants back; at most [`MAX_DETAILS_BYTES`].
    pub details: Bytes,
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::{super::fields::NEEDED, *};

    /// A field that is not known.
    const LATER: u8 = 99;

    fn claim() -> Claim {
        Claim {
            execution_id: "an-execution".to_owned(),
            key: RequestKey::new("unix:1000", "nightly"),
            digest: RequestDigest::new([7; 16], &[(1, b"true"), (2, b"")]),
            caller: "unix:1000".to_owned(),
            request_id: "nightly".to_owned(),
            boot_id: [9; 16],
            retired_at: Some(UNIX_EPOCH),
        }
    }

    #[test]
    fn a_key_has_no_seam() {
        assert_ne!(RequestKey::new("ab", "c"), RequestKey::new("a", "bc"));
        assert_eq!(RequestKey::new("a", "b"), RequestKey::new("a", "b"));
        let name = RequestKey::new("a", "b").name();
        assert_eq!(name.len(), 64);
        assert!(name.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn a_difference_names_its_field() {
        let digest = RequestDigest::new([7; 16], &[(1, b"true"), (2, b""), (3, b"x")]);
        for (fields, difference) in [
            (&[(1, &b"true"[..]), (2, b""), (3, b"x")][..], None),
            (&[(1, b"false"), (2, b""), (3, b"y")], Some(1)),
            (&[(1, b"true"), (2, b"x"), (3, b"")], Some(2)),
            (&[(1, b"true"), (2, b"")], Some(3)),
            (&[(1, b"true"), (2, b""), (3, b"x"), (4, b"")], Some(4)),
        ] {
            assert_eq!(digest.first_difference(fields), difference, "{fields:?}");
        }
    }

    #[test]
    fn the_same_value_looks_different_under_another_salt_and_in_another_field() {
        let secret: &[u8] = b"TOKEN=hunter2";
        let one = RequestDigest::new([1; 16], &[(1, secret), (2, secret)]);
        let two = RequestDigest::new([2; 16], &[(1, secret)]);
        assert_ne!(one.fields[0].1, one.fields[1].1);
        assert_ne!(one.fields[0].1, two.fields[0].1);
        let mut bytes = Vec::new();
        Claim {
            digest: one,
            ..claim()
        }
        .encode(&mut bytes);
        assert!(!bytes.windows(7).any(|part| part == b"hunter2"));
    }

    #[test]
    fn a_claim_comes_back_and_skips_what_it_does_not_know() {
        for claim in [
            claim(),
            Claim {
                retired_at: None,
                ..claim()
            },
        ] {
            let mut bytes = Vec::new();
            claim.encode(&mut bytes);
            assert_eq!(Claim::decode(&bytes), Ok(claim.clone()));
            let mut later = bytes.clone();
            put_bytes(&mut later, LATER, b"later");
            assert_eq!(Claim::decode(&later), Ok(claim.clone()));
            put_bytes(&mut bytes, NEEDED | LATER, b"needed");
            let unsupported = Unsupported::Field {
                kind: kind::CLAIM,
                field: LATER,
            };
            assert_eq!(
                Claim::decode(&bytes),
                Err(BadRecord::Unsupported(unsupported))
            );
        }
        assert_eq!(Claim::decode(&[]), Err(BadRecord::Malformed));
    }
}
