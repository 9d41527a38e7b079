//! The server over TLS that docs/clients.md starts, and what it is told by.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{
    harness::{Daemon, Home},
    tls::tokens::{new_token, remexd},
};

/// Makes the folder `certs` in `home`, and the server that is told callers by the token in it.
pub(super) async fn start(home: &Home) -> Daemon {
    let at = |name: &str| home.path("certs").join(name).display().to_string();
    let made = remexd(&["certs", "init", &at("")]).await;
    assert!(made.status.success(), "{made:?}");
    let (token, line) = new_token(&["laptop"]).await;
    for (name, text) in [("token", token), ("tokens", line)] {
        fs::write(at(name), text).expect("a file");
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o600)).expect("its mode");
    }
    let (cert, key, tokens) = (at("server.pem"), at("server.key"), at("tokens"));
    let flags = ["--tls-cert", &cert, "--tls-key", &key, "--tokens", &tokens];
    Daemon::start_in(home, &flags).await
}
