//! What rules say: programs, arguments, environment, folders, users, limits; what they force; and reload.

use remex::{
    error::Reason,
    v1::{self, EchoRequest, GetServerInfoRequest, ListRequest},
};
use remex_client::Client;

use super::site::{Site, allow};
use crate::{
    bad_input::{argv, directory, environment},
    harness::{calls::shell, soon},
};

#[tokio::test]
async fn without_a_rule_nothing_is_allowed_but_to_ask_what_the_server_is() {
    let site = Site::start("", &[]).await;
    let file = site.home.path("file");
    let touch = format!("touch {}", file.display());
    site.denied(shell(&touch), "").await;
    site.denied(argv(&["touch", file.to_str().unwrap()]), "")
        .await;
    // Nor is it told what there is.
    site.denied(argv(&["/no-such-program"]), "").await;
    site.denied(directory("/no-such-folder"), "").await;
    assert!(!file.exists());
    let client: Client = site.daemon.client().await;
    let list = client
        .exec()
        .list(ListRequest::default())
        .await
        .unwrap_err();
    let echo = client
        .echo()
        .echo(EchoRequest::default())
        .await
        .unwrap_err();
    for status in [list, echo] {
        assert_eq!(Reason::of(&status), Some(Reason::PolicyDenied), "{status}");
    }
    let mut exec = client.exec();
    let info = exec.get_server_info(GetServerInfoRequest {});
    soon("what the server is", info).await.unwrap();
    site.daemon.stop().await;
}

#[tokio::test]
async fn an_allow_allows_no_more_than_it_names() {
    skip_unless!(crate::harness::tools::root());
    let site = Site::start(
        &allow(
            "programs = ['/bin/echo', '/bin/sh']\narguments = ['a', 'x-*']\nworking_directories = ['/usr', '/usr/*']\n\
             environment = ['APP_*']\nrun_as = ['nobody']\nat_most.open_files = 64",
        ),
        &[],
    )
    .await;
    let echo = || argv(&["echo", "a", "x-1"]);
    assert_eq!(site.allowed(echo()).await, "a x-1\n");
    assert_eq!(
        site.allowed(argv(&["/bin/echo", "a", "x-"])).await,
        "a x-\n"
    );
    for (arguments, needed) in [
        (vec!["echo"], "arguments"),
        (vec!["echo", "a", "x-1", "b"], "arguments"),
        (vec!["echo", "a", "x-/1"], "arguments"),
        (vec!["echo", "a", "x-.."], "arguments"),
        (vec!["true", "a", "x-1"], "program"),
        (vec!["/bin/../bin/true", "a", "x-1"], "program"),
        (vec!["no-such-program", "a", "x-1"], "program"),
    ] {
        site.denied(argv(&arguments), needed).await;
    }
    site.denied(shell("echo a x-1"), "program").await;
    let with = |change: &dyn Fn(&mut v1::Command)| {
        let mut command = echo();
        change(&mut command);
        command
    };
    for folder in ["/usr", "/usr/bin"] {
        site.allowed(with(&|command| command.working_directory = folder.into()))
            .await;
    }
    for folder in ["/", "/etc", "/usr/..", "/usr/share/doc", "/no-such-folder"] {
        let command = with(&|command| command.working_directory = folder.into());
        site.denied(command, "working_directory").await;
    }
    for (name, value, needed) in [
        ("APP_X", "/x", None),
        ("LANG", "C", None),
        ("LC_ALL", "C.UTF-8", None),
        ("LANG", "../x", Some("environment")),
        ("LC_ALL", "%n", Some("environment")),
        ("LD_PRELOAD", "x", Some("environment")),
        ("PATH", "/tmp", Some("environment")),
        ("TZ", "UTC", Some("environment")),
    ] {
        let variable = environment(name, value).environment;
        let command = with(&|command| command.environment.clone_from(&variable));
        match needed {
            None => drop(site.allowed(command).await),
            Some(needed) => site.denied(command, needed).await,
        }
    }
    for (user, allowed) in [
        ("nobody", true),
        ("root", false),
        ("nobody-here", false),
        ("0", false),
    ] {
        let command = with(&|command| command.user = user.into());
        if allowed {
            site.allowed(command).await;
        } else {
            site.denied(command, "user").await;
        }
    }
    let files = |files| {
        with(&|command| {
            command.limits = Some(v1::Limits {
                open_files: Some(files),
                ..v1::Limits::default()
            });
        })
    };
    site.allowed(files(64)).await;
    site.denied(files(65), "limits").await;
    site.daemon.stop().await;
}

#[tokio::test]
async fn what_a_rule_forces_holds() {
    skip_unless!(crate::harness::tools::root());
    let site = Site::start(
        &allow(
            "shell = true\nat_most.open_files = 99\nforce.user = 'nobody'\nforce.working_directory = '/usr'\n\
             force.limits.core_bytes = 0",
        ),
        &[],
    )
    .await;
    let said = site
        .allowed(shell("id -un; pwd; ulimit -n; ulimit -c"))
        .await;
    assert_eq!(said, "nobody\n/usr\n99\n0\n");
    let asked = v1::Command {
        user: "root".into(),
        ..shell("id -un")
    };
    site.denied(asked, "user").await;
    site.daemon.stop().await;
}

