//! Static tokens: right, wrong, expired, beside a certificate; guessing; and that no log holds one.

use std::process::Output;

use remex_client::{Client, Command, CredentialFiles, Credentials};
use tokio::process;

use super::site::{
    Authority, Site, assert_says, assert_unauthenticated, assert_unconnected, connect, cut,
    known_as, run_true,
};
use crate::harness::{Home, binaries::binary, eventually, soon};

/// More wrong ones than a peer may send within a minute.
const GUESSES: usize = 25;

pub(crate) async fn remexd(words: &[&str]) -> Output {
    let run = process::Command::new(binary("remexd")).args(words).output();
    soon("remexd", run).await.unwrap()
}

/// A token and its line.
pub(crate) async fn new_token(words: &[&str]) -> (String, String) {
    let made = remexd(&[&["token", "new"], words].concat()).await;
    assert!(made.status.success(), "{made:?}");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
    (text(made.stdout), text(made.stderr))
}

#[tokio::test]
async fn a_caller_is_known_by_its_token() {
    let site = Site::new();
    let (ci, ci_line) = new_token(&["ci"]).await;
    let (ops, ops_line) = new_token(&["ops", "--expires", "1h"]).await;
    let (_, gone) = new_token(&["gone"]).await;
    assert!(ops_line.contains(" expires:"), "{ops_line}");
    assert_ne!(ci, ops);
    let tokens = site.put("tokens", &format!("# who\n{ci_line}\n{ops_line}\n"));
    let daemon = site.start(&["--tokens", &tokens]).await;
    for (token, expected) in [(&ci, "token:ci"), (&ops, "token:ops")] {
        let files = site.bearing(token, site.anonymous());
        assert_eq!(known_as(&daemon, files).await.unwrap(), expected);
    }
    let (_, hash) = gone.split_once("sha256:").unwrap();
    let upper = ci.to_uppercase();
    for wrong in [&ci[..ci.len() - 1], &format!("{ci}0"), hash, "ci", &upper] {
        let files = site.bearing(wrong, site.anonymous());
        assert_unauthenticated(known_as(&daemon, files).await, &["not known"]);
    }
    let none = known_as(&daemon, site.anonymous()).await;
    assert_unauthenticated(none, &["who calls", "--token-file"]);
    assert_eq!(site.executions().await.len(), 2);
    let refused = "refused a call without a valid credential";
    let log = site.home.logged(&[refused]).await;
    for secret in [&ci, &ops, hash] {
        assert!(!log.contains(secret), "a secret in the log");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_token_that_expires_or_is_revoked_ends_what_it_began() {
    let site = Site::new();
    let (_, keep_line) = new_token(&["keep"]).await;
    let (gone, gone_line) = new_token(&["gone"]).await;
    let (late, late_line) = new_token(&["late", "--expires", "3s"]).await;
    let text = format!("{keep_line}\n{gone_line}\n{late_line}\n");
    let tokens = site.put("tokens", &text);
    let daemon = site.start(&["--tokens", &tokens]).await;
    let client = connect(&daemon, site.bearing(&gone, site.anonymous()))
        .await
        .unwrap();
    let mut running = client
        .start(Command::new("sleep").arg("600"))
        .await
        .unwrap();
    let files = site.bearing(&format!("{late}\n"), site.anonymous());
    // It may have expired by now, on a machine that is this busy.
    let late_client = connect(&daemon, files).await.unwrap();
    let late_running = late_client.start(Command::new("sleep").arg("600")).await;

    site.put("tokens", &format!("{keep_line}\n{late_line}\n"));
    let ended = soon("the end", cut(&mut running)).await;
    assert_unauthenticated(ended, &["revoked"]);
    assert_unauthenticated(run_true(&client).await, &["not known"]);
    let ended = match late_running {
        Ok(mut running) => soon("the end", cut(&mut running)).await,
        Err(error) => Err(error),
    };
    assert_unauthenticated(ended, &["expired"]);
    assert_unauthenticated(run_true(&late_client).await, &["expired"]);
    // Its caller's going is what ended it.
    soon("the end of the commands", async {
        while site.executions().await.iter().any(|one| one.exit.is_none()) {
            tokio::time::sleep(crate::harness::LOOK_AGAIN).await;
        }
    })
    .await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_token_beside_a_certificate_is_the_caller_and_both_have_to_be_valid() {
    let site = Site::new();
    let (token, line) = new_token(&["ci"]).await;
    let (tokens, ca) = (site.put("tokens", &line), site.at("ca.pem"));
    let flags = ["--tokens", &tokens, "--tls-client-ca", &ca];
    let daemon = site.start(&flags).await;
    let certificate = site.showing("client", &site.ca.client("runner.example"));
    let both = site.bearing(&token, certificate.clone());
    assert_eq!(known_as(&daemon, both).await.unwrap(), "token:ci");
    let known = known_as(&daemon, certificate.clone()).await.unwrap();
    assert_eq!(known, "dns:runner.example");
    let wrong_token = site.bearing("remex_wrong", certificate);
    assert_unauthenticated(known_as(&daemon, wrong_token).await, &["not known"]);
    let foreign = Authority::new("foreign CA").client("runner.example");
    let wrong_certificate = site.bearing(&token, site.showing("foreign", &foreign));
    assert_unconnected(
        known_as(&daemon, wrong_certificate).await,
        &["none of the CAs"],
    );
    let neither = known_as(&daemon, site.anonymous()).await;
    assert_unauthenticated(neither, &["a certificate", "or a token"]);
    daemon.stop().await;
}

#[tokio::test]
async fn guessing_is_bounded_and_others_do_not_notice() {
    let site = Site::new();
    let (token, line) = new_token(&["ci"]).await;
    let (tokens, ca) = (site.put("tokens", &line), site.at("ca.pem"));
    let flags = ["--tokens", &tokens, "--tls-client-ca", &ca];
    let daemon = site.start(&flags).await;
    let client = connect(&daemon, site.bearing("remex_wrong", site.anonymous()));
    let client = client.await.unwrap();
    let mut last = String::new();
    for _ in 0..GUESSES {
        let error = client.run(Command::new("true")).await.unwrap_err();
        last = error.to_string();
    }
    assert_says(&last, &["wrong tokens came from here", "none is looked at"]);
    // Not even a right one, from there; a certificate is no guess.
    let right = known_as(&daemon, site.bearing(&token, site.anonymous())).await;
    assert_unauthenticated(right, &["none is looked at"]);
    let certificate = site.showing("client", &site.ca.client("runner.example"));
    assert_eq!(
        known_as(&daemon, certificate).await.unwrap(),
        "dns:runner.example"
    );
    daemon.stop().await;
}

/// Between processes of this machine a token may go without TLS; what it says then counts, as over TLS.
#[tokio::test]
async fn a_token_on_loopback_is_the_caller_and_a_wrong_one_is_refused() {
    let home = Home::new();
    let site = Site::new();
    let (token, line) = new_token(&["ci"]).await;
    let tokens = site.put("tokens", &line);
    let daemon = crate::harness::Daemon::start_in(&home, &["--tokens", &tokens]).await;
    assert!(daemon.url("grpc").starts_with("http://"));
    let with = |token: &str| site.bearing(token, CredentialFiles::default());
    assert_eq!(known_as(&daemon, with(&token)).await.unwrap(), "token:ci");
    assert_unauthenticated(known_as(&daemon, with("remex_wrong")).await, &["not known"]);
    let own = known_as(&daemon, CredentialFiles::default()).await.unwrap();
    assert_eq!(own, format!("unix:{}", rustix::process::geteuid().as_raw()));
    daemon.stop().await;
}

/// The library, the command line and the gateway alike: no connection is even tried.
#[tokio::test]
async fn a_token_is_not_sent_unencrypted_to_another_machine() {
    let site = Site::new();
    let token = site.put("token", "remex_secret");
    let files = CredentialFiles {
        token: Some(token.clone().into()),
        ..CredentialFiles::default()
    };
    let credentials = Credentials::load(files).unwrap();
    // For documentation: it is nobody's address.
    let endpoint = "http://192.0.2.7:1".parse().unwrap();
    for error in [
        Client::connect_with(&endpoint, &credentials).await.err(),
        Client::connect_lazy_with(&endpoint, &credentials).err(),
    ] {
        let error = error.expect("it is refused").to_string();
        assert_says(&error, &["unencrypted", "https://"]);
    }
    for (program, words, code) in [
        (
            "remex",
            vec![
                "--server",
                "http://192.0.2.7:1",
                "--token-file",
                &token,
                "ps",
            ],
            255,
        ),
        (
            "remex-gateway",
            vec![
                "--upstream",
                "http://192.0.2.7:1",
                "--token-file",
                &token,
                "--allow-plaintext",
                "--check",
            ],
            64,
        ),
    ] {
        let run = process::Command::new(binary(program)).args(words).output();
        let output = soon(program, run).await.unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert_says(&stderr, &["unencrypted", "https://"]);
        assert!(!stderr.contains("remex_secret"));
    }
}

/// A broken file keeps the old tokens, says so once it has been broken for a second look, and is taken when it is good.
#[tokio::test]
async fn a_broken_file_keeps_what_was_known() {
    let site = Site::new();
    let (token, line) = new_token(&["ci"]).await;
    let tokens = site.put("tokens", &line);
    let daemon = site.start(&["--tokens", &tokens]).await;
    let known = || known_as(&daemon, site.bearing(&token, site.anonymous()));
    site.put("tokens", "nonsense");
    eventually("the complaint", || {
        site.home.log().contains("tokens:1:").then_some(())
    })
    .await;
    assert_eq!(known().await.unwrap(), "token:ci");
    let (other, other_line) = new_token(&["other"]).await;
    site.put("tokens", &other_line);
    soon("the new tokens", async {
        while known().await.is_ok() {
            tokio::time::sleep(crate::harness::LOOK_AGAIN).await;
        }
    })
    .await;
    let files = site.bearing(&other, site.anonymous());
    assert_eq!(known_as(&daemon, files).await.unwrap(), "token:other");
    daemon.stop().await;
}
