//! Asks a remexd that runs.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    CONTROL_SOCKET,
    message::{Answered, Instruction, MAX_LINE_BYTES},
};

/// What an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens there.
    #[error(
        "no remexd that can be asked has its state in {}: {source}; if it is elsewhere, name the folder with --state-dir",
        folder.display()
    )]
    Nobody {
        /// The state folder.
        folder: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It ended before it had answered.
    #[error("remexd ended before it answered")]
    Gone,
    /// It does not answer.
    #[error("remexd does not answer: {0}")]
    Io(io::Error),
    /// What it says is of another version.
    #[error("remexd's answer is not understood; is it of another version? {0}")]
    Foreign(#[from] serde_json::Error),
    /// It does not do it.
    #[error("{0}")]
    Refused(String),
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Gone,
            _ => Self::Io(error),
        }
    }
}

/// A connection on which an answer came.
type Connection = BufReader<UnixStream>;

/// Asks the remexd whose state is in `folder`.
pub fn call(folder: &Path, instruction: Instruction) -> Result<(Answered, Connection), CallError> {
    let stream = connect(folder).map_err(|source| CallError::Nobody {
        folder: folder.to_owned(),
        source,
    })?;
    stream.set_read_timeout(Some(ANSWER_TIME))?;
    stream.set_write_timeout(Some(ANSWER_TIME))?;
    let mut line = serde_json::to_vec(&instruction)?;
    line.push(b'\n');
    (&stream).write_all(&line)?;
    let mut connection = BufReader::new(stream);
    let mut answer = String::new();
    (&mut connection)
        .take(MAX_LINE_BYTES as u64)
        .read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(CallError::Gone);
    }
    match serde_json::from_str(&answer)? {
        Answered::Refused(why) => Err(CallError::Refused(why)),
        answered => Ok((answered, connection)),
    }
}

/// By way of the folder's descriptor, since the path of a socket may have no more than 108 bytes.
fn connect(folder: &Path) -> io::Result<UnixStream> {
    let folder = File::open(folder)?;
    UnixStream::connect(format!(
        "/proc/self/fd/{}/{CONTROL_SOCKET}",
        folder.as_raw_fd()
    ))
}

/// Waits until the remexd at the other end has ended.
pub fn until_gone(mut connection: Connection) -> io::Result<()> {
    connection.get_ref().set_read_timeout(None)?;
    match connection.read(&mut [0]) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
        _ => Ok(()),
    }
}