#[tokio::test]
async fn a_deny_wins_wherever_it_stands() {
    skip_unless!(crate::harness::tools::root());
    let deny = "[[rule]]\nname = 'never'\ndecision = 'deny'\nprograms = ['/bin/echo']\n";
    let all = allow("programs = 'any'\narguments = 'any'");
    for policy in [format!("{deny}{all}"), format!("{all}{deny}")] {
        let site = Site::start(&policy, &[]).await;
        site.allowed(argv(&["true"])).await;
        let status = site.run(argv(&["echo", "x"])).await.unwrap_err();
        assert_eq!(Reason::of(&status), Some(Reason::PolicyDenied));
        assert!(status.message().contains("\"never\""), "{status}");
        site.daemon.stop().await;
    }
}

#[tokio::test]
async fn promise_7_a_broken_policy_keeps_the_old_one_and_nothing_opens() {
    skip_unless!(crate::harness::tools::root());
    let echo = allow("programs = ['/bin/echo']");
    let site = Site::start(&echo, &[]).await;
    for broken in [
        "[[rule]]",
        "rule = 1",
        "x",
        &format!("{echo}\nprogram = 'any'"),
    ] {
        site.reload(broken, "not reloaded").await;
        site.allowed(argv(&["echo"])).await;
        site.denied(argv(&["true"]), "program").await;
    }
    let both = allow("programs = ['/bin/echo', '/bin/true']");
    site.reload(&both, "the policy was read again").await;
    site.allowed(argv(&["true"])).await;
    site.reload("", "the policy was read again").await;
    site.denied(argv(&["echo"]), "").await;
    site.daemon.stop().await;
}

/// Whose callers are isolated unless it says otherwise, and cannot ask for another isolation.
#[tokio::test]
async fn a_rule_isolates_its_callers_unless_it_says_otherwise() {
    skip_unless!(crate::harness::tools::root());
    let home = crate::harness::Home::new();
    let (inside, outside) = (home.path("inside"), home.path("outside"));
    for folder in [&inside, &outside] {
        std::fs::create_dir(folder).unwrap();
    }
    let rule = format!(
        "shell = true\nworking_directories = ['{}']\nenvironment = ['TMPDIR']",
        inside.display()
    );
    let isolating = allow(&rule).replace("'off'", "'default'");
    let site = Site::start(&isolating, &[]).await;
    let mut command = shell(&format!(
        "echo kept > here; echo lost > {}/there; readlink /proc/self/ns/net",
        outside.display()
    ));
    command.working_directory = inside.to_str().unwrap().to_owned();
    let text = inside.to_str().unwrap().to_owned();
    command.environment.insert("TMPDIR".to_owned(), text);
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    let own = format!("{}\n", own.display());
    assert_ne!(site.allowed(command.clone()).await, own);
    let kept = std::fs::read_to_string(inside.join("here")).unwrap();
    assert_eq!(kept, "kept\n");
    assert!(!outside.join("there").exists());
    command.isolation = Some(v1::Isolation::default());
    let status = site.run(command.clone()).await.unwrap_err();
    assert_eq!(Reason::of(&status), Some(Reason::PolicyDenied), "{status}");
    // Without it, the same command reaches what its user does.
    command.isolation = None;
    site.reload(&allow(&rule), "the policy was read again")
        .await;
    assert_eq!(site.allowed(command).await, own);
    assert!(outside.join("there").exists());
    site.daemon.stop().await;
}

/// One of its own: what it lists is reached, and nothing else.
#[tokio::test]
async fn a_rule_forces_the_isolation_that_it_lists() {
    skip_unless!(crate::harness::tools::root());
    let home = crate::harness::Home::new();
    let [data, out, other] = ["data", "out", "other"].map(|name| home.path(name));
    for folder in [&data, &out, &other] {
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join("file"), "kept\n").unwrap();
    }
    let table = |read: &str| {
        format!(
            "{{ execute_paths = ['/usr', '/bin'], read_paths = ['{read}'], write_paths = ['{}'] }}",
            out.display()
        )
    };
    let policy = |read: &str| allow("shell = true").replace("'off'", &table(read));
    let site = Site::start(&policy(data.to_str().unwrap()), &[]).await;
    let command = shell(&format!(
        "cd {}; cat data/file; cat other/file || echo unread; echo new > out/file; cat out/file; \
         echo new > data/file || echo unwritten; readlink /proc/self/ns/net",
        home.path("").display()
    ));
    let said = site.allowed(command.clone()).await;
    let (files, network) = said.split_once("unwritten\n").expect(&said);
    assert_eq!(files, "kept\nunread\nnew\n");
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_ne!(network.trim_end(), own.to_str().unwrap());
    for (folder, text) in [(&data, "kept\n"), (&out, "new\n"), (&other, "kept\n")] {
        let file = std::fs::read_to_string(folder.join("file")).unwrap();
        assert_eq!(file, text, "{}", folder.display());
    }
    let refused = async |command: v1::Command, reason: Reason| {
        let status = site.run(command).await.unwrap_err();
        assert_eq!(Reason::of(&status), Some(reason), "{status}");
    };
    let asking = v1::Command {
        isolation: Some(v1::Isolation::default()),
        ..command.clone()
    };
    refused(asking, Reason::PolicyDenied).await;
    // A link that somebody has left leads out of what may be written, and what is not there is a mistake.
    std::fs::remove_dir_all(&out).unwrap();
    std::os::unix::fs::symlink(&other, &out).unwrap();
    refused(command.clone(), Reason::IsolationUnavailable).await;
    std::fs::remove_file(&out).unwrap();
    std::fs::create_dir(&out).unwrap();
    site.reload(&policy("/no/such"), "the policy was read again")
        .await;
    refused(command, Reason::IsolationUnavailable).await;
    let file = std::fs::read_to_string(other.join("file")).unwrap();
    assert_eq!(file, "kept\n");
    site.daemon.stop().await;
}
