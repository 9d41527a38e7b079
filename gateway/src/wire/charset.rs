//! A listener's charset: how its text is written, and what a client that was given the same label can read of it.
//!
//! Labels are WHATWG's, which mean more than they say: `gb2312` is GBK there, `shift_jis` is windows-31j, `latin1` is
//! windows-1252. A client in Python takes the label at its word, and its codec refuses the rest. Pure.

use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GBK, ISO_2022_JP, SHIFT_JIS, UTF_8, WINDOWS_874, WINDOWS_1252,
    WINDOWS_1254,
};

/// The charset of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charset {
    encoding: &'static Encoding,
    /// `None`: clients read all that the encoding can write.
    codec: Option<Codec>,
}

/// A client's codec that reads less than an [`Encoding`] can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Ascii,
    /// ISO 8859, which has only control characters where windows-125x has letters.
    Iso8859,
    Tis620,
    /// windows-125x without the control characters that WHATWG puts into its holes.
    Windows,
    Gbk,
    Gb2312,
    Big5,
    Big5Hkscs,
    ShiftJis,
    EucJp,
    EucKr,
}

impl Charset {
    /// UTF-8.
    pub const UTF_8: Self = Self {
        encoding: UTF_8,
        codec: None,
    };

    /// The charset of a WHATWG label; `None` if there is none, or it cannot be spoken without marks: ISO-2022-JP has states,
    /// UTF-16 and the `replacement` encoding have no encoder, and a command in UTF-16 is full of NULs.
    pub fn for_label(label: &str) -> Option<Self> {
        let encoding = Encoding::for_label(label.as_bytes())?;
        (encoding.output_encoding() == encoding && encoding != ISO_2022_JP).then(|| Self {
            encoding,
            codec: Codec::of(encoding, &label.trim().to_ascii_lowercase()),
        })
    }

    /// How it is encoded and decoded.
    pub fn encoding(self) -> &'static Encoding {
        self.encoding
    }

    /// WHATWG's name of it.
    pub fn name(self) -> &'static str {
        self.encoding.name()
    }

    /// The codec of its clients, unless that reads all that the encoding can write.
    pub(super) fn codec(self) -> Option<Codec> {
        self.codec
    }
}

impl Codec {
    fn of(encoding: &'static Encoding, label: &str) -> Option<Self> {
        let names = |part: &str| label.contains(part);
        let codec = if encoding == GBK {
            [Self::Gb2312, Self::Gbk][usize::from(names("gbk"))]
        } else if encoding == BIG5 {
            [Self::Big5, Self::Big5Hkscs][usize::from(names("hkscs"))]
        } else if encoding == SHIFT_JIS {
            match label {
                "ms932" | "ms_kanji" | "windows-31j" => return None,
                _ => Self::ShiftJis,
            }
        } else if encoding == EUC_JP {
            Self::EucJp
        } else if encoding == EUC_KR {
            match label {
                "windows-949" => return None,
                _ => Self::EucKr,
            }
        } else if ["ascii", "us-ascii", "ansi_x3.4-1968"].contains(&label) {
            Self::Ascii
        } else if label == "tis-620" {
            Self::Tis620
        } else if [WINDOWS_1252, WINDOWS_1254, WINDOWS_874].contains(&encoding)
            && !names("125")
            && !names("874")
        {
            Self::Iso8859
        } else if names("125") || names("874") {
            Self::Windows
        } else {
            return None;
        };
        Some(codec)
    }

    /// Whether it reads `bytes`, which are `character` in the encoding.
    pub(super) fn reads(self, character: char, bytes: &[u8]) -> bool {
        match *bytes {
            [byte] => self.reads_one(character, byte),
            [lead, trail] => self.reads_two(character, u16::from_be_bytes([lead, trail])),
            _ => true,
        }
    }

