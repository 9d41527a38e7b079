//! `remex legacy`: one command to a server of the old protocol, on the wire `json-header`.
//!
//! The command goes out as it is; the reply is four bytes (the header's length, little-endian), the header as JSON, and
//! the body, which is printed as it comes.

mod body;
mod header;

use std::{io, time::Duration};

use remex_client::{CONNECT_TIMEOUT, STATUS_FAILURE};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use self::{body::Body, header::Header};
use super::{Failure, args::LegacyArgs, print, values::HostPort};

/// The longest header taken.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Bytes of the body read at a time.
const PIECE_BYTES: usize = 64 << 10;

pub(crate) async fn legacy(args: LegacyArgs) -> Result<u8, Failure> {
    let (command, _, unmappable) = args.charset.encode(&args.command);
    if unmappable {
        let charset = args.charset.name();
        return Err(Failure::new(format!(
            "the command has characters that {charset} lacks; write others, or name another --charset"
        )));
    }
    let mut stream = connect(&args.address).await?;
    let talk = talk(&mut stream, &command, args.charset);
    match args.timeout {
        None => talk.await,
        Some(bound) => timeout(bound, talk).await.unwrap_or_else(|_| {
            Err(Failure::new(format!(
                "no whole answer within {bound:?}; give it more --timeout"
            )))
        }),
    }
}

async fn connect(server: &HostPort) -> Result<TcpStream, Failure> {
    let HostPort { host, port } = server;
    let failed = |why: &dyn std::fmt::Display| {
        Failure::new(format!(
            "cannot connect to {host}:{port}: {why}; check the address, and that the server runs there"
        ))
    };
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect((host.as_str(), *port))).await;
    let within = Duration::as_secs(&CONNECT_TIMEOUT);
    let stream = connected
        .map_err(|_| failed(&format!("no answer within {within} s")))?
        .map_err(|error| failed(&error))?;
    stream.set_nodelay(true).map_err(|error| failed(&error))?;
    Ok(stream)
}

async fn talk(
    stream: &mut TcpStream,
    command: &[u8],
    charset: &'static encoding_rs::Encoding,
) -> Result<u8, Failure> {
    // One write, one segment: the protocol has no other end of a command.
    stream
        .write_all(command)
        .await
        .map_err(|error| cut(&error))?;
    let header = read_header(stream).await?;
    let mut body = Body::new(charset);
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = header.body_bytes;
    while left > 0 {
        let most = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        let count = stream
            .read(&mut piece[..most])
            .await
            .map_err(|error| cut(&error))?;
        if count == 0 {
            let total = header.body_bytes;
            let came = total - left;
            return Err(Failure::new(format!(
                "the answer ended after {came} of {total} bytes; try again"
            )));
        }
        print::out(&body.piece(&piece[..count]))?;
        left -= count as u64;
    }
    let (rest, md5) = body.end();
    print::out(&rest)?;
    if header.md5.is_some_and(|announced| announced != md5) {
        print::note(
            "the output is not what its MD5 stands for; it was damaged on its way, or the server counts otherwise",
        );
    }
    Ok(header.status.unwrap_or(STATUS_FAILURE))
}

async fn read_header(stream: &mut TcpStream) -> Result<Header, Failure> {
    let length = stream.read_i32_le().await.map_err(|error| cut(&error))?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| (2..=HEADER_BYTES_MAX).contains(length));
    let Some(length) = length else {
        return Err(Failure::new(
            "the answer does not begin with the length of a header; check that the server speaks json-header",
        ));
    };
    let mut header = vec![0; length];
    stream
        .read_exact(&mut header)
        .await
        .map_err(|error| cut(&error))?;
    header::parse(&header).map_err(|error| Failure::new(error.to_string()))
}

fn cut(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Failure::new(
            "the server closed the connection without a whole answer; check that it speaks json-header",
        ),
        _ => Failure::new(format!("the connection was lost: {error}; try again")),
    }
}
