//! A call's deadline (`grpc-timeout`): when it passes, the caller has gone. It bounds the call, never the command as such.

use std::convert::Infallible;

use http::Response;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;
use tonic::{Status, body::Body};

use super::until::until;

/// What a call ends with whose deadline has passed.
fn exceeded() -> Status {
    Status::deadline_exceeded("the call's deadline has passed, so its caller is taken for gone")
}

/// What `call` answers, unless `deadline` passes before. One that has passed already has nothing done.
pub(super) async fn within(
    deadline: Instant,
    tasks: &TaskTracker,
    call: impl Future<Output = Result<Response<Body>, Infallible>>,
) -> Result<Response<Body>, Infallible> {
    if deadline <= Instant::now() {
        return Ok(exceeded().into_http());
    }
    let over = move || async move {
        sleep_until(deadline).await;
        exceeded()
    };
    until(over, tasks, call).await
}
