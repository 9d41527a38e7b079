//! Static tokens: what `remexd token new` makes, and the file of their hashes. The tokens themselves are kept nowhere.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use jiff::Timestamp;
use remex::secret_file::{self, SecretFileError};
use remex_daemon::net::Identity;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// Tokens in one file at most: each is compared with what a caller sends.
pub const MAX_TOKENS: usize = 1000;

/// The longest name of a token, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// What a token begins with, so that whoever finds one knows it for a secret, and whose.
const PREFIX: &str = "remex_";

const SECRET_BYTES: usize = 32;
const HASH_BYTES: usize = 32;
const ALGORITHM: &str = "sha256:";
const EXPIRES: &str = "expires:";

/// What a token hashes to.
type Hash = [u8; HASH_BYTES];

/// A token that was just made.
pub struct NewToken {
    /// What a caller sends. It is shown once.
    pub secret: String,
    /// What the server keeps.
    pub line: Line,
}

/// A line of the file: `NAME sha256:HASH`, and `expires:TIME` if it ever does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    name: Name,
    hash: Hash,
    expires: Option<Timestamp>,
}

/// The name of a token, by which its caller is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// It is no name of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no name of a token: write 1 to {MAX_NAME_BYTES} letters, digits, `.`, `_`, `-` or `@`")]
pub struct NameError;

/// The file is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokensError {
    /// It cannot be read, or others may read it.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// A line is no token's.
    #[error("{}:{line}: {why}", file.display())]
    Line {
        /// Which file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        why: LineError,
    },
}

/// What is wrong with a line. Nothing of the line is quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// Not of the form.
    #[error(
        "is no token's line: write NAME {ALGORITHM}HASH [{EXPIRES}TIME], as `remexd token new` does"
    )]
    Form,
    /// Its first word.
    #[error("its first word {0}")]
    Name(#[from] NameError),
    /// What follows `sha256:`.
    #[error("the hash behind {ALGORITHM} is not 64 hexadecimal digits")]
    Hash,
    /// What follows `expires:`.
    #[error("the time behind {EXPIRES} is none: write for example {EXPIRES}2027-01-31T00:00:00Z")]
    Time,
    /// A token with two names would be two callers.
    #[error("an earlier line has the same hash")]
    Twice,
    /// Too many.
    #[error("there are more than {MAX_TOKENS} tokens")]
    TooMany,
    /// Binary.
    #[error("is not UTF-8")]
    NotUtf8,
}

/// Makes a token.
pub fn new(name: Name, expires: Option<Timestamp>) -> Result<NewToken, rustix::io::Errno> {
    let mut random = [0; SECRET_BYTES];
    let mut filled = 0;
    while filled < random.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut random[filled..], flags)?;
    }
    let secret = format!("{PREFIX}{}", Hex(&random));
    let hash = hash_of(&secret);
    let line = Line {
        name,
        hash,
        expires,
    };
    Ok(NewToken { secret, line })
}

/// A token holds 256 random bits, so that one round of a plain hash gives nothing away.
fn hash_of(secret: &str) -> Hash {
    Sha256::digest(secret).into()
}

/// The tokens that are known. The default is none.
#[derive(Debug, Clone, Default)]
pub struct Tokens(Vec<Line>);

/// A token that was presented and known, without the token itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownToken(Hash);

/// Why a token is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoToken {
    /// It is not among them.
    Unknown,
    /// It was known until then.
    Expired,
}

impl Tokens {
    /// What is in `file` now.
    pub fn load(file: &Path) -> Result<Self, TokensError> {
        let wrong = |line, why| TokensError::Line {
            file: file.to_owned(),
            line,
            why,
        };
        let bytes = secret_file::read(file)?;
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let before = &bytes[..error.valid_up_to()];
            let line = before.split(|byte| *byte == b'\n').count();
            wrong(line, LineError::NotUtf8)
        })?;
        Self::parse(text).map_err(|(line, why)| wrong(line, why))
    }

    fn parse(text: &str) -> Result<Self, (usize, LineError)> {
        let mut lines = Vec::new();
        let mut hashes = BTreeSet::new();
        for (index, text) in text.lines().enumerate() {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let wrong = |why| (index + 1, why);
            let line: Line = text.parse().map_err(wrong)?;
            if !hashes.insert(line.hash) {
                return Err(wrong(LineError::Twice));
            }
            if lines.len() == MAX_TOKENS {
                return Err(wrong(LineError::TooMany));
            }
            lines.push(line);
        }
        Ok(Self(lines))
    }

    /// Whose `secret` is, at `now`.
    pub fn find(&self, secret: &str, now: Timestamp) -> Result<(Identity, KnownToken), NoToken> {
        let hash = hash_of(secret);
        let line = self.line(&hash).ok_or(NoToken::Unknown)?;
        if line.expires.is_some_and(|expires| expires <= now) {
            return Err(NoToken::Expired);
        }
        let identity = Identity::token(&line.name.0).map_err(|_| NoToken::Unknown)?;
        Ok((identity, KnownToken(hash)))
    }

    /// Whether a token that was known still is.
    pub fn knows(&self, KnownToken(hash): &KnownToken, now: Timestamp) -> bool {
        let line = self.line(hash);
        line.is_some_and(|line| line.expires.is_none_or(|expires| expires > now))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares with each, to its end, whichever it is.
    fn line(&self, hash: &Hash) -> Option<&Line> {
        let mut found = u64::MAX;
        for (index, line) in (0_u64..).zip(&self.0) {
            let equal: Choice = line.hash.ct_eq(hash);
            found.conditional_assign(&index, equal);
        }
        self.0.get(usize::try_from(found).ok()?)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
        if (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError)
        }
    }
}

