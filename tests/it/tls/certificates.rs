//! Certificates: of the own CA and of another, expired, of another name, of nobody.

use rcgen::{DistinguishedName, DnType, ExtendedKeyUsagePurpose, SanType, date_time_ymd};
use remex_client::{Client, CredentialFiles, Endpoint};

use super::site::{
    Authority, Site, assert_says, assert_unauthenticated, assert_unconnected, known_as,
};
use crate::harness::soon;

#[tokio::test]
async fn a_caller_is_known_by_its_certificate() {
    let site = Site::new();
    let daemon = site.start_mutual().await;
    assert!(daemon.url("grpc").starts_with("https://127.0.0.1:"));
    let subject = site.ca.leaf(|params| {
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, "Example");
        name.push(DnType::CommonName, "runner");
        params.distinguished_name = name;
    });
    let both = site.ca.leaf(|params| {
        params.subject_alt_names = vec![
            SanType::DnsName("runner.example".try_into().unwrap()),
            SanType::URI("spiffe://example.org/runner".try_into().unwrap()),
        ];
    });
    for (leaf, expected) in [
        (both, "spiffe://example.org/runner"),
        (site.ca.client("Build.Example"), "dns:build.example"),
        (subject, "subject:CN=runner,O=Example;issuer:CN=test CA"),
    ] {
        let files = site.showing("client", &leaf);
        assert_eq!(known_as(&daemon, files).await.unwrap(), expected);
    }
    // Root of this machine sees them all; each of them its own alone.
    assert_eq!(site.executions().await.len(), 3);
    let files = site.showing("client", &site.ca.client("other.example"));
    let other = super::site::connect(&daemon, files).await.unwrap();
    let listed = other.list(remex::v1::ListRequest::default()).await.unwrap();
    assert_eq!(listed.executions.len(), 0);
    let id = &site.executions().await[0].execution_id;
    let error = other.get(id.clone()).await.unwrap_err();
    assert_eq!(
        error.reason(),
        Some(remex::error::Reason::ExecutionNotFound)
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_client_without_a_good_certificate_is_told_what_is_wrong_with_it() {
    let site = Site::new();
    let daemon = site.start_mutual().await;
    let foreign = Authority::new("foreign CA").client("runner.example");
    let expired = site.ca.leaf(|params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let early = site
        .ca
        .leaf(|params| params.not_before = date_time_ymd(4000, 1, 1));
    let of_server = site.ca.leaf(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    for (leaf, why) in [
        (foreign, "none of the CAs"),
        (expired, "expired"),
        (early, "not valid yet"),
        (of_server, "not for clients"),
    ] {
        let files = site.showing("client", &leaf);
        let refused = known_as(&daemon, files).await;
        assert_unconnected(refused, &["this client's certificate", "client.pem", why]);
    }
    let refused = known_as(&daemon, site.anonymous()).await;
    assert_unconnected(refused, &["wants a certificate", "--cert and --key"]);
    let parts = ["refused a TLS handshake", "--tls-client-ca"];
    site.home.logged(&parts).await;
    assert!(site.executions().await.is_empty(), "something ran");
    let good = site.showing("client", &site.ca.client("runner.example"));
    assert_eq!(known_as(&daemon, good).await.unwrap(), "dns:runner.example");
    daemon.stop().await;
}

#[tokio::test]
async fn a_certificate_of_nobody_is_refused_however_valid_it_is() {
    let site = Site::new();
    let daemon = site.start_mutual().await;
    let empty = site
        .ca
        .leaf(|params| params.distinguished_name = DistinguishedName::new());
    let spiffe = site.ca.leaf(|params| {
        params.subject_alt_names = vec![SanType::URI("spiffe://".try_into().unwrap())];
    });
    for leaf in [empty, spiffe] {
        let files = site.showing("client", &leaf);
        assert_unauthenticated(known_as(&daemon, files).await, &["names nobody"]);
    }
    assert!(site.executions().await.is_empty(), "something ran");
    daemon.stop().await;
}

#[tokio::test]
async fn a_server_without_a_good_certificate_is_not_spoken_to() {
    let site = Site::new();
    let foreign = Authority::new("foreign CA");
    let names = &["localhost", "127.0.0.1"];
    let expired = site.ca.leaf(|params| {
        params.subject_alt_names = vec![SanType::IpAddress("127.0.0.1".parse().unwrap())];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    for (leaf, parts) in [
        (
            foreign.server(names),
            ["server's certificate", "none of the CAs"],
        ),
        (expired, ["server's certificate", "expired"]),
        (
            site.ca.server(&["build.example"]),
            ["is for build.example,", "not for 127.0.0.1"],
        ),
    ] {
        site.put_leaf("server", &leaf);
        let ca = site.at("ca.pem");
        let daemon = site.start(&["--tls-client-ca", &ca]).await;
        let files = site.showing("client", &site.ca.client("runner.example"));
        assert_unconnected(known_as(&daemon, files).await, &parts);
        daemon.stop().await;
    }
    site.home.logged(&["--tls-cert"]).await;
}

/// Which of the two is wrong is told, and what to write.
#[tokio::test]
async fn tls_and_none_are_told_apart() {
    let site = Site::new();
    let daemon = site.start_mutual().await;
    let plain = daemon.url("grpc").replace("https://", "http://");
    let plain: Endpoint = plain.parse().unwrap();
    let error = soon("a refusal", Client::connect(&plain))
        .await
        .err()
        .unwrap();
    assert_says(&error.to_string(), &["speaks TLS", "https://"]);
    daemon.stop().await;

    let other = Site::new();
    let daemon = crate::harness::Daemon::start_in(&other.home, &[]).await;
    let url = daemon.url("grpc").replace("http://", "https://");
    let credentials = remex_client::Credentials::load(CredentialFiles {
        ca: Some(site.home.path("ca.pem")),
        ..CredentialFiles::default()
    });
    let endpoint = url.parse().unwrap();
    let credentials = credentials.unwrap();
    let connect = Client::connect_with(&endpoint, &credentials);
    let error = soon("a refusal", connect).await.err().unwrap();
    assert_says(&error.to_string(), &["https://127.0.0.1:"]);
    daemon.stop().await;
}

/// Over TLS, the user of a local process says nothing: root without a credential is nobody.
#[tokio::test]
async fn a_caller_over_tls_is_never_known_by_its_user() {
    let site = Site::new();
    let ca = site.at("ca.pem");
    let flags = ["--tls-client-ca", &ca, "--allow-unauthenticated"];
    let daemon = site.start(&flags).await;
    let known = known_as(&daemon, site.anonymous()).await.unwrap();
    assert_eq!(known, "ip:127.0.0.1");
    // A wrong credential is refused even where none is needed.
    let foreign = Authority::new("foreign CA").client("runner.example");
    let files = site.showing("client", &foreign);
    assert_unconnected(known_as(&daemon, files).await, &["none of the CAs"]);
    let files = site.bearing("remex_wrong", site.anonymous());
    assert_unauthenticated(known_as(&daemon, files).await, &["not known"]);
    daemon.stop().await;
}
