//! Every bound of the gateway in one place: bytes, counts and times. Pure.

use std::time::Duration;

/// The longest command, in bytes, without the newline that may end it.
pub const REQUEST_BYTES: usize = 64 * 1024;
/// Connections open at once, over all listeners.
pub const CONNECTIONS: usize = 10_000;
/// Connections open at once from one address of another machine.
pub const CONNECTIONS_PER_ADDRESS: usize = 256;
/// Commands running at once, over all listeners; remexd's own bound is above it.
pub const RUNNING_COMMANDS: usize = 1_500;
/// How long a connection may be silent between two commands.
pub const IDLE: Duration = Duration::from_hours(1);
/// How long what has arrived may wait for the rest of a command that fills whole segments.
pub const SEGMENT_WAIT: Duration = Duration::from_secs(1);
/// The same on a connection that has lost something: a client whose handshake took a second for that takes three to send
/// anything again (RFC 6298).
pub const SEGMENT_WAIT_LOSSY: Duration = Duration::from_secs(4);
/// How long after a reply a newline that comes alone is part of the command before, which its client wrote in two.
pub const NEWLINE_WAIT: Duration = Duration::from_millis(200);
/// How long what may be a piece of another protocol's request waits for the rest.
pub const PIECE_WAIT: Duration = Duration::from_secs(1);
/// How long a client may leave a reply without taking [`LEAST_BYTES`] of it.
pub const WRITE_STALL: Duration = Duration::from_mins(1);
/// How long a client of `ack=wait` may take to acknowledge a length.
pub const ACK_WAIT: Duration = Duration::from_secs(30);
/// What `ack=pause` waits between length and body: clients sleep 0.3 to 0.5 s around it.
pub const ACK_PAUSE: Duration = Duration::from_millis(400);
/// How long a peer that may not use a listener is there at most: it is told so when it has asked for something, or is reset.
pub const DENIED_WAIT: Duration = Duration::from_secs(1);
/// How many such peers there are at once; further ones are reset untold.
pub const DENIED_CONNECTIONS: usize = 64;
/// How long the server may take to say that a command has started; it holds a spawn for 10 s at most.
pub const START_WAIT: Duration = Duration::from_secs(30);
/// What a client has to take of a reply in [`WRITE_STALL`], or all that is left of it.
pub const LEAST_BYTES: u64 = 64 * 1024;
/// The same of a reply that is spooled: it holds disk that others wait for. 4 GiB take 17 hours at most.
pub const LEAST_SPOOLED_BYTES: u64 = 4 * 1024 * 1024;
/// How long the rest of a refused command is read and dropped, so that the refusal is not lost to a reset.
pub const LINGER: Duration = Duration::from_secs(2);
/// How much of it.
pub const LINGER_BYTES: usize = 4 * 1024 * 1024;
/// Time between two keepalive probes of a silent connection.
pub const KEEPALIVE: Duration = Duration::from_secs(15);
/// Output of one stream that a reply keeps in memory; what is more goes to the spool.
pub const MEMORY_BYTES: usize = 1024 * 1024;
/// Memory that all replies together may take, of running commands and of clients that have not read theirs; beyond it they
/// are spooled.
pub const REPLIES_IN_MEMORY_BYTES: usize = 64 * 1024 * 1024;
/// The longest body of a reply; what is more is cut, and the reply says so.
pub const BODY_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Disk that all spooled replies together may take.
pub const SPOOL_BYTES: u64 = 16 * 1024 * 1024 * 1024;
/// Datagrams whose commands run at once, over all listeners.
pub const DATAGRAM_COMMANDS: usize = 256;
/// Other datagrams, of echo and time, being answered at once, over all listeners.
pub const DATAGRAMS_IN_FLIGHT: usize = 256;
/// Datagrams a second from one source address.
pub const DATAGRAMS_PER_SOURCE: u32 = 5_000;
/// Datagrams a second in all.
pub const DATAGRAMS_PER_SECOND: u32 = 20_000;
/// Source addresses whose rate is remembered; beyond them new ones share what is left.
pub const SOURCES: usize = 10_000;
/// The largest payload of a UDP datagram over IPv4.
pub const DATAGRAM_BYTES: usize = 65_507;
/// The longest timeout of a command that runs over UDP, unless its listener says otherwise.
pub const DATAGRAM_TIMEOUT: Duration = Duration::from_secs(30);

