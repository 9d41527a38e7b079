//! What a client and its server know each other by: the CA of the server, the client's certificate and key, a token. From
//! files, which are read again when they have changed.

use std::{
    fmt,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::HeaderValue;
use remex::secret_file::{self, SecretFileError};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use thiserror::Error;

/// HTTP/2, the only protocol that is spoken.
const ALPN: &[u8] = b"h2";

/// The longest file of certificates that is read, in bytes: a machine's bundle of all public CAs is a fifth of it.
const MAX_CERTIFICATES_BYTES: u64 = 1024 * 1024;

/// The files. The default is none: the server's certificate is to be signed by a CA that this machine trusts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialFiles {
    /// The CAs that the server's certificate may be signed by, in place of those that this machine trusts (PEM).
    pub ca: Option<PathBuf>,
    /// The client's certificate, and those between it and its CA (PEM).
    pub cert: Option<PathBuf>,
    /// Its key (PEM), which nobody else may read.
    pub key: Option<PathBuf>,
    /// A token, which nobody else may read.
    pub token: Option<PathBuf>,
}

/// A file is of no use. The message begins with the option that names it, and the file.
#[derive(Debug, Clone, Error)]
#[error("{option}: {why}")]
pub struct CredentialsError {
    option: &'static str,
    why: NoCredentials,
}

/// What is wrong with a file.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum NoCredentials {
    /// A file with certificates cannot be read.
    #[error("{}: cannot be read: {source}", file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// Why not.
        source: Arc<io::Error>,
    },
    /// A file with a secret cannot be read, or others may read it too.
    #[error(transparent)]
    Secret(Arc<SecretFileError>),
    /// It is not what it should be.
    #[error("{}: {why}", file.display())]
    Invalid {
        /// Which file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A certificate without its key, or a key without its certificate.
    #[error("--cert and --key belong together: give both, or none")]
    Unpaired,
    /// There is no CA at all.
    #[error("this machine trusts none ({0}): name the server's")]
    NoRoots(String),
}

impl CredentialsError {
    /// The option, such as `--ca`.
    pub fn option(&self) -> &'static str {
        self.option
    }

    /// What is wrong with what it names.
    pub fn why(&self) -> &NoCredentials {
        &self.why
    }
}

/// What [`CredentialFiles`] hold. Clones share it.
#[derive(Clone, Default)]
pub struct Credentials(Arc<Shared>);

#[derive(Default)]
struct Shared {
    files: CredentialFiles,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    stamps: [Option<Stamp>; 4],
    token: Option<HeaderValue>,
    /// Made when it is first needed.
    tls: Option<Arc<ClientConfig>>,
}

/// By which a changed file is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Credentials {
    /// Of what is in `files` now; all of it is checked.
    pub fn load(files: CredentialFiles) -> Result<Self, CredentialsError> {
        let unpaired = match (&files.cert, &files.key) {
            (Some(_), None) => Some("--cert"),
            (None, Some(_)) => Some("--key"),
            _ => None,
        };
        if let Some(option) = unpaired {
            let why = NoCredentials::Unpaired;
            return Err(CredentialsError { option, why });
        }
        let current = Current::read(&files)?;
        Ok(Self(Arc::new(Shared {
            files,
            current: Mutex::new(current),
        })))
    }

    /// The files.
    pub fn files(&self) -> &CredentialFiles {
        &self.0.files
    }

    /// Whether each call carries a token.
    pub fn has_token(&self) -> bool {
        self.0.files.token.is_some()
    }

    /// The metadata `authorization` of a call.
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        self.0.files.token.as_ref()?;
        self.current().token.clone()
    }

    /// For a handshake.
    pub(crate) fn tls(&self) -> Result<Arc<ClientConfig>, CredentialsError> {
        let mut current = self.current();
        if let Some(tls) = &current.tls {
            return Ok(Arc::clone(tls));
        }
        let tls = Arc::new(configured(&self.0.files)?);
        current.tls = Some(Arc::clone(&tls));
        Ok(tls)
    }

    /// What the files say now; what is broken in between leaves what it was.
    fn current(&self) -> MutexGuard<'_, Current> {
        let Shared { files, current } = &*self.0;
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.stamps != stamps(files)
            && let Ok(read) = Current::read(files)
        {
            *current = read;
        }
        current
    }
}

impl Current {
    fn read(files: &CredentialFiles) -> Result<Self, CredentialsError> {
        // Before the files are read: what changes meanwhile is read again.
        let stamps = stamps(files);
        let token = files.token.as_deref().map(bearer).transpose()?;
        let named = files.ca.is_some() || files.cert.is_some();
        let tls = named.then(|| configured(files)).transpose()?;
        Ok(Self {
            stamps,
            token,
            tls: tls.map(Arc::new),
        })
    }
}

/// Neither keys nor tokens.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("files", &self.0.files)
            .finish_non_exhaustive()
    }
}

fn stamps(files: &CredentialFiles) -> [Option<Stamp>; 4] {
    let CredentialFiles {
        ca,
        cert,
        key,
        token,
    } = files;
    let stamp = |file: &Option<PathBuf>| {
        let metadata = fs::metadata(file.as_ref()?).ok()?;
        Some(Stamp::of(&metadata))
    };
    [ca, cert, key, token].map(stamp)
}

