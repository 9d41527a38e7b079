//! What callers are known by: certificates, static tokens, JWTs. A [`Trust`] is what the files said at one time, whole.

use std::{fmt, path::PathBuf, sync::Arc};

use super::{
    jwt::{Jwks, JwksError, JwtSettings},
    tls::{Tls, TlsError, TlsFiles},
    tokens::{Tokens, TokensError},
};

/// The files, as flags name them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustFiles {
    /// `--tls-cert`, `--tls-key`, `--tls-client-ca`; `None`: TCP is served without TLS.
    pub tls: Option<TlsFiles>,
    /// `--tokens`.
    pub tokens: Option<PathBuf>,
    /// `--jwks`, `--jwt-issuer`, `--jwt-audience`.
    pub jwt: Option<JwtSettings>,
    /// `--allow-unauthenticated`.
    pub allow_unauthenticated: bool,
}

/// A file is of no use. The message names it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// Of TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Of tokens.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// Of JWTs.
    #[error(transparent)]
    Jwks(#[from] JwksError),
}

impl TrustError {
    /// The flag that names the file.
    pub fn flag(&self) -> &'static str {
        match self {
            Self::Tls(error) => error.flag(),
            Self::Tokens(_) => "--tokens",
            Self::Jwks(_) => "--jwks",
        }
    }
}

impl TrustFiles {
    /// Whether callers over TLS can be told apart.
    pub fn tells_callers(&self) -> bool {
        self.has_client_ca() || self.has_tokens()
    }

    /// Whether callers may have certificates.
    pub fn has_client_ca(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())
    }

    /// Whether callers may have tokens, of either kind.
    pub fn has_tokens(&self) -> bool {
        self.tokens.is_some() || self.jwt.is_some()
    }

    /// Every one of them.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let tls = self.tls.iter();
        let tls = tls.flat_map(|tls| [Some(&tls.cert), Some(&tls.key), tls.client_ca.as_ref()]);
        let jwks = self.jwt.as_ref().map(|jwt| &jwt.jwks);
        tls.chain([self.tokens.as_ref(), jwks]).flatten()
    }
}

/// What callers are known by at one time. Clones share it.
#[derive(Clone, Default)]
pub struct Trust {
    pub(super) tls: Option<Tls>,
    pub(super) tokens: Option<Arc<Tokens>>,
    pub(super) jwks: Option<Arc<Jwks>>,
    pub(super) tells_callers: bool,
    pub(super) allows_unauthenticated: bool,
}

impl Trust {
    /// What `files` say now.
    pub fn load(files: &TrustFiles) -> Result<Self, TrustError> {
        let empty = Self {
            tells_callers: files.tells_callers(),
            allows_unauthenticated: files.allow_unauthenticated,
            ..Self::default()
        };
        let (trust, mut errors) = empty.reloaded(files);
        match errors.pop() {
            None => Ok(trust),
            Some(error) => Err(error),
        }
    }

    /// What `files` say now; what is broken stays as it is here, and for itself alone: a broken certificate keeps no token.
    pub(super) fn reloaded(&self, files: &TrustFiles) -> (Self, Vec<TrustError>) {
        let (mut trust, mut errors) = (self.clone(), Vec::new());
        if let Some(tls) = &files.tls {
            // Where a certificate is the only credential, nothing of a peer without one is read.
            let is_only = files.has_client_ca() && !files.has_tokens();
            match Tls::load(tls, is_only && !files.allow_unauthenticated) {
                Ok(tls) => trust.tls = Some(tls),
                Err(error) => errors.push(error.into()),
            }
        }
        if let Some(file) = &files.tokens {
            match Tokens::load(file) {
                Ok(tokens) => trust.tokens = Some(Arc::new(tokens)),
                Err(error) => errors.push(error.into()),
            }
        }
        if let Some(settings) = &files.jwt {
            match Jwks::load(settings) {
                Ok(jwks) => trust.jwks = Some(Arc::new(jwks)),
                Err(error) => errors.push(error.into()),
            }
        }
        (trust, errors)
    }

    /// What TCP is served with.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }
}

/// Nothing of what callers prove themselves by.
impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}
