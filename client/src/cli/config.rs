//! `~/.config/remex/config.toml`: servers by names, as ssh has them. A table each:
//!
//! ```toml
//! [servers.prod]
//! server = "https://build.example:50051"
//! ca = "prod/ca.pem"
//! ```

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

use super::{escape, server::ServerArgs};

/// Below the folder of configurations.
const FILE: &str = "remex/config.toml";

/// The longest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The file is of no use. The message begins with its name.
#[derive(Debug, Error)]
pub(crate) enum ConfigFileError {
    #[error("{}: cannot be read: {source}", file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("{}: is larger than {MAX_FILE_BYTES} bytes", .0.display())]
    TooLarge(PathBuf),
    #[error("{}:{line}: {why}", file.display())]
    Invalid {
        file: PathBuf,
        line: usize,
        why: String,
    },
}

/// The servers that have names.
#[derive(Debug, Default)]
pub(super) struct NamedServers {
    servers: BTreeMap<String, ServerArgs>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default)]
    servers: BTreeMap<Spanned<String>, Table>,
}

/// The keys are the options' names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Table {
    server: Spanned<String>,
    ca: Option<String>,
    cert: Option<String>,
    key: Option<String>,
    token_file: Option<String>,
}

/// Whether `text` can only be an address: a name has no such characters.
fn is_address(text: &str) -> bool {
    text.is_empty() || text.contains([':', '/', '[', ']', '%'])
}

impl NamedServers {
    /// Of the user's file. There need be none, and it is not read for what can only be an address.
    pub(super) fn for_text(text: &str) -> Result<Self, ConfigFileError> {
        match file() {
            Some(file) if !is_address(text) => Self::read(&file),
            _ => Ok(Self::default()),
        }
    }

    /// Of the user's file, whole.
    pub(super) fn all() -> Result<Self, ConfigFileError> {
        file().map_or_else(|| Ok(Self::default()), |file| Self::read(&file))
    }

    /// What the file says of the server of this name.
    pub(super) fn get(&self, name: &str) -> Option<&ServerArgs> {
        self.servers.get(name)
    }

    /// In their order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.servers.keys().map(String::as_str)
    }

    fn read(file: &Path) -> Result<Self, ConfigFileError> {
        let failed = |source| ConfigFileError::Read {
            file: file.to_owned(),
            source,
        };
        let opened = match File::open(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            opened => opened.map_err(failed)?,
        };
        let mut text = String::new();
        let mut bounded = opened.take(MAX_FILE_BYTES + 1);
        bounded.read_to_string(&mut text).map_err(failed)?;
        if bounded.limit() == 0 {
            return Err(ConfigFileError::TooLarge(file.to_owned()));
        }
        Self::parse(file, &text, env::home_dir().as_deref())
    }

    /// `text` is that of `file`, and `home` what `~` stands for.
    pub(super) fn parse(
        file: &Path,
        text: &str,
        home: Option<&Path>,
    ) -> Result<Self, ConfigFileError> {
        let invalid = |span: Option<Range<usize>>, why: String| ConfigFileError::Invalid {
            file: file.to_owned(),
            line: line_of(text, span),
            why,
        };
        let keys: Keys = toml::from_str(text)
            .map_err(|error| invalid(error.span(), escape::line(error.message())))?;
        let folder = file.parent().unwrap_or(Path::new("/"));
        let path = |text: Option<String>| text.map(|text| resolved(&text, folder, home));
        let mut servers = BTreeMap::new();
        for (name, table) in keys.servers {
            let span = name.span();
            let name = name.into_inner();
            if is_address(&name) {
                let why = format!("servers.{name:?} is no name: it would be read as an address");
                return Err(invalid(Some(span), why));
            }
            let server = table.server.get_ref();
            if let Err(error) = server.parse::<remex_client::Endpoint>() {
                let why = format!("servers.{name}.server: {error}");
                return Err(invalid(Some(table.server.span()), why));
            }
            let args = ServerArgs {
                server: Some(table.server.into_inner()),
                ca: path(table.ca),
                cert: path(table.cert),
                key: path(table.key),
                token_file: path(table.token_file),
            };
            servers.insert(name, args);
        }
        Ok(Self { servers })
    }
}

/// Where the user's file would be.
fn file() -> Option<PathBuf> {
    let folder = env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .or_else(|| Some(env::home_dir()?.join(".config")))?;
    Some(folder.join(FILE))
}

/// A path of the file: `~/` is the user's home, and what is relative is so to the file's folder.
fn resolved(text: &str, folder: &Path, home: Option<&Path>) -> PathBuf {
    match (text.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => folder.join(text),
    }
}

/// From 1.
fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let begin = span.map_or(0, |span| span.start).min(text.len());
    text.as_bytes()[..begin]
        .split(|&byte| byte == b'\n')
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NamedServers, ConfigFileError> {
        let home = Path::new("/home/u");
        NamedServers::parse(Path::new("/c/remex/config.toml"), text, Some(home))
    }

    #[test]
    fn a_server_has_an_address_and_what_it_is_shown() {
        let named = parse(
            "[servers.prod]\nserver = 'https://h:1'\nca = 'ca.pem'\ncert = '/c.pem'\nkey = '~/k.pem'\ntoken-file = '~t'\n\
             [servers.local]\nserver = 'unix:/s'\n",
        );
        let named = named.unwrap();
        assert_eq!(named.names().collect::<Vec<_>>(), ["local", "prod"]);
        let prod = named.get("prod").unwrap();
        assert_eq!(prod.server.as_deref(), Some("https://h:1"));
        let paths = [&prod.ca, &prod.cert, &prod.key, &prod.token_file];
        let paths = paths.map(|path| path.as_ref().unwrap().to_str().unwrap());
        assert_eq!(
            paths,
            ["/c/remex/ca.pem", "/c.pem", "/home/u/k.pem", "/c/remex/~t"]
        );
        assert!(named.get("other").is_none());
    }

    #[test]
    fn what_is_wrong_is_said_on_one_line_with_its_place() {
        for (text, said) in [
            ("servers = 3\n", ":1: invalid type"),
            (
                "\n[servers.a]\nsevrer = 'x'\n",
                ":3: unknown field `sevrer`",
            ),
            ("[servers.a]\n", ":1: missing field `server`"),
            (
                "[servers.a]\nserver = 'ftp://x'\n",
                ":2: servers.a.server: ",
            ),
            (
                "\n[servers.'a:1']\nserver = 'unix:/s'\n",
                ":2: servers.\"a:1\" is no name",
            ),
            ("[server]\n", ":1: unknown field `server`"),
            ("a b\n", ":1: "),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("/c/remex/config.toml{said}")),
                "{error}"
            );
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        assert!(parse("").is_ok());
    }

    #[test]
    fn the_longest_file_is_read_and_a_longer_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        let longest = usize::try_from(MAX_FILE_BYTES).unwrap();
        std::fs::write(&file, "#".repeat(longest)).unwrap();
        assert!(NamedServers::read(&file).is_ok());
        std::fs::write(&file, "#".repeat(longest + 1)).unwrap();
        let error = NamedServers::read(&file).unwrap_err();
        assert!(matches!(error, ConfigFileError::TooLarge(_)), "{error}");
        assert!(NamedServers::read(&folder.path().join("none")).is_ok());
    }

    #[test]
    fn only_what_may_be_a_name_is_looked_up() {
        for address in ["http://h", "h:1", "unix:/s", "::1", ""] {
            assert!(is_address(address), "{address}");
        }
        for name in ["prod", "build.example", "10.0.0.1"] {
            assert!(!is_address(name), "{name}");
        }
    }
}
