//! The server that is called, and what it is shown: options, and variables of the environment.

use std::{env, fmt, path::PathBuf};

use remex_client::{Client, ConnectError, CredentialFiles, Credentials, Endpoint};

/// Where the server is, and how it is told who calls.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ServerArgs {
    /// Where remexd listens: http://HOST:PORT, https://HOST:PORT, unix:/PATH, or HOST[:PORT], which is https for other
    /// machines. Else REMEX_SERVER says it [default: http://127.0.0.1:50051]
    #[arg(long, value_name = "URI")]
    pub(super) server: Option<String>,
    /// The CAs that the server's certificate may be signed by, in place of those that this machine trusts. Else REMEX_CA
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// The certificate to show the server. Else REMEX_CERT
    #[arg(long, value_name = "FILE")]
    pub(super) cert: Option<PathBuf>,
    /// Its key. Else REMEX_KEY
    #[arg(long, value_name = "FILE")]
    pub(super) key: Option<PathBuf>,
    /// The token to show the server. Else REMEX_TOKEN_FILE
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
}

impl ServerArgs {
    /// What is not said here is as `others` have it.
    pub(super) fn or(&self, others: &Self) -> Self {
        Self {
            server: self.server.clone().or_else(|| others.server.clone()),
            ca: self.ca.clone().or_else(|| others.ca.clone()),
            cert: self.cert.clone().or_else(|| others.cert.clone()),
            key: self.key.clone().or_else(|| others.key.clone()),
            token_file: self
                .token_file
                .clone()
                .or_else(|| others.token_file.clone()),
        }
    }

    /// What the environment says. An empty variable says nothing.
    pub(super) fn of_environment() -> Self {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        let file = |name| variable(name).map(PathBuf::from);
        Self {
            server: variable("REMEX_SERVER").map(|text| text.to_string_lossy().into_owned()),
            ca: file("REMEX_CA"),
            cert: file("REMEX_CERT"),
            key: file("REMEX_KEY"),
            token_file: file("REMEX_TOKEN_FILE"),
        }
    }
}

/// A server, by its address and what it is shown.
#[derive(Debug, Default)]
pub(crate) struct Server {
    pub(super) endpoint: Endpoint,
    credentials: Credentials,
}

impl Server {
    /// As `typed`, else as the environment has it; the files are read and checked. Options of a pair come from one place:
    /// a certificate that was typed never goes with a key of the environment.
    pub(super) fn new(typed: &ServerArgs, environment: &ServerArgs) -> Result<Self, String> {
        let endpoint = match (&typed.server, &environment.server) {
            (Some(text), _) => endpoint("--server", text)?,
            (None, Some(text)) => endpoint("REMEX_SERVER", text)?,
            (None, None) => Endpoint::default(),
        };
        let typed_pair = typed.cert.is_some() || typed.key.is_some();
        let pair = if typed_pair { typed } else { environment };
        let files = CredentialFiles {
            ca: typed.ca.clone().or_else(|| environment.ca.clone()),
            cert: pair.cert.clone(),
            key: pair.key.clone(),
            token: typed
                .token_file
                .clone()
                .or_else(|| environment.token_file.clone()),
        };
        let credentials = Credentials::load(files).map_err(|error| error.to_string())?;
        Ok(Self {
            endpoint,
            credentials,
        })
    }

    /// A connection to it.
    pub(crate) async fn connect(&self) -> Result<Client, ConnectError> {
        Client::connect_with(&self.endpoint, &self.credentials).await
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoint.fmt(f)
    }
}

fn endpoint(from: &str, text: &str) -> Result<Endpoint, String> {
    text.parse().map_err(|error| format!("{from}: {error}"))
}
