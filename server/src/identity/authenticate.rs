//! Who makes a call: decided from what the kernel, the handshake and the call's metadata say, and from nothing else. Pure
//! but for the clock that it is given.

use std::time::Instant;

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use jiff::Timestamp;
use remex_daemon::net::{Caller, Identity, Users};
use rustls::pki_types::CertificateDer;

use super::{
    certificate::{self, NamelessCertificate},
    guesses::{Guesses, MAX_GUESSES},
    jwt::NoJwt,
    tokens::{KnownToken, NoToken},
    trust::Trust,
};

/// What a connection is protected by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protection {
    /// Nothing, between this machine and itself.
    Local,
    /// Nothing, between machines.
    Plaintext,
    /// TLS, with the certificates that the peer has shown, its own first; none if it has none.
    Tls(Vec<CertificateDer<'static>>),
}

/// A connection, and what is known of its peer.
#[derive(Debug, Clone)]
pub struct Peer {
    /// As the kernel knows it.
    pub kernel: Caller,
    /// What it is protected by.
    pub protection: Protection,
    /// Of its certificate; `None`: it has shown none.
    certificate: Option<Result<Identity, NamelessCertificate>>,
}

/// What has to hold for as long as a call lasts.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A static token.
    Token(KnownToken),
    /// A JWT, itself: its key may go before it expires.
    Jwt(Box<str>),
}

/// Who makes a call, and by which credential beside the connection's.
#[derive(Clone)]
pub struct Authenticated {
    /// Who.
    pub caller: Caller,
    /// `None`: what the connection says.
    pub credential: Option<Credential>,
}

/// Why a call has no caller. The messages tell what to do, and nothing of what was presented.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoCaller {
    /// None was presented.
    #[error("this server has to know who calls: {0}")]
    NoCredential(&'static str),
    /// Twice, or of another scheme.
    #[error("the authorization metadata is not one `Bearer TOKEN`")]
    Malformed,
    /// A token for everybody to read.
    #[error(
        "a token came unencrypted from another machine, where others may have read it: replace it, and call over TLS"
    )]
    Exposed,
    /// A static token, or what is none.
    #[error("the token is not known to this server")]
    Unknown,
    /// A static token.
    #[error("the token has expired: ask for a new one")]
    Expired,
    /// A JWT.
    #[error("the JWT is refused: {0}")]
    Jwt(#[from] NoJwt),
    /// A valid certificate of nobody.
    #[error(transparent)]
    Nameless(#[from] NamelessCertificate),
    /// Too many of them were wrong.
    #[error("more than {MAX_GUESSES} wrong tokens came from here: none is looked at for {} s", .0.as_secs() + 1)]
    Guessing(std::time::Duration),
    /// A process of another user of this machine, with no credential.
    #[error("user {0} of this machine may not connect; remexd's --users names those that may")]
    User(u32),
}

/// At which time a call is judged.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// On the wall.
    pub time: Timestamp,
    /// On the clock that nobody sets.
    pub instant: Instant,
}

impl Now {
    /// This moment.
    pub fn get() -> Self {
        Self {
            time: Timestamp::now(),
            instant: Instant::now(),
        }
    }
}

impl Peer {
    /// `kernel` at the other end of `protection`.
    pub fn new(kernel: Caller, protection: Protection) -> Self {
        let own = match &protection {
            Protection::Tls(chain) => chain.first(),
            Protection::Local | Protection::Plaintext => None,
        };
        let certificate = own.map(|own| certificate::identity(own));
        Self {
            kernel,
            protection,
            certificate,
        }
    }
}

/// Who makes a call with `headers` over a connection of `peer`. A token beside a certificate is the caller, and both have to
/// be valid. A wrong credential is refused even where none is needed.
pub fn authenticate(
    trust: &Trust,
    users: &Users,
    guesses: &Guesses,
    peer: &Peer,
    headers: &HeaderMap,
    now: Now,
) -> Result<Authenticated, NoCaller> {
    let certificate = peer.certificate.clone().transpose()?;
    if let Some(token) = bearer(headers)? {
        if peer.protection == Protection::Plaintext {
            return Err(NoCaller::Exposed);
        }
        if let Some(left) = guesses.held(&peer.kernel, now.instant) {
            return Err(NoCaller::Guessing(left));
        }
        let (identity, credential) = by_token(trust, token, now)
            .inspect_err(|_| guesses.wrong(&peer.kernel, now.instant))?;
        return Ok(Authenticated {
            caller: peer.kernel.clone().known_by(Some(identity)),
            credential: Some(credential),
        });
    }
    let caller = match (&peer.protection, certificate) {
        (Protection::Local | Protection::Plaintext, _) => of_user(users, &peer.kernel)?,
        (Protection::Tls(_), Some(identity)) => peer.kernel.clone().known_by(Some(identity)),
        (Protection::Tls(_), None) => anonymous(trust, users, &peer.kernel)?,
    };
    Ok(Authenticated {
        caller,
        credential: None,
    })
}