    fn reads_one(self, character: char, byte: u8) -> bool {
        match self {
            Self::Ascii => byte.is_ascii(),
            Self::Iso8859 => !(0x80..=0x9f).contains(&byte),
            Self::Tis620 => !(0x80..=0xa0).contains(&byte),
            // U+05BA came to Hebrew later than to Python's cp1255.
            Self::Windows => !matches!(character, '\u{80}'..='\u{9f}' | '\u{5ba}'),
            Self::Gbk | Self::Gb2312 | Self::ShiftJis => byte != 0x80,
            Self::Big5 | Self::Big5Hkscs | Self::EucJp | Self::EucKr => true,
        }
    }

    fn reads_two(self, character: char, code: u16) -> bool {
        let [lead, trail] = code.to_be_bytes();
        let is_94_by_94 = lead >= 0xa1 && trail >= 0xa1;
        match self {
            // Radicals, ideographs of later standards, and characters of private use.
            Self::Gbk => !matches!(character,
                '\u{1f9}' | '\u{1e3f}' | '€' | '\u{2e80}'..='\u{2fff}' | '\u{303e}' | '\u{3400}'..='\u{4dbf}'
                | '\u{9fa6}'..='\u{9fff}' | '\u{e000}'..='\u{f8ff}' | '\u{fe10}'..='\u{fe1f}' | '\u{10000}'..),
            Self::Gb2312 => {
                is_94_by_94
                    && !matches!(code,
                        0xa2a1..=0xa2b0 | 0xa2e3..=0xa2e4 | 0xa2ef..=0xa2f0 | 0xa2fd..=0xa2fe | 0xa4f4..=0xa4fe
                        | 0xa5f7..=0xa5fe | 0xa6b9..=0xa6c0 | 0xa6d9..=0xa6fe | 0xa7c2..=0xa7d0 | 0xa7f2..=0xa7fe
                        | 0xa8bb..=0xa8c4 | 0xa8ea..=0xa8fe | 0xa9a1..=0xa9a3 | 0xa9f0..=0xafff | 0xd7fa..=0xd7fe
                        | 0xf8a1..)
            }
            // Pictures of control characters, the rows that each vendor fills in its own way, and its extensions.
            Self::Big5 => !matches!(code, 0xa3c0..=0xa3e1 | 0xc6a1..=0xc8fe | 0xf9d6..),
            Self::Big5Hkscs => !matches!(
                code,
                0xa3c0
                    ..=0xa3e1
                        | 0xc6cf
                        | 0xc6d3
                        | 0xc6d5
                        | 0xc6d7
                        | 0xc6df
                        | 0xfb48
                        | 0xfbf9
                        | 0xfc6c
                        | 0xfe52
            ),
            // NEC's row 13, and IBM's extensions.
            Self::ShiftJis => !matches!(code, 0x8740..=0x879f | 0xfa40..),
            Self::EucJp => !matches!(code, 0xada1..=0xadfe | 0xf9a1..),
            // KS X 1001; 0xa4d4 is its filler.
            Self::EucKr => is_94_by_94 && code != 0xa4d4,
            Self::Ascii | Self::Iso8859 | Self::Tis620 | Self::Windows => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufWriter, Write},
        process::{Command, Stdio},
    };

    use super::*;
    use crate::wire::encode;

