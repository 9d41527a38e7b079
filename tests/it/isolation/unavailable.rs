//! Where a container takes away what isolation is made of: it fails closed, unless best effort was asked for, and says what does
//! not hold.

use remex::{
    error::Reason,
    v1::{Isolation, isolation::Network},
};

use super::support::{
    applied, assert_succeeds, folders, network, ports, refused, shell, try_run, within,
};
use crate::{
    harness::{Daemon, Home, tools::root},
    places::without,
    supervision::support::Server,
};

async fn server(wrapper: &[&str]) -> Server {
    let home = Home::new();
    let daemon = Daemon::spawn(&home, home.remexd_under(wrapper, &[])).await;
    let client = daemon.client().await;
    Server { daemon, client }
}

/// `isolation` is refused for `field`; with best effort, `not_applied` does not hold.
async fn assert_lacking(server: &Server, isolation: Isolation, field: &str, not_applied: &[&str]) {
    let folder = server.daemon.home().path("");
    let command = |isolation| shell("true", &folder, Some(isolation));
    let why = refused(server, isolation.clone(), Reason::IsolationUnavailable).await;
    assert!(why.contains(field) && why.contains("best_effort"), "{why}");
    let best_effort = true;
    let ran = try_run(
        server,
        command(Isolation {
            best_effort,
            ..isolation
        }),
    )
    .await
    .unwrap();
    assert_succeeds(&ran, field);
    assert_eq!(applied(server).await.unwrap().not_applied, not_applied);
}

#[tokio::test]
async fn promise_6_without_landlock() {
    for what in ["landlock", "landlock_restrict_self"] {
        let wrapper = skip_unless!(without(what));
        let server = server(&wrapper).await;
        let folder = folders(&server.daemon.home().path(""), "none");
        let lists = &["write_paths", "execute_paths"];
        assert_lacking(&server, within(&folder), "write_paths", lists).await;
        assert_lacking(&server, ports(&[1], &[]), "network", &["network"]).await;
        if root().is_ok() {
            // It needs no Landlock.
            let none = shell("true", &folder, Some(network(Network::None)));
            assert_succeeds(&try_run(&server, none).await.unwrap(), "a namespace");
        }
        server.daemon.stop().await;
    }
}

#[tokio::test]
async fn promise_6_without_namespaces() {
    let wrapper = skip_unless!(without("namespaces"));
    let server = server(&wrapper).await;
    assert_lacking(&server, network(Network::None), "network", &["network"]).await;
    let folder = folders(&server.daemon.home().path(""), "files");
    let files = shell("true", &folder, Some(within(&folder)));
    assert_succeeds(&try_run(&server, files).await.unwrap(), "files");
    server.daemon.stop().await;
}
