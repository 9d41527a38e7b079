//! What a supervisor is to run, and how. It crosses in a packet or, where it is long, in a file in memory, never in arguments or an
//! environment; and never from one version to another: a supervisor that waits for its order is a fork of the server that gives it.

use std::{ffi::CString, fmt, time::Duration};

use bytes::Bytes;

use crate::{
    codec::{Decoder, Encoder},
    journal::{Claim, Keep, OnFull, Reservation, Settings},
    lifecycle::presence::OnDisconnect,
    process::{DurablePlace, Resolved, WindowSize, plan::Plan},
};

/// Longest order: a plan, stdin that came with the request, and what the server wants back of it.
pub(super) const MAX_ORDER_BYTES: usize = 32 * 1024 * 1024;

/// A longer one does not travel in a packet: it would be copied through buffers that others share.
pub(super) const MAX_INLINE_BYTES: usize = 16 * 1024;

/// What to run. Its arguments, environment and stdin may be secrets, which a log is not told.
pub struct Order {
    /// The command.
    pub resolved: Resolved,
    /// It has a terminal of this size.
    pub terminal: Option<WindowSize>,
    /// Its first bytes of stdin.
    pub stdin: Bytes,
    /// More may come.
    pub stdin_open: bool,
    /// From the spawn; `None`: no bound.
    pub timeout: Option<Duration>,
    /// Between TERM and KILL.
    pub kill_after: Duration,
    /// Its output is drained to its end, however long others hold it open.
    pub drain_to_end: bool,
    /// What happens when its last caller goes.
    pub on_disconnect: OnDisconnect,
    /// How its journal is kept.
    pub settings: Settings,
    /// What is written down before it is spawned.
    pub reservation: Reservation,
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order")
            .field("on_disconnect", &self.on_disconnect)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The same, as a supervisor has it.
pub(super) struct Received {
    pub(super) plan: Plan,
    pub(super) terminal: Option<WindowSize>,
    pub(super) stdin: Bytes,
    pub(super) stdin_open: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) kill_after: Duration,
    pub(super) drain_to_end: bool,
    pub(super) on_disconnect: OnDisconnect,
    pub(super) settings: Settings,
    pub(super) reservation: Reservation,
    /// The memory of its cgroup is limited.
    pub(super) is_memory_limited: bool,
}

impl Order {
    /// With what is to be known of the place of its tree.
    pub(super) fn encode(&self, place: &DurablePlace) -> Vec<u8> {
        let mut out = Encoder::default();
        self.resolved.plan.encode(&mut out);
        out.option(place.tag(), |out, tag| out.c_str(&variable(&tag)));
        out.bool(place.is_memory_limited());
        out.option(self.terminal, |out, size| {
            out.u16(size.rows);
            out.u16(size.columns);
        });
        out.bytes(&self.stdin);
        out.bool(self.stdin_open);
        out.option(self.timeout, Encoder::duration);
        out.duration(self.kill_after);
        out.bool(self.drain_to_end);
        match self.on_disconnect {
            OnDisconnect::Kill => out.u8(0),
            OnDisconnect::Grace(grace) => {
                out.u8(1);
                out.duration(grace);
            }
            OnDisconnect::Detach => out.u8(2),
        }
        let Settings {
            keep,
            reserve_bytes,
        } = self.settings;
        out.u64(keep.max_bytes);
        out.bool(keep.on_full == OnFull::DropOldest);
        out.bool(keep.no_output);
        out.u64(reserve_bytes);
        out.option(self.reservation.claim.as_ref(), |out, claim| {
            out.bytes(&claim.to_bytes());
        });
        out.raw(&self.reservation.boot_id);
        out.time(self.reservation.time);
        out.bytes(&self.reservation.details);
        out.into_bytes()
    }
}

/// The variable that marks the processes of a tree.
fn variable(tag: &str) -> CString {
    let variable = format!("{}={tag}", crate::process::TAG);
    CString::new(variable).unwrap_or_default()
}

impl Received {
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Decoder::new(bytes);
        let mut plan = Plan::decode(&mut from)?;
        plan.environment.extend(from.option(Decoder::c_string)?);
        let received = Self {
            plan,
            is_memory_limited: from.bool()?,
            terminal: from.option(|from| {
                Some(WindowSize {
                    rows: from.u16()?,
                    columns: from.u16()?,
                })
            })?,
            stdin: Bytes::copy_from_slice(from.bytes()?),
            stdin_open: from.bool()?,
            timeout: from.option(Decoder::duration)?,
            kill_after: from.duration()?,
            drain_to_end: from.bool()?,
            on_disconnect: match from.u8()? {
                0 => OnDisconnect::Kill,
                1 => OnDisconnect::Grace(from.duration()?),
                2 => OnDisconnect::Detach,
                _ => return None,
            },
            settings: Settings {
                keep: Keep {
                    max_bytes: from.u64()?,
                    on_full: if from.bool()? {
                        OnFull::DropOldest
                    } else {
                        OnFull::Block
                    },
                    no_output: from.bool()?,
                },
                reserve_bytes: from.u64()?,
            },
            reservation: Reservation {
                claim: from.option(|from| Claim::from_bytes(from.bytes()?))?,
                boot_id: from.array()?,
                time: from.time()?,
                details: Bytes::copy_from_slice(from.bytes()?),
            },
        };
        from.is_at_end().then_some(received)
    }
}
