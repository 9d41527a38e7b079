//! The body of a reply on its way to stdout: digested as it came, and passed on so, or, for a terminal, decoded and made
//! safe to print. Pure; a character cut in two by a read comes out whole.

use std::borrow::Cow;

use encoding_rs::{CoderResult, Decoder, Encoding};
use md5::{Digest, Md5};

use crate::cli::escape::Lines;

pub(super) struct Body {
    /// `None`: it is passed on as it is.
    shown: Option<Shown>,
    digest: Md5,
}

struct Shown {
    decoder: Decoder,
    lines: Lines,
}

impl Body {
    /// For a program that reads it, or a file.
    pub(super) fn as_it_is() -> Self {
        Self {
            shown: None,
            digest: Md5::new(),
        }
    }

    /// For a terminal.
    pub(super) fn shown(charset: &'static Encoding) -> Self {
        Self {
            shown: Some(Shown {
                decoder: charset.new_decoder_without_bom_handling(),
                lines: Lines::default(),
            }),
            digest: Md5::new(),
        }
    }

    /// The next bytes as they are printed.
    pub(super) fn piece<'a>(&mut self, data: &'a [u8]) -> Cow<'a, [u8]> {
        self.digest.update(data);
        match &mut self.shown {
            None => data.into(),
            Some(shown) => shown.decode(data, false).into_bytes().into(),
        }
    }

    /// What was held back, and the digest of it all.
    pub(super) fn end(self) -> (Vec<u8>, [u8; 16]) {
        let rest = self.shown.map_or_else(String::new, |mut shown| {
            let mut rest = shown.decode(&[], true);
            rest.push_str(shown.lines.end());
            rest
        });
        (rest.into_bytes(), self.digest.finalize().into())
    }
}

impl Shown {
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

    fn text(mut body: Body, pieces: &[&[u8]]) -> (String, [u8; 16]) {
        let mut bytes = Vec::new();
        for piece in pieces {
            bytes.extend_from_slice(&body.piece(piece));
        }
        let (rest, md5) = body.end();
        bytes.extend(rest);
        (String::from_utf8(bytes).unwrap(), md5)
    }

    #[test]
    fn characters_survive_every_cut() {
        let data = b"\xc4\xe3\xba\xc3\r\n\x1b[2J";
        for cut in 0..=data.len() {
            let (shown, md5) = text(Body::shown(GBK), &[&data[..cut], &data[cut..]]);
            assert_eq!(shown, "你好\r\n\\u{1b}[2J", "cut at {cut}");
            assert_eq!(md5, <[u8; 16]>::from(Md5::digest(data)));
        }
    }

    #[test]
    fn a_character_that_never_ends_is_replaced() {
        assert_eq!(text(Body::shown(UTF_8), &[b"a\xe4\xbd"]).0, "a\u{fffd}");
    }

    #[test]
    fn no_byte_is_changed_on_the_way_to_a_file() {
        let data: Vec<u8> = (0..=255).collect();
        let mut body = Body::as_it_is();
        assert_eq!(*body.piece(&data), data);
        assert_eq!(body.end(), (Vec::new(), Md5::digest(&data).into()));
    }
}
