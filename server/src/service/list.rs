//! List: which records a page holds.

use std::time::{Duration, UNIX_EPOCH};

use remex::{error::Reason, v1};
use tonic::Status;
use uuid::Uuid;

use crate::execution::{Filter, Rank};

/// Records of a page where none is asked for.
const DEFAULT_PAGE: usize = 100;

/// Records of a page at most.
pub(super) const MAX_PAGE: usize = 1000;

/// Bytes of the records on a page, about; one record alone may be larger.
const MAX_PAGE_BYTES: usize = 1024 * 1024;

/// What a request asks for.
pub(super) fn filter(request: v1::ListRequest) -> Result<Filter, Status> {
    let invalid = |field, why| Reason::InvalidField.field(field, why);
    let records = match usize::try_from(request.page_size) {
        Ok(0) => DEFAULT_PAGE,
        Ok(size) => size.min(MAX_PAGE),
        Err(_) => return Err(invalid("page_size", "is negative")),
    };
    let before = match request.page_token.as_str() {
        "" => None,
        token => {
            Some(rank(token).ok_or_else(|| invalid("page_token", "is none that List has given"))?)
        }
    };
    let mut states = Vec::with_capacity(request.states.len());
    for number in request.states {
        match v1::execution::State::try_from(number) {
            Ok(v1::execution::State::Unspecified) | Err(_) => {
                return Err(invalid("states", "has a number that is no state"));
            }
            Ok(state) => states.push(state),
        }
    }
    let wanted = |state| states.is_empty() || states.contains(&state);
    Ok(Filter {
        before,
        records,
        running: wanted(v1::execution::State::Running),
        ended: wanted(v1::execution::State::Ended),
        labels: request.labels.into_iter().collect(),
        caller: Some(request.caller).filter(|caller| !caller.is_empty()),
    })
}

/// As many of `executions` as fit, and where the next page begins if there are `more` behind them.
pub(super) fn page(
    executions: impl Iterator<Item = (Rank, v1::Execution)>,
    mut more: bool,
) -> v1::ListResponse {
    let mut page: Vec<v1::Execution> = Vec::new();
    let (mut bytes, mut last) = (0, None);
    for (rank, execution) in executions {
        bytes += prost::Message::encoded_len(&execution);
        if bytes > MAX_PAGE_BYTES && !page.is_empty() {
            more = true;
            break;
        }
        page.push(execution);
        last = Some(rank);
    }
    v1::ListResponse {
        next_page_token: last.filter(|_| more).map(token).unwrap_or_default(),
        executions: page,
    }
}

/// The token of the page behind the execution that stands at `rank`.
fn token((created, id): Rank) -> String {
    let since = created.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:09}.{id}", since.as_secs(), since.subsec_nanos())
}

/// Where [`token`] says that a page begins.
fn rank(token: &str) -> Option<Rank> {
    const NANOS: u32 = 1_000_000_000;
    let mut parts = token.splitn(3, '.');
    let (seconds, nanos, id) = (parts.next()?, parts.next()?, parts.next()?);
    let nanos = nanos.parse().ok().filter(|&nanos: &u32| nanos < NANOS)?;
    let since = Duration::new(seconds.parse().ok()?, nanos);
    Some((UNIX_EPOCH.checked_add(since)?, Uuid::try_parse(id).ok()?))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use prost::Message;

    use super::*;

    /// A record of so many bytes.
    fn record(id: &str, bytes: usize) -> (Rank, v1::Execution) {
        let mut record = v1::Execution {
            execution_id: id.to_owned(),
            ..v1::Execution::default()
        };
        while record.encoded_len() < bytes {
            let missing = bytes - record.encoded_len();
            let length = record.storage_error.len() + missing.div_ceil(2);
            record.storage_error = "x".repeat(length);
        }
        assert_eq!(record.encoded_len(), bytes);
        (stands(id), record)
    }

    /// Where the record of this name stands.
    fn stands(id: &str) -> Rank {
        let number = u128::from(id.as_bytes()[0]);
        (UNIX_EPOCH, Uuid::from_u128(number))
    }

    #[test]
    fn a_page_token_is_exact_and_nothing_else_is_one() {
        let here = (SystemTime::now(), Uuid::from_u128(7));
        assert_eq!(rank(&token(here)), Some(here));
        let id = here.1;
        for other in [
            "",
            "x",
            "1.2",
            &format!("1.1000000000.{id}"),
            &format!("{}.0.{id}", u64::MAX),
        ] {
            assert_eq!(rank(other), None, "{other}");
        }
    }

    #[test]
    fn a_page_has_at_most_1_mib_of_records() {
        const MIB: usize = 1_048_576;
        let ids = |page: &v1::ListResponse| -> Vec<String> {
            let ids = page.executions.iter();
            ids.map(|record| record.execution_id.clone()).collect()
        };
        let half = |id| record(id, MIB / 2);
        let whole = page([half("a"), half("b")].into_iter(), false);
        assert_eq!(ids(&whole), ["a", "b"]);
        assert_eq!(whole.next_page_token, "");
        let cut = page([half("a"), record("b", MIB / 2 + 1)].into_iter(), false);
        assert_eq!(ids(&cut), ["a"]);
        assert_eq!(cut.next_page_token, token(stands("a")));
        // What no page would hold does not hide what is behind it.
        let alone = page([record("a", 2 * MIB), half("b")].into_iter(), true);
        assert_eq!(ids(&alone), ["a"]);
        assert_eq!(alone.next_page_token, token(stands("a")));
    }

    #[test]
    fn a_page_has_100_records_or_as_many_as_are_asked_for_up_to_1000() {
        let records = |page_size| {
            let request = v1::ListRequest {
                page_size,
                ..v1::ListRequest::default()
            };
            filter(request).map(|filter| filter.records)
        };
        for (asked, given) in [(0, 100), (1, 1), (999, 999), (1000, 1000), (1001, 1000)] {
            assert_eq!(records(asked).unwrap(), given);
        }
        assert!(records(-1).is_err());
    }
}
