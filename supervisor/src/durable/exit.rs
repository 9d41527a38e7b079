//! How an exit crosses to a server. Pure.

use crate::{
    codec::{Decoder, Encoder},
    lifecycle::{
        event::Exit,
        outcome::{Cause, ExitReason, Outcome},
    },
    process::{ExitStatus, Usage},
};

pub(super) fn encode(exit: &Exit, out: &mut Encoder) {
    let Outcome {
        status,
        reason,
        unkillable,
        output_cut,
    } = exit.outcome;
    out.option(status, |out, status| match status {
        ExitStatus::Code(code) => {
            out.u8(0);
            out.u8(code);
        }
        ExitStatus::Signal {
            number,
            core_dumped,
        } => {
            out.u8(1);
            out.i32(number);
            out.bool(core_dumped);
        }
    });
    out.u8(match reason {
        ExitReason::Own => 0,
        ExitReason::Ended(Cause::Timeout) => 1,
        ExitReason::Ended(Cause::Disconnect) => 2,
        ExitReason::Ended(Cause::Shutdown) => 3,
        ExitReason::Signal => 4,
        ExitReason::Lost => 5,
    });
    out.bool(unkillable);
    out.bool(output_cut);
    out.duration(exit.wall_time);
    out.duration(exit.usage.user);
    out.duration(exit.usage.system);
    out.option(exit.usage.max_rss_bytes, Encoder::u64);
    out.bool(exit.oom_killed);
    out.bool(exit.output_left_open);
}

pub(super) fn decode(from: &mut Decoder<'_>) -> Option<Exit> {
    let status = from.option(|from| match from.u8()? {
        0 => from.u8().map(ExitStatus::Code),
        1 => Some(ExitStatus::Signal {
            number: from.i32()?,
            core_dumped: from.bool()?,
        }),
        _ => None,
    })?;
    let reason = match from.u8()? {
        0 => ExitReason::Own,
        1 => ExitReason::Ended(Cause::Timeout),
        2 => ExitReason::Ended(Cause::Disconnect),
        3 => ExitReason::Ended(Cause::Shutdown),
        4 => ExitReason::Signal,
        5 => ExitReason::Lost,
        _ => return None,
    };
    Some(Exit {
        outcome: Outcome {
            status,
            reason,
            unkillable: from.bool()?,
            output_cut: from.bool()?,
        },
        wall_time: from.duration()?,
        usage: Usage {
            user: from.duration()?,
            system: from.duration()?,
            max_rss_bytes: from.option(Decoder::u64)?,
        },
        oom_killed: from.bool()?,
        output_left_open: from.bool()?,
    })
}
