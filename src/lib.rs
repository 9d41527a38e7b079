//! The contract of remex: what clients and servers share.
//!
//! [`v1`] holds the messages and the service stubs generated from `proto/remex/v1`, [`FILE_DESCRIPTOR_SET`] the same as
//! data for reflection, and [`error`] the reasons that a status carries. With the feature `duration` there is also how a duration is typed,
//! with `secret-file` how a file is read that holds a secret.

#![forbid(unsafe_code)]

#[cfg(feature = "duration")]
pub mod duration;
pub mod error;
#[cfg(feature = "secret-file")]
pub mod secret_file;

/// Messages and stubs of the protobuf package `remex.v1`. A server answers Run with a stream of one message, so that the
/// response's headers leave when the command has been started.
#[expect(
    unused_qualifications,
    clippy::allow_attributes,
    clippy::pedantic,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("remex.v1");
    include!(concat!(env!("OUT_DIR"), "/server/remex.v1.rs"));
}

/// The encoded `google.protobuf.FileDescriptorSet` of the package with its imports and comments.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.bin"));

/// The release, as every response's [`VERSION_HEADER`] says it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The response header that carries [`VERSION`].
pub const VERSION_HEADER: &str = "remex-version";