/// The bounds that a gateway is run with.
#[derive(Debug, Clone)]
pub struct Limits {
    /// See [`REQUEST_BYTES`].
    pub request_bytes: usize,
    /// See [`CONNECTIONS`].
    pub connections: usize,
    /// See [`CONNECTIONS_PER_ADDRESS`].
    pub connections_per_address: usize,
    /// See [`RUNNING_COMMANDS`].
    pub running_commands: usize,
    /// See [`IDLE`].
    pub idle: Duration,
    /// See [`SEGMENT_WAIT`].
    pub segment_wait: Duration,
    /// See [`SEGMENT_WAIT_LOSSY`].
    pub segment_wait_lossy: Duration,
    /// See [`NEWLINE_WAIT`].
    pub newline_wait: Duration,
    /// See [`PIECE_WAIT`].
    pub piece_wait: Duration,
    /// See [`WRITE_STALL`].
    pub write_stall: Duration,
    /// See [`ACK_WAIT`].
    pub ack_wait: Duration,
    /// See [`ACK_PAUSE`].
    pub ack_pause: Duration,
    /// See [`DENIED_WAIT`].
    pub denied_wait: Duration,
    /// See [`DENIED_CONNECTIONS`].
    pub denied_connections: usize,
    /// See [`START_WAIT`].
    pub start_wait: Duration,
    /// See [`LEAST_BYTES`].
    pub least_bytes: u64,
    /// See [`LEAST_SPOOLED_BYTES`].
    pub least_spooled_bytes: u64,
    /// See [`LINGER`].
    pub linger: Duration,
    /// See [`MEMORY_BYTES`].
    pub memory_bytes: usize,
    /// See [`REPLIES_IN_MEMORY_BYTES`].
    pub replies_in_memory_bytes: usize,
    /// See [`BODY_BYTES`].
    pub body_bytes: u64,
    /// See [`SPOOL_BYTES`].
    pub spool_bytes: u64,
    /// See [`DATAGRAM_COMMANDS`].
    pub datagram_commands: usize,
    /// See [`DATAGRAMS_IN_FLIGHT`].
    pub datagrams_in_flight: usize,
    /// See [`DATAGRAMS_PER_SOURCE`].
    pub datagrams_per_source: u32,
    /// See [`DATAGRAMS_PER_SECOND`].
    pub datagrams_per_second: u32,
    /// See [`SOURCES`].
    pub sources: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: REQUEST_BYTES,
            connections: CONNECTIONS,
            connections_per_address: CONNECTIONS_PER_ADDRESS,
            running_commands: RUNNING_COMMANDS,
            idle: IDLE,
            segment_wait: SEGMENT_WAIT,
            segment_wait_lossy: SEGMENT_WAIT_LOSSY,
            newline_wait: NEWLINE_WAIT,
            piece_wait: PIECE_WAIT,
            write_stall: WRITE_STALL,
            ack_wait: ACK_WAIT,
            ack_pause: ACK_PAUSE,
            denied_wait: DENIED_WAIT,
            denied_connections: DENIED_CONNECTIONS,
            start_wait: START_WAIT,
            least_bytes: LEAST_BYTES,
            least_spooled_bytes: LEAST_SPOOLED_BYTES,
            linger: LINGER,
            memory_bytes: MEMORY_BYTES,
            replies_in_memory_bytes: REPLIES_IN_MEMORY_BYTES,
            body_bytes: BODY_BYTES,
            spool_bytes: SPOOL_BYTES,
            datagram_commands: DATAGRAM_COMMANDS,
            datagrams_in_flight: DATAGRAMS_IN_FLIGHT,
            datagrams_per_source: DATAGRAMS_PER_SOURCE,
            datagrams_per_second: DATAGRAMS_PER_SECOND,
            sources: SOURCES,
        }
    }
}