impl Stamp {
    fn of(of: &Metadata) -> Self {
        Self {
            inode: (of.dev(), of.ino()),
            size: of.size(),
            modified: (of.mtime(), of.mtime_nsec()),
            changed: (of.ctime(), of.ctime_nsec()),
        }
    }
}

/// `Bearer TOKEN`, of a file that holds the token and blanks around it.
fn bearer(file: &Path) -> Result<HeaderValue, CredentialsError> {
    const OPTION: &str = "--token-file";
    let bytes = secret(OPTION, file)?;
    let wrong = || invalid(OPTION, file, "does not hold one token and nothing else");
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong())?.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong());
    }
    let value = HeaderValue::try_from(format!("Bearer {text}"));
    let mut value = value.map_err(|_| wrong())?;
    value.set_sensitive(true);
    Ok(value)
}

fn configured(files: &CredentialFiles) -> Result<ClientConfig, CredentialsError> {
    let roots = match &files.ca {
        Some(file) => named_roots(file)?,
        None => native_roots()?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| no_roots(error.to_string()))?
        .with_root_certificates(roots);
    let mut config = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            let chain = certificates("--cert", cert)?;
            let config = builder.with_client_auth_cert(chain, private_key(key)?);
            config.map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    let why = format!("is not the key of the certificate in {}", cert.display());
                    invalid("--key", key, why)
                }
                rustls::Error::InvalidCertificate(why) => {
                    let why = format!("its certificate cannot be used: {why}");
                    invalid("--cert", cert, why)
                }
                error => invalid("--key", key, error.to_string()),
            })?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn named_roots(file: &Path) -> Result<RootCertStore, CredentialsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("--ca", file)? {
        roots
            .add(certificate)
            .map_err(|error| invalid("--ca", file, error.to_string()))?;
    }
    Ok(roots)
}

fn native_roots() -> Result<RootCertStore, CredentialsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // One that cannot be used is passed over: others will be.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(ToString::to_string);
        let why = why.unwrap_or_else(|| "it has no file of them".to_owned());
        return Err(no_roots(why));
    }
    Ok(roots)
}

fn certificates(
    option: &'static str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let failed = |source| CredentialsError {
        option,
        why: NoCredentials::Read {
            file: file.to_owned(),
            source: Arc::new(source),
        },
    };
    let bytes = read_bounded(file).map_err(failed)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|_| invalid(option, file, "is no PEM"))?;
    if certificates.is_empty() {
        return Err(invalid(option, file, "has no certificate (PEM)"));
    }
    Ok(certificates)
}

fn read_bounded(file: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read = fs::File::open(file)?
        .take(MAX_CERTIFICATES_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if read as u64 > MAX_CERTIFICATES_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, CredentialsError> {
    let bytes = secret("--key", file)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let why = match error {
            pem::Error::NoItemsFound => "has no private key (PEM, not encrypted)",
            _ => "is no PEM",
        };
        invalid("--key", file, why)
    })
}

fn secret(option: &'static str, file: &Path) -> Result<Vec<u8>, CredentialsError> {
    secret_file::read(file).map_err(|source| CredentialsError {
        option,
        why: NoCredentials::Secret(Arc::new(source)),
    })
}

fn invalid(option: &'static str, file: &Path, why: impl Into<String>) -> CredentialsError {
    CredentialsError {
        option,
        why: NoCredentials::Invalid {
            file: file.to_owned(),
            why: why.into(),
        },
    }
}

fn no_roots(why: String) -> CredentialsError {
    CredentialsError {
        option: "--ca",
        why: NoCredentials::NoRoots(why),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn token_file(folder: &Path, text: &str, mode: u32) -> CredentialFiles {
        let file = folder.join("token");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        CredentialFiles {
            token: Some(file),
            ..CredentialFiles::default()
        }
    }

    #[test]
    fn a_token_is_read_again_when_its_file_changes_and_kept_while_that_is_broken() {
        let folder = tempfile::tempdir().unwrap();
        let files = token_file(folder.path(), " remex_1\n", 0o600);
        let credentials = Credentials::load(files).unwrap();
        let value = || credentials.authorization().unwrap();
        assert_eq!(value(), "Bearer remex_1");
        assert!(value().is_sensitive());
        token_file(folder.path(), "remex_02\n", 0o600);
        assert_eq!(value(), "Bearer remex_02");
        token_file(folder.path(), "two tokens", 0o600);
        assert_eq!(value(), "Bearer remex_02");
        token_file(folder.path(), "remex_003\n", 0o600);
        assert_eq!(value(), "Bearer remex_003");
        assert!(!format!("{credentials:?}").contains("remex_0"));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_and_nothing_of_it() {
        let folder = tempfile::tempdir().unwrap();
        for (text, mode, why) in [
            ("secret", 0o644, "chmod 600"),
            ("secret words", 0o600, "one token and nothing else"),
            ("", 0o600, "one token and nothing else"),
            ("secret\u{1b}", 0o600, "one token and nothing else"),
        ] {
            let files = token_file(folder.path(), text, mode);
            let error = Credentials::load(files).unwrap_err().to_string();
            assert!(error.starts_with("--token-file: "), "{error}");
            assert!(error.contains(why) && !error.contains("secret"), "{error}");
        }
        let half = CredentialFiles {
            cert: Some("x".into()),
            ..CredentialFiles::default()
        };
        let error = Credentials::load(half).unwrap_err().to_string();
        assert!(error.contains("--cert and --key"), "{error}");
    }
}
