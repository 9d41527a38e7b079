//! What callers are known by, out of flags and file: which of them belong together, and what each listener needs.

use std::path::PathBuf;

use remex_daemon::{
    ConfigError, File, Origin, Text,
    net::{Address, Users},
    text,
};

use super::{args::TrustArgs, file::Keys};
use crate::identity::{JwtSettings, TlsFiles, TrustError, TrustFiles, reload::Reloader};

/// The files, and what is in them now.
pub(super) struct Trusted {
    pub(super) files: TrustFiles,
    pub(super) reloader: Reloader,
}

/// The values, as they were written.
struct Texts<'a> {
    cert: Option<Text<'a>>,
    key: Option<Text<'a>>,
    client_ca: Option<Text<'a>>,
    tokens: Option<Text<'a>>,
    jwks: Option<Text<'a>>,
    issuer: Option<Text<'a>>,
    audience: Option<Text<'a>>,
}

/// Reads the files that flags and `keys` name.
pub(super) fn trusted(
    args: &TrustArgs,
    keys: &mut Keys,
    file: Option<&File>,
) -> Result<Trusted, ConfigError> {
    let texts = Texts::new(args, keys, file);
    let files = TrustFiles {
        tls: texts.tls()?,
        tokens: path(texts.tokens.as_ref()),
        jwt: texts.jwt()?,
        allow_unauthenticated: args.allow_unauthenticated || keys.allow_unauthenticated,
    };
    let reloader = Reloader::new(files.clone()).map_err(|error| texts.wrong(&error))?;
    Ok(Trusted { files, reloader })
}

impl<'a> Texts<'a> {
    fn new(args: &TrustArgs, keys: &mut Keys, file: Option<&'a File>) -> Self {
        let path = |path: &Option<PathBuf>| {
            let path = path.as_ref();
            path.map(|path| path.to_string_lossy().into_owned())
        };
        let of_path = |flag, given, set| text(flag, path(given).as_ref(), set, file);
        Self {
            cert: of_path("--tls-cert", &args.tls_cert, keys.tls_cert.take()),
            key: of_path("--tls-key", &args.tls_key, keys.tls_key.take()),
            client_ca: of_path(
                "--tls-client-ca",
                &args.tls_client_ca,
                keys.tls_client_ca.take(),
            ),
            tokens: of_path("--tokens", &args.tokens, keys.tokens.take()),
            jwks: of_path("--jwks", &args.jwks, keys.jwks.take()),
            issuer: text(
                "--jwt-issuer",
                args.jwt_issuer.as_ref(),
                keys.jwt_issuer.take(),
                file,
            ),
            audience: text(
                "--jwt-audience",
                args.jwt_audience.as_ref(),
                keys.jwt_audience.take(),
                file,
            ),
        }
    }

    fn tls(&self) -> Result<Option<TlsFiles>, ConfigError> {
        match (&self.cert, &self.key, &self.client_ca) {
            (Some((cert, _)), Some((key, _)), _) => Ok(Some(TlsFiles {
                cert: cert.into(),
                key: key.into(),
                client_ca: path(self.client_ca.as_ref()),
            })),
            (Some((_, origin)), None, _) => {
                Err(origin.wrong("a certificate needs its key: give --tls-key too"))
            }
            (None, Some((_, origin)), _) => {
                Err(origin.wrong("a key needs its certificate: give --tls-cert too"))
            }
            (None, None, Some((_, origin))) => Err(origin.wrong(
                "clients show certificates only over TLS: give --tls-cert and --tls-key too",
            )),
            (None, None, None) => Ok(None),
        }
    }