impl FromStr for Line {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let mut words = text.split_whitespace();
        let (Some(name), Some(hash)) = (words.next(), words.next()) else {
            return Err(LineError::Form);
        };
        let hash = hash.strip_prefix(ALGORITHM).ok_or(LineError::Form)?;
        let expires = match words.next() {
            None => None,
            Some(word) => {
                let time = word.strip_prefix(EXPIRES).ok_or(LineError::Form)?;
                Some(time.parse().map_err(|_| LineError::Time)?)
            }
        };
        if words.next().is_some() {
            return Err(LineError::Form);
        }
        Ok(Self {
            name: name.parse()?,
            hash: hash_from_hex(hash).ok_or(LineError::Hash)?,
            expires,
        })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {ALGORITHM}{}", self.name.0, Hex(&self.hash))?;
        match self.expires {
            Some(expires) => write!(f, " {EXPIRES}{expires}"),
            None => Ok(()),
        }
    }
}

/// Lower-case hexadecimal digits.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn hash_from_hex(text: &str) -> Option<Hash> {
    let digits = text.as_bytes();
    if digits.len() != 2 * HASH_BYTES {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut hash = [0; HASH_BYTES];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str, expires: Option<&str>) -> NewToken {
        let expires = expires.map(|time| time.parse().unwrap());
        new(name.parse().unwrap(), expires).unwrap()
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[test]
    fn a_token_is_known_by_its_line_and_by_nothing_else() {
        let (one, two) = (made("ci", None), made("ops", None));
        assert_ne!(one.secret, two.secret);
        assert_eq!(one.secret.len(), PREFIX.len() + 2 * SECRET_BYTES);
        let text = format!("# tokens\n\n{}\n  {}  \n", one.line, two.line);
        assert!(!text.contains(&one.secret[PREFIX.len()..]));
        let tokens = Tokens::parse(&text).unwrap();
        let now = Timestamp::now();
        let (identity, known) = tokens.find(&two.secret, now).unwrap();
        assert_eq!(identity.as_str(), "token:ops");
        assert!(tokens.knows(&known, now));
        let hash = Hex(&one.line.hash).to_string();
        for wrong in ["", "ci", &hash, &one.secret[1..], &made("ci", None).secret] {
            assert_eq!(tokens.find(wrong, now).unwrap_err(), NoToken::Unknown);
        }
        let fewer = Tokens::parse(&one.line.to_string()).unwrap();
        assert!(!fewer.knows(&known, now));
        assert!(Tokens::default().find("", now).is_err());
    }

    #[test]
    fn a_token_holds_until_it_expires() {
        let token = made("ci", Some("2026-11-26T00:00:00Z"));
        let tokens = Tokens::parse(&token.line.to_string()).unwrap();
        let before = at("2026-11-25T23:59:59Z");
        let (_, known) = tokens.find(&token.secret, before).unwrap();
        let after = at("2026-11-26T00:00:00Z");
        assert_eq!(tokens.find(&token.secret, after), Err(NoToken::Expired));
        assert!(tokens.knows(&known, before) && !tokens.knows(&known, after));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said_and_nothing_of_it_quoted() {
        let hash = "0".repeat(64);
        for (line, why) in [
            ("ci".to_owned(), LineError::Form),
            (format!("ci md5:{hash}"), LineError::Form),
            (format!("ci sha256:{hash} soon"), LineError::Form),
            (
                format!("ci sha256:{hash} expires:2027-01-01T00:00:00Z x"),
                LineError::Form,
            ),
            (format!("c/i sha256:{hash}"), LineError::Name(NameError)),
            (
                format!("{} sha256:{hash}", "n".repeat(65)),
                LineError::Name(NameError),
            ),
            (format!("ci sha256:{}", &hash[1..]), LineError::Hash),
            (format!("ci sha256:{}g", &hash[1..]), LineError::Hash),
            (
                format!("ci sha256:{hash} expires:tomorrow"),
                LineError::Time,
            ),
            (
                format!("a sha256:{hash}\nb sha256:{hash}"),
                LineError::Twice,
            ),
        ] {
            let text = format!("\n{line}\n");
            let (at, error) = Tokens::parse(&text).unwrap_err();
            assert_eq!(error, why, "{line}");
            assert_eq!(at, text.lines().count(), "{line}");
        }
    }

    #[test]
    fn a_file_has_as_many_tokens_as_the_limit_and_no_more() {
        let lines: Vec<_> = (0..=MAX_TOKENS)
            .map(|index| format!("t sha256:{index:064x}"))
            .collect();
        assert!(Tokens::parse(&lines[1..].join("\n")).is_ok());
        let error = Tokens::parse(&lines.join("\n")).unwrap_err();
        assert_eq!(error, (MAX_TOKENS + 1, LineError::TooMany));
    }
}
