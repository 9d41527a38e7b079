//! A CA and what it has signed, as files at a daemon's home, and the daemon that serves with them.

use std::{convert::Infallible, fs, os::unix::fs::PermissionsExt, path::PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use remex::{error::Reason, v1::ListRequest};
use remex_client::{
    Client, Command, ConnectError, CredentialFiles, Credentials, Endpoint, Error, Execution,
    RunOutcome,
};

use tonic::Code;

use crate::harness::{Daemon, Home, soon};

/// What makes certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate and its key.
pub(crate) struct Leaf {
    pub(crate) pem: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).expect("a CA").pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// For a server of these names or addresses.
    pub(crate) fn server(&self, names: &[&str]) -> Leaf {
        self.leaf(|params| {
            let names = names.iter().map(|name| match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*name).try_into().expect("a name")),
            });
            params.subject_alt_names = names.collect();
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        })
    }

    /// For a client that is known by `name`: a SPIFFE ID, or a DNS name.
    pub(crate) fn client(&self, name: &str) -> Leaf {
        self.leaf(|params| {
            let text = name.try_into().expect("a name");
            let name = if name.contains("://") {
                SanType::URI(text)
            } else {
                SanType::DnsName(text)
            };
            params.subject_alt_names = vec![name];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    pub(crate) fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let key = KeyPair::generate().expect("a key");
        let mut params = named("leaf");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Leaf {
            pem: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// A home with a CA, and a server's certificate that it has signed.
pub(crate) struct Site {
    pub(crate) home: Home,
    pub(crate) ca: Authority,
}

impl Site {
    pub(crate) fn new() -> Self {
        let ca = Authority::new("test CA");
        let site = Self {
            home: Home::new(),
            ca,
        };
        site.put("ca.pem", &site.ca.pem);
        site.put_leaf(
            "server",
            &site.ca.server(&["localhost", "127.0.0.1", "::1"]),
        );
        site
    }

    /// Writes a file whole, for its owner alone, in place of what was there.
    pub(crate) fn put(&self, name: &str, text: &str) -> String {
        let (path, new) = (self.home.path(name), self.home.path(&format!("{name}.new")));
        fs::write(&new, text).expect("a file");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).expect("its mode");
        fs::rename(&new, &path).expect("a rename");
        path.to_str().expect("UTF-8").to_owned()
    }

    pub(crate) fn put_leaf(&self, name: &str, leaf: &Leaf) {
        self.put(&format!("{name}.key"), &leaf.key);
        self.put(&format!("{name}.pem"), &leaf.pem);
    }

    /// A file's path, for flags.
    pub(crate) fn at(&self, name: &str) -> String {
        let path = self.home.path(name);
        path.to_str().expect("UTF-8").to_owned()
    }

    /// A daemon over TLS, and beside it over a Unix socket, where root sees everything.
    pub(crate) async fn start(&self, flags: &[&str]) -> Daemon {
        self.start_at("127.0.0.1:0", flags).await
    }

    pub(crate) async fn start_at(&self, listen: &str, flags: &[&str]) -> Daemon {
        let (cert, key) = (self.at("server.pem"), self.at("server.key"));
        let socket = format!("unix:{}", self.at("grpc.sock"));
        let own = [
            "--listen",
            listen,
            "--listen",
            &socket,
            "--tls-cert",
            &cert,
            "--tls-key",
            &key,
        ];
        let level = if flags.contains(&"--log-level") {
            &[][..]
        } else {
            &["--log-level", "debug"]
        };
        Daemon::start_in(&self.home, &[&own[..], level, flags].concat()).await
    }

    /// The same, for clients with certificates of the site's CA.
    pub(crate) async fn start_mutual(&self) -> Daemon {
        let ca = self.at("ca.pem");
        self.start(&["--tls-client-ca", &ca]).await
    }

    /// What trusts the site's CA and shows nothing.
    pub(crate) fn anonymous(&self) -> CredentialFiles {
        CredentialFiles {
            ca: Some(self.home.path("ca.pem")),
            ..CredentialFiles::default()
        }
    }

    /// What trusts the site's CA and shows `leaf`, in files of this name.
    pub(crate) fn showing(&self, name: &str, leaf: &Leaf) -> CredentialFiles {
        self.put_leaf(name, leaf);
        CredentialFiles {
            cert: Some(self.home.path(&format!("{name}.pem"))),
            key: Some(self.home.path(&format!("{name}.key"))),
            ..self.anonymous()
        }
    }

    /// The same as `files`, with this token.
    pub(crate) fn bearing(&self, token: &str, files: CredentialFiles) -> CredentialFiles {
        let path = self.put(&format!("token-{}", token.len()), token);
        CredentialFiles {
            token: Some(PathBuf::from(path)),
            ..files
        }
    }

    /// Everything that anybody has run.
    pub(crate) async fn executions(&self) -> Vec<remex::v1::Execution> {
        let socket = Endpoint::Unix(self.home.path("grpc.sock"));
        let client = Client::connect(&socket).await.expect("a connection");
        let listed = client.list(ListRequest::default()).await;
        listed.expect("a list").executions
    }
}

pub(crate) async fn connect(
    daemon: &Daemon,
    files: CredentialFiles,
) -> Result<Client, ConnectError> {
    let credentials = Credentials::load(files).expect("good files");
    let endpoint = daemon.endpoint();
    let connect = Client::connect_with(&endpoint, &credentials);
    soon("a connection", connect).await
}

/// How `true` ends once it reaches the server: a connection that has just been asked to go loses calls before they are sent.
pub(super) async fn run_true(client: &Client) -> Result<RunOutcome, Error> {
    let reached = async {
        loop {
            match client.run(Command::new("true")).await {
                Err(error) if error.code() == Code::Unavailable && error.never_ran() => {}
                ended => return ended,
            }
        }
    };
    soon("a call that reaches the server", reached).await
}

/// Whom a caller with these files is known as.
pub(crate) async fn known_as(daemon: &Daemon, files: CredentialFiles) -> Result<String, Error> {
    let client = connect(daemon, files).await?;
    let outcome = soon("a run", client.run(Command::new("true"))).await?;
    assert_eq!(outcome.exit.status_code(), 0);
    Ok(client.get(outcome.execution_id).await?.caller)
}

/// Waits until the stream of `running` is cut, which is before its command's end.
pub(crate) async fn cut(running: &mut Execution) -> Result<Infallible, Error> {
    while running.next().await?.is_some() {}
    panic!("the command ended by itself")
}

/// That there is no connection, for a reason that has each of `parts` in it.
#[track_caller]
pub(crate) fn assert_unconnected<T>(result: Result<T, Error>, parts: &[&str]) {
    let Err(error) = result else {
        panic!("it was let in")
    };
    assert!(matches!(error, Error::Connect(_)), "{error}");
    assert_says(&error.to_string(), parts);
}

/// That a call is refused for want of a good token, and why.
#[track_caller]
pub(crate) fn assert_unauthenticated<T>(result: Result<T, Error>, parts: &[&str]) {
    let Err(error) = result else {
        panic!("it was let in")
    };
    assert_eq!(error.reason(), Some(Reason::TokenInvalid), "{error}");
    assert_eq!(error.code(), Code::Unauthenticated);
    assert_says(&error.to_string(), parts);
}

#[track_caller]
pub(crate) fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?}: {text}");
    }
}
