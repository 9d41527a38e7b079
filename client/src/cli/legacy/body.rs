//! The body of a reply on its way to the terminal: digested as it came, decoded, made safe to print. Pure; a character
//! cut in two by a read comes out whole.

use encoding_rs::{CoderResult, Decoder, Encoding};
use md5::{Digest, Md5};

use crate::cli::escape::Lines;

pub(super) struct Body {
    decoder: Decoder,
    lines: Lines,
    digest: Md5,
}

impl Body {
    pub(super) fn new(charset: &'static Encoding) -> Self {
        Self {
            decoder: charset.new_decoder_without_bom_handling(),
            lines: Lines::default(),
            digest: Md5::new(),
        }
    }

    /// The next bytes as text.
    pub(super) fn piece(&mut self, data: &[u8]) -> String {
        self.digest.update(data);
        self.decode(data, false)
    }

    /// What was held back, and the digest of it all.
    pub(super) fn end(mut self) -> (String, [u8; 16]) {
        let mut rest = self.decode(&[], true);
        rest.push_str(self.lines.end());
        (rest, self.digest.finalize().into())
    }

    fn decode(&mut self, mut data: &[u8], last: bool) -> String {
        let mut text = String::new();
        loop {
            let room = self.decoder.max_utf8_buffer_length(data.len());
            text.reserve(room.unwrap_or(data.len()));
            let (result, read, _) = self.decoder.decode_to_string(data, &mut text, last);
            data = &data[read..];
            if let CoderResult::InputEmpty = result {
                return self.lines.piece(&text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use encoding_rs::{GBK, UTF_8};

    use super::*;

    #[test]
    fn characters_survive_every_cut() {
        let data = b"\xc4\xe3\xba\xc3\r\n\x1b[2J";
        for cut in 0..=data.len() {
            let mut body = Body::new(GBK);
            let text = body.piece(&data[..cut]) + &body.piece(&data[cut..]);
            let (rest, md5) = body.end();
            assert_eq!(text + &rest, "你好\r\n\\x1b[2J", "cut at {cut}");
            assert_eq!(md5, <[u8; 16]>::from(Md5::digest(data)));
        }
    }

    #[test]
    fn a_character_that_never_ends_is_replaced() {
        let mut body = Body::new(UTF_8);
        assert_eq!(body.piece(b"a\xe4\xbd"), "a");
        assert_eq!(body.end().0, "\u{fffd}");
    }
}
