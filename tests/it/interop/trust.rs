//! Over TLS: what a client and its server know each other by, made as docs/clients.md has it.

use std::{fs, os::unix::fs::PermissionsExt};

use remex::v1::{Execution, ListRequest};
use remex_client::{Client, Endpoint};

use super::language::{Language, finished, told};
use crate::{
    harness::{Daemon, Home},
    tls::tokens::{new_token, remexd},
};

/// Where nobody listens: an address of RFC 5737.
const NOWHERE: &str = "http://192.0.2.1:50051";

/// A home with certificates in `certs`, and those of another CA in `others`.
struct Site {
    home: Home,
}

impl Site {
    async fn new() -> Self {
        let site = Self { home: Home::new() };
        for folder in ["certs", "others"] {
            let made = remexd(&["certs", "init", &site.at(folder)]).await;
            assert!(made.status.success(), "{made:?}");
        }
        site
    }

    /// Writes a file that is its owner's alone.
    fn put(&self, name: &str, text: &str) -> String {
        let path = self.home.path(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
        self.at(name)
    }

    fn at(&self, name: &str) -> String {
        let path = self.home.path(name);
        path.to_str().expect("UTF-8").to_owned()
    }

    /// A daemon over TLS that takes what `flags` say; and over a Unix socket, where everything is seen.
    async fn start(&self, flags: &[&str]) -> Daemon {
        let socket = format!("unix:{}", self.at("remexd.sock"));
        let (cert, key) = (self.at("certs/server.pem"), self.at("certs/server.key"));
        let own = ["--listen", "127.0.0.1:0", "--listen", &socket];
        let tls = ["--tls-cert", &cert, "--tls-key", &key];
        Daemon::start_in(&self.home, &[&own, &tls, flags].concat()).await
    }

    /// Everything that anybody has run, the latest first.
    async fn executions(&self) -> Vec<Execution> {
        let socket = Endpoint::Unix(self.home.path("remexd.sock"));
        let client = Client::connect(&socket).await.expect("a connection");
        let listed = client.list(ListRequest::default()).await;
        listed.expect("a list").executions
    }
}

/// What `verb` comes to, of `flags`, `words` and the rest.
async fn outcome(
    language: &Language,
    daemon: &Daemon,
    verb: &str,
    flags: &[&str],
    words: &[&str],
) -> (Option<i32>, String, String) {
    let client = language.at(daemon.url("grpc"), verb, flags, words);
    told(&finished(client).await)
}

pub(crate) async fn a_token_over_tls(language: &Language) {
    let site = Site::new().await;
    let (token, line) = new_token(&["ci"]).await;
    let tokens = site.put("tokens", &line);
    let daemon = site.start(&["--tokens", &tokens]).await;
    let (right, wrong) = (
        site.put("token", &format!("{token}\n")),
        site.put("wrong", "remex_wrong"),
    );
    let ca = site.at("certs/ca.pem");
    let trusted = ["--ca", &ca, "--token-file", &right];
    for verb in ["run", "capture", "head"] {
        let (code, stdout, stderr) =
            outcome(language, &daemon, verb, &trusted, &["echo", "hello"]).await;
        assert_eq!((code, &*stdout), (Some(0), "hello\n"), "{verb}: {stderr}");
    }
    let (code, id, stderr) =
        outcome(language, &daemon, "start", &trusted, &["echo", "later"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    let (code, stdout, stderr) =
        outcome(language, &daemon, "attach", &trusted, &[id.trim_end()]).await;
    assert_eq!((code, &*stdout), (Some(0), "later\n"), "{stderr}");
    for flags in [
        &["--ca", &ca][..],
        &["--ca", &ca, "--token-file", &wrong][..],
    ] {
        for verb in ["run", "capture"] {
            let (code, stdout, stderr) =
                outcome(language, &daemon, verb, flags, &["echo", "hello"]).await;
            assert_eq!((code, &*stdout), (Some(255), ""), "{stderr}");
            assert!(stderr.contains("TOKEN_INVALID"), "{stderr}");
        }
    }
    let executions = site.executions().await;
    let callers: Vec<_> = executions.iter().map(|one| &*one.caller).collect();
    assert_eq!(callers, ["token:ci"; 4]);
    daemon.stop().await;
}

pub(crate) async fn certificates(language: &Language) {
    let site = Site::new().await;
    let ca = site.at("certs/ca.pem");
    let daemon = site.start(&["--tls-client-ca", &ca]).await;
    let (cert, key) = (site.at("certs/client.pem"), site.at("certs/client.key"));
    let ours = ["--cert", &cert, "--key", &key];
    let trusted = [&ours[..], &["--ca", &ca]].concat();
    let (code, stdout, stderr) =
        outcome(language, &daemon, "run", &trusted, &["echo", "hello"]).await;
    assert_eq!((code, &*stdout), (Some(0), "hello\n"), "{stderr}");

    // Another CA, and no CA at all: nobody is told who we are, nor what is to run.
    let other = site.at("others/ca.pem");
    for ca in [&["--ca", &other][..], &[]] {
        let flags = [&ours, ca].concat();
        let (code, stdout, stderr) =
            outcome(language, &daemon, "run", &flags, &["echo", "hello"]).await;
        assert_eq!((code, &*stdout), (Some(255), ""), "{stderr}");
        // Java looks for a path to a trust anchor, or a certification path; all others at a certificate.
        let said = stderr.to_lowercase();
        let words = ["certif", "trust anchor"];
        assert!(words.iter().any(|word| said.contains(word)), "{stderr}");
    }
    // A certificate of another CA.
    let (cert, key) = (site.at("others/client.pem"), site.at("others/client.key"));
    let flags = ["--ca", &ca, "--cert", &cert, "--key", &key];
    let (code, stdout, stderr) =
        outcome(language, &daemon, "run", &flags, &["echo", "hello"]).await;
    assert_eq!((code, &*stdout), (Some(255), ""), "{stderr}");
    assert_eq!(site.executions().await.len(), 1);
    daemon.stop().await;
}

pub(crate) async fn no_token_goes_unencrypted(language: &Language) {
    let site = Site::new().await;
    let token = site.put("token", "remex_secret");
    let client = language.at(NOWHERE, "run", &["--token-file", &token], &["true"]);
    let (code, stdout, stderr) = told(&finished(client).await);
    assert_eq!((code, &*stdout), (Some(255), ""), "{stderr}");
    assert!(stderr.contains("https://"), "{stderr}");
}