    /// Each label is the name of a codec of Python's, too.
    const LABELS: [&str; 60] = [
        "gbk",
        "gb2312",
        "GB2312 ",
        "chinese",
        "csiso58gb231280",
        "gb18030",
        "big5",
        "csbig5",
        "big5-hkscs",
        "shift_jis",
        "shift-jis",
        "sjis",
        "csshiftjis",
        "ms_kanji",
        "ms932",
        "euc-jp",
        "euc-kr",
        "korean",
        "ks_c_5601-1987",
        "ascii",
        "us-ascii",
        "latin1",
        "l1",
        "iso-8859-1",
        "cp819",
        "iso-8859-2",
        "iso-8859-3",
        "iso-8859-4",
        "iso-8859-5",
        "iso-8859-6",
        "iso-8859-7",
        "iso-8859-8",
        "iso-8859-9",
        "latin5",
        "iso-8859-10",
        "iso-8859-11",
        "iso-8859-13",
        "iso-8859-14",
        "iso-8859-15",
        "iso-8859-16",
        "tis-620",
        "koi8-r",
        "koi8-u",
        "macintosh",
        "ibm866",
        "cp866",
        "windows-1250",
        "windows-1251",
        "windows-1252",
        "cp1252",
        "windows-1253",
        "windows-1254",
        "windows-1255",
        "windows-1256",
        "windows-1257",
        "windows-1258",
        "cp1251",
        "cp1250",
        "cp1255",
        "greek",
    ];
    /// What the client's codec refuses is replaced, what it reads as itself is kept; what it reads as another character may be
    /// either, but never a control character.
    const SCRIPT: &str = r"
import sys
count = 0
for line in sys.stdin:
    label, code, whole, sent = line.rstrip('\n').split('\t')
    whole, sent, count = bytes.fromhex(whole), bytes.fromhex(sent), count + 1
    got = sent.decode(label.strip())
    own = whole.decode(label.strip(), 'replace')
    if own == chr(int(code)) and not 0x80 <= int(code) < 0xa0:
        assert sent == whole, line
    else:
        assert sent in (b'?', whole), line
    assert not (0x80 <= ord(got[0]) < 0xa0) or got == chr(int(code)), line
print(count)
";

    /// Every character that an encoding has, against the codecs that clients read it with.
    #[test]
    fn python_reads_all_of_every_charset_and_misses_nothing_of_its_own() {
        let Ok(mut python) = Command::new("python3")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            assert!(std::env::var_os("CI").is_none(), "python3 is missing");
            return;
        };
        let mut stdin = BufWriter::new(python.stdin.take().unwrap());
        let mut count = 0;
        for label in LABELS {
            let charset = Charset::for_label(label).unwrap();
            for character in '\u{80}'..='\u{2ffff}' {
                let text = character.encode_utf8(&mut [0; 4]).to_owned();
                let (whole, _, unmappable) = charset.encoding().encode(&text);
                if unmappable {
                    continue;
                }
                count += 1;
                let (code, sent) = (u32::from(character), encode(&text, charset));
                write!(stdin, "{label}\t{code}\t").unwrap();
                hex(&mut stdin, &whole);
                write!(stdin, "\t").unwrap();
                hex(&mut stdin, &sent);
                writeln!(stdin).unwrap();
            }
        }
        drop(stdin);
        let output = python.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            format!("{count}\n")
        );
    }

    fn hex(to: &mut impl Write, bytes: &[u8]) {
        for byte in bytes {
            write!(to, "{byte:02x}").unwrap();
        }
    }

    #[test]
    fn labels_that_python_lacks_have_the_codec_of_their_kin() {
        let codec = |label| Charset::for_label(label).unwrap().codec;
        for (label, expected) in [
            ("x-gbk", Some(Codec::Gbk)),
            ("gb_2312-80", Some(Codec::Gb2312)),
            ("x-x-big5", Some(Codec::Big5)),
            ("windows-31j", None),
            ("x-sjis", Some(Codec::ShiftJis)),
            ("windows-949", None),
            ("ksc_5601", Some(Codec::EucKr)),
            ("x-cp1252", Some(Codec::Windows)),
            ("windows-874", Some(Codec::Windows)),
            ("iso88591", Some(Codec::Iso8859)),
        ] {
            assert_eq!(codec(label), expected, "{label}");
        }
    }

    #[test]
    fn what_has_states_or_no_encoder_is_no_charset() {
        for label in [
            "utf-16le",
            "hz-gb-2312",
            "iso-2022-jp",
            "csiso2022jp",
            "klingon",
            "",
        ] {
            assert_eq!(Charset::for_label(label), None, "{label}");
        }
        assert_eq!(Charset::for_label("utf8"), Some(Charset::UTF_8));
    }

    #[test]
    fn a_charset_has_the_name_of_its_encoding_whatever_its_label() {
        for (label, name) in [
            ("utf8", "UTF-8"),
            ("gb2312", "GBK"),
            ("latin1", "windows-1252"),
        ] {
            assert_eq!(Charset::for_label(label).unwrap().name(), name);
        }
    }
}
