//! `remex legacy`: one command to a server of the old protocol, on any of its wires.
//!
//! The command goes out as it is; what stands before the reply's body is its [`head`], and the body is printed as it
//! comes. A command is sent once: nothing is repeated.

mod args;
mod body;
mod dial;
mod head;
mod header;
mod progress;

use std::{
    io::{self, IsTerminal},
    pin::pin,
    time::Duration,
};

use remex_client::{
    STATUS_FAILURE,
    wire::{Ack, Wire},
};
use rustix::io::Errno;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UdpSocket,
    time::timeout,
};

pub(crate) use self::args::Args;
use self::{
    body::Body,
    dial::Connection,
    head::Head,
    progress::{Progress, SLOW},
};
use super::{Failure, json, print, values::LegacyAddress};

/// Bytes of a reply read at a time.
const PIECE_BYTES: usize = 64 << 10;
/// How long a datagram's answer is waited for without a `--timeout`, since it may be lost: longer than a gateway lets a
/// command of one run.
const DATAGRAM_TIMEOUT: Duration = Duration::from_secs(40);
/// Any text acknowledges a length.
const ACKNOWLEDGEMENT: &[u8] = b"ok";

pub(crate) async fn legacy(args: Args) -> Result<u8, Failure> {
    let text = args.command();
    let (command, _, unmappable) = args.charset.encode(&text);
    if unmappable {
        let charset = args.charset.name();
        return Err(Failure::new(format!(
            "the command has characters that {charset} lacks; write others, or name another --charset"
        )));
    }
    let bound = match &args.address {
        LegacyAddress::Datagram(_) => args.timeout.or(Some(DATAGRAM_TIMEOUT)),
        LegacyAddress::Stream(_) => args.timeout,
    };
    within(bound, ask(&args, &command)).await
}

async fn ask(args: &Args, command: &[u8]) -> Result<u8, Failure> {
    let wrong = |error| Failure::new(format!("{error}; see `remex legacy --help`"));
    let progress = Progress::new();
    let body = if args.json {
        Body::json(args.charset)
    } else if io::stdout().is_terminal() {
        Body::shown(args.charset)
    } else {
        Body::as_it_is()
    };
    match &args.address {
        LegacyAddress::Datagram(server) => {
            args.wire.none().map_err(wrong)?;
            let socket = dial::datagram(server).await?;
            exchange(&socket, command, body, progress).await
        }
        LegacyAddress::Stream(server) => {
            let wire = args.wire.wire().map_err(wrong)?;
            let stream = dial::stream(server).await?;
            talk(stream, command, &wire, body, progress).await
        }
    }
}

async fn within(
    bound: Option<Duration>,
    talk: impl Future<Output = Result<u8, Failure>>,
) -> Result<u8, Failure> {
    match bound {
        None => talk.await,
        Some(bound) => timeout(bound, talk).await.unwrap_or_else(|_| {
            Err(Failure::new(format!(
                "no whole answer within {bound:?}; give it more --timeout"
            )))
        }),
    }
}

/// A command and its reply over a connection.
async fn talk(
    mut stream: Box<dyn Connection>,
    command: &[u8],
    wire: &Wire,
    mut body: Body,
    mut progress: Progress,
) -> Result<u8, Failure> {
    // One write, one segment: the protocol has no other end of a command.
    stream
        .write_all(command)
        .await
        .map_err(|error| lost(&error))?;
    if wire.is_bare() {
        // The end of the connection is the end of the reply, so the server has to be told that no other command comes.
        stream.shutdown().await.map_err(|error| lost(&error))?;
    }
    let mut received = Vec::with_capacity(PIECE_BYTES);
    let head = loop {
        if let Some((head, bytes)) =
            Head::read(wire, &received).map_err(|error| Failure::new(error.to_string()))?
        {
            received.drain(..bytes);
            break head;
        }
        if read(&mut stream, &mut received, &mut progress).await? == 0 {
            let wire = wire.name();
            return Err(Failure::new(format!(
                "the server closed the connection without a whole answer; check that it speaks {wire}"
            )));
        }
    };
    progress.announced(head.body_bytes);
    if let Wire::AsciiLength { ack: Ack::Wait } = wire {
        stream
            .write_all(ACKNOWLEDGEMENT)
            .await
            .map_err(|error| lost(&error))?;
    }
    let mut count = 0;
    loop {
        // What follows the body is no part of it.
        let left = head.body_bytes.map_or(u64::MAX, |bytes| bytes - count);
        received.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        if !received.is_empty() {
            count += received.len() as u64;
            progress.received(received.len());
            print::bytes(&body.piece(&received))?;
        }
        if head.body_bytes == Some(count) {
            break;
        }
        received.clear();
        if read(&mut stream, &mut received, &mut progress).await? == 0 {
            break;
        }
    }
    drop(progress);
    end(&head, count, body)
}

/// A command and its reply, a datagram each.
async fn exchange(
    socket: &UdpSocket,
    command: &[u8],
    mut body: Body,
    mut progress: Progress,
) -> Result<u8, Failure> {
    socket.send(command).await.map_err(|error| lost(&error))?;
    let mut reply = vec![0; PIECE_BYTES];
    let received = socket.recv(&mut reply);
    let count = told_if_slow(received, &mut progress)
        .await
        .map_err(|error| lost(&error))?;
    drop(progress);
    print::bytes(&body.piece(&reply[..count]))?;
    end(&Head::of_datagram(), count as u64, body)
}

/// Appends what comes next to `received`; 0 is the end.
async fn read(
    stream: &mut Box<dyn Connection>,
    received: &mut Vec<u8>,
    progress: &mut Progress,
) -> Result<usize, Failure> {
    received.reserve(PIECE_BYTES);
    let reading = stream.read_buf(received);
    told_if_slow(reading, progress)
        .await
        .map_err(|error| lost(&error))
}

async fn told_if_slow<T>(comes: impl Future<Output = T>, progress: &mut Progress) -> T {
    let mut comes = pin!(comes);
    if let Ok(come) = timeout(SLOW, &mut comes).await {
        return come;
    }
    progress.slow();
    comes.await
}

/// The rest of a body of which `count` bytes came, and what its head said of it.
fn end(head: &Head, count: u64, body: Body) -> Result<u8, Failure> {
    let is_json = body.is_json();
    let (rest, md5) = body.end();
    print::bytes(&rest)?;
    if let Some(total) = head.body_bytes.filter(|total| *total != count) {
        return Err(Failure::new(format!(
            "the answer ended after {count} of {total} bytes; check what the command did before you run it again"
        )));
    }
    if head.md5.is_some_and(|announced| announced != md5) {
        print::note(
            "the output is not what its MD5 stands for; it was damaged on its way, or the server counts otherwise",
        );
    }
    if is_json {
        print::out(&json::legacy_end(head.status, count))?;
    }
    Ok(head.status.unwrap_or(STATUS_FAILURE))
}

fn lost(error: &io::Error) -> Failure {
    Failure::new(match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED) => {
            "nobody listens there; check the address, and that the server runs there".to_owned()
        }
        Some(Errno::MSGSIZE) => {
            "the command does not fit into a datagram; send it over TCP".to_owned()
        }
        _ => format!(
            "the connection was lost: {error}; check what the command did before you run it again"
        ),
    })
}
