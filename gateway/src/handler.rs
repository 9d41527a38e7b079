//! What a request is answered with, for TCP, Unix sockets and UDP alike: the one place where a legacy request meets the
//! services. It knows nothing of sockets; [`Form`] is all it is told of the reply's way back.

use std::sync::Arc;

use bytes::Bytes;
use remex::v1::{EchoRequest, echo_request, echo_response};
use remex_client::{Client, wire::Wire};
use remex_daemon::{
    admission::{Refusals, Refused},
    net::Caller,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tonic::Status;

use crate::{
    body::{Body, Collector, Memory, Policy, Spool, Tail},
    call,
    config::Exec,
    counts::ListenerCounts,
    exec,
    limits::{Limits, REPLY_RESERVE_BYTES, RUNNING_BYTES, TRANSIT_BYTES},
    wire::{
        Charset, Ending, Summary, last_word,
        request::{self, Request},
    },
};

/// What a reply has to be, whatever it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Form {
    /// What its text is in.
    pub charset: Charset,
    /// The longest body.
    pub most_bytes: u64,
    /// It may be longer than memory.
    pub spool: bool,
    /// It carries a digest.
    pub digest: bool,
    /// An empty one would leave the client waiting.
    pub must_say: bool,
    /// It says beside its body how the command ended.
    pub tells_status: bool,
    /// It is named after the last word of the command.
    pub last_word: bool,
}

impl Form {
    /// A reply over a connection.
    pub fn stream(wire: &Wire, charset: Charset, limits: &Limits) -> Self {
        Self {
            charset,
            most_bytes: limits.body_bytes.min(wire.most_body_bytes()),
            spool: true,
            digest: wire.has_header(),
            must_say: wire.is_bare(),
            tells_status: wire.has_header(),
            last_word: wire.names_last_word(),
        }
    }

    /// A reply of one datagram.
    pub fn datagram(max_datagram: usize, charset: Charset) -> Self {
        Self {
            charset,
            most_bytes: max_datagram as u64,
            spool: false,
            digest: false,
            must_say: true,
            tells_status: false,
            last_word: false,
        }
    }
}

/// A reply, before it is laid out.
#[derive(Debug)]
pub struct Reply {
    /// What goes before the body says this.
    pub summary: Summary,
    /// The body.
    pub body: Body,
    /// The command counts as running until its reply is handed over and dropped.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// What a request is answered with.
#[derive(Debug)]
pub enum Answer {
    /// This, and the next request may come.
    Reply(Reply),
    /// This, and nothing more: what follows may be the rest of what was refused.
    Last(Reply),
}

/// Answers requests.
#[derive(Clone)]
pub struct Handler {
    client: Client,
    limits: Limits,
    spool: Spool,
    memory: Memory,
    running: Arc<Semaphore>,
    counts: Arc<ListenerCounts>,
}

impl Handler {
    /// One that calls `client` and spools long replies to `spool`.
    pub fn new(client: Client, limits: Limits, spool: Spool) -> Self {
        Self {
            client,
            running: Arc::new(Semaphore::new(limits.running_commands)),
            memory: Memory::new(limits.replies_in_memory_bytes),
            limits,
            spool,
            counts: Arc::default(),
        }
    }

    /// The same with the same bounds, for a listener that has `counts`.
    #[must_use]
    pub fn counting(&self, counts: Arc<ListenerCounts>) -> Self {
        Self {
            counts,
            ..self.clone()
        }
    }

    /// Runs the command that `bytes` are; that they are no other protocol's is known. Dropping the future kills it.
    pub async fn exec(&self, bytes: &[u8], exec: &Exec, form: Form, caller: &Caller) -> Answer {
        self.count_request();
        let text = match request::parse(bytes, exec.charset.encoding(), self.limits.request_bytes) {
            Ok(Request::Command(text)) => text,
            Ok(Request::Blank) => return Answer::Reply(self.blank(form).await),
            Err(refusal) => {
                self.note(Refused::Command, caller, &refusal);
                let why = format!("remex: {refusal}; nothing was run");
                return Answer::Last(self.say(why, form).await);
            }
        };
        let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() else {
            let why = format!(
                "remex: {} commands are running or have replies that are not read yet, as many as may; try again later",
                self.limits.running_commands
            );
            self.note(Refused::Commands, caller, &why);
            return Answer::Reply(self.say(why, form).await);
        };
        let filename = form.last_word.then(|| last_word(&text)).flatten();
        let policy = self.policy(form);
        let outcome = exec::run(
            &self.client,
            text,
            exec,
            caller,
            policy,
            form,
            self.limits.start_wait,
        )
        .await;
        let mut reply = Reply::new(outcome.execution_id, outcome.ending, outcome.body);
        reply.summary.filename = filename;
        reply.permit = Some(permit);
        Answer::Reply(reply)
    }

    /// A reply that is one line of the gateway's own.
    pub async fn say(&self, text: String, form: Form) -> Reply {
        let tail = Tail {
            remark: Some(text),
            if_empty: None,
        };
        let body = Collector::new(self.policy(form)).finish(&tail).await;
        Reply::new(String::new(), Ending::default(), body)
    }

    async fn blank(&self, form: Form) -> Reply {
        let ending = Ending::success();
        let tail = Tail {
            remark: None,
            if_empty: form.must_say.then(|| ending.no_output()),
        };
        let body = Collector::new(self.policy(form)).finish(&tail).await;
        Reply::new(String::new(), ending, body)
    }

    /// `data`, upper-cased by the server.
    pub async fn echo(&self, data: Bytes, caller: &Caller) -> Result<Bytes, Status> {
        self.count_request();
        let content = Some(echo_request::Content::Data(data));
        let request = call::by(caller, EchoRequest { content });
        let mut client = self.client.echo();
        let Ok(response) = timeout(self.limits.start_wait, client.echo(request)).await else {
            let why = format!(
                "the server did not answer within {:?}",
                self.limits.start_wait
            );
            return Err(Status::deadline_exceeded(why));
        };
        let response = response?;
        Ok(match response.into_inner().content {
            Some(echo_response::Content::Data(data)) => data,
            Some(echo_response::Content::Text(text)) => text.into(),
            None => Bytes::new(),
        })
    }

    /// Counts a refusal.
    pub fn note(&self, refused: Refused, caller: &Caller, why: &dyn std::fmt::Display) {
        self.counts.refusals.note(refused, caller, why);
    }

    /// What the listener has refused.
    pub fn refusals(&self) -> &Refusals {
        &self.counts.refusals
    }

    /// Another request came.
    pub(crate) fn count_request(&self) {
        self.counts.request();
    }

    /// The bounds it works by.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn policy(&self, form: Form) -> Policy {
        Policy {
            charset: form.charset,
            most_bytes: form.most_bytes,
            memory_bytes: self.limits.memory_bytes,
            memory: self.memory.clone(),
            reserve_bytes: REPLY_RESERVE_BYTES,
            running_bytes: RUNNING_BYTES,
            transit_bytes: TRANSIT_BYTES,
            spool: form.spool.then(|| self.spool.clone()),
            digest: form.digest,
        }
    }
}

impl Reply {
    fn new(execution_id: String, ending: Ending, body: Body) -> Self {
        Self {
            summary: Summary {
                stdout_bytes: body.stdout_bytes,
                stderr_bytes: body.stderr_bytes,
                md5: body.md5,
                ending,
                truncated: body.truncated,
                filename: None,
                execution_id,
            },
            body,
            permit: None,
        }
    }
}
