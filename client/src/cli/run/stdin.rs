//! stdin, read by a thread of its own: it leaves no flags behind on a descriptor that the shell shares, works alike on a
//! terminal, a pipe, a file and /dev/null, and holds up no exit, since a thread that reads ends with its process.

use std::{io, thread};

use remex_client::{STDIN_CHUNK_BYTES, Stdin};
use rustix::{event::PollFlags, io::Errno};
use tokio::sync::mpsc;

use super::{
    escapes::{Escapes, Key},
    held::{self, Filler, Held},
    output::wait_for,
    terminal::{LOOK_AGAIN, is_in_background, is_terminal},
};
use crate::cli::Failure;

const BUFFER_BYTES: usize = 64 << 10;

/// Where the keys for remex itself come out.
pub(super) type Keys = mpsc::UnboundedReceiver<Key>;

/// Starts reading. With `on_terminal` the keys that are for remex itself are taken out of it, with `detaches` also those
/// that leave the command alone.
pub(super) fn start(on_terminal: bool, detaches: bool) -> Result<(Held, Keys), Failure> {
    let max_bytes = if on_terminal {
        held::TERMINAL_BYTES_MAX
    } else {
        held::BYTES_MAX
    };
    let (filler, held) = held::held(max_bytes);
    // A person types few of them.
    let (sender, keys) = mpsc::unbounded_channel();
    let escapes = on_terminal.then(|| (Escapes::new(detaches), sender));
    let leaves = escapes.as_ref().filter(|_| detaches);
    let leaves = leaves.map(|(_, sender)| sender.clone());
    let read = move || match (read_all(&filler, escapes), leaves) {
        // Whoever attached has gone with the terminal, which is no end of the command's stdin.
        (Ok(()), Some(leaves)) => {
            // Nobody listens any more when remex has left.
            let _ = leaves.send(Key::Detach);
        }
        (end, _) => filler.end(end),
    };
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(read)
        .map_err(|error| Failure::new(format!("cannot start a thread: {error}")))?;
    Ok((held, keys))
}

/// stdin could not be read. The command's is still open, so that it takes no failure for an end.
pub(super) struct Unread {
    pub(super) error: io::Error,
    _stdin: Stdin,
}

/// Sends what is read, and then the end of it; only the end if there is nothing to read from.
pub(super) async fn feed(held: Option<Held>, stdin: Option<Stdin>) -> Result<(), Unread> {
    let (Some(mut held), Some(mut stdin)) = (held, stdin) else {
        return Ok(());
    };
    let max_bytes = usize::try_from(STDIN_CHUNK_BYTES).unwrap_or(BUFFER_BYTES);
    loop {
        match held.take(max_bytes).await {
            Ok(Some(data)) => {
                if stdin.write(data).await.is_err() {
                    return Ok(());
                }
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                return Err(Unread {
                    error,
                    _stdin: stdin,
                });
            }
        }
    }
}

fn read_all(
    filler: &Filler,
    mut escapes: Option<(Escapes, mpsc::UnboundedSender<Key>)>,
) -> io::Result<()> {
    let stdin = rustix::stdio::stdin();
    let is_terminal = is_terminal(stdin);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        if is_terminal {
            // Whoever reads a terminal from its background is stopped, and ends on no signal until it is in front again.
            wait_for(stdin, PollFlags::IN)?;
            if is_in_background(stdin) {
                thread::sleep(LOOK_AGAIN);
                continue;
            }
        }
        let count = match rustix::io::read(stdin, &mut buffer[..]) {
            Ok(0) => return Ok(()),
            // A terminal that was hung up.
            Err(Errno::IO) if is_terminal => return Ok(()),
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            // Somebody who shares the descriptor has made it non-blocking.
            Err(Errno::AGAIN) => {
                wait_for(stdin, PollFlags::IN)?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let is_wanted = match &mut escapes {
            None => filler.add(&buffer[..count]),
            Some((escapes, sender)) => {
                let (passed, keys) = escapes.filter(&buffer[..count]);
                let told = keys.into_iter().try_for_each(|key| sender.send(key));
                told.is_ok() && filler.add(&passed)
            }
        };
        if !is_wanted {
            return Ok(());
        }
    }
}
