//! A request id stands for one execution: whoever asks again joins it, and nothing runs twice.

use std::fs;

use futures_util::future::join_all;
use remex::{
    error::Reason as Refusal,
    v1::{
        GetRequest, OnDisconnect, RunRequest, StartRequest, exec_service_client::ExecServiceClient,
        execution::State, exit::Reason,
    },
};
use remex_client::Channel;
use tonic::Status;
use tonic_types::StatusExt;

use super::support::{Events, exit, output, started_id};
use crate::{
    harness::soon,
    supervision::support::{Random, RequestExt, Server, argv, count, duration, ending, shell},
};

type Exec = ExecServiceClient<Channel>;

/// What makes another request of one.
type Change = fn(&mut StartRequest);

fn named(mut request: StartRequest, id: &str) -> StartRequest {
    id.clone_into(&mut request.request_id);
    request
}

/// Appends a line to `file` each time it runs.
fn once(server: &Server, file: &str, then: &str) -> StartRequest {
    let path = server.daemon.home().path(file);
    shell(format!("echo ran >> {}; {then}", path.display()))
}

fn runs(server: &Server, file: &str) -> usize {
    let text = fs::read_to_string(server.daemon.home().path(file)).unwrap_or_default();
    text.lines().count()
}

async fn get(server: &Server, request_id: &str) -> Result<remex::v1::Execution, Status> {
    let request = GetRequest {
        request_id: request_id.to_owned(),
        ..GetRequest::default()
    };
    let got = soon("a record", server.exec().get(request)).await;
    got.map(|response| response.into_inner().execution.unwrap())
}

fn run_request(request: StartRequest) -> RunRequest {
    RunRequest {
        command: request.command,
        request_id: request.request_id,
        labels: request.labels,
        text: true,
        ..RunRequest::default()
    }
}

#[tokio::test]
async fn the_same_request_joins_and_another_is_a_conflict() {
    let server = Server::start(&[]).await;
    let request = || {
        let mut request = once(&server, "ran", "echo begins; exec cat").stdin_open();
        request.labels.insert("a".into(), "b".into());
        named(request, "nightly")
    };
    let mut first = server.start_events(request()).await;
    first.until("begins").await;
    let id = started_id(&first.all[0]);
    let mut second = server.start_events(request()).await;
    second.until("begins").await;
    assert_eq!(second.all[..first.all.len()], first.all);
    let record = get(&server, "nightly").await.unwrap();
    assert_eq!((&record.execution_id, record.attached), (&id, 2));
    assert_eq!(record.request_id, "nightly");
    assert_eq!(record.on_disconnect(), OnDisconnect::Grace);
    let changes: [(&str, Change); 7] = [
        ("command", |request| {
            request.command.as_mut().unwrap().shell.push(' ');
        }),
        ("command", |request| {
            let environment = &mut request.command.as_mut().unwrap().environment;
            environment.insert("SECRET".into(), "hunter2".into());
        }),
        ("stdin_data", |request| {
            request.stdin_data = b"x".as_slice().into();
        }),
        ("stdin_open", |request| request.stdin_open = false),
        ("labels", |request| {
            request.labels.insert("a".into(), "c".into());
        }),
        ("on_disconnect", |request| {
            request.on_disconnect = OnDisconnect::Detach.into();
        }),
        ("disconnect_grace", |request| {
            request.disconnect_grace = Some(duration(7000));
        }),
    ];
    for (field, change) in changes {
        let mut other = request();
        change(&mut other);
        let refused = server.refusal(other).await;
        assert_eq!(
            Refusal::of(&refused),
            Some(Refusal::RequestIdConflict),
            "{field}"
        );
        let details = refused.get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, field);
        assert!(!refused.message().contains("hunter2"), "{refused}");
    }
    assert_eq!(runs(&server, "ran"), 1);
    server.signal_to(&id, 9).await;
    first.end().await;
    // Also when it has ended, and after a crash.
    let server = server.crash(&[]).await;
    let again = server
        .start_events(named(
            {
                let mut request = once(&server, "ran", "echo begins; exec cat").stdin_open();
                request.labels.insert("a".into(), "b".into());
                request
            },
            "nightly",
        ))
        .await
        .end()
        .await;
    assert_eq!(started_id(&again[0]), id);
    assert_eq!(ending(exit(&again)), (-1, 9, Reason::Signal));
    assert_eq!(runs(&server, "ran"), 1);
    // Without its record it stays taken.
    server.delete(&id).await.unwrap();
    let retired = get(&server, "nightly").await.unwrap_err();
    assert_eq!(Refusal::of(&retired), Some(Refusal::RequestIdRetired));
    let server = server.crash(&[]).await;
    let mut request = once(&server, "ran", "echo begins; exec cat").stdin_open();
    request.labels.insert("a".into(), "b".into());
    let retired = server.refusal(named(request, "nightly")).await;
    assert_eq!(Refusal::of(&retired), Some(Refusal::RequestIdRetired));
    server.daemon.stop().await;
}

