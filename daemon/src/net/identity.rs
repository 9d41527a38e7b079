//! Who a caller has proven to be, by a certificate or a token. Pure: whoever makes one has checked the proof.

use std::{fmt, str::FromStr};

/// The longest identity, in bytes: that of a SPIFFE ID.
pub const MAX_IDENTITY_BYTES: usize = 2048;

/// The beginnings, by which the kinds are told apart: no identity of one kind equals one of another.
const KINDS: [&str; 5] = ["spiffe://", "dns:", "subject:", "token:", "jwt:"];

/// Who a caller has proven to be: `spiffe://…`, `dns:…`, `subject:…`, `token:NAME` or `jwt:SUBJECT`. There is no empty one,
/// so nothing empty can equal another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(Box<str>);

/// The text is nobody's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoIdentity {
    /// Nothing is behind its kind.
    #[error("the name is empty")]
    Empty,
    /// It could be taken for another one where it is shown.
    #[error("the name has a control character or a character that is not shown")]
    Unprintable,
    /// It is longer than a name can be.
    #[error("the name is longer than {MAX_IDENTITY_BYTES} bytes")]
    TooLong,
    /// It is of no kind.
    #[error("it begins with none of {}", KINDS.join(", "))]
    UnknownKind,
}

impl Identity {
    /// Of a certificate whose subject alternative names have this URI; `None`: it is no SPIFFE ID.
    pub fn spiffe(uri: &str) -> Option<Result<Self, NoIdentity>> {
        let (scheme, rest) = uri.split_at_checked("spiffe://".len())?;
        // A scheme knows no case; what follows does.
        scheme
            .eq_ignore_ascii_case("spiffe://")
            .then(|| named("spiffe://", rest))
    }

    /// Of a certificate whose subject alternative names have this DNS name, which knows no case.
    pub fn dns(name: &str) -> Result<Self, NoIdentity> {
        named("dns:", &name.to_ascii_lowercase())
    }

    /// Of a certificate with nothing but a subject: both names as RFC 4514 has them. Two authorities may give the same one,
    /// so the issuer belongs to it.
    pub fn subject(subject: &str, issuer: &str) -> Result<Self, NoIdentity> {
        // With `;` escaped in a name, this one cannot be part of it.
        let escaped = |name: &str| name.replace(';', "\\3B");
        let (subject, issuer) = (escaped(subject), escaped(issuer));
        if subject.is_empty() || issuer.is_empty() {
            return Err(NoIdentity::Empty);
        }
        named("subject:", &format!("{subject};issuer:{issuer}"))
    }

    /// Of the token of this name.
    pub fn token(name: &str) -> Result<Self, NoIdentity> {
        named("token:", name)
    }

    /// Of a JWT with this `sub`.
    pub fn jwt(subject: &str) -> Result<Self, NoIdentity> {
        named("jwt:", subject)
    }

    /// As it is shown, and as policies and records have it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn named(kind: &str, name: &str) -> Result<Identity, NoIdentity> {
    if name.trim().is_empty() {
        return Err(NoIdentity::Empty);
    }
    if kind.len() + name.len() > MAX_IDENTITY_BYTES {
        return Err(NoIdentity::TooLong);
    }
    if !name.chars().all(is_shown) {
        return Err(NoIdentity::Unprintable);
    }
    Ok(Identity(format!("{kind}{name}").into()))
}

/// Neither a control character nor one that is invisible or turns the direction of what follows.
fn is_shown(c: char) -> bool {
    let invisible = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !c.is_control() && !invisible
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As [`Identity::as_str`] wrote it.
impl FromStr for Identity {
    type Err = NoIdentity;

    fn from_str(text: &str) -> Result<Self, NoIdentity> {
        let kind = KINDS.into_iter().find(|kind| text.starts_with(kind));
        let kind = kind.ok_or(NoIdentity::UnknownKind)?;
        named(kind, &text[kind.len()..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(identity: Result<Identity, NoIdentity>) -> String {
        identity.unwrap().to_string()
    }

    #[test]
    fn identities_read_as_the_api_says_and_are_read_back() {
        let spiffe = Identity::spiffe("SPIFFE://example.org/ci/Runner").unwrap();
        for (identity, expected) in [
            (spiffe, "spiffe://example.org/ci/Runner"),
            (Identity::dns("Build.Example"), "dns:build.example"),
            (Identity::token("ci"), "token:ci"),
            (Identity::jwt("user@example.org"), "jwt:user@example.org"),
            (
                Identity::subject("CN=a", "CN=ca,O=x"),
                "subject:CN=a;issuer:CN=ca,O=x",
            ),
        ] {
            let identity = identity.unwrap();
            assert_eq!(identity.as_str(), expected);
            assert_eq!(expected.parse(), Ok(identity));
        }
        for other in ["https://example.org", "spiffe:/x", "urn:x", ""] {
            assert_eq!(Identity::spiffe(other), None, "{other}");
        }
    }

    #[test]
    fn an_empty_identity_matches_nobody_since_there_is_none() {
        for nobody in ["", " ", "\t"] {
            let empty = Err(NoIdentity::Empty);
            assert_eq!(Identity::token(nobody), empty);
            assert_eq!(Identity::jwt(nobody), empty);
            assert_eq!(Identity::dns(nobody), empty);
            let spiffe = Identity::spiffe(&format!("spiffe://{nobody}"));
            assert_eq!(spiffe, Some(Err(NoIdentity::Empty)));
        }
        assert_eq!(Identity::subject("", "CN=ca"), Err(NoIdentity::Empty));
        assert_eq!(Identity::subject("CN=a", ""), Err(NoIdentity::Empty));
        for kind in KINDS {
            assert_eq!(kind.parse::<Identity>(), Err(NoIdentity::Empty), "{kind}");
        }
        for text in ["", "unix:0", "ip:192.0.2.7", "x"] {
            let unknown = Err(NoIdentity::UnknownKind);
            assert_eq!(text.parse::<Identity>(), unknown, "{text}");
        }
    }

    #[test]
    fn no_identity_can_be_taken_for_another() {
        // What one names, another may hold.
        assert_ne!(text(Identity::token("x")), text(Identity::jwt("x")));
        assert_ne!(
            text(Identity::subject("CN=a;issuer:CN=b", "CN=c")),
            text(Identity::subject("CN=a", "CN=b;issuer:CN=c"))
        );
        for name in ["a\nb", "a\u{1b}[2J", "a\u{202e}b", "a\u{200b}b", "a\0b"] {
            let unprintable = Err(NoIdentity::Unprintable);
            assert_eq!(Identity::jwt(name), unprintable, "{name:?}");
        }
    }

    #[test]
    fn an_identity_is_as_long_as_the_limit_and_no_longer() {
        let name = "x".repeat(MAX_IDENTITY_BYTES - "jwt:".len());
        assert!(Identity::jwt(&name).is_ok());
        assert_eq!(Identity::jwt(&format!("{name}x")), Err(NoIdentity::TooLong));
    }
}
