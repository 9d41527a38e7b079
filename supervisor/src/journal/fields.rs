//! The parts of a record: a tag, a length, a value. Pure.
//!
//! The tag is one byte, the field's number in its low 7 bits. A later version adds fields; an older one skips those that it
//! does not know, unless the tag's highest bit says that the record must not be read without. Lengths, and values that are
//! numbers, are LEB128, the shortest form of it.

/// The tag's bit of a field that must be understood.
pub(super) const NEEDED: u8 = 0x80;

/// A LEB128 number of 64 bits takes at most this many bytes.
pub(super) const MAX_NUMBER_BYTES: usize = 10;

/// The bytes are not what they claim to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// One field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) number: u8,
    /// The record must not be read by whoever does not know the field.
    pub(super) is_needed: bool,
    pub(super) value: &'a [u8],
}

/// The fields of a record, in order.
#[derive(Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&tag, rest) = self.0.split_first()?;
        let field = split(rest).map(|(value, rest)| {
            self.0 = rest;
            Field {
                number: tag & !NEEDED,
                is_needed: tag & NEEDED != 0,
                value,
            }
        });
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or(Malformed))
    }
}

/// A length and as many bytes, and what is left.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = split_number(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

/// A number, and what is left.
fn split_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (index, &byte) in bytes.iter().enumerate().take(MAX_NUMBER_BYTES) {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * u32::try_from(index).ok()?;
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            let is_shortest = byte != 0 || index == 0;
            return is_shortest.then_some((number, &bytes[index + 1..]));
        }
    }
    None
}

impl Field<'_> {
    /// Its value as a number.
    pub(super) fn number(&self) -> Result<u64, Malformed> {
        match split_number(self.value) {
            Some((number, [])) => Ok(number),
            _ => Err(Malformed),
        }
    }

    /// Its value as a fixed count of bytes.
    pub(super) fn array<const N: usize>(&self) -> Result<[u8; N], Malformed> {
        self.value.try_into().map_err(|_| Malformed)
    }

    /// Its value as text.
    pub(super) fn text(&self) -> Result<String, Malformed> {
        String::from_utf8(self.value.to_vec()).map_err(|_| Malformed)
    }
}

/// Appends a number.
fn put_number(to: &mut Vec<u8>, mut number: u64) {
    loop {
        let bits = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            return to.push(bits);
        }
        to.push(bits | 0x80);
    }
}

/// Appends a field that is a number.
pub(super) fn put(to: &mut Vec<u8>, field: u8, number: u64) {
    to.push(field);
    let length = to.len();
    to.push(0);
    put_number(to, number);
    #[expect(clippy::cast_possible_truncation, reason = "at most MAX_NUMBER_BYTES")]
    let bytes = (to.len() - length - 1) as u8;
    to[length] = bytes;
}

/// Appends a field of bytes.
pub(super) fn put_bytes(to: &mut Vec<u8>, field: u8, value: &[u8]) {
    put_length(to, field, value.len());
    to.extend_from_slice(value);
}

/// Appends a field of bytes but for the bytes, which follow.
pub(super) fn put_length(to: &mut Vec<u8>, field: u8, length: usize) {
    to.push(field);
    put_number(to, length as u64);
}

/// Appends a field if it has a value.
pub(super) fn put_if(to: &mut Vec<u8>, field: u8, number: Option<u64>) {
    if let Some(number) = number {
        put(to, field, number);
    }
}

/// Appends a field if it is so.
pub(super) fn put_flag(to: &mut Vec<u8>, field: u8, is_so: bool) {
    put_if(to, field, is_so.then_some(1));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<Field<'_>>, Malformed> {
        Fields(bytes).collect()
    }

    #[test]
    fn numbers_come_back() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, 5, number);
            let fields = all(&bytes).unwrap();
            assert_eq!(fields[0].number(), Ok(number));
            assert_eq!(fields[0].number, 5);
            assert!(!fields[0].is_needed);
        }
    }

    #[test]
    fn a_field_that_must_be_understood_says_so() {
        let mut bytes = Vec::new();
        put(&mut bytes, 5 | NEEDED, 7);
        let fields = all(&bytes).unwrap();
        assert_eq!(fields[0].number, 5);
        assert!(fields[0].is_needed);
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_malformed() {
        // A length beyond the end; no length; a length of 11 bytes; one beyond 64 bits.
        for bytes in [
            &[1, 2, 0][..],
            &[1],
            &[
                1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0,
            ],
            &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        ] {
            assert_eq!(all(bytes), Err(Malformed), "{bytes:?}");
        }
        // Numbers that are longer than they need be, or have something behind them.
        for value in [&[0x80, 0][..], &[1, 1], &[]] {
            let mut bytes = Vec::new();
            put_bytes(&mut bytes, 1, value);
            assert_eq!(
                all(&bytes).unwrap()[0].number(),
                Err(Malformed),
                "{value:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_is_put_comes_back(values in prop::collection::vec((0_u8..128, prop::collection::vec(any::<u8>(), 0..300)), 0..8)) {
            let mut bytes = Vec::new();
            for (number, value) in &values {
                put_bytes(&mut bytes, *number, value);
            }
            let fields = all(&bytes).unwrap();
            let back: Vec<_> = fields.iter().map(|field| (field.number, field.value.to_vec())).collect();
            prop_assert_eq!(back, values);
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            for field in Fields(&bytes).flatten() {
                let _ = (field.number(), field.text());
            }
        }
    }
}