/// Whether `credential` is still good.
pub fn is_valid(trust: &Trust, credential: &Credential, now: Timestamp) -> bool {
    match credential {
        Credential::Token(known) => {
            let tokens = trust.tokens.as_ref();
            tokens.is_some_and(|tokens| tokens.knows(known, now))
        }
        Credential::Jwt(token) => {
            let jwks = trust.jwks.as_ref();
            jwks.is_some_and(|jwks| jwks.verify(token).is_ok())
        }
    }
}

/// The token of `authorization: Bearer TOKEN`, if there is any.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, NoCaller> {
    const SCHEME: &str = "bearer ";
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Err(NoCaller::Malformed),
    };
    let text = HeaderValue::to_str(value).map_err(|_| NoCaller::Malformed)?;
    let (scheme, token) = text
        .split_at_checked(SCHEME.len())
        .ok_or(NoCaller::Malformed)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case(SCHEME) || token.is_empty() {
        return Err(NoCaller::Malformed);
    }
    Ok(Some(token))
}

fn by_token(trust: &Trust, token: &str, now: Now) -> Result<(Identity, Credential), NoCaller> {
    // Three parts are a JWT; no static token has a dot.
    if let Some(jwks) = &trust.jwks
        && token.split('.').count() == 3
    {
        let identity = jwks.verify(token)?;
        return Ok((identity, Credential::Jwt(token.into())));
    }
    let tokens = trust.tokens.as_ref().ok_or(NoCaller::Unknown)?;
    match tokens.find(token, now.time) {
        Ok((identity, known)) => Ok((identity, Credential::Token(known))),
        Err(NoToken::Unknown) => Err(NoCaller::Unknown),
        Err(NoToken::Expired) => Err(NoCaller::Expired),
    }
}

/// A caller over TLS without any credential is known by its address, if it may be. One of this machine has to be of a user
/// that may connect.
fn anonymous(trust: &Trust, users: &Users, kernel: &Caller) -> Result<Caller, NoCaller> {
    if trust.tells_callers && !trust.allows_unauthenticated {
        return Err(NoCaller::NoCredential(trust.wanted()));
    }
    Ok(of_user(users, kernel)?.known_by(None))
}

/// A caller that is known by its user, who may have been let in when its connection came, and may not be any more.
fn of_user(users: &Users, kernel: &Caller) -> Result<Caller, NoCaller> {
    match kernel.uid {
        Some(uid) if !users.allows(uid) => Err(NoCaller::User(uid)),
        _ => Ok(kernel.clone()),
    }
}

impl Trust {
    /// What a caller has to have.
    fn wanted(&self) -> &'static str {
        let certificates = self
            .tls
            .as_ref()
            .is_some_and(super::Tls::knows_certificates);
        let tokens = self.tokens.is_some() || self.jwks.is_some();
        match (certificates, tokens) {
            (true, true) => {
                "present a certificate (remex --cert and --key) or a token (remex --token-file)"
            }
            (true, false) => "present a certificate (remex --cert and --key)",
            (false, _) => "present a token (remex --token-file)",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use remex_daemon::net::Transport;

    use super::*;
    use crate::identity::tokens::{self, Tokens};

    /// A server that knows one token, and what that is.
    fn knowing(name: &str) -> (Trust, String) {
        let token = tokens::new(name.parse().unwrap(), None).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        std::fs::write(&file, token.line.to_string()).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, mode).unwrap();
        let trust = Trust {
            tokens: Some(Arc::new(Tokens::load(&file).unwrap())),
            tells_callers: true,
            ..Trust::default()
        };
        (trust, token.secret)
    }

    fn kernel(uid: Option<u32>) -> Caller {
        Caller {
            transport: Transport::Tcp,
            address: Some("192.0.2.7:1".parse().unwrap()),
            uid,
            identity: None,
            cgroup: remex_daemon::net::PeerCgroup::default(),
            listener: None,
        }
    }

    fn tls() -> Protection {
        Protection::Tls(Vec::new())
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let values = values.iter().map(|value| value.parse().unwrap());
        values.map(|value| (AUTHORIZATION, value)).collect()
    }

