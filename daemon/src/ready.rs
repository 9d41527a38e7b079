//! The lines that say where a daemon listens, for whoever waits for it. The file appears whole or not at all.

use std::{
    ffi::OsString,
    fmt, fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process,
};

use crate::net::BoundAddress;

/// Anybody may wait for a daemon.
const MODE: u32 = 0o644;

/// Where everything listens, one address a line, in the order in which it was added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadyFile {
    lines: Vec<String>,
}

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the ready file {} cannot be written: {source}", path.display())]
pub struct ReadyError {
    path: PathBuf,
    source: io::Error,
}

impl ReadyFile {
    /// `grpc http://127.0.0.1:50051`, over TLS `grpc https://…`, or `grpc unix:///run/remex/remexd.sock`.
    pub fn grpc(&mut self, address: &BoundAddress, is_tls: bool) {
        let scheme = if is_tls { "https" } else { "http" };
        self.lines
            .push(format!("grpc {}", address.with_scheme(scheme)));
    }

    /// `tcp-exec tcp://127.0.0.1:8080`, `udp-echo udp://127.0.0.1:8081`, `unix-exec unix:///run/remex/legacy.sock`; `name`
    /// is what the listener calls itself.
    pub fn legacy(&mut self, name: &str, address: &BoundAddress) {
        self.lines.push(format!("{name} {address}"));
    }

    /// `metrics http://127.0.0.1:9464/metrics`.
    pub fn metrics(&mut self, url: &str) {
        self.lines.push(format!("metrics {url}"));
    }

    /// The lines.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Puts the lines into the file at `path`, in place of what was there.
    pub fn write(&self, path: &Path) -> Result<(), ReadyError> {
        self.replace(path).map_err(|source| failed(path, source))
    }

    fn replace(&self, path: &Path) -> io::Result<()> {
        let temporary = temporary(path)?;
        let written =
            write_new(&temporary, &self.to_string()).and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Removes what an earlier daemon left at `path`, so that nobody takes its addresses for this one's. Call it before
    /// binding.
    pub fn clear(path: &Path) -> Result<(), ReadyError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path, error)),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for ReadyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn failed(path: &Path, source: io::Error) -> ReadyError {
    ReadyError {
        path: path.to_owned(),
        source,
    }
}

/// In the same folder, since a rename stays within a file system.
fn temporary(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", process::id()));
    Ok(path.with_file_name(hidden))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    // A leftover of a process that had this one's number.
    let _ = fs::remove_file(path);
    let mut file = fs::File::create_new(path)?;
    // Whatever the umask is.
    file.set_permissions(fs::Permissions::from_mode(MODE))?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> ReadyFile {
        let tcp = |text: &str| BoundAddress::Tcp(text.parse().unwrap());
        let unix = |path: &str| BoundAddress::Unix(PathBuf::from(path));
        let mut ready = ReadyFile::default();
        ready.grpc(&tcp("127.0.0.1:50051"), false);
        ready.grpc(&tcp("[::1]:50051"), true);
        ready.grpc(&unix("/run/x.sock"), true);
        ready.legacy("tcp-exec", &tcp("127.0.0.1:8080"));
        ready.legacy(
            "udp-echo",
            &BoundAddress::Udp("127.0.0.1:8081".parse().unwrap()),
        );
        ready.legacy("unix-exec", &unix("/run/legacy.sock"));
        ready
    }

    const LINES: &str = "grpc http://127.0.0.1:50051\n\
        grpc https://[::1]:50051\n\
        grpc unix:///run/x.sock\n\
        tcp-exec tcp://127.0.0.1:8080\n\
        udp-echo udp://127.0.0.1:8081\n\
        unix-exec unix:///run/legacy.sock\n";

    #[test]
    fn lines_are_those_of_the_contract() {
        assert_eq!(ready().to_string(), LINES);
    }

    #[test]
    fn the_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ready");
        fs::write(&path, "of an earlier daemon\n").unwrap();
        ReadyFile::clear(&path).unwrap();
        assert!(!path.exists());
        ReadyFile::clear(&path).unwrap();

        fs::write(&path, "of an earlier daemon\n").unwrap();
        ready().write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), LINES);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            MODE
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_path_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("none/ready"), PathBuf::from("/")] {
            let error = ready().write(&path).unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
        // A folder is in the way: the temporary file goes again.
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        fs::write(taken.join("x"), "").unwrap();
        ready().write(&taken).unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
