//! `length`: int32 length of the body, the body. Pure.

use bytes::Bytes;
use remex_client::wire::Endian;

use super::{Head, Summary, Then};

pub(super) fn head(endian: Endian, summary: &Summary) -> Head {
    // A body is cut to fit before it gets here.
    let length = i32::try_from(summary.body_bytes()).unwrap_or(i32::MAX);
    Head {
        bytes: Bytes::copy_from_slice(&endian.int32(length)),
        then: Then::Body,
    }
}

#[cfg(test)]
mod tests {
    use remex_client::wire::MOST_LENGTH;

    use super::*;

    fn length(endian: Endian, body: u64) -> Vec<u8> {
        let summary = Summary {
            stdout_bytes: body,
            ..Summary::default()
        };
        head(endian, &summary).bytes.to_vec()
    }

    #[test]
    fn both_byte_orders() {
        assert_eq!(length(Endian::Little, 0), [0; 4]);
        assert_eq!(length(Endian::Little, 0x0102_0304), [4, 3, 2, 1]);
        assert_eq!(length(Endian::Big, 0x0102_0304), [1, 2, 3, 4]);
    }

    #[test]
    fn the_most_is_positive() {
        assert_eq!(length(Endian::Big, MOST_LENGTH), [0x7f, 0xff, 0xff, 0xff]);
        assert_eq!(
            length(Endian::Big, MOST_LENGTH + 1),
            [0x7f, 0xff, 0xff, 0xff]
        );
    }
}
