//! The floor: the same commands, their pipes copied to and from a socket by tokio and nothing else, in a process of its own.

use std::{
    env,
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    time::Instant,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, unix::pipe},
};

use crate::{
    flow::rate,
    support::{Outcome, runtime},
};

/// Set in the process that is to be the floor.
const RAW_VARIABLE: &str = "REMEX_BENCH_RAW";
/// As remexd reads.
const PIECE_BYTES: usize = 64 << 10;

/// It runs, and listens.
pub(crate) struct Raw {
    child: Child,
    address: SocketAddr,
}

impl Raw {
    pub(crate) fn start() -> Outcome<Self> {
        let mut child = Command::new(env::current_exe()?)
            .env(RAW_VARIABLE, "1")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or("no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().parse()?;
        Ok(Self { child, address })
    }

    /// Megabytes a second from a command.
    pub(crate) async fn stdout(&self, bytes: u64) -> Outcome<f64> {
        let begun = Instant::now();
        let mut stream = self.ask(bytes).await?;
        let received = copy(&mut stream, &mut tokio::io::sink()).await?;
        if received != bytes {
            return Err(format!("raw: {received} of {bytes} bytes came").into());
        }
        Ok(rate(bytes, begun))
    }

    /// Megabytes a second to a command.
    pub(crate) async fn stdin(&self, bytes: u64) -> Outcome<f64> {
        let begun = Instant::now();
        let mut stream = self.ask(0).await?;
        let mut zeros = tokio::io::repeat(0).take(bytes);
        copy(&mut zeros, &mut stream).await?;
        stream.shutdown().await?;
        // The command's end.
        stream.read_to_end(&mut Vec::new()).await?;
        Ok(rate(bytes, begun))
    }

    async fn ask(&self, bytes: u64) -> Outcome<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        stream.write_u64(bytes).await?;
        Ok(stream)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves, if this process is to be the floor; else `None`.
pub(crate) fn serve() -> Option<Outcome<()>> {
    env::var_os(RAW_VARIABLE)?;
    Some(runtime().and_then(|runtime| runtime.block_on(listen())))
}

async fn listen() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move { answer(stream).await.ok() });
    }
}

/// So many bytes of a command's stdout, or, asked for none, all that comes into another's stdin.
async fn answer(mut stream: TcpStream) -> Outcome<()> {
    stream.set_nodelay(true)?;
    let bytes = stream.read_u64().await?;
    let mut command = Command::new("sh");
    let mut child = if bytes > 0 {
        command
            .args(["-c", &format!("exec head -c {bytes} /dev/zero")])
            .stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = OwnedFd::from(child.stdout.take().ok_or("no stdout")?);
        copy(&mut pipe::Receiver::from_owned_fd(stdout)?, &mut stream).await?;
        child
    } else {
        command
            .args(["-c", "exec cat >/dev/null"])
            .stdin(Stdio::piped());
        let mut child = command.spawn()?;
        let stdin = OwnedFd::from(child.stdin.take().ok_or("no stdin")?);
        copy(&mut stream, &mut pipe::Sender::from_owned_fd(stdin)?).await?;
        child
    };
    child.wait()?;
    Ok(())
}

/// tokio's own copy moves 8 KiB at a time.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> Outcome<u64> {
    let mut from = tokio::io::BufReader::with_capacity(PIECE_BYTES, from);
    Ok(tokio::io::copy_buf(&mut from, to).await?)
}