#[tokio::test]
async fn of_many_who_ask_at_once_one_starts_it() {
    let server = Server::start(&[]).await;
    for round in 0..count(5, 1000) {
        let file = format!("ran-{round}");
        let request = || {
            named(
                once(&server, &file, "echo out; exit 3"),
                &format!("id-{round}"),
            )
        };
        let asked = (0..4).map(|_| async { server.start_events(request()).await.end().await });
        let all = join_all(asked).await;
        for other in &all[1..] {
            assert_eq!(*other, all[0]);
        }
        assert_eq!((runs(&server, &file), exit(&all[0]).code), (1, Some(3)));
    }
    server.daemon.stop().await;
}

/// A call of either kind. Returns the execution, what it wrote, and its code.
async fn call(exec: &mut Exec, request: StartRequest, by_run: bool) -> (String, Vec<u8>, i32) {
    if by_run {
        let ran = soon("a run", exec.run(run_request(request))).await;
        let ran = ran.expect("it runs").into_inner();
        let code = ran.exit.and_then(|exit| exit.code).expect("a code");
        return (ran.execution_id, ran.stdout_text.into(), code);
    }
    let started = soon("a start", exec.start(request)).await;
    let all = Events::new(started.expect("it starts").into_inner())
        .end()
        .await;
    let code = exit(&all).code.expect("a code");
    (started_id(&all[0]), output(&all), code)
}

#[tokio::test]
async fn of_two_who_race_from_connections_of_their_own_one_starts_it() {
    let server = Server::start(&[]).await;
    let mut random = Random::new();
    let mut one = server.exec();
    let mut other = server.daemon.client().await.exec();
    for round in 0..count(100, 1000) {
        let file = format!("raced-{round}");
        let request = || {
            let then = format!("echo {round}; exit 3");
            named(once(&server, &file, &then), &format!("race-{round}"))
        };
        let (first, second) = tokio::join!(
            call(&mut one, request(), random.below(2) == 0),
            call(&mut other, request(), random.below(2) == 0),
        );
        assert_eq!(first, second);
        assert_eq!((first.1, first.2), (format!("{round}\n").into_bytes(), 3));
        assert_eq!(runs(&server, &file), 1);
    }
    server.daemon.stop().await;
}

#[tokio::test]
async fn a_run_that_is_asked_for_again_gives_the_same_answer() {
    let server = Server::start(&[]).await;
    let request = || {
        run_request(named(
            once(&server, "ran", "echo out; echo err >&2; exit 4"),
            "r",
        ))
    };
    let mut exec = server.exec();
    let first = soon("a run", exec.run(request()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (&*first.stdout_text, &*first.stderr_text),
        ("out\n", "err\n")
    );
    assert_eq!(first.exit.as_ref().unwrap().code, Some(4));
    let second = soon("a run", exec.run(request()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(second, first);
    let server = server.crash(&[]).await;
    let request = || {
        run_request(named(
            once(&server, "ran", "echo out; echo err >&2; exit 4"),
            "r",
        ))
    };
    let third = soon("a run", server.exec().run(request())).await;
    assert_eq!(third.unwrap().into_inner(), first);
    assert_eq!(runs(&server, "ran"), 1);
    // A cap is not part of what is compared.
    let capped = RunRequest {
        max_output_bytes: 2,
        ..request()
    };
    let capped = soon("a run", server.exec().run(capped)).await.unwrap();
    let capped = capped.into_inner();
    assert_eq!(
        (&*capped.stdout_text, capped.stdout_truncated),
        ("ou", true)
    );
    server.daemon.stop().await;
}

#[tokio::test]
async fn an_id_under_which_nothing_ran_is_free() {
    let server = Server::start(&[]).await;
    let refused = server.refusal(named(argv(["/no/such/program"]), "x")).await;
    assert_eq!(Refusal::of(&refused), Some(Refusal::ProgramNotFound));
    let missing = get(&server, "x").await.unwrap_err();
    assert_eq!(Refusal::of(&missing), Some(Refusal::ExecutionNotFound));
    // One that is found at the spawn alone.
    let script = server.daemon.home().path("script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&script, mode).unwrap();
    let request = argv([script.to_str().unwrap()]);
    server.refusal(named(request, "x")).await;
    let all = server.start_events(named(argv(["echo", "it"]), "x")).await;
    assert_eq!(output(&all.end().await), b"it\n");
    assert_eq!(get(&server, "x").await.unwrap().state(), State::Ended);
    server.daemon.stop().await;
}
