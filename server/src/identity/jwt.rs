//! JSON Web Tokens (RFC 7519): the keys of their issuer, and whose one is.

use std::path::{Path, PathBuf};

use jsonwebtoken::{
    Algorithm, DecodingKey, Header, Validation, decode, decode_header,
    errors::ErrorKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use remex_daemon::{File, FileError, net::Identity};
use serde::Deserialize;

/// Keys in one file at most.
pub const MAX_KEYS: usize = 100;

/// How far the clocks of issuer and server may be apart, in seconds.
pub const LEEWAY_SECONDS: u64 = 30;

/// What is asked of a token beside its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtSettings {
    /// `--jwks`.
    pub jwks: PathBuf,
    /// `--jwt-issuer`.
    pub issuer: String,
    /// `--jwt-audience`.
    pub audience: String,
}

/// The keys are of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwksError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is in it.
    #[error("{}: {why}", file.display())]
    Invalid {
        /// Which file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// Why a token is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoJwt {
    /// It is none.
    #[error("it is malformed")]
    Malformed,
    /// No key is the one that it says it is signed with.
    #[error("no key of --jwks is the one that it is signed with")]
    UnknownKey,
    /// Not by that key, or by another algorithm than the key is for.
    #[error("its signature is wrong")]
    Signature,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its time has not come.
    #[error("it is not valid yet")]
    NotYet,
    /// By somebody else.
    #[error("its issuer is not --jwt-issuer")]
    Issuer,
    /// For somebody else.
    #[error("its audience is not --jwt-audience")]
    Audience,
    /// It names nobody.
    #[error("it has no usable subject")]
    Subject,
    /// It has extensions that have to be understood.
    #[error("its header has `crit`")]
    Critical,
    /// It lacks exp, iss, aud or sub.
    #[error("a claim is missing; exp, iss, aud and sub are needed")]
    Claim,
}

/// The keys of an issuer, and what its tokens have to say.
#[derive(Clone)]
pub struct Jwks {
    keys: Vec<Key>,
    issuer: String,
    audience: String,
}

#[derive(Clone)]
struct Key {
    id: Option<String>,
    /// What it signs by; what a token says is not asked.
    algorithms: Vec<Algorithm>,
    public: DecodingKey,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

impl Jwks {
    /// Of what is in the file now.
    pub fn load(settings: &JwtSettings) -> Result<Self, JwksError> {
        let bytes = File::read_bytes(&settings.jwks)?;
        let keys = keys(&bytes).map_err(|why| invalid(&settings.jwks, why))?;
        Ok(Self {
            keys,
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
        })
    }

    /// Whose `token` is, now.
    pub fn verify(&self, token: &str) -> Result<Identity, NoJwt> {
        let header = decode_header(token).map_err(|_| NoJwt::Malformed)?;
        // Extensions without which a token must not be taken (RFC 7515, section 4.1.11): none is understood.
        if header.crit.is_some() {
            return Err(NoJwt::Critical);
        }
        let mut refused = NoJwt::UnknownKey;
        for key in self.keys.iter().filter(|key| key.is_for(&header)) {
            match self.verify_by(key, &header, token) {
                // Without an id, it may be any of them.
                Err(NoJwt::Signature) => refused = NoJwt::Signature,
                verified => return verified,
            }
        }
        Err(refused)
    }

    fn verify_by(&self, key: &Key, header: &Header, token: &str) -> Result<Identity, NoJwt> {
        let mut validation = Validation::new(header.alg);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let data = decode::<Claims>(token, &key.public, &validation);
        let data = data.map_err(|error| refusal(error.kind()))?;
        Identity::jwt(&data.claims.sub).map_err(|_| NoJwt::Subject)
    }
}

impl Key {
    fn of(jwk: &Jwk) -> Result<Option<Self>, jsonwebtoken::errors::Error> {
        let mut algorithms = algorithms(&jwk.algorithm);
        match &jwk.common.key_algorithm {
            None => {}
            Some(algorithm) => algorithms.retain(|one| is_same(*one, *algorithm)),
        }
        let is_for_signatures = matches!(
            jwk.common.public_key_use,
            None | Some(PublicKeyUse::Signature)
        );
        // Keys of other uses stand beside those that sign.
        if algorithms.is_empty() || !is_for_signatures {
            return Ok(None);
        }
        Ok(Some(Self {
            id: jwk.common.key_id.clone(),
            algorithms,
            public: DecodingKey::from_jwk(jwk)?,
        }))
    }

    fn is_for(&self, header: &Header) -> bool {
        let named = header.kid.is_none() || header.kid == self.id;
        named && self.algorithms.contains(&header.alg)
    }
}

/// Those with a public key. A secret that the server shares would let whoever reads it make tokens.
fn algorithms(parameters: &AlgorithmParameters) -> Vec<Algorithm> {
    use Algorithm as A;
    match parameters {
        AlgorithmParameters::RSA(_) => {
            vec![A::RS256, A::RS384, A::RS512, A::PS256, A::PS384, A::PS512]
        }
        AlgorithmParameters::EllipticCurve(parameters) => match parameters.curve {
            EllipticCurve::P256 => vec![A::ES256],
            EllipticCurve::P384 => vec![A::ES384],
            _ => Vec::new(),
        },
        AlgorithmParameters::OctetKeyPair(parameters) => match parameters.curve {
            EllipticCurve::Ed25519 => vec![A::EdDSA],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn is_same(algorithm: Algorithm, named: KeyAlgorithm) -> bool {
    named.to_string().parse() == Ok(algorithm)
}

fn keys(bytes: &[u8]) -> Result<Vec<Key>, String> {
    let set: JwkSet =
        serde_json::from_slice(bytes).map_err(|error| format!("is no JWK set: {error}"))?;
    if set.keys.len() > MAX_KEYS {
        return Err(format!("has more than {MAX_KEYS} keys"));
    }
    let mut keys = Vec::new();
    for (index, jwk) in set.keys.iter().enumerate() {
        let key = Key::of(jwk).map_err(|error| format!("keys[{index}]: {error}"))?;
        keys.extend(key);
    }
    if keys.is_empty() {
        return Err("has no public key for signatures (RSA, P-256, P-384 or Ed25519)".to_owned());
    }
    Ok(keys)
}

fn refusal(error: &ErrorKind) -> NoJwt {
    match error {
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => NoJwt::Signature,
        ErrorKind::ExpiredSignature => NoJwt::Expired,
        ErrorKind::ImmatureSignature => NoJwt::NotYet,
        ErrorKind::InvalidIssuer => NoJwt::Issuer,
        ErrorKind::InvalidAudience => NoJwt::Audience,
        ErrorKind::MissingRequiredClaim(_) => NoJwt::Claim,
        _ => NoJwt::Malformed,
    }
}

fn invalid(file: &Path, why: String) -> JwksError {
    JwksError::Invalid {
        file: file.to_owned(),
        why,
    }
}
