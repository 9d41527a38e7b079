//! Every bound of the gateway in one place: bytes, counts and times. Pure.

use std::time::Duration;

/// How much of the rest of a refused command is read and dropped.
pub const LINGER_BYTES: usize = 4 * 1024 * 1024;
/// Time between two keepalive probes of a silent connection.
pub const KEEPALIVE: Duration = Duration::from_secs(15);
/// Probes without an answer after which a connection is taken for dead.
pub const KEEPALIVE_PROBES: u32 = 4;
/// What one stream of output may take in memory though replies have used up what they share, so that short replies need no
/// file, and long ones are written in batches. A command with more has two such batches.
pub const REPLY_RESERVE_BYTES: usize = 32 * 1024;
/// What a running command takes here and in a server of the same process, beside its output.
pub const RUNNING_BYTES: usize = 48 * 1024;
/// What the output of one with more of it than [`REPLY_RESERVE_BYTES`] takes on its way from the server: a chunk that is read, two that wait, one
/// that is encoded and one that is decoded, each with what allocators add.
pub const TRANSIT_BYTES: usize = 112 * 1024;
/// The longest `timeout` of a listener: what the API's durations and every clock can bear.
pub const MOST_TIMEOUT: Duration = Duration::from_hours(24 * 365);
/// The longest `gather` of a listener, which a person would still call at once.
pub const MOST_GATHER: Duration = Duration::from_secs(10);
/// The longest `--drain-timeout`.
pub const MOST_DRAIN_TIMEOUT: Duration = Duration::from_hours(24);
/// The longest `size_key`; clients read the header with one recv of a few hundred bytes.
pub const MOST_SIZE_KEY_BYTES: usize = 64;
/// The longest `filename` of a reply: longer ones no file system takes, and clients read the header with one recv.
pub const MOST_FILENAME_BYTES: usize = 255;
/// The longest answer of `time`.
pub const MOST_TIME_BYTES: usize = 8 * 1024;
/// The least `max_datagram`, which still holds the note of a cut.
pub const LEAST_DATAGRAM_BYTES: usize = 128;
/// The largest payload of a UDP datagram over IPv4.
pub const DATAGRAM_BYTES: usize = 65_507;
/// The longest timeout of a command that runs over UDP, unless its listener says otherwise.
pub const DATAGRAM_TIMEOUT: Duration = Duration::from_secs(30);

/// The bounds that a gateway is run with.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest command, in bytes, without the newline that may end it.
    pub request_bytes: usize,
    /// Connections open at once, over all listeners.
    pub connections: usize,
    /// Connections open at once from one address of another machine.
    pub connections_per_address: usize,
    /// Commands running at once, over all listeners; remexd's own bound is above it.
    pub running_commands: usize,
    /// How long a connection may be silent between two commands.
    pub idle: Duration,
    /// How long what has arrived may wait for the rest of a command that fills whole segments.
    pub segment_wait: Duration,
    /// The same on a connection that has lost something: a client whose handshake took a second for that takes three to send
    /// anything again (RFC 6298).
    pub segment_wait_lossy: Duration,
    /// How long after a reply a newline that comes alone is part of the command before, which its client wrote in two.
    pub newline_wait: Duration,
    /// How long what may be a piece of another protocol's request waits for the rest.
    pub piece_wait: Duration,
    /// How long a client may leave a reply without taking [`least_bytes`](Self::least_bytes) of it.
    pub write_stall: Duration,
    /// How long a client of `ack=wait` may take to acknowledge a length.
    pub ack_wait: Duration,
    /// What `ack=pause` waits between length and body: clients sleep 0.3 to 0.5 s around it.
    pub ack_pause: Duration,
    /// How long a peer that may not use a listener is there at most: it is told so when it has asked for something, or is reset.
    pub denied_wait: Duration,
    /// How many such peers there are at once; further ones are reset untold.
    pub denied_connections: usize,
    /// How long the server may take to say that a command has started; it holds a spawn for 10 s at most.
    pub start_wait: Duration,
    /// What a client has to take of a reply in [`write_stall`](Self::write_stall), or all that is left of it.
    pub least_bytes: u64,
    /// The same of a reply that is spooled: it holds disk that others wait for. 4 GiB take 17 hours at most.
    pub least_spooled_bytes: u64,
    /// How long the rest of a refused command is read and dropped, so that the refusal is not lost to a reset.
    pub linger: Duration,
    /// Output of one stream that a reply keeps in memory; what is more goes to the spool.
    pub memory_bytes: usize,
    /// Memory that all replies together may take, of running commands and of clients that have not read theirs, with what
    /// commands and their streams take; beyond it they are spooled. Each running command may have [`RUNNING_BYTES`],
    /// [`TRANSIT_BYTES`] and two batches of [`REPLY_RESERVE_BYTES`] of each output even so.
    pub replies_in_memory_bytes: usize,
    /// The longest body of a reply; what is more is cut, and the reply says so.
    pub body_bytes: u64,
    /// Disk that all spooled replies together may take.
    pub spool_bytes: u64,
    /// Datagrams whose commands run at once, over all listeners.
    pub datagram_commands: usize,
    /// Other datagrams, of echo and time, being answered at once, over all listeners.
    pub datagrams_in_flight: usize,
    /// Datagrams a second from one source address.
    pub datagrams_per_source: u32,
    /// Datagrams a second in all.
    pub datagrams_per_second: u32,
    /// Source addresses whose rate is remembered; beyond them new ones share what is left.
    pub sources: usize,
}

impl Limits {
    /// What holds unless a test says otherwise.
    pub const DEFAULT: Self = Self {
        request_bytes: 64 * 1024,
        connections: 10_000,
        connections_per_address: 256,
        running_commands: 1_500,
        idle: Duration::from_hours(1),
        segment_wait: Duration::from_secs(1),
        segment_wait_lossy: Duration::from_secs(4),
        newline_wait: Duration::from_millis(200),
        piece_wait: Duration::from_secs(1),
        write_stall: Duration::from_mins(1),
        ack_wait: Duration::from_secs(30),
        ack_pause: Duration::from_millis(400),
        denied_wait: Duration::from_secs(1),
        denied_connections: 64,
        start_wait: Duration::from_secs(30),
        least_bytes: 64 * 1024,
        least_spooled_bytes: 4 * 1024 * 1024,
        linger: Duration::from_secs(2),
        memory_bytes: 1024 * 1024,
        replies_in_memory_bytes: 64 * 1024 * 1024,
        body_bytes: 4 * 1024 * 1024 * 1024,
        spool_bytes: 16 * 1024 * 1024 * 1024,
        datagram_commands: 256,
        datagrams_in_flight: 256,
        datagrams_per_source: 5_000,
        datagrams_per_second: 20_000,
        sources: 10_000,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
