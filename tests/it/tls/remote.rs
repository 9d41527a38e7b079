//! From another machine: a token that comes unencrypted is refused, whoever sends it, and over TLS it is not.

use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;

use super::{
    site::{Site, assert_says},
    tokens::new_token,
};
use crate::{
    gateway::machines::{Machines, Path, SERVER},
    harness::{Daemon, soon, tools::program},
};

#[test]
fn a_token_in_plaintext_is_refused_and_over_tls_it_is_the_caller() {
    skip_unless!(Machines::possible());
    let grpcurl = skip_unless!(program("grpcurl"));
    let machines = Machines::new(Path::Narrow);
    machines.on_server(async {
        let site = Site::new();
        let (token, line) = new_token(&["ci"]).await;
        let tokens = site.put("tokens", &line);
        let listen = format!("{SERVER}:0");
        let bearer = format!("authorization: Bearer {token}");
        let request = json!({"command": {"shell": "echo ran"}, "text": true}).to_string();
        let call = async |daemon: &Daemon, flags: &[&str]| {
            let mut command = Command::new(&grpcurl);
            command
                .args(flags)
                .args(["-d", &request, "-connect-timeout", "50"]);
            command.arg(daemon.socket("grpc").to_string());
            command.arg("remex.v1.ExecService/Run").kill_on_drop(true);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let child = machines.on_client(command);
            let output = soon("grpcurl", child.wait_with_output()).await.unwrap();
            let text = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8(text).unwrap())
        };

        let flags = [
            "--listen",
            &listen,
            "--allow-plaintext",
            "--tokens",
            &tokens,
        ];
        let daemon = Daemon::start_in(&site.home, &flags).await;
        let (ran, text) = call(&daemon, &["-plaintext", "-H", &bearer]).await;
        assert!(!ran, "{text}");
        assert_says(
            &text,
            &["Unauthenticated", "came unencrypted", "replace it"],
        );
        let (ran, text) = call(&daemon, &["-plaintext"]).await;
        assert!(ran && text.contains("ran"), "{text}");
        daemon.stop().await;

        site.put_leaf("server", &site.ca.server(&[SERVER]));
        let daemon = site.start_at(&listen, &["--tokens", &tokens]).await;
        let ca = site.at("ca.pem");
        let (ran, text) = call(&daemon, &["-cacert", &ca, "-H", &bearer]).await;
        assert!(ran && text.contains("ran"), "{text}");
        assert_eq!(site.executions().await[0].caller, "token:ci");
        let (ran, text) = call(&daemon, &["-cacert", &ca]).await;
        assert!(!ran, "{text}");
        assert_says(&text, &["Unauthenticated", "who calls"]);
        daemon.stop().await;
    });
}
