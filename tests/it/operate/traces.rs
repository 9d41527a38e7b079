//! What a collector gets of calls and executions, and that one that is away or says nothing holds up nobody.

use std::{collections::BTreeMap, fmt::Write};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use remex::v1::{AttachRequest, Command, OnDisconnect, RunRequest, StartRequest};
use tokio::{net::TcpListener, sync::mpsc};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use super::scraper::until;
use crate::{
    gateway::support::Legacy,
    harness::{Daemon, Home, soon},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A collector of OpenTelemetry's, as far as spans go.
struct Collector {
    endpoint: String,
    told: mpsc::UnboundedReceiver<Told>,
    /// Those that nobody has asked for yet.
    spans: Vec<Told>,
}

/// A span, with what is told of the service that it is of.
#[derive(Debug)]
struct Told {
    span: Span,
    service: BTreeMap<String, String>,
}

struct Listening(mpsc::UnboundedSender<Told>);

#[tonic::async_trait]
impl TraceService for Listening {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_service in request.into_inner().resource_spans {
            let resource = of_service.resource.unwrap_or_default();
            let spans = of_service.scope_spans.into_iter();
            for span in spans.flat_map(|of_scope| of_scope.spans) {
                let service = texts(&resource.attributes);
                // A test that has seen enough listens no more.
                let _ = self.0.send(Told { span, service });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Attributes as text.
fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |one: &KeyValue| match one.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{}: {other:?}", one.key),
    };
    let pair = |one: &KeyValue| (one.key.clone(), text(one));
    attributes.iter().map(pair).collect()
}

impl Told {
    fn attribute(&self, key: &str) -> Option<String> {
        texts(&self.span.attributes).remove(key)
    }

    fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    fn is_error(&self) -> bool {
        let status = self.span.status.as_ref();
        status.is_some_and(|status| status.code() == StatusCode::Error)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let (tell, told) = mpsc::unbounded_channel();
        let service = TraceServiceServer::new(Listening(tell));
        let serving = Server::builder().add_service(service);
        tokio::spawn(serving.serve_with_incoming(TcpIncoming::from(listener)));
        Self {
            endpoint,
            told,
            spans: Vec::new(),
        }
    }

    /// The next span of this name.
    async fn span(&mut self, name: &str) -> Told {
        soon(&format!("the span {name}"), async {
            loop {
                if let Some(index) = self.spans.iter().position(|told| told.span.name == name) {
                    return self.spans.remove(index);
                }
                self.spans.push(self.told.recv().await.expect("it listens"));
            }
        })
        .await
    }
}

fn shell(text: &str) -> Command {
    Command {
        shell: text.to_owned(),
        ..Command::default()
    }
}

/// `message` as a part of the trace.
fn traced<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let metadata = request.metadata_mut();
    metadata.insert("traceparent", parent.parse().expect("ASCII"));
    metadata.insert("tracestate", "vendor=7".parse().expect("ASCII"));
    request
}

#[tokio::test]
async fn a_run_is_a_span_of_its_callers_trace_and_its_command_one_below_it() {
    let mut collector = Collector::start().await;
    let flags = ["--pass-env", "TRACEPARENT", "--pass-env", "TRACESTATE"];
    let endpoint = ["--otlp-endpoint", &collector.endpoint];
    let daemon = Daemon::start(&[&flags[..], &endpoint].concat()).await;
    let mut exec = daemon.client().await.exec();
    let request = traced(RunRequest {
        command: Some(shell("echo $TRACEPARENT $TRACESTATE; exit 3")),
        text: true,
        ..RunRequest::default()
    });
    let answer = soon("a run", exec.run(request)).await.unwrap().into_inner();

    let call = collector.span("remex.v1.ExecService/Run").await;
    assert_eq!(hex(&call.span.trace_id), TRACE);
    assert_eq!(hex(&call.span.parent_span_id), PARENT);
    assert_eq!(call.span.kind(), SpanKind::Server);
    assert_eq!(call.span.trace_state, "vendor=7");
    assert!(!call.is_error());
    for (key, value) in [
        ("rpc.system", "grpc"),
        ("rpc.service", "remex.v1.ExecService"),
        ("rpc.method", "Run"),
        ("rpc.grpc.status_code", "0"),
        ("network.transport", "tcp"),
    ] {
        assert_eq!(call.attribute(key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(call.attribute("error.type"), None);
    assert_eq!(call.service["service.name"], "remexd");
    assert_eq!(call.service["service.version"], remex::VERSION);

    let command = collector.span("sh").await;
    assert_eq!(hex(&command.span.trace_id), TRACE);
    assert_eq!(hex(&command.span.parent_span_id), call.id());
    assert_eq!(command.span.kind(), SpanKind::Internal);
    assert!(command.is_error(), "its exit code is 3");
    for (key, value) in [
        ("process.executable.name", "sh"),
        ("process.exit.code", "3"),
        ("remex.exit.reason", "SELF"),
        ("remex.execution.id", &answer.execution_id),
    ] {
        assert_eq!(command.attribute(key).as_deref(), Some(value), "{key}");
    }
    assert!(call.span.start_time_unix_nano <= command.span.start_time_unix_nano);
    assert!(command.span.end_time_unix_nano <= call.span.end_time_unix_nano);
    let handed = format!("00-{TRACE}-{}-01 vendor=7\n", command.id());
    assert_eq!(answer.stdout_text, handed);
    daemon.stop().await;
}

#[tokio::test]
async fn each_way_to_run_a_command_has_its_spans() {
    let mut collector = Collector::start().await;
    let home = Home::new();
    // As whoever runs a collector says it to everything.
    let mut remexd = home.remexd(&["--legacy", "tcp://127.0.0.1:0/exec"]);
    remexd.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint);
    remexd.env("OTEL_SERVICE_NAME", "builds");
    let daemon = Daemon::spawn(&home, remexd).await;
    let mut exec = daemon.client().await.exec();
    for (on_disconnect, request_id) in [
        (OnDisconnect::Kill, ""),
        (OnDisconnect::Kill, "id"),
        (OnDisconnect::Detach, ""),
    ] {
        let request = traced(StartRequest {
            command: Some(shell("exec sleep 0")),
            on_disconnect: on_disconnect.into(),
            request_id: request_id.to_owned(),
            ..StartRequest::default()
        });
        let mut events = soon("a start", exec.start(request))
            .await
            .unwrap()
            .into_inner();
        while soon("an event", events.message()).await.unwrap().is_some() {}
        let call = collector.span("remex.v1.ExecService/Start").await;
        let command = collector.span("sh").await;
        assert_eq!(hex(&call.span.trace_id), TRACE);
        assert_eq!(hex(&command.span.parent_span_id), call.id());
        assert_eq!(command.attribute("process.exit.code").as_deref(), Some("0"));
        assert!(!command.is_error());
        assert_eq!(call.service["service.name"], "builds");
    }
    // The old protocol brings no trace.
    let mut legacy = Legacy::connect(daemon.socket("tcp-exec")).await;
    legacy.send(b"echo hi").await;
    let call = collector.span("remex.v1.ExecService/Start").await;
    assert!(call.span.parent_span_id.is_empty());
    assert_ne!(hex(&call.span.trace_id), TRACE);
    assert_eq!(
        call.attribute("remex.listener").as_deref(),
        Some("tcp-exec")
    );
    let command = collector.span("sh").await;
    assert_eq!(hex(&command.span.parent_span_id), call.id());
    daemon.stop().await;
}

#[tokio::test]
async fn how_a_call_failed_is_told_and_what_is_not_sampled_is_not() {
    let mut collector = Collector::start().await;
    let daemon = Daemon::start(&["--otlp-endpoint", &collector.endpoint]).await;
    let mut exec = daemon.client().await.exec();
    let run = |command| RunRequest {
        command: Some(command),
        ..RunRequest::default()
    };
    // Its caller does not record.
    let mut request = Request::new(run(shell("true")));
    let unsampled = format!("00-{TRACE}-{PARENT}-00").parse().expect("ASCII");
    request.metadata_mut().insert("traceparent", unsampled);
    soon("a run", exec.run(request)).await.unwrap();
    let nowhere = Command {
        argv: vec!["/nowhere".to_owned()],
        ..Command::default()
    };
    soon("a run", exec.run(run(nowhere))).await.unwrap_err();
    let call = collector.span("remex.v1.ExecService/Run").await;
    assert_eq!(
        call.attribute("error.type").as_deref(),
        Some("PROGRAM_NOT_FOUND")
    );
    assert_eq!(call.attribute("rpc.grpc.status_code").as_deref(), Some("5"));
    assert_ne!(hex(&call.span.trace_id), TRACE);
    assert!(!call.is_error(), "it is the caller's");
    assert!(collector.span("nowhere").await.is_error());
    // A caller that leaves.
    let request = StartRequest {
        command: Some(shell("exec sleep 1000")),
        ..StartRequest::default()
    };
    let events = soon("a start", exec.start(request)).await.unwrap();
    drop(events);
    let call = collector.span("remex.v1.ExecService/Start").await;
    assert_eq!(call.attribute("rpc.grpc.status_code").as_deref(), Some("1"));
    let command = collector.span("sh").await;
    assert_eq!(
        command.attribute("remex.exit.reason").as_deref(),
        Some("DISCONNECT")
    );
    // An error in the middle of nothing else: in the headers, and no execution.
    let request = AttachRequest {
        execution_id: "none".to_owned(),
        ..AttachRequest::default()
    };
    soon("an attach", exec.attach(request)).await.unwrap_err();
    let call = collector.span("remex.v1.ExecService/Attach").await;
    assert_eq!(
        call.attribute("error.type").as_deref(),
        Some("EXECUTION_NOT_FOUND")
    );
    daemon.stop().await;
}

#[tokio::test]
async fn without_a_collector_a_command_is_handed_what_its_call_brought() {
    let daemon = Daemon::start(&["--pass-env", "TRACEPARENT"]).await;
    let mut exec = daemon.client().await.exec();
    let request = |text: &str| {
        traced(RunRequest {
            command: Some(shell(text)),
            text: true,
            ..RunRequest::default()
        })
    };
    let text = r#"echo "$TRACEPARENT,$TRACESTATE""#;
    let answer = soon("a run", exec.run(request(text))).await.unwrap();
    let handed = format!("00-{TRACE}-{PARENT}-01,\n");
    assert_eq!(answer.into_inner().stdout_text, handed);
    let untraced = request(text).into_inner();
    let answer = soon("a run", exec.run(untraced)).await.unwrap();
    assert_eq!(answer.into_inner().stdout_text, ",\n");
    // Its own, if it names one; and none where nothing is passed on.
    let mut own = request(text);
    let command = own.get_mut().command.as_mut().unwrap();
    command.environment = [("TRACEPARENT".to_owned(), "own".to_owned())].into();
    let answer = soon("a run", exec.run(own)).await.unwrap();
    assert_eq!(answer.into_inner().stdout_text, "own,\n");
    let mut cleared = request(text);
    cleared
        .get_mut()
        .command
        .as_mut()
        .unwrap()
        .clear_environment = true;
    let answer = soon("a run", exec.run(cleared)).await.unwrap();
    assert_eq!(answer.into_inner().stdout_text, ",\n");
    daemon.stop().await;
}

#[tokio::test]
async fn a_collector_that_is_away_or_says_nothing_holds_up_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent_port = silent.local_addr().expect("an address").port();
    // Nobody listens on a port that was given back a moment ago.
    let away = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let away_port = away.local_addr().expect("an address").port();
    drop(away);
    for port in [silent_port, away_port] {
        let endpoint = format!("http://127.0.0.1:{port}");
        let daemon =
            Daemon::start(&["--otlp-endpoint", &endpoint, "--metrics", "127.0.0.1:0"]).await;
        let mut exec = daemon.client().await.exec();
        for _ in 0..3 {
            let request = RunRequest {
                command: Some(shell("true")),
                ..RunRequest::default()
            };
            soon("a run", exec.run(request)).await.unwrap();
        }
        let scrape = until(daemon.url("metrics"), "the counts", |_| true).await;
        assert_eq!(scrape.count("remex_trace_spans_exported_total"), 0);
        let home = daemon.home().clone();
        daemon.stop().await;
        home.logged(&["spans "]).await;
    }
}

#[tokio::test]
async fn what_is_no_collector_is_refused_by_name() {
    let home = Home::new();
    let refused = home.refused(&["--otlp-endpoint", "127.0.0.1:4317"]).await;
    refused.assert(64, &["--otlp-endpoint", "http://HOST:PORT"]);
    let mut remexd = home.remexd(&[]);
    remexd.env(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "http://127.0.0.1:4318/v1/traces",
    );
    let refused = Home::refusal(remexd).await;
    refused.assert(64, &["OTEL_EXPORTER_OTLP_ENDPOINT", "gRPC"]);
}
