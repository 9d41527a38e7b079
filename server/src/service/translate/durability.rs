//! How an execution is to be kept, as its caller asks for it.

use std::time::Duration;

use remex::v1;
use remex_supervisor::{
    journal::{Keep, OnFull},
    lifecycle::presence::OnDisconnect,
};

use super::{Checked, Common, Request, duration, invalid, unknown_number};
use crate::execution::Durability;

/// `disconnect_grace` where none is given.
const DEFAULT_GRACE: Duration = Duration::from_mins(1);

/// Longest `request_id`.
const MAX_REQUEST_ID_BYTES: usize = 1024;

/// How an execution is to be kept; `None`: it is not durable.
pub(super) fn durability(common: &Common) -> Checked<Option<Durability>> {
    let policy = v1::OnDisconnect::try_from(common.on_disconnect)
        .map_err(|_| unknown_number("on_disconnect", common.on_disconnect))?;
    let request_id = request_id(&common.request_id)?;
    let policy = match (policy, &request_id) {
        (v1::OnDisconnect::Unspecified, None) => v1::OnDisconnect::Kill,
        (v1::OnDisconnect::Unspecified, Some(_)) => v1::OnDisconnect::Grace,
        (policy, _) => policy,
    };
    let keep = common.keep.map(keep).transpose()?;
    let grace = duration("disconnect_grace", common.disconnect_grace)?;
    if policy != v1::OnDisconnect::Grace && common.disconnect_grace.is_some() {
        return Err(invalid(
            "disconnect_grace",
            "is of use with ON_DISCONNECT_GRACE alone",
        ));
    }
    if policy == v1::OnDisconnect::Kill && request_id.is_none() {
        return match keep {
            Some(_) => Err(invalid(
                "keep",
                "is of use for a durable execution alone: one with a request_id, or with ON_DISCONNECT_GRACE or _DETACH",
            )),
            None => Ok(None),
        };
    }
    Ok(Some(Durability {
        request_id,
        on_disconnect: match policy {
            v1::OnDisconnect::Grace => OnDisconnect::Grace(grace.unwrap_or(DEFAULT_GRACE)),
            v1::OnDisconnect::Detach => OnDisconnect::Detach,
            v1::OnDisconnect::Unspecified | v1::OnDisconnect::Kill => OnDisconnect::Kill,
        },
        keep: keep.unwrap_or_default(),
    }))
}

fn request_id(text: &str) -> Checked<Option<String>> {
    if text.len() > MAX_REQUEST_ID_BYTES {
        let why = format!(
            "has {} bytes, and {MAX_REQUEST_ID_BYTES} are taken",
            text.len()
        );
        return Err(invalid("request_id", &why));
    }
    Ok(Some(text.to_owned()).filter(|id| !id.is_empty()))
}

fn keep(keep: v1::Keep) -> Checked<Keep> {
    let on_full = v1::keep::OnFull::try_from(keep.on_full)
        .map_err(|_| unknown_number("keep.on_full", keep.on_full))?;
    let default = Keep::default();
    Ok(Keep {
        max_bytes: match keep.max_bytes {
            0 => default.max_bytes,
            bytes => bytes,
        },
        on_full: match on_full {
            v1::keep::OnFull::Unspecified | v1::keep::OnFull::Block => OnFull::Block,
            v1::keep::OnFull::DropOldest => OnFull::DropOldest,
        },
        no_output: keep.no_output,
    })
}

/// The id of a durable execution that is run for one answer: else it would be known at its end alone.
pub(in super::super) fn named(request: &Request) -> Checked<()> {
    match &request.durability {
        Some(Durability {
            request_id: None, ..
        }) => Err(invalid(
            "request_id",
            "is missing: the answer of Run comes at the end, so whoever is to come back needs an id of their own; or use Start",
        )),
        _ => Ok(()),
    }
}
