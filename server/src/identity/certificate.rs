//! Who a client certificate is of. Pure: it was verified before.

use remex_daemon::net::{Identity, NoIdentity};
use x509_cert::{
    Certificate,
    der::Decode,
    ext::pkix::{SubjectAltName, name::GeneralName},
    name::Name,
};

/// A certificate, however valid, is of nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NamelessCertificate {
    /// It cannot be read.
    #[error("the client certificate cannot be read")]
    Malformed,
    /// The name that it would be known by is none.
    #[error("the client certificate names nobody: {0}")]
    Name(#[from] NoIdentity),
}

/// The first SPIFFE ID among its alternative names, else the first DNS name, else its subject. One of these that is no
/// usable name is an error, and never passed over for the next: a certificate is of one caller.
pub fn identity(der: &[u8]) -> Result<Identity, NamelessCertificate> {
    let certificate = Certificate::from_der(der).map_err(|_| NamelessCertificate::Malformed)?;
    let certificate = &certificate.tbs_certificate;
    let names = match certificate.get::<SubjectAltName>() {
        Ok(names) => names.map_or_else(Vec::new, |(_, SubjectAltName(names))| names),
        Err(_) => return Err(NamelessCertificate::Malformed),
    };
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Identity::spiffe(uri.as_str()),
        _ => None,
    });
    if let Some(spiffe) = uris.next() {
        return Ok(spiffe?);
    }
    let mut dns = names.iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(Identity::dns(name.as_str())),
        _ => None,
    });
    if let Some(dns) = dns.next() {
        return Ok(dns?);
    }
    Ok(Identity::subject(
        &shown(&certificate.subject),
        &shown(&certificate.issuer),
    )?)
}

/// As RFC 4514 has it; empty if all of its values are.
fn shown(name: &Name) -> String {
    let mut values = name.0.iter().flat_map(|names| names.0.iter());
    if values.all(|value| value.value.value().iter().all(u8::is_ascii_whitespace)) {
        return String::new();
    }
    name.to_string()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    fn of(subject: &[(DnType, &str)], names: Vec<SanType>) -> Result<String, NamelessCertificate> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = names;
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        identity(certificate.der()).map(|identity| identity.to_string())
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(text.try_into().unwrap())
    }

    #[test]
    fn the_first_spiffe_id_then_the_first_dns_name_then_the_subject() {
        let subject = [(DnType::CommonName, "runner")];
        let all = vec![
            dns("a.example"),
            uri("https://example.org/x"),
            uri("spiffe://example.org/one"),
            uri("spiffe://example.org/two"),
        ];
        assert_eq!(of(&subject, all).unwrap(), "spiffe://example.org/one");
        let two = vec![uri("urn:x"), dns("B.example"), dns("a.example")];
        assert_eq!(of(&subject, two).unwrap(), "dns:b.example");
        let other = vec![SanType::Rfc822Name("a@example.org".try_into().unwrap())];
        for names in [Vec::new(), other] {
            let text = of(&subject, names).unwrap();
            assert_eq!(text, "subject:CN=runner;issuer:CN=runner");
        }
    }

    #[test]
    fn a_subject_is_escaped_so_that_none_reads_as_another() {
        let (cn, o) = (DnType::CommonName, DnType::OrganizationName);
        let one = of(&[(cn.clone(), "a,O=b;issuer:CN=c")], Vec::new()).unwrap();
        let two = of(&[(o, "b"), (cn, "a")], Vec::new()).unwrap();
        assert!(!one.starts_with("subject:CN=a,O=b"), "{one}");
        assert_ne!(one, two);
        assert_eq!(one.matches(";issuer:").count(), 1, "{one}");
    }

    #[test]
    fn an_empty_identity_matches_nobody() {
        let empty = Err(NamelessCertificate::Name(NoIdentity::Empty));
        assert_eq!(of(&[], Vec::new()), empty);
        assert_eq!(of(&[(DnType::CommonName, "")], Vec::new()), empty);
        assert_eq!(of(&[(DnType::CommonName, " ")], Vec::new()), empty);
        let subject = [(DnType::CommonName, "runner")];
        // What comes first and is no name is not passed over.
        let nameless = vec![uri("spiffe://"), uri("spiffe://example.org/one"), dns("a")];
        assert_eq!(of(&subject, nameless), empty);
        assert_eq!(of(&subject, vec![dns(""), dns("a")]), empty);
        assert_eq!(identity(b"\x30\x00"), Err(NamelessCertificate::Malformed));
    }
}
