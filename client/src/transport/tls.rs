//! TLS over a connection, and in words whose certificate is wrong where it does not come about, and why.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error as TlsError,
    pki_types::{ServerName, UnixTime},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    CredentialFiles,
    net::{Host, HostPort},
};

/// Shakes hands with `server`, which has to have a certificate of that name or address.
pub(super) async fn connect(
    server: &HostPort,
    stream: TcpStream,
    config: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let name = server_name(&server.host)?;
    TlsConnector::from(config).connect(name, stream).await
}

fn server_name(host: &Host) -> io::Result<ServerName<'static>> {
    match host {
        Host::Name(name) => {
            // The dot at the end of a name that is whole is in no certificate.
            let name = name.strip_suffix('.').unwrap_or(name).to_owned();
            let no_name = |_| io::Error::new(io::ErrorKind::InvalidInput, "is no name of a server");
            ServerName::try_from(name).map_err(no_name)
        }
        Host::Address(address) => Ok(ServerName::IpAddress(address.to_canonical().into())),
        // The zone is this machine's business.
        Host::Zoned { address, .. } => Ok(ServerName::IpAddress(IpAddr::V6(*address).into())),
    }
}

/// What of TLS `error` is about.
pub(super) fn of(error: &io::Error) -> Option<&TlsError> {
    error.get_ref()?.downcast_ref()
}

/// Whose fault it is, what it is, and what to do.
pub(super) fn why(error: &TlsError, files: &CredentialFiles) -> String {
    match error {
        TlsError::InvalidCertificate(error) => of_server(error, files),
        TlsError::AlertReceived(alert) => of_alert(*alert, files),
        TlsError::InvalidMessage(_) => {
            "it does not speak TLS; write http:// in place of https:// to go without, if you may"
                .to_owned()
        }
        TlsError::NoApplicationProtocol => "it speaks TLS, but not HTTP/2".to_owned(),
        TlsError::PeerIncompatible(_) => "it does not speak TLS 1.3".to_owned(),
        other => other.to_string(),
    }
}

/// The server's certificate.
fn of_server(error: &CertificateError, files: &CredentialFiles) -> String {
    use CertificateError as C;
    match error {
        C::UnknownIssuer => match &files.ca {
            Some(ca) => format!(
                "the server's certificate is signed by none of the CAs in {} (--ca)",
                ca.display()
            ),
            None => "the server's certificate is signed by no CA that this machine trusts; name its CA with --ca".to_owned(),
        },
        C::NotValidForNameContext {
            expected,
            presented,
        } => {
            let presented: Vec<_> = presented.iter().map(|name| shown(name)).collect();
            format!(
                "the server's certificate is for {}, not for {}; call it by that name, if it is the right server",
                presented.join(", "),
                expected.to_str()
            )
        }
        C::ExpiredContext { time, not_after } => format!(
            "the server's certificate expired {} ago; it has to be renewed, or this machine's clock is wrong",
            about(*time, *not_after)
        ),
        C::NotValidYetContext { time, not_before } => format!(
            "the server's certificate is valid only in {}, or this machine's clock is wrong",
            about(*not_before, *time)
        ),
        other => format!("the server's certificate is of no use: {other}"),
    }
}

/// As rustls has a name: `DnsName("a.example")`.
fn shown(name: &str) -> String {
    let inner = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inner
        .unwrap_or(name)
        .trim_matches('"')
        .escape_debug()
        .to_string()
}

/// How long it is from `earlier` to `later`, in one unit.
fn about(later: UnixTime, earlier: UnixTime) -> String {
    let time = Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs()));
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// What the server says, which is mostly about this client's certificate.
fn of_alert(alert: AlertDescription, files: &CredentialFiles) -> String {
    use AlertDescription as A;
    let Some(cert) = &files.cert else {
        return match alert {
            A::CertificateRequired | A::HandshakeFailure | A::BadCertificate => {
                "the server wants a certificate of this client: give --cert and --key".to_owned()
            }
            alert => format!("the server refuses: {alert:?}"),
        };
    };
    let own = format!(
        "the server refuses this client's certificate, {} (--cert)",
        cert.display()
    );
    match alert {
        A::UnknownCA => {
            format!("{own}: it is signed by none of the CAs that the server takes for clients")
        }
        A::CertificateExpired => format!("{own}: it has expired, or is not valid yet"),
        A::CertificateRevoked => format!("{own}: it was revoked"),
        A::UnsupportedCertificate => format!("{own}: it is not for clients"),
        A::BadCertificate | A::CertificateUnknown | A::DecryptError => format!("{own}: {alert:?}"),
        alert => format!("the server refuses: {alert:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(ca: Option<&str>, cert: Option<&str>) -> CredentialFiles {
        CredentialFiles {
            ca: ca.map(Into::into),
            cert: cert.map(Into::into),
            ..CredentialFiles::default()
        }
    }

    #[test]
    fn whose_certificate_is_wrong_and_why() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let name = ServerName::try_from("build.example").unwrap();
        let own = files(Some("ca.pem"), Some("client.pem"));
        let server = |error| TlsError::InvalidCertificate(error);
        for (error, files, parts) in [
            (
                server(CertificateError::UnknownIssuer),
                &own,
                ["server's", "ca.pem"],
            ),
            (
                server(CertificateError::UnknownIssuer),
                &files(None, None),
                ["server's", "--ca"],
            ),
            (
                server(CertificateError::ExpiredContext {
                    time: at(1_000_000),
                    not_after: at(1_000_000 - 3 * 86_400),
                }),
                &own,
                ["server's", "expired 3 days ago"],
            ),
            (
                server(CertificateError::NotValidForNameContext {
                    expected: name,
                    presented: vec!["DnsName(\"localhost\")".to_owned()],
                }),
                &own,
                ["is for localhost,", "not for build.example"],
            ),
            (
                TlsError::AlertReceived(AlertDescription::CertificateRequired),
                &files(None, None),
                ["this client", "--cert and --key"],
            ),
            (
                TlsError::AlertReceived(AlertDescription::UnknownCA),
                &own,
                ["this client's certificate, client.pem", "none of the CAs"],
            ),
            (
                TlsError::AlertReceived(AlertDescription::CertificateExpired),
                &own,
                ["client.pem", "expired"],
            ),
        ] {
            let said = why(&error, files);
            for part in parts {
                assert!(said.contains(part), "{said}");
            }
        }
    }

    #[test]
    fn a_server_is_called_by_its_name_or_address() {
        for (host, expected) in [
            ("build.example.:1", "build.example"),
            ("192.0.2.7:1", "192.0.2.7"),
            ("[::ffff:192.0.2.7]:1", "192.0.2.7"),
            ("[fe80::1%eth0]:1", "fe80::1"),
        ] {
            let server: HostPort = host.parse().unwrap();
            let name = server_name(&server.host).unwrap();
            assert_eq!(name.to_str(), expected, "{host}");
        }
    }
}
