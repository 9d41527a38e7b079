//! What TLS is served with: certificate, key and the CAs of clients, from their files.
//!
//! TLS 1.3 alone, and no session is resumed: every connection proves who it is by what holds at that time, there is no
//! renegotiation, and a client certificate is never sent in the clear.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use remex::secret_file::{self, SecretFileError};
use remex_daemon::{File, FileError};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{
        CertificateDer, PrivateKeyDer, UnixTime,
        pem::{self, PemObject},
    },
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};

/// Certificates in one file at most.
pub const MAX_CERTIFICATES: usize = 1000;

/// HTTP/2, the only protocol that is spoken.
const ALPN: &[u8] = b"h2";

/// The files of `--tls-cert`, `--tls-key` and `--tls-client-ca`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and those between it and its CA.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who signs the certificates of clients; `None`: clients have none.
    pub client_ca: Option<PathBuf>,
}

/// The files are of no use. The message names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file with certificates.
    #[error("{source}")]
    Read {
        /// Whose file.
        flag: &'static str,
        /// Why not.
        source: FileError,
    },
    /// The key's file.
    #[error(transparent)]
    Key(#[from] SecretFileError),
    /// There is nothing of the kind in it.
    #[error("{}: {why}", file.display())]
    Invalid {
        /// Whose file.
        flag: &'static str,
        /// Which one.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl TlsError {
    /// The flag that names the file.
    pub fn flag(&self) -> &'static str {
        match self {
            Self::Read { flag, .. } | Self::Invalid { flag, .. } => flag,
            Self::Key(_) => "--tls-key",
        }
    }
}

/// What connections are served with from now on.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Tls {
    /// Of what is in `files` now. `mandatory`: a client without a certificate is refused by the handshake.
    pub fn load(files: &TlsFiles, mandatory: bool) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates("--tls-cert", &files.cert)?;
        let key = private_key(&files.key)?;
        let clients = match &files.client_ca {
            Some(file) => Some(verifier(file, mandatory, &provider)?),
            None => None,
        };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| invalid("--tls-cert", &files.cert, error.to_string()))?;
        let builder = match &clients {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| unusable(&error, files))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self {
            config: Arc::new(config),
            clients,
        })
    }

    /// For a handshake.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Whether clients are known by certificates.
    pub fn knows_certificates(&self) -> bool {
        self.clients.is_some()
    }

    /// Whether a handshake would accept this chain of a client now.
    pub fn accepts(&self, chain: &[CertificateDer<'_>]) -> bool {
        let (Some(clients), Some((own, others))) = (&self.clients, chain.split_first()) else {
            return false;
        };
        let verified = clients.verify_client_cert(own, others, UnixTime::now());
        verified.is_ok()
    }
}

/// A certificate and a key that do not go together, or one of them that cannot be used.
fn unusable(error: &rustls::Error, files: &TlsFiles) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            let cert = files.cert.display();
            let why = format!("is not the key of the certificate in {cert}");
            invalid("--tls-key", &files.key, why)
        }
        rustls::Error::InvalidCertificate(why) => {
            let why = format!("its certificate cannot be used: {why}");
            invalid("--tls-cert", &files.cert, why)
        }
        error => invalid("--tls-key", &files.key, error.to_string()),
    }
}

fn verifier(
    file: &Path,
    mandatory: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    const FLAG: &str = "--tls-client-ca";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(FLAG, file)? {
        roots
            .add(certificate)
            .map_err(|error| invalid(FLAG, file, error.to_string()))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if mandatory {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    builder
        .build()
        .map_err(|error| invalid(FLAG, file, error.to_string()))
}

fn certificates(flag: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = File::read_bytes(file).map_err(|source| TlsError::Read { flag, source })?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|error| invalid(flag, file, malformed(&error)))?;
    match certificates.len() {
        0 => Err(invalid(flag, file, "has no certificate (PEM)")),
        1..=MAX_CERTIFICATES => Ok(certificates),
        _ => {
            let why = format!("has more than {MAX_CERTIFICATES} certificates");
            Err(invalid(flag, file, why))
        }
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = secret_file::read(file)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let why = match error {
            pem::Error::NoItemsFound => "has no private key (PEM, not encrypted)".to_owned(),
            error => malformed(&error),
        };
        invalid("--tls-key", file, why)
    })
}

/// Never with what is in the file.
fn malformed(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "ends within a PEM section".to_owned(),
        pem::Error::Base64Decode(_) => "is no PEM: a section is not base64".to_owned(),
        _ => "is no PEM".to_owned(),
    }
}

fn invalid(flag: &'static str, file: &Path, why: impl Into<String>) -> TlsError {
    TlsError::Invalid {
        flag,
        file: file.to_owned(),
        why: why.into(),
    }
}
