//! The server that is called, and what it is shown: options, and variables of the environment.

use std::{env, fmt, path::PathBuf};

use remex_client::{Client, ConnectError, CredentialFiles, Credentials, Endpoint};

use super::{
    complete,
    config::{ConfigFileError, NamedServers},
};

/// Where the server is, and how it is told who calls.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ServerArgs {
    /// Where remexd listens: http://HOST:PORT, https://HOST:PORT, unix:/PATH, HOST[:PORT], which is https for other
    /// machines, or a name out of ~/.config/remex/config.toml. Else REMEX_SERVER says it [default: http://127.0.0.1:50051]
    #[arg(short, long, value_name = "SERVER", add = complete::servers())]
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

    /// As `or`, but options of a pair come from one place: a certificate that was typed never goes with a key of the
    /// environment.
    fn above(&self, others: &Self) -> Self {
        let is_paired = self.cert.is_some() || self.key.is_some();
        let pair = if is_paired { self } else { others };
        Self {
            cert: pair.cert.clone(),
            key: pair.key.clone(),
            ..self.or(others)
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
    /// As `typed`, else as the environment has it; where one of them names a server of the configuration file, what that
    /// says comes next to it. The files are read and checked.
    pub(super) fn new(typed: &ServerArgs, environment: &ServerArgs) -> Result<Self, String> {
        Self::with_names(typed, environment, NamedServers::for_text)
    }

    fn with_names(
        typed: &ServerArgs,
        environment: &ServerArgs,
        names: impl FnOnce(&str) -> Result<NamedServers, ConfigFileError>,
    ) -> Result<Self, String> {
        let said = [(typed, "--server"), (environment, "REMEX_SERVER")];
        let chosen = said
            .into_iter()
            .find_map(|(args, from)| Some((args, from, args.server.as_deref()?)));
        let Some((chooser, from, text)) = chosen else {
            return Self::load(Endpoint::default(), &typed.above(environment));
        };
        let named = names(text).map_err(|error| error.to_string())?;
        let Some(named) = named.get(text) else {
            return Self::load(endpoint(from, text)?, &typed.above(environment));
        };
        let args = if std::ptr::eq(chooser, typed) {
            // What belongs to a server that was typed goes before what the environment has of perhaps another.
            typed.above(named).above(environment)
        } else {
            typed.above(environment).above(named)
        };
        let address = named.server.as_deref().unwrap_or_default();
        Self::load(endpoint(text, address)?, &args)
    }

    fn load(endpoint: Endpoint, args: &ServerArgs) -> Result<Self, String> {
        let files = CredentialFiles {
            ca: args.ca.clone(),
            cert: args.cert.clone(),
            key: args.key.clone(),
            token: args.token_file.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[servers.prod]\nserver = 'unix:/prod'\nca = '/none/of/prod'\n\
                        [servers.bare]\nserver = 'unix:/bare'\n";

    fn args(server: Option<&str>, ca: Option<&str>) -> ServerArgs {
        ServerArgs {
            server: server.map(str::to_owned),
            ca: ca.map(PathBuf::from),
            ..ServerArgs::default()
        }
    }

    /// The server; or what is wrong, which begins with the file that was to be read.
    fn server(typed: &ServerArgs, environment: &ServerArgs) -> Result<Endpoint, String> {
        let named = |_: &str| NamedServers::parse("/c/config.toml".as_ref(), FILE, None);
        Server::with_names(typed, environment, named).map(|server| server.endpoint)
    }

    #[test]
    fn a_name_of_the_file_stands_for_its_address() {
        let bare = Ok(Endpoint::Unix("/bare".into()));
        let (typed, none) = (args(Some("bare"), None), args(None, None));
        assert_eq!(server(&typed, &none), bare);
        assert_eq!(server(&none, &typed), bare);
        assert_eq!(server(&typed, &args(Some("prod"), None)), bare);
        // Names that are not there are addresses.
        let host = server(&args(Some("localhost"), None), &none);
        assert_eq!(host, "localhost".parse().map_err(|_| String::new()));
        assert_eq!(server(&none, &none), Ok(Endpoint::default()));
    }

    #[test]
    fn what_belongs_to_a_server_goes_with_its_name() {
        let none = args(None, None);
        let (prod, bare) = (args(Some("prod"), None), args(Some("bare"), None));
        let environment = args(None, Some("/none/of/environment"));
        let both = args(Some("prod"), Some("/none/of/environment"));
        for (typed, environment, read) in [
            (&prod, &none, "/none/of/prod"),
            (&prod, &environment, "/none/of/prod"),
            (
                &args(Some("prod"), Some("/none/typed")),
                &environment,
                "/none/typed",
            ),
            (&bare, &environment, "/none/of/environment"),
            (&none, &prod, "/none/of/prod"),
            (&none, &both, "/none/of/environment"),
        ] {
            let said = server(typed, environment).unwrap_err();
            assert!(said.contains(read), "{typed:?} {environment:?}: {said}");
        }
    }

    #[test]
    fn a_pair_comes_from_one_place() {
        let pair = |cert: Option<&str>, key: Option<&str>| ServerArgs {
            cert: cert.map(PathBuf::from),
            key: key.map(PathBuf::from),
            ..ServerArgs::default()
        };
        let both = pair(Some("c"), Some("k")).above(&pair(Some("C"), Some("K")));
        assert_eq!((both.cert, both.key), (Some("c".into()), Some("k".into())));
        let half = pair(Some("c"), None).above(&pair(Some("C"), Some("K")));
        assert_eq!((half.cert, half.key), (Some("c".into()), None));
        let none = pair(None, None).above(&pair(Some("C"), Some("K")));
        assert_eq!((none.cert, none.key), (Some("C".into()), Some("K".into())));
    }
}
