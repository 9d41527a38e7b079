//! Output in the listener's charset. Streaming: a character that two reads share is not damaged. For UTF-8 the bytes pass as
//! they are; for another charset they are read as UTF-8, and what it cannot hold becomes `?`, a byte, never a reference
//! such as `&#8364;`. Pure.

use encoding_rs::{CoderResult, Decoder, Encoder, EncoderResult, Encoding, GBK, UTF_8};

const REPLACEMENT: u8 = b'?';
/// What WHATWG's GBK writes as 0x80, which Python's does not read.
const EURO: char = '€';

/// Turns one stream's output into a charset.
pub struct Transcoder {
    coders: Option<Coders>,
}

struct Coders {
    charset: &'static Encoding,
    decoder: Decoder,
    encoder: Encoder,
    text: String,
}

impl Transcoder {
    /// For a stream that has not begun.
    pub fn new(charset: &'static Encoding) -> Self {
        let coders = (charset != UTF_8).then(|| Coders {
            charset,
            decoder: UTF_8.new_decoder_without_bom_handling(),
            encoder: charset.new_encoder(),
            text: String::new(),
        });
        Self { coders }
    }

    /// Appends what `bytes` are in the charset to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match &mut self.coders {
            None => out.extend_from_slice(bytes),
            Some(coders) => coders.push(bytes, false, out),
        }
    }

    /// Appends what is left when the stream has ended. Nothing may be pushed after it.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(coders) = &mut self.coders {
            coders.push(&[], true, out);
        }
    }
}

impl Coders {
    fn push(&mut self, bytes: &[u8], last: bool, out: &mut Vec<u8>) {
        self.decode(bytes, last);
        if self.charset == GBK && self.text.contains(EURO) {
            self.text = self.text.replace(EURO, "?");
        }
        self.encode(last, out);
    }

    fn decode(&mut self, mut bytes: &[u8], last: bool) {
        self.text.clear();
        loop {
            // A character that was held back and a replacement for each byte are the worst case.
            self.text.reserve(3 * bytes.len() + 16);
            let (result, read, _) = self.decoder.decode_to_string(bytes, &mut self.text, last);
            bytes = &bytes[read..];
            if result == CoderResult::InputEmpty {
                return;
            }
        }
    }

    fn encode(&mut self, last: bool, out: &mut Vec<u8>) {
        let mut text = self.text.as_str();
        loop {
            out.reserve(text.len() + 16);
            let (result, read) = self
                .encoder
                .encode_from_utf8_to_vec_without_replacement(text, out, last);
            text = &text[read..];
            match result {
                EncoderResult::InputEmpty => return,
                EncoderResult::OutputFull => {}
                EncoderResult::Unmappable(_) => out.push(REPLACEMENT),
            }
        }
    }
}

/// Whole `text` in `charset`: for what the gateway itself has to say.
pub fn encode(text: &str, charset: &'static Encoding) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut transcoder = Transcoder::new(charset);
    transcoder.push(text.as_bytes(), &mut out);
    transcoder.finish(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use encoding_rs::{BIG5, GB18030, ISO_2022_JP, SHIFT_JIS, WINDOWS_1252};
    use proptest::prelude::*;

    use super::*;

    fn in_pieces(bytes: &[u8], size: usize, charset: &'static Encoding) -> Vec<u8> {
        let mut out = Vec::new();
        let mut transcoder = Transcoder::new(charset);
        for piece in bytes.chunks(size.max(1)) {
            transcoder.push(piece, &mut out);
        }
        transcoder.finish(&mut out);
        out
    }

    #[test]
    fn a_character_split_across_reads_survives() {
        let text = "目录 of /tmp: 文件.txt";
        let whole = GBK.encode(text).0.into_owned();
        for size in 1..=text.len() {
            assert_eq!(in_pieces(text.as_bytes(), size, GBK), whole, "{size}");
        }
    }

    #[test]
    fn what_the_charset_cannot_hold_is_a_question_mark() {
        assert_eq!(encode("a🙂b", GBK), b"a?b");
        assert_eq!(encode("1€", GBK), b"1?");
        assert_eq!(encode("1€", WINDOWS_1252), b"1\x80");
        assert_eq!(encode("目", WINDOWS_1252), b"?");
        assert_eq!(in_pieces(b"a\xffb", 1, GBK), b"a?b");
        // A character that never ends.
        assert_eq!(in_pieces(b"a\xe7\x9b", 1, GBK), b"a?");
    }

    #[test]
    fn a_charset_with_states_returns_to_ascii() {
        let out = encode("日🙂本", ISO_2022_JP);
        let (text, _, errors) = ISO_2022_JP.decode(&out);
        assert_eq!((text.as_ref(), errors), ("日?本", false));
    }

    #[test]
    fn utf8_passes_whatever_it_is() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(in_pieces(&bytes, 7, UTF_8), bytes);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in any::<String>(), size in 1_usize..9) {
            for charset in [GBK, GB18030, BIG5, SHIFT_JIS, ISO_2022_JP, WINDOWS_1252] {
                let whole = encode(&text, charset);
                prop_assert_eq!(in_pieces(text.as_bytes(), size, charset), whole);
            }
        }

        #[test]
        fn what_comes_out_decodes(bytes in any::<Vec<u8>>(), size in 1_usize..9) {
            for charset in [GBK, GB18030, BIG5, SHIFT_JIS] {
                let out = in_pieces(&bytes, size, charset);
                prop_assert!(!charset.decode_without_bom_handling(&out).1);
            }
        }
    }
}
