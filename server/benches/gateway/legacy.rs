//! A client of json-header, and of length, that looks at no body.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Instant,
};

use super::support::Outcome;

/// Read at a time.
const READ_BYTES: usize = 256 * 1024;

pub(super) struct Legacy {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Legacy {
    pub(super) fn connect(address: SocketAddr) -> Outcome<Self> {
        Ok(Self {
            stream: TcpStream::connect(address)?,
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Runs `command`, and returns how long its output is.
    pub(super) fn run(&mut self, command: &str) -> Outcome<u64> {
        self.stream.write_all(command.as_bytes())?;
        let length = self.length()?;
        let mut header = vec![0; usize::try_from(length)?];
        self.stream.read_exact(&mut header)?;
        let header = str::from_utf8(&header)?;
        let (_, size) = header.split_once("\"total_size\":").ok_or("no size")?;
        let digits = size
            .trim_start()
            .split(|c: char| !c.is_ascii_digit())
            .next();
        let size = digits.ok_or("no size")?.parse()?;
        self.discard(size)?;
        Ok(size)
    }

    /// The same over length.
    fn run_bare(&mut self, command: &str) -> Outcome<u64> {
        self.stream.write_all(command.as_bytes())?;
        let size = self.length()?;
        self.discard(size)?;
        Ok(size)
    }

    fn length(&mut self) -> Outcome<u64> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        Ok(u64::from(u32::from_le_bytes(length)))
    }

    fn discard(&mut self, mut left: u64) -> Outcome<()> {
        while left > 0 {
            let most = usize::try_from(left.min(READ_BYTES as u64))?;
            match self.stream.read(&mut self.buffer[..most])? {
                0 => return Err("the end in mid-reply".into()),
                read => left -= read as u64,
            }
        }
        Ok(())
    }
}

/// Commands a second that `clients` at once get done, `runs` together.
pub(super) async fn rate(
    address: SocketAddr,
    clients: u32,
    runs: u32,
    command: &'static str,
) -> Outcome<f64> {
    let mut connected = Vec::new();
    for _ in 0..clients {
        connected.push(Legacy::connect(address)?);
    }
    let begin = Instant::now();
    let tasks: Vec<_> = connected
        .into_iter()
        .map(|mut client| {
            tokio::task::spawn_blocking(move || -> Outcome<()> {
                for _ in 0..runs / clients {
                    client.run(command)?;
                }
                Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(f64::from(runs) / begin.elapsed().as_secs_f64())
}

/// MB a second of a long reply over json-header, from the request to the last byte.
pub(super) fn reply_rate(address: SocketAddr, bytes: u32) -> Outcome<f64> {
    timed(address, bytes, Legacy::run)
}

/// The same over length.
pub(super) fn bare_reply_rate(address: SocketAddr, bytes: u32) -> Outcome<f64> {
    timed(address, bytes, Legacy::run_bare)
}

fn timed(
    address: SocketAddr,
    bytes: u32,
    run: impl FnOnce(&mut Legacy, &str) -> Outcome<u64>,
) -> Outcome<f64> {
    let mut client = Legacy::connect(address)?;
    let begin = Instant::now();
    if run(&mut client, &format!("head -c {bytes} /dev/zero"))? != u64::from(bytes) {
        return Err("the reply is not as long as it should be".into());
    }
    Ok(f64::from(bytes) / 1e6 / begin.elapsed().as_secs_f64())
}
