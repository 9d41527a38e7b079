//! The configuration file: TOML into a type that denies unknown keys. What is wrong is said with file, line and key,
//! also for values that prove wrong after parsing, if they are kept as [`toml::Spanned`].

use std::{
    fs,
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

use super::escape::{Spelling, escape};

/// The longest file that is read, in bytes.
pub const MAX_FILE: u64 = 1024 * 1024;

/// The most characters of a file that an error quotes.
const QUOTE_MAX: usize = 40;

/// A configuration file's text, and where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    path: PathBuf,
    text: String,
}

/// The file is of no use. The message begins with the file's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It is not there, or may not be read.
    #[error("{}: cannot be read: {source}", file.display())]
    Read {
        /// Which one.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no configuration.
    #[error("{}: is larger than {MAX_FILE} bytes", .0.display())]
    TooLarge(PathBuf),
    /// It says something wrong.
    #[error("{}:{line}: {why}", file.display())]
    Invalid {
        /// Which one.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// What, beginning with the key it is about.
        why: String,
    },
}

impl File {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let text = String::from_utf8(Self::read_bytes(path)?);
        let text = text.map_err(|_| FileError::Read {
            file: path.to_owned(),
            source: io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"),
        })?;
        Ok(Self::new(path, text))
    }

    /// What is in the file at `path`, which is no configuration itself.
    pub fn read_bytes(path: &Path) -> Result<Vec<u8>, FileError> {
        let failed = |source| FileError::Read {
            file: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        let file = fs::File::open(path).map_err(failed)?;
        let read = file.take(MAX_FILE + 1).read_to_end(&mut bytes);
        if read.map_err(failed)? as u64 > MAX_FILE {
            return Err(FileError::TooLarge(path.to_owned()));
        }
        Ok(bytes)
    }

    /// A file whose text is at hand.
    pub fn new(path: &Path, text: String) -> Self {
        Self {
            path: path.to_owned(),
            text,
        }
    }

    /// The text as a `T`, which has to deny unknown fields.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, FileError> {
        toml::from_str(&self.text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            match in_our_words(error.message()) {
                Fault::UnknownKey(why) => self.error(&span, &why, 1),
                Fault::Other(why) => self.error(&span, &why, 0),
            }
        })
    }

    /// The error that the value at `span` is wrong, for the reason `why`.
    pub fn reject(&self, span: &Range<usize>, why: &str) -> FileError {
        self.error(span, why, 0)
    }

    /// The line that `span` begins in, from 1.
    pub fn line(&self, span: &Range<usize>) -> usize {
        line_of(&self.text, span.start)
    }

    /// `named`: how many of the last keys `why` names itself.
    fn error(&self, span: &Range<usize>, why: &str, named: usize) -> FileError {
        let why = match self.keys_at(span) {
            Some(mut keys) => {
                keys.truncate(keys.len().saturating_sub(named));
                let place = keys.concat();
                match place.strip_prefix('.').unwrap_or(&place) {
                    "" => why.to_owned(),
                    place => format!("{place}: {why}"),
                }
            }
            None => format!("{why}{}", self.quote(span)),
        };
        FileError::Invalid {
            file: self.path.clone(),
            line: line_of(&self.text, span.start),
            why: escape(&why, Spelling::Text).into_owned(),
        }
    }

    /// The keys that lead to what is at `span`, as in `.legacy`, `[1]`; `None` if the text is no TOML.
    fn keys_at(&self, span: &Range<usize>) -> Option<Vec<String>> {
        let table = DeTable::parse(&self.text).ok()?;
        let mut keys = Vec::new();
        find_in_table(table.get_ref(), span, &mut keys);
        Some(keys)
    }

    /// The text at `span`, where there are no keys to name.
    fn quote(&self, span: &Range<usize>) -> String {
        let text = self.text.get(span.clone()).unwrap_or_default().trim();
        if text.is_empty() {
            return String::new();
        }
        let short: String = text.chars().take(QUOTE_MAX).collect();
        format!(" at `{short}`")
    }
}

/// What serde and toml say, by what it names itself.
enum Fault {
    UnknownKey(String),
    Other(String),
}

/// serde's word for a key is field.
fn in_our_words(why: &str) -> Fault {
    if let Some(rest) = why.strip_prefix("unknown field ") {
        return Fault::UnknownKey(format!("unknown key {rest}"));
    }
    Fault::Other(match why.strip_prefix("missing field ") {
        Some(rest) => format!("missing key {rest}"),
        None => why.to_owned(),
    })
}

fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset).unwrap_or(text).split('\n').count()
}