    fn jwt(&self) -> Result<Option<JwtSettings>, ConfigError> {
        const TOGETHER: &str = "--jwks, --jwt-issuer and --jwt-audience belong together: whoever leaves one out takes \
                                tokens that were made for others";
        match (&self.jwks, &self.issuer, &self.audience) {
            (None, None, None) => Ok(None),
            (Some((jwks, _)), Some(issuer), Some(audience)) => Ok(Some(JwtSettings {
                jwks: jwks.into(),
                issuer: not_empty(issuer)?,
                audience: not_empty(audience)?,
            })),
            (Some((_, origin)), _, _) | (_, Some((_, origin)), _) | (_, _, Some((_, origin))) => {
                Err(origin.wrong(TOGETHER))
            }
        }
    }

    /// With the place of the flag or key that names the file.
    fn wrong(&self, error: &TrustError) -> ConfigError {
        let flag = error.flag();
        let text = match flag {
            "--tls-cert" => &self.cert,
            "--tls-key" => &self.key,
            "--tls-client-ca" => &self.client_ca,
            "--tokens" => &self.tokens,
            _ => &self.jwks,
        };
        match text {
            Some((_, origin)) => origin.wrong(error),
            None => Origin::Flag(flag).wrong(error),
        }
    }
}

fn path(text: Option<&Text<'_>>) -> Option<PathBuf> {
    text.map(|(text, _)| text.into())
}

fn not_empty((text, origin): &Text<'_>) -> Result<String, ConfigError> {
    if text.is_empty() {
        return Err(origin.wrong("is empty, and nobody is"));
    }
    Ok(text.clone())
}

/// Whether `address` may be served with these files; a reason if not.
pub(super) fn check(
    address: &Address,
    files: &TrustFiles,
    allows_plaintext: bool,
) -> Result<(), &'static str> {
    if address.is_loopback() {
        return Ok(());
    }
    if files.tls.is_none() && !allows_plaintext {
        return Err(
            "other machines reach it, and without TLS whoever is in the network reads and changes what is said; give \
             --tls-cert and --tls-key (`remexd certs init DIR` makes some), listen on 127.0.0.1 and use a tunnel, or give \
             --allow-plaintext",
        );
    }
    if files.tls.is_some() && !files.tells_callers() && !files.allow_unauthenticated {
        return Err(
            "other machines reach it, and nothing tells their callers apart, so that whoever reaches it may run commands; \
             give --tls-client-ca, --tokens or --jwks, or --allow-unauthenticated",
        );
    }
    Ok(())
}

/// A true sentence on who may call at `shown`, which is `address` or what that was bound to.
pub(super) fn explain(shown: &str, address: &Address, files: &TrustFiles, users: &Users) -> String {
    let who = address.explain(users);
    if files.tls.is_none() || matches!(address, Address::Unix(_)) {
        let tokens = match (files.has_tokens(), address.is_loopback()) {
            (false, _) => "",
            (true, true) => "; one that sends a token is known by that instead",
            (true, false) => "; one of this machine that sends a token is known by that instead",
        };
        return format!("gRPC on {shown}, for {who}{tokens}.");
    }
    let mut credentials = Vec::new();
    if let Some(ca) = files.tls.as_ref().and_then(|tls| tls.client_ca.as_ref()) {
        credentials.push(format!(
            "a certificate that a CA in {} has signed",
            ca.display()
        ));
    }
    if let Some(tokens) = &files.tokens {
        credentials.push(format!("a token whose hash is in {}", tokens.display()));
    }
    if let Some(jwt) = &files.jwt {
        credentials.push(format!(
            "a JWT of {} for {} that a key in {} has signed",
            jwt.issuer,
            jwt.audience,
            jwt.jwks.display()
        ));
    }
    let credentials = credentials.join(" or ");
    match (credentials.as_str(), files.allow_unauthenticated) {
        ("", _) => {
            format!("gRPC over TLS on {shown}, for {who}, known by their addresses alone.")
        }
        (credentials, false) => format!("gRPC over TLS on {shown}, for whoever has {credentials}."),
        (credentials, true) => format!(
            "gRPC over TLS on {shown}, for whoever has {credentials}; without one, for {who}, known by their \
             addresses alone."
        ),
    }
}
