//! A bare stream over TLS, for what no client library would send.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
        version::TLS13,
    },
};

use super::site::{Leaf, Site};
use crate::harness::soon;

/// To a server at `address`, trusting the site's CA and showing `leaf`.
pub(crate) async fn stream(
    address: SocketAddr,
    site: &Site,
    leaf: Option<&Leaf>,
) -> io::Result<TlsStream<TcpStream>> {
    over(TcpStream::connect(address).await?, site, leaf).await
}

/// The same, over a connection that is there already.
pub(crate) async fn over(
    stream: TcpStream,
    site: &Site,
    leaf: Option<&Leaf>,
) -> io::Result<TlsStream<TcpStream>> {
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("a PEM");
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&site.ca.pem)).expect("a CA");
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots);
    let mut config = match leaf {
        None => config.with_no_client_auth(),
        Some(leaf) => {
            let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).expect("a key");
            let chain = vec![certificate(&leaf.pem)];
            config.with_client_auth_cert(chain, key).expect("a pair")
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").expect("a name");
    soon("a handshake", connector.connect(name, stream)).await
}