    /// Who a call with these values of `authorization` is known as.
    fn known(trust: &Trust, peer: &Peer, values: &[&str]) -> Result<String, NoCaller> {
        let (users, guesses) = (Users::parse("4321").unwrap(), Guesses::default());
        let mut all = HeaderMap::new();
        for value in values {
            all.append(AUTHORIZATION, value.parse().unwrap());
        }
        let judged = authenticate(trust, &users, &guesses, peer, &all, Now::get());
        judged.map(|authenticated| authenticated.caller.to_string())
    }

    #[test]
    fn a_token_is_the_caller_wherever_it_may_be_sent() {
        let (trust, secret) = knowing("ci");
        let bearer = format!("Bearer {secret}");
        for (protection, uid, expected) in [
            (tls(), None, Ok("token:ci".to_owned())),
            (tls(), Some(0), Ok("token:ci".to_owned())),
            (Protection::Local, Some(0), Ok("token:ci".to_owned())),
            // Be it right or wrong: others have read it.
            (Protection::Plaintext, None, Err(NoCaller::Exposed)),
        ] {
            let peer = Peer::new(kernel(uid), protection);
            assert_eq!(known(&trust, &peer, &[&bearer]), expected, "{peer:?}");
        }
        let peer = Peer::new(kernel(None), tls());
        let lower = format!("bearer {secret}");
        assert_eq!(known(&trust, &peer, &[&lower]).unwrap(), "token:ci");
    }

    #[test]
    fn a_wrong_credential_is_refused_even_where_none_is_needed() {
        let (trust, secret) = knowing("ci");
        let bearer = format!("Bearer {secret}");
        let open = Trust::default();
        for (trust, values, expected) in [
            (&trust, ["Bearer x"].as_slice(), NoCaller::Unknown),
            (&open, &[&bearer], NoCaller::Unknown),
            (&trust, &[&bearer, &bearer], NoCaller::Malformed),
            (&trust, &[&secret], NoCaller::Malformed),
            (&trust, &["Basic eDp4"], NoCaller::Malformed),
            (&trust, &["Bearer "], NoCaller::Malformed),
            (&trust, &[""], NoCaller::Malformed),
        ] {
            for protection in [tls(), Protection::Local] {
                let peer = Peer::new(kernel(Some(0)), protection);
                assert_eq!(known(trust, &peer, values), Err(expected.clone()));
            }
        }
    }

    #[test]
    fn without_a_credential_the_kernel_says_who_it_is_but_not_over_tls() {
        let (mut trust, _) = knowing("ci");
        let local = Peer::new(kernel(Some(4321)), Protection::Local);
        assert_eq!(known(&trust, &local, &[]).unwrap(), "unix:4321");
        let remote = Peer::new(kernel(None), Protection::Plaintext);
        assert_eq!(known(&trust, &remote, &[]).unwrap(), "ip:192.0.2.7");
        let over_tls = |uid| Peer::new(kernel(uid), tls());
        for uid in [None, Some(0), Some(4321), Some(4322)] {
            let denied = known(&trust, &over_tls(uid), &[]);
            assert!(matches!(denied, Err(NoCaller::NoCredential(_))), "{uid:?}");
        }
        trust.allows_unauthenticated = true;
        for trust in [&trust, &Trust::default()] {
            for uid in [None, Some(0), Some(4321)] {
                let known = known(trust, &over_tls(uid), &[]);
                assert_eq!(known.unwrap(), "ip:192.0.2.7");
            }
            let other = known(trust, &over_tls(Some(4322)), &[]);
            assert_eq!(other, Err(NoCaller::User(4322)));
        }
    }

    #[test]
    fn a_certificate_of_nobody_is_refused_even_beside_a_token() {
        let (trust, secret) = knowing("ci");
        let nobody = Protection::Tls(vec![CertificateDer::from(vec![0x30, 0])]);
        let peer = Peer::new(kernel(None), nobody);
        let bearer = format!("Bearer {secret}");
        for values in [[].as_slice(), &[bearer.as_str()]] {
            let denied = Err(NoCaller::Nameless(NamelessCertificate::Malformed));
            assert_eq!(known(&trust, &peer, values), denied);
        }
    }

    #[test]
    fn whoever_has_guessed_too_often_is_not_listened_to() {
        let (trust, secret) = knowing("ci");
        let (users, guesses) = (Users::daemon(), Guesses::default());
        let peer = Peer::new(kernel(None), tls());
        let now = Now::get();
        let judge = |value: &str| {
            let headers = headers(&[value]);
            authenticate(&trust, &users, &guesses, &peer, &headers, now).map(drop)
        };
        for _ in 0..MAX_GUESSES {
            assert_eq!(judge("Bearer x"), Err(NoCaller::Unknown));
        }
        let held = judge(&format!("Bearer {secret}"));
        assert!(matches!(held, Err(NoCaller::Guessing(_))), "{held:?}");
    }
}
