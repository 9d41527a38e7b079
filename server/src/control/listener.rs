//! Answers whoever operates this remexd.

use std::{
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixListener as StdListener,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use remex_daemon::net::HandedSockets;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    select,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::message::{Answered, Instruction, MAX_LINE_BYTES};

/// The socket in a state folder.
pub const CONTROL_SOCKET: &str = "control.socket";

/// What it is called where it is handed over.
pub const CONTROL: &str = "control";

/// Those that are answered at once; further ones wait.
const ASKERS: usize = 4;

/// Those that wait for the end, at most; further ones are told that it has begun, and closed.
const WAITERS: usize = 64;

/// What one may take to ask.
const ASK_TIME: Duration = Duration::from_secs(5);

/// How long nothing is accepted after the kernel could not.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What can be asked.
pub trait Controlled: Send + Sync + 'static {
    /// Does what `instruction` says.
    fn obey(&self, instruction: Instruction) -> impl Future<Output = Answered> + Send;
}

/// A bound listener; its socket goes with it.
#[derive(Debug)]
pub struct ControlListener {
    listener: UnixListener,
    path: Option<PathBuf>,
    handed: Option<OwnedFd>,
}

impl ControlListener {
    /// In `folder`, which this process has locked: a socket that is there is nobody's, unless it was `handed` over.
    pub fn bind(folder: &Path, handed: &HandedSockets) -> io::Result<Self> {
        let path = folder.join(CONTROL_SOCKET);
        if let Some(socket) = handed.connections(CONTROL, &path) {
            return Ok(Self {
                handed: Some(socket.as_fd().try_clone_to_owned()?),
                listener: UnixListener::from_std(socket)?,
                // Whoever has made it removes it.
                path: None,
            });
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // By way of a descriptor, since the path of a socket may have no more than 108 bytes.
        let folder = fs::File::open(folder)?;
        let short = format!("/proc/self/fd/{}/{CONTROL_SOCKET}", folder.as_raw_fd());
        let listener = StdListener::bind(short)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            path: Some(path),
            handed: None,
        })
    }

    /// The socket, if it was handed over: whoever did so keeps it, so that the next program needs the same.
    pub fn take_handed(&mut self) -> Option<OwnedFd> {
        self.handed.take()
    }

    /// Answers until `stop`, and to its end what was asked before: the stop may be what was asked for.
    pub async fn serve(self, controlled: Arc<impl Controlled>, stop: CancellationToken) {
        let (tasks, room) = (TaskTracker::new(), Arc::new(Semaphore::new(ASKERS)));
        let waiters = Arc::new(Semaphore::new(WAITERS));
        let obeying = TaskTracker::new();
        loop {
            let accepted = select! {
                biased;
                () = stop.cancelled() => break,
                accepted = self.accept(&room) => accepted,
            };
            let (stream, place) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "cannot be asked for now");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (controlled, waiters) = (Arc::clone(&controlled), Arc::clone(&waiters));
            let obeying = obeying.clone();
            tasks.spawn(async move {
                let answered = answer(stream, &*controlled, &obeying).await;
                drop(place);
                match answered {
                    Ok(Some(waiting)) => until_gone(waiting, &waiters).await,
                    Ok(None) => {}
                    Err(error) => tracing::debug!(%error, "whoever asked has gone"),
                }
            });
        }
        drop(self);
        obeying.close();
        obeying.wait().await;
    }

    /// The next who asks, once there is room for one.
    async fn accept(
        &self,
        room: &Arc<Semaphore>,
    ) -> io::Result<(UnixStream, OwnedSemaphorePermit)> {
        let place = Arc::clone(room).acquire_owned().await;
        let place = place.map_err(io::Error::other)?;
        let (stream, _) = self.listener.accept().await?;
        Ok((stream, place))
    }
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// `Some`: whoever asked waits for the end. What has been asked is one of those that are `obeying` until it is answered.
async fn answer(
    stream: UnixStream,
    controlled: &impl Controlled,
    obeying: &TaskTracker,
) -> io::Result<Option<UnixStream>> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let limit = MAX_LINE_BYTES as u64;
    timeout(ASK_TIME, (&mut stream).take(limit).read_line(&mut line)).await??;
    let _obeying = obeying.token();
    let answered = match serde_json::from_str(&line) {
        Ok(instruction) => controlled.obey(instruction).await,
        Err(error) => Answered::Refused(format!("this remexd cannot be asked for that: {error}")),
    };
    let mut line = serde_json::to_vec(&answered)?;
    line.push(b'\n');
    timeout(ASK_TIME, stream.write_all(&line)).await??;
    let waits = matches!(answered, Answered::Draining | Answered::Upgrading);
    Ok(waits.then(|| stream.into_inner()))
}

/// Until the process ends, or whoever waits for that has gone.
async fn until_gone(mut stream: UnixStream, waiters: &Semaphore) {
    if let Ok(_place) = waiters.try_acquire() {
        let _ = stream.read(&mut [0]).await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use tokio::task::yield_now;

    use super::*;

    /// Is asked for its own end, and takes a while over the answer.
    struct Ending(CancellationToken);

    impl Controlled for Ending {
        async fn obey(&self, _: Instruction) -> Answered {
            self.0.cancel();
            for _ in 0..100 {
                yield_now().await;
            }
            Answered::Upgrading
        }
    }

    #[tokio::test]
    async fn whoever_asks_for_the_end_is_answered_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let handed = HandedSockets::default();
        let listener = ControlListener::bind(folder.path(), &handed).unwrap();
        let path = folder.path().join(CONTROL_SOCKET);
        let mut asker = std::os::unix::net::UnixStream::connect(&path).unwrap();
        asker.write_all(b"{\"ask\":\"upgrade\"}\n").unwrap();
        let stop = CancellationToken::new();
        listener
            .serve(Arc::new(Ending(stop.clone())), stop.clone())
            .await;
        assert!(stop.is_cancelled() && !path.exists());
        // Not a moment later: what is not there by now is lost with the process.
        asker.set_nonblocking(true).unwrap();
        let mut answer = vec![0; MAX_LINE_BYTES];
        let length = asker.read(&mut answer).expect("an answer");
        let expected = serde_json::to_string(&Answered::Upgrading).unwrap();
        assert_eq!(&answer[..length], format!("{expected}\n").as_bytes());
    }
}
