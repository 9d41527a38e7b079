//! What GetServerInfo tells: which parts of the API are here, and the bounds that callers meet.

use remex::{VERSION, v1};
use remex_supervisor::process::{MAX_KILL_AFTER, MAX_STRING_BYTES, landlock_abi};

use super::{
    list::MAX_PAGE,
    translate::{
        DEFAULT_OUTPUT_BYTES, MAX_LABEL_KEY_BYTES, MAX_LABEL_VALUE_BYTES, MAX_LABELS,
        MAX_OUTPUT_BYTES, MAX_STRINGS,
    },
};
use crate::{
    execution::{ENDED_KEPT, ENDED_RECORDS, Executions},
    grpc::{
        connection::{MAX_CONNECTIONS, MAX_HEADER_BYTES, MAX_STREAMS},
        routes::MAX_REQUEST_BYTES,
    },
};

/// What of the API a server without it would drop unseen; in alphabetical order.
const FEATURES: [&str; 8] = [
    "drain",
    "durable",
    "isolation",
    "limits",
    "refused",
    "terminal",
    "tokens",
    "user",
];

pub(super) fn server_info(executions: &Executions) -> v1::GetServerInfoResponse {
    v1::GetServerInfoResponse {
        version: VERSION.to_owned(),
        features: FEATURES.map(str::to_owned).to_vec(),
        limits: Some(limits(executions)),
        containment: executions.describe(),
        landlock_abi: landlock_abi(),
    }
}

fn limits(executions: &Executions) -> v1::ServerLimits {
    v1::ServerLimits {
        max_request_bytes: MAX_REQUEST_BYTES as u64,
        max_header_bytes: MAX_HEADER_BYTES.into(),
        max_connection_streams: MAX_STREAMS.into(),
        max_connections: MAX_CONNECTIONS as u64,
        max_executions: executions.max() as u64,
        max_string_bytes: MAX_STRING_BYTES as u64,
        max_strings: MAX_STRINGS as u64,
        max_labels: MAX_LABELS as u64,
        max_label_key_bytes: MAX_LABEL_KEY_BYTES as u64,
        max_label_value_bytes: MAX_LABEL_VALUE_BYTES as u64,
        default_output_bytes: DEFAULT_OUTPUT_BYTES as u64,
        max_output_bytes: MAX_OUTPUT_BYTES as u64,
        max_kill_after: MAX_KILL_AFTER.try_into().ok(),
        ended_record_age: ENDED_KEPT.try_into().ok(),
        max_ended_records: ENDED_RECORDS as u64,
        max_page_size: MAX_PAGE as u64,
    }
}
