//! The body of a reply on its way to stdout: digested as it came, and passed on so, or decoded, for a terminal made safe to
//! print, or for a program in lines of JSON. Pure; a character cut in two by a read comes out whole.

use std::borrow::Cow;

use encoding_rs::{CoderResult, Decoder, Encoding};
use md5::{Digest, Md5};

use crate::cli::{escape::Lines, json};

pub(super) struct Body {
    form: Form,
    digest: Md5,
}

/// How it is printed.
enum Form {
    AsItIs,
    Shown(Decoder, Lines),
    /// With how many bytes of it there were.
    Json(Decoder, u64),
}

impl Body {
    /// For a program that reads it, or a file.
    pub(super) fn as_it_is() -> Self {
        Self::of(Form::AsItIs)
    }

    /// For a terminal.
    pub(super) fn shown(charset: &'static Encoding) -> Self {
        let decoder = charset.new_decoder_without_bom_handling();
        Self::of(Form::Shown(decoder, Lines::default()))
    }

    /// In lines of JSON.
    pub(super) fn json(charset: &'static Encoding) -> Self {
        Self::of(Form::Json(charset.new_decoder_without_bom_handling(), 0))
    }

    fn of(form: Form) -> Self {
        Self {
            form,
            digest: Md5::new(),
        }
    }

    /// Whether it is printed as JSON.
    pub(super) fn is_json(&self) -> bool {
        matches!(self.form, Form::Json(..))
    }

    /// The next bytes as they are printed.
    pub(super) fn piece<'a>(&mut self, data: &'a [u8]) -> Cow<'a, [u8]> {
        self.digest.update(data);
        match &mut self.form {
            Form::AsItIs => data.into(),
            form => form.decode(data, false).into_bytes().into(),
        }
    }

    /// What was held back, and the digest of it all.
    pub(super) fn end(mut self) -> (Vec<u8>, [u8; 16]) {
        let mut rest = self.form.decode(&[], true);
        if let Form::Shown(_, lines) = self.form {
            rest.push_str(lines.end());
        }
        (rest.into_bytes(), self.digest.finalize().into())
    }
}

impl Form {
    fn decode(&mut self, data: &[u8], last: bool) -> String {
        match self {
            Self::AsItIs => String::new(),
            Self::Shown(decoder, lines) => lines.piece(&decoded(decoder, data, last)),
            Self::Json(decoder, bytes) => {
                let offset = *bytes;
                *bytes += data.len() as u64;
                match decoded(decoder, data, last) {
                    text if text.is_empty() => text,
                    text => json::legacy_output(offset, &text),
                }
            }
        }
    }
}

fn decoded(decoder: &mut Decoder, mut data: &[u8], last: bool) -> String {
    let mut text = String::new();
    loop {
        let room = decoder.max_utf8_buffer_length(data.len());
        text.reserve(room.unwrap_or(data.len()));
        let (result, read, _) = decoder.decode_to_string(data, &mut text, last);
        data = &data[read..];
        if let CoderResult::InputEmpty = result {
            return text;
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
    fn a_piece_is_a_line_of_json_that_no_character_is_cut_by() {
        let (lines, _) = text(Body::json(GBK), &[b"a\n\xc4", b"\xe3\xff"]);
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(
            lines,
            [
                r#"{"event":"output","offset":0,"text":"a\n"}"#,
                "{\"event\":\"output\",\"offset\":3,\"text\":\"你\u{fffd}\"}",
            ]
        );
        let (lines, _) = text(Body::json(GBK), &[b"\xc4"]);
        assert_eq!(
            lines,
            "{\"event\":\"output\",\"offset\":1,\"text\":\"\u{fffd}\"}\n"
        );
        assert_eq!(text(Body::json(GBK), &[]).0, "");
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