/// The whole of it; nothing holds an empty span, which is that of the file's own table.
fn holds(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    !inner.is_empty() && outer.start <= inner.start && inner.end <= outer.end
}

/// Tables may lie apart from their headers, so each is looked into. The parser bounds the depth.
fn find_in_table(table: &DeTable<'_>, sought: &Range<usize>, keys: &mut Vec<String>) -> bool {
    table.iter().any(|(key, value)| {
        keys.push(format!(".{}", key.get_ref()));
        let found = holds(&key.span(), sought)
            || find_in_value(value.get_ref(), sought, keys)
            || holds(&value.span(), sought);
        if !found {
            keys.pop();
        }
        found
    })
}

fn find_in_value(value: &DeValue<'_>, sought: &Range<usize>, keys: &mut Vec<String>) -> bool {
    match value {
        DeValue::Table(table) => find_in_table(table, sought, keys),
        DeValue::Array(values) => values.iter().enumerate().any(|(index, value)| {
            keys.push(format!("[{index}]"));
            let found =
                find_in_value(value.get_ref(), sought, keys) || holds(&value.span(), sought);
            if !found {
                keys.pop();
            }
            found
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use toml::Spanned;

    use super::*;
    use crate::net::Address;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        listen: Vec<Address>,
        users: Option<Spanned<String>>,
        tls: Option<Tls>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Tls {
        #[expect(dead_code, reason = "parsed only")]
        cert: String,
    }

    fn file(text: &str) -> File {
        File::new(Path::new("remexd.toml"), text.to_owned())
    }

    fn error(text: &str) -> String {
        file(text).parse::<Config>().unwrap_err().to_string()
    }

    #[test]
    fn a_good_file_is_a_value() {
        let config: Config = file("listen = ['[::1]:1']\n[tls]\ncert = 'x'\n")
            .parse()
            .unwrap();
        assert_eq!(config.listen[0].to_string(), "[::1]:1");
        assert!(config.tls.is_some());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_key() {
        let table = [
            (
                "listen = []\n\nlisen = 1\n",
                "remexd.toml:3: unknown key `lisen`, expected one of `listen`, `users`, `tls`",
            ),
            (
                "listen = []\n[tls]\ncert = 'x'\ncrt = 'y'\n",
                "remexd.toml:4: tls: unknown key `crt`, expected `cert`",
            ),
            (
                "listen = []\n\n[tls]\n",
                "remexd.toml:3: tls: missing key `cert`",
            ),
            ("users = 'a'\n", "remexd.toml:1: missing key `listen`"),
            (
                "listen = []\nusers = 5\n",
                "remexd.toml:2: users: invalid type: integer `5`, expected a string",
            ),
            (
                "listen = [\n 'localhost:1',\n 'localhost:x',\n]\n",
                "remexd.toml:3: listen[1]: `x` is no port; it is a number from 0 to 65535",
            ),
            (
                "listen = []\nlisten = []\n",
                "remexd.toml:2: duplicate key at `listen`",
            ),
            (
                "\"a\\u001b\" = 1",
                "remexd.toml:1: unknown key `a\\u{1b}`, expected one of `listen`, `users`, `tls`",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(error(text), expected, "{text}");
        }
        assert!(error("listen = []\nusers = \n").starts_with("remexd.toml:2: "));
        let long = error(&format!("\"{0}\" = 1\n\"{0}\" = 2\n", "k".repeat(99)));
        assert!(long.len() < 99, "{long}");
    }

    #[test]
    fn a_value_can_prove_wrong_later() {
        let file = file("listen = []\nusers = 'nobody-at-all'\n");
        let users = file.parse::<Config>().unwrap().users.unwrap();
        let error = file.reject(&users.span(), "there is no such user");
        assert_eq!(
            error.to_string(),
            "remexd.toml:2: users: there is no such user"
        );
    }

    #[test]
    fn a_file_has_to_be_there_and_of_a_sane_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("remexd.toml");
        assert!(matches!(File::read(&path), Err(FileError::Read { .. })));

        let filled = |size: u64| "#".repeat(usize::try_from(size).unwrap());
        fs::write(&path, filled(1_048_576)).unwrap();
        assert!(File::read(&path).is_ok());
        fs::write(&path, filled(1_048_577)).unwrap();
        assert!(matches!(File::read(&path), Err(FileError::TooLarge(_))));

        fs::write(&path, [0xff]).unwrap();
        let error = File::read(&path).unwrap_err().to_string();
        assert!(
            error.contains("UTF-8") && error.contains("remexd.toml"),
            "{error}"
        );
    }
}
