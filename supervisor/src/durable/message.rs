//! What a server and a supervisor tell each other. Pure.
//!
//! A packet is its length, the version of the protocol, a tag, and what the tag says, little-endian. What is behind the fields that
//! a side knows, and tags that it does not know, it ignores. [`LinkRequest::Hello`], [`Report::Welcome`] and the header are the
//! same in every version. Version 2 tells with the end all that is to be known of it.

mod report;
mod request;
mod status;

pub use report::Report;
pub use request::{EndCause, LinkRequest, StdinPiece};
pub use status::{Attached, BlockedBy, Stage, Status};

use crate::{
    codec::{Decoder, Encoder},
    lifecycle::output::MAX_OUTPUT_BYTES,
};

/// The version that is spoken here.
pub const VERSION: u16 = 2;

/// The first version of all, which is still spoken.
pub const OLDEST_VERSION: u16 = 1;

/// Most bytes of stdin in a packet.
pub const MAX_STDIN_BYTES: usize = 64 * 1024;

/// Longest packet.
pub const MAX_PACKET_BYTES: usize = MAX_OUTPUT_BYTES + 256;

const HEADER_BYTES: usize = 8;

/// A packet that is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a packet that is not of this protocol")]
pub struct Malformed;

fn packet(version: u16, tag: u16, body: Encoder) -> Vec<u8> {
    let body = body.into_bytes();
    let mut out = Encoder::default();
    // What is longer than any packet is not sent.
    out.u32(u32::try_from(HEADER_BYTES + body.len()).unwrap_or(u32::MAX));
    out.u16(version);
    out.u16(tag);
    out.raw(&body);
    out.into_bytes()
}

/// The tag of a packet, and what is behind its header. The version says what the packet may hold, and nothing that is known has
/// changed from one to the next.
fn open(bytes: &[u8]) -> Result<(u16, Decoder<'_>), Malformed> {
    let mut from = Decoder::new(bytes);
    let header = (from.u32(), from.u16(), from.u16());
    match header {
        (Some(length), Some(OLDEST_VERSION..), Some(tag))
            if usize::try_from(length) == Ok(bytes.len()) =>
        {
            Ok((tag, from))
        }
        _ => Err(Malformed),
    }
}
