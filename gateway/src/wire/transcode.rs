//! Output in the listener's charset. Streaming: a character that two reads share is not damaged. For UTF-8 the bytes pass as
//! they are; for another charset they are read as UTF-8, and what it cannot hold becomes `?`, a byte, never a reference
//! such as `&#8364;`. Pure.

use encoding_rs::{CoderResult, Decoder, Encoder, EncoderResult, UTF_8};

use super::charset::{Charset, Codec};

const REPLACEMENT: u8 = b'?';

/// Turns one stream's output into a charset.
pub struct Transcoder {
    coders: Option<Coders>,
}

struct Coders {
    codec: Option<Codec>,
    decoder: Decoder,
    encoder: Encoder,
    text: String,
}

impl Transcoder {
    /// For a stream that has not begun.
    pub fn new(charset: Charset) -> Self {
        let coders = (charset != Charset::UTF_8).then(|| Coders {
            codec: charset.codec(),
            decoder: UTF_8.new_decoder_without_bom_handling(),
            encoder: charset.encoding().new_encoder(),
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
        let text = std::mem::take(&mut self.text);
        match self.codec {
            None => self.encode(&text, last, out),
            Some(codec) => self.encode_readable(codec, &text, last, out),
        }
        self.text = text;
    }

    /// Encodes what `codec` reads; [`REPLACEMENT`] stands for the rest.
    fn encode_readable(&mut self, codec: Codec, text: &str, last: bool, out: &mut Vec<u8>) {
        let mut rest = text;
        while let Some(at) = rest.find(|character: char| !character.is_ascii()) {
            let (ascii, tail) = rest.split_at(at);
            out.extend_from_slice(ascii.as_bytes());
            let character = tail.chars().next().unwrap_or_default();
            let (one, after) = tail.split_at(character.len_utf8());
            let begin = out.len();
            self.encode(one, false, out);
            if !codec.reads(character, &out[begin..]) {
                out.truncate(begin);
                out.push(REPLACEMENT);
            }
            rest = after;
        }
        self.encode(rest, last, out);
    }

    fn decode(&mut self, mut bytes: &[u8], last: bool) {
        self.text.clear();
        loop {
            let most = self.decoder.max_utf8_buffer_length(bytes.len());
            self.text.reserve(most.unwrap_or(bytes.len()));
            let (result, read, _) = self.decoder.decode_to_string(bytes, &mut self.text, last);
            bytes = &bytes[read..];
            if result == CoderResult::InputEmpty {
                return;
            }
        }
    }

    fn encode(&mut self, mut text: &str, last: bool, out: &mut Vec<u8>) {
        loop {
            let most = self
                .encoder
                .max_buffer_length_from_utf8_without_replacement(text.len());
            out.reserve(most.unwrap_or(text.len()));
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
pub fn encode(text: &str, charset: Charset) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut transcoder = Transcoder::new(charset);
    transcoder.push(text.as_bytes(), &mut out);
    transcoder.finish(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn charset(label: &str) -> Charset {
        Charset::for_label(label).unwrap()
    }

    fn in_pieces(bytes: &[u8], size: usize, charset: Charset) -> Vec<u8> {
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
        let whole = encoding_rs::GBK.encode(text).0.into_owned();
        for size in 1..=text.len() {
            assert_eq!(
                in_pieces(text.as_bytes(), size, charset("gbk")),
                whole,
                "{size}"
            );
        }
    }

    #[test]
    fn what_the_charset_cannot_hold_is_a_question_mark() {
        assert_eq!(encode("a🙂b", charset("gbk")), b"a?b");
        assert_eq!(encode("1€", charset("gbk")), b"1?");
        assert_eq!(encode("1€", charset("windows-1252")), b"1\x80");
        assert_eq!(encode("目", charset("windows-1252")), b"?");
        assert_eq!(in_pieces(b"a\xffb", 1, charset("gbk")), b"a?b");
        // A character that never ends.
        assert_eq!(in_pieces(b"a\xe7\x9b", 1, charset("gbk")), b"a?");
    }

    #[test]
    fn utf8_passes_whatever_it_is() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(in_pieces(&bytes, 7, Charset::UTF_8), bytes);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in any::<String>(), size in 1_usize..9) {
            for label in ["gbk", "gb2312", "gb18030", "big5", "shift_jis", "windows-31j", "latin1"] {
                let charset = charset(label);
                let whole = encode(&text, charset);
                prop_assert_eq!(in_pieces(text.as_bytes(), size, charset), whole);
            }
        }

        #[test]
        fn what_comes_out_decodes(bytes in any::<Vec<u8>>(), size in 1_usize..9) {
            for label in ["gbk", "gb2312", "gb18030", "big5", "shift_jis"] {
                let charset = charset(label);
                let out = in_pieces(&bytes, size, charset);
                prop_assert!(!charset.encoding().decode_without_bom_handling(&out).1);
            }
        }
    }
}
