//! The times of a call, by a clock that stands still as long as something happens.

use futures_util::{Stream, stream};
use remex::v1::{
    AttachRequest, Command, InteractResponse, StartRequest, event::Kind,
    exec_service_client::ExecServiceClient, exec_service_server::ExecServiceServer,
};
use remex_daemon::net::Caller;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::Request;

use super::{super::exec::ExecHandler, *};
use crate::{execution::testing::executions, id::new_id, policy::gate::PolicyGate};

/// A service, and where its executions keep what they keep.
struct Service {
    handler: ExecHandler,
    _folder: TempDir,
}

impl Service {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let executions = Arc::new(executions(folder.path(), 1));
        let gate = PolicyGate::open(Arc::clone(executions.spawner()));
        Self {
            handler: ExecHandler::new(executions, gate, TaskTracker::new()),
            _folder: folder,
        }
    }

    async fn interact(
        &self,
        messages: impl Stream<Item = Message> + Send + 'static,
    ) -> Result<Streaming<InteractResponse>, Status> {
        use futures_util::StreamExt;

        let messages = messages.map(|message| InteractRequest {
            message: Some(message),
        });
        let mut request = Request::new(messages);
        request.extensions_mut().insert(Caller::unix(0));
        let mut client = ExecServiceClient::new(ExecServiceServer::new(self.handler.clone()));
        client
            .interact(request)
            .await
            .map(tonic::Response::into_inner)
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_message_has_30_seconds() {
    let service = Service::new();
    let first_after = async |time| {
        let message = Message::Attach(AttachRequest {
            execution_id: new_id().to_string(),
            ..AttachRequest::default()
        });
        let message = stream::once(async move {
            sleep(time).await;
            message
        });
        let begun = Instant::now();
        let status = service.interact(message).await.unwrap_err();
        (Reason::of(&status), begun.elapsed())
    };
    let (reason, _) = first_after(Duration::from_millis(29_900)).await;
    assert_eq!(reason, Some(Reason::ExecutionNotFound));
    let (reason, after) = first_after(Duration::from_mins(1)).await;
    assert_eq!(reason, Some(Reason::InvalidField));
    assert_eq!(after.as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_the_end_is_read_and_dropped_for_5_seconds() {
    let service = Service::new();
    let (messages, received) = mpsc::channel(1);
    let start = StartRequest {
        command: Some(Command {
            argv: vec!["true".to_owned()],
            ..Command::default()
        }),
        ..StartRequest::default()
    };
    messages
        .send(Message::Start(Box::new(start)))
        .await
        .unwrap();
    let mut events = service
        .interact(ReceiverStream::new(received))
        .await
        .unwrap();
    let mut exits = 0;
    while let Some(response) = events.message().await.unwrap() {
        let kind = response.event.and_then(|event| event.kind);
        exits += usize::from(matches!(kind, Some(Kind::Exited(_))));
    }
    assert_eq!(exits, 1);
    let ended = Instant::now();
    for _ in 0..10 {
        messages.send(Message::Signal(15)).await.unwrap();
    }
    messages.closed().await;
    assert_eq!(ended.elapsed().as_secs(), 5);
}
