//! Completions, as the shells ask for them.

use std::process::Command;

use super::{PROGRAMS, Pages};
use crate::harness::{Daemon, binaries::binary, tools};

/// The words that bash offers for the last of `words`, after reading the script that is packed.
fn offered_by_bash(pages: &Pages, words: &[&str]) -> Vec<String> {
    let script = r#"
        source "$1"; shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
        complete -p "$1" >/dev/null || exit
        function=$(complete -p "$1" | sed 's/.* -F \([^ ]*\) .*/\1/')
        "$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let folder = binary("remex").parent().expect("a folder");
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let offered = Command::new("bash")
        .args(["--norc", "-c", script, "bash"])
        .arg(pages.path(&format!("completions/bash/{}", words[0])))
        .args(words)
        .env("PATH", path)
        .output()
        .expect("bash runs");
    let errors = String::from_utf8_lossy(&offered.stderr);
    assert!(offered.status.success(), "{words:?}: {errors}");
    let offered = String::from_utf8(offered.stdout).expect("UTF-8");
    offered.lines().map(|word| word.trim().to_owned()).collect()
}

#[test]
fn bash_completes_options_and_subcommands() {
    skip_unless!(tools::program("bash"));
    let pages = Pages::write();
    for (words, word) in [
        (&["remexd", "--ready"][..], "--ready-file"),
        (&["remexd", "--log-format", "j"], "json"),
        (&["remex-gateway", "--up"], "--upstream"),
        (&["remex", "ec"], "echo"),
        (&["remex", "run", "--time"], "--timeout"),
    ] {
        let offered = offered_by_bash(&pages, words);
        assert!(
            offered.iter().any(|offered| offered == word),
            "{words:?}: {offered:?}"
        );
    }
}

#[test]
fn each_shell_reads_its_script() {
    let pages = Pages::write();
    for (program, _) in PROGRAMS {
        for (shell, script) in [
            ("bash", format!("completions/bash/{program}")),
            ("zsh", format!("completions/zsh/_{program}")),
            ("fish", format!("completions/fish/{program}.fish")),
        ] {
            skip_unless!(tools::program(shell));
            let read = Command::new(shell)
                .arg("-n")
                .arg(pages.path(&script))
                .output();
            let read = read.expect("the shell runs");
            let errors = String::from_utf8_lossy(&read.stderr);
            assert!(
                read.status.success() && errors.is_empty(),
                "{script}: {errors}"
            );
        }
    }
}

/// Ids come of the server that the line or the environment names, those only that the subcommand can do something with.
#[tokio::test]
async fn bash_completes_ids_of_the_server() {
    skip_unless!(tools::program("bash"));
    let pages = Pages::write();
    let daemon = Daemon::start(&[]).await;
    let client = daemon.client().await;
    let ended = client.run(remex_client::Command::new("true")).await;
    let ended = ended.expect("it runs").execution_id;
    let sleep = remex_client::Command::new("sleep").arg("1000");
    let running = client.start(sleep).await.expect("it runs");
    let running_id = running.id().to_owned();
    let server = daemon.url("grpc");
    for (verb, expected) in [
        ("kill", vec![&running_id]),
        ("rm", vec![&ended]),
        ("wait", vec![&running_id, &ended]),
    ] {
        let offered = offered_by_bash(&pages, &["remex", "--server", server, verb, ""]);
        let ids: Vec<_> = offered
            .iter()
            .filter(|word| !word.starts_with('-'))
            .collect();
        assert_eq!(ids, expected, "{verb}");
        let begin = &running_id[..running_id.len() - 1];
        let offered = offered_by_bash(&pages, &["remex", "--server", server, verb, begin]);
        let fits = expected.contains(&&running_id);
        assert_eq!(offered.contains(&running_id), fits, "{verb}: {offered:?}");
    }
    drop(running);
    daemon.stop().await;
    // Nobody there: nothing is offered, nothing is said, and nobody waits.
    let offered = offered_by_bash(
        &pages,
        &["remex", "-s", "unix:/no/such/socket", "kill", "0"],
    );
    assert!(offered.iter().all(String::is_empty), "{offered:?}");
}
