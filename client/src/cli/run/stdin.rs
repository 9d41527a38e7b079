//! stdin, read by a thread of its own: it leaves no flags behind on a descriptor that the shell shares, works alike on a
//! terminal, a pipe, a file and /dev/null, and holds up no exit, since a thread that reads ends with its process.

use std::{io, thread};

use bytes::Bytes;
use remex_client::{STDIN_CHUNK_BYTES, Stdin};
use rustix::{event::PollFlags, io::Errno};
use tokio::sync::mpsc;

use super::output::wait_for;
use crate::cli::{Failure, print};

/// Chunks that were read and wait for room in the window.
const QUEUE_CHUNKS: usize = 2;

/// Starts reading.
pub(super) fn start() -> Result<mpsc::Receiver<Bytes>, Failure> {
    let (sender, chunks) = mpsc::channel(QUEUE_CHUNKS);
    let read = move || {
        if let Err(error) = read_all(&sender) {
            print::note(&format!("cannot read stdin: {error}"));
        }
    };
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(read)
        .map_err(|error| Failure::new(format!("cannot start a thread: {error}")))?;
    Ok(chunks)
}

/// Sends what is read, and then the end of it; only the end if there is nothing to read from.
pub(super) async fn feed(chunks: Option<mpsc::Receiver<Bytes>>, stdin: Option<Stdin>) {
    let (Some(mut chunks), Some(mut stdin)) = (chunks, stdin) else {
        return;
    };
    while let Some(chunk) = chunks.recv().await {
        if stdin.write(chunk).await.is_err() {
            return;
        }
    }
}

fn read_all(sender: &mpsc::Sender<Bytes>) -> io::Result<()> {
    let stdin = rustix::stdio::stdin();
    let mut buffer = vec![0; usize::try_from(STDIN_CHUNK_BYTES).unwrap_or(0)];
    loop {
        let count = match rustix::io::read(stdin, &mut buffer[..]) {
            // A terminal that was hung up says EIO.
            Ok(0) | Err(Errno::IO) => return Ok(()),
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            // Somebody who shares the descriptor has made it non-blocking.
            Err(Errno::AGAIN) => {
                wait_for(stdin, PollFlags::IN)?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let chunk = Bytes::copy_from_slice(&buffer[..count]);
        if sender.blocking_send(chunk).is_err() {
            return Ok(());
        }
    }
}
