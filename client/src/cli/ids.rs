//! Executions as they are typed: by their ids, or by the beginning of one.

use remex::v1::{Execution, ListRequest, execution::State};
use remex_client::Client;
use thiserror::Error;

use super::Failure;

/// Records asked for at a time, the most that a server gives.
const PAGE_RECORDS: i32 = 1000;
/// Characters of an id as a server gives it.
const ID_CHARS: usize = 36;
/// So many ids are named where several fit.
const NAMED_MAX: usize = 3;

/// What was typed stands for no execution, or for several.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum IdError {
    #[error("an ID is empty; write one that `remex ps` shows")]
    Empty,
    #[error("no execution begins with {0:?}; see `remex ps -a`")]
    Unknown(String),
    #[error("{typed:?} fits {count} executions, {named}; write more of it")]
    Ambiguous {
        typed: String,
        count: usize,
        named: String,
    },
}

/// All executions in one of these states, newest first; in any state if none is named.
pub(crate) async fn list(client: &Client, states: &[State]) -> Result<Vec<Execution>, Failure> {
    let mut request = ListRequest {
        page_size: PAGE_RECORDS,
        states: states.iter().map(|&state| state.into()).collect(),
        ..ListRequest::default()
    };
    let mut executions = Vec::new();
    loop {
        let page = client.exec().list(request.clone()).await?.into_inner();
        executions.extend(page.executions);
        if page.next_page_token.is_empty() {
            return Ok(executions);
        }
        request.page_token = page.next_page_token;
    }
}

/// The id that each of `typed` stands for. The server is asked for its list only if one may be a beginning.
pub(crate) async fn look_up(
    client: &Client,
    typed: &[String],
) -> Result<Vec<Result<String, IdError>>, Failure> {
    let known: Vec<String> = if typed.iter().all(|typed| typed.len() == ID_CHARS) {
        Vec::new()
    } else {
        let executions = list(client, &[]).await?.into_iter();
        executions.map(|execution| execution.execution_id).collect()
    };
    Ok(typed.iter().map(|typed| the_one(typed, &known)).collect())
}

/// The id that `typed` stands for.
pub(crate) async fn one(client: &Client, typed: &str) -> Result<String, Failure> {
    let mut found = look_up(client, &[typed.to_owned()]).await?;
    let id = found.pop().unwrap_or(Err(IdError::Empty));
    id.map_err(|error| Failure::new(error.to_string()))
}

/// Does `act` to each, one after the other. What fails is told, a line each, and is no reason to leave out the others.
pub(crate) async fn each<T>(
    client: &Client,
    typed: &[String],
    mut act: impl AsyncFnMut(String) -> Result<T, Failure>,
) -> Result<Vec<Result<T, Failure>>, Failure> {
    let mut results = Vec::new();
    for (id, typed) in look_up(client, typed).await?.into_iter().zip(typed) {
        results.push(match id {
            Ok(id) => act(id).await.map_err(|failure| failure.about(typed)),
            Err(error) => Err(Failure::new(error.to_string())),
        });
    }
    Ok(results)
}

/// The failures of all but the last are reported; the last is the caller's.
pub(crate) fn all<T>(results: Vec<Result<T, Failure>>) -> Result<Option<T>, Failure> {
    let mut outcome = Ok(None);
    for result in results {
        match (result, &outcome) {
            (Ok(value), Ok(_)) => outcome = Ok(Some(value)),
            (Ok(_), Err(_)) => {}
            (Err(failure), _) => {
                if let Err(earlier) = std::mem::replace(&mut outcome, Err(failure)) {
                    earlier.report();
                }
            }
        }
    }
    outcome
}

fn the_one(typed: &str, known: &[String]) -> Result<String, IdError> {
    if typed.is_empty() {
        return Err(IdError::Empty);
    }
    if typed.len() == ID_CHARS || known.iter().any(|id| id == typed) {
        return Ok(typed.to_owned());
    }
    let fitting: Vec<_> = known.iter().filter(|id| id.starts_with(typed)).collect();
    match fitting[..] {
        [] => Err(IdError::Unknown(typed.to_owned())),
        [id] => Ok(id.clone()),
        _ => {
            let named: Vec<_> = fitting.iter().map(|id| id.as_str()).collect();
            let (some, more) = named.split_at(named.len().min(NAMED_MAX));
            let dots = if more.is_empty() { "" } else { ", …" };
            Err(IdError::Ambiguous {
                typed: typed.to_owned(),
                count: named.len(),
                named: format!("{}{dots}", some.join(", ")),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_stands_for_the_one_that_it_fits() {
        let known = ["exec-1", "exec-10", "exec-11", "exec-2", "other"].map(str::to_owned);
        let one = |typed| the_one(typed, &known);
        assert_eq!(one("o"), Ok("other".to_owned()));
        assert_eq!(one("exec-2"), Ok("exec-2".to_owned()));
        // Whole, although others begin with it.
        assert_eq!(one("exec-1"), Ok("exec-1".to_owned()));
        assert_eq!(one(""), Err(IdError::Empty));
        assert_eq!(one("x"), Err(IdError::Unknown("x".to_owned())));
        let several = one("exec").unwrap_err().to_string();
        assert_eq!(
            several,
            r#""exec" fits 4 executions, exec-1, exec-10, exec-11, …; write more of it"#
        );
        // A whole id is the server's to know.
        let whole = "01930000-0000-7000-8000-000000000000";
        assert_eq!(the_one(whole, &[]), Ok(whole.to_owned()));
    }
}
