//! Executions belong to their callers, and a rule says who else may do what to them.

use std::fs;

use remex::{
    error::Reason,
    v1::{DeleteRequest, GetRequest, ListRequest, SignalRequest, WaitRequest},
};
use remex_client::{Client, CredentialFiles, Credentials};
use tonic::Status;

use super::site::{OFF, Site};
use crate::{
    bad_input::argv,
    harness::{calls::run, soon},
    tls,
};

/// What each of these calls about `id` is answered: see, signal, delete.
async fn tried(client: &Client, id: &str) -> [Result<(), Status>; 3] {
    let mut exec = client.exec();
    let execution_id = id.to_owned();
    let get = GetRequest {
        execution_id: execution_id.clone(),
        ..GetRequest::default()
    };
    let signal = SignalRequest {
        execution_id: execution_id.clone(),
        signal: 15,
    };
    [
        exec.get(get).await.map(drop),
        exec.signal(signal).await.map(drop),
        exec.delete(DeleteRequest { execution_id }).await.map(drop),
    ]
}

#[tokio::test]
async fn a_rule_says_who_may_do_what_to_others_executions() {
    skip_unless!(crate::harness::tools::root());
    let (one, one_line) = tls::tokens::new_token(&["one"]).await;
    let (two, two_line) = tls::tokens::new_token(&["two"]).await;
    let tokens = tempfile::NamedTempFile::new().unwrap();
    fs::write(&tokens, format!("{one_line}\n{two_line}\n")).unwrap();
    let run_true = |who: &str, more: &str| {
        format!("[[rule]]\nname = '{who}'\ndecision = 'allow'\n{who}\n{more}\n{OFF}").replace(
            &format!("name = '{who}'"),
            &format!(
                "name = \"{}\"",
                who.replace(['\'', '[', ']', '='], " ").trim()
            ),
        )
    };
    let ones = run_true("identities = ['token:one']", "programs = ['/bin/true']");
    let policy = |twos: &str| format!("{ones}{}", run_true("identities = ['token:two']", twos));
    let flags = ["--tokens", tokens.path().to_str().unwrap()];
    let site = Site::start(&policy(""), &flags).await;
    let bearing = async |token: &str| {
        let file = site.home.path(&format!(
            "token-{}",
            token.len() + usize::from(token == two)
        ));
        fs::write(&file, token).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let files = CredentialFiles {
            token: Some(file),
            ..CredentialFiles::default()
        };
        let credentials = Credentials::load(files).expect("good files");
        let endpoint = site.daemon.endpoint();
        soon(
            "a connection",
            Client::connect_with(&endpoint, &credentials),
        )
        .await
        .unwrap()
    };
    let (first, second) = (bearing(&one).await, bearing(&two).await);
    let response = run(&first, argv(&["true"])).await.unwrap();
    let id = response.execution_id;
    let ended = WaitRequest {
        execution_id: id.clone(),
        ..WaitRequest::default()
    };
    soon("its end", first.exec().wait(ended)).await.unwrap();
    // root is a caller like others.
    let root = site.daemon.client().await;
    let list = root.exec().list(ListRequest::default()).await.unwrap_err();
    assert_eq!(Reason::of(&list), Some(Reason::PolicyDenied), "{list}");

    let reasons = |answers: [Result<(), Status>; 3]| {
        answers.map(|answer| answer.err().and_then(|status| Reason::of(&status)))
    };
    let (none, over) = (
        Some(Reason::ExecutionNotFound),
        Some(Reason::ExecutionEnded),
    );
    assert_eq!(reasons(tried(&second, &id).await), [none; 3]);
    let listed = async |client: &Client| {
        let mut exec = client.exec();
        let list = exec.list(ListRequest::default()).await;
        list.unwrap().into_inner().executions.len()
    };
    assert_eq!(listed(&second).await, 0);
    assert_eq!(listed(&first).await, 1);
    for (others, expected, seen) in [
        ("others = ['see']", [None, none, none], 1),
        ("others = ['signal']", [none, over, none], 0),
        ("others = ['see', 'delete']", [None, none, None], 0),
    ] {
        site.reload(&policy(others), "the policy was read again")
            .await;
        assert_eq!(reasons(tried(&second, &id).await), expected, "{others}");
        assert_eq!(listed(&second).await, seen, "{others}");
    }
    drop((first, second, root));
    site.daemon.stop().await;
}
