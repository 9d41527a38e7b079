//! Output in the listener's charset. Streaming: a character that two reads share is not damaged. For UTF-8 the bytes pass as
//! they are; for another charset they are read as UTF-8, and what it cannot hold becomes `?`, a byte, never a reference
//! such as `&#8364;`. Pure.

use encoding_rs::{CoderResult, Decoder, Encoder, EncoderResult, Encoding, GBK, UTF_8};

const REPLACEMENT: u8 = b'?';

/// What WHATWG's GBK writes and Python's does not read: the euro sign, radicals, ideographs of later standards, and characters of
/// private use.
fn is_beyond_gbk(character: char) -> bool {
    matches!(character,
        '\u{1f9}' | '\u{1e3f}' | '€' | '\u{2e80}'..='\u{2fff}' | '\u{303e}' | '\u{3400}'..='\u{4dbf}'
        | '\u{9fa6}'..='\u{9fff}' | '\u{e000}'..='\u{f8ff}' | '\u{fe10}'..='\u{fe1f}' | '\u{10000}'..)
}

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
        if self.charset == GBK && self.text.contains(is_beyond_gbk) {
            self.text = self.text.replace(is_beyond_gbk, "?");
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

    /// Every character that there is, against the codec that clients read it with.
    #[test]
    fn python_reads_all_of_gbk_and_misses_nothing_of_its_own() {
        let script = "import sys\n\
            sent = sys.stdin.buffer.read().decode('gbk').split('\\n')[:-1]\n\
            every = [chr(i) for i in range(0x80, 0x110000) if not 0xd800 <= i < 0xe000]\n\
            assert len(sent) == len(every)\n\
            for wanted, got in zip(every, sent):\n\
            \x20   own = wanted.encode('gbk', 'replace').decode('gbk')\n\
            \x20   assert got == own, (hex(ord(wanted)), got, own)\n";
        let Ok(mut python) = std::process::Command::new("python3")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .spawn()
        else {
            assert!(std::env::var_os("CI").is_none(), "python3 is missing");
            return;
        };
        let every: String = ('\u{80}'..=char::MAX)
            .flat_map(|character| [character, '\n'])
            .collect();
        let sent = encode(&every, GBK);
        let mut stdin = python.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, &sent).unwrap();
        drop(stdin);
        assert!(python.wait().unwrap().success());
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
