//! `remexd certs init DIR`: a CA, a server and a client. The CA's key is not kept: whoever wants more certificates has a CA.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write},
    net::{Ipv4Addr, Ipv6Addr},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

use super::ToolError;

/// How long they are valid.
const YEARS: i16 = 2;

/// Names and addresses of the server: those of this machine alone.
const LOCALHOST: &str = "localhost";

/// The client's name, as callers have it: `dns:client.remex`.
const CLIENT: &str = "client.remex";

/// What is made, in the order in which it is written.
const FILES: [&str; 5] = [
    "ca.pem",
    "server.pem",
    "server.key",
    "client.pem",
    "client.key",
];

pub(super) fn init(folder: &Path) -> Result<(), ToolError> {
    make_folder(folder)?;
    for name in FILES {
        let file = folder.join(name);
        if file.symlink_metadata().is_ok() {
            let source = io::Error::new(
                io::ErrorKind::AlreadyExists,
                "is there already, and nothing is overwritten: remove it, or name another folder",
            );
            return Err(ToolError::File { file, source });
        }
    }
    let texts = made(Timestamp::now()).map_err(|error| {
        ToolError::Internal(format!("the certificates cannot be made: {error}"))
    })?;
    for (name, text) in FILES.iter().zip(texts) {
        write_new(&folder.join(name), &text)?;
    }
    let shown = folder.display();
    let said = writeln!(
        io::stdout(),
        "serve: remexd --tls-cert {shown}/server.pem --tls-key {shown}/server.key --tls-client-ca {shown}/ca.pem\n\
         call: remex --server https://localhost --ca {shown}/ca.pem --cert {shown}/client.pem --key {shown}/client.key ps"
    );
    // Nobody has to read it.
    drop(said);
    Ok(())
}

/// The texts of [`FILES`].
fn made(now: Timestamp) -> Result<[String; 5], rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = params("remex CA", now);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);
    let addresses = [
        SanType::IpAddress(Ipv4Addr::LOCALHOST.into()),
        SanType::IpAddress(Ipv6Addr::LOCALHOST.into()),
    ];
    let (server, server_key) = signed(
        LOCALHOST,
        addresses.into(),
        ExtendedKeyUsagePurpose::ServerAuth,
        now,
        &issuer,
    )?;
    let usage = ExtendedKeyUsagePurpose::ClientAuth;
    let (client, client_key) = signed(CLIENT, Vec::new(), usage, now, &issuer)?;
    Ok([ca, server, server_key, client, client_key])
}

/// A certificate of `name`, and its key.
fn signed(
    name: &str,
    addresses: Vec<SanType>,
    usage: ExtendedKeyUsagePurpose,
    now: Timestamp,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = params(name, now);
    params.subject_alt_names = vec![SanType::DnsName(name.try_into()?)];
    params.subject_alt_names.extend(addresses);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, issuer)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Valid from the day before `now`, for machines whose clocks are behind.
fn params(name: &str, now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let today = now.to_zoned(TimeZone::UTC).date();
    let day = |date: jiff::civil::Date| {
        let part = |part: i8| u8::try_from(part).unwrap_or(1);
        date_time_ymd(date.year().into(), part(date.month()), part(date.day()))
    };
    params.not_before = day(today.saturating_sub(1.day()));
    params.not_after = day(today.saturating_add(YEARS.years()));
    params
}

fn make_folder(folder: &Path) -> Result<(), ToolError> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.map_err(|source| failed(folder, source))
}

/// Whatever the umask is; the keys are nobody else's.
fn write_new(path: &Path, text: &str) -> Result<(), ToolError> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())
    };
    write().map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> ToolError {
    ToolError::File {
        file: PathBuf::from(path),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modes(folder: &Path) -> Vec<(String, u32)> {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        let mut modes: Vec<_> = entries
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, entry.metadata().unwrap().permissions().mode() & 0o777)
            })
            .collect();
        modes.sort();
        modes
    }

    #[test]
    fn all_five_are_made_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new/certs");
        init(&folder).unwrap();
        let mut expected = FILES.map(|name| (name.to_owned(), 0o600)).to_vec();
        expected.sort();
        assert_eq!(modes(&folder), expected);
        assert_eq!(
            folder.metadata().unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_new_left_beside_it() {
        for name in FILES {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join(name);
            fs::write(&file, "mine").unwrap();
            let error = init(folder.path()).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
            assert_eq!(modes(folder.path()).len(), 1, "{name}");
        }
    }
}
