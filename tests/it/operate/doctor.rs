//! `remexd doctor`.

use tokio::process::Command;

use crate::harness::{Home, binaries::binary, soon, tools};

const SUBJECTS: [&str; 9] = [
    "/proc",
    "cgroup",
    "controllers",
    "pidfd",
    "clone3",
    "sock_diag",
    "user switch",
    "Landlock",
    "sync",
];

async fn doctor(mut command: Command) -> (Option<i32>, String) {
    let output = soon("an examination", command.output())
        .await
        .expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    (output.status.code(), stdout + &stderr)
}

#[tokio::test]
async fn each_thing_is_looked_at() {
    let home = Home::new();
    std::fs::create_dir(home.path("state")).unwrap();
    let mut command = Command::new(binary("remexd"));
    command
        .args(["doctor", "--state-dir"])
        .arg(home.path("state"));
    let (code, text) = doctor(command).await;
    assert_eq!(code, Some(0), "{text}");
    for subject in SUBJECTS {
        let found = text
            .lines()
            .filter(|line| line.get(8..).is_some_and(|line| line.starts_with(subject)));
        assert!(found.count() > 0, "no {subject}: {text}");
    }
    assert!(text.contains(" for 4 KiB"), "{text}");
    // Nothing stays.
    assert_eq!(std::fs::read_dir(home.path("state")).unwrap().count(), 0);
}

#[tokio::test]
async fn the_same_is_told_in_lines_of_json() {
    let home = Home::new();
    let mut command = Command::new(binary("remexd"));
    command
        .args(["doctor", "--json", "--state-dir"])
        .arg(home.path("state"));
    let (code, text) = doctor(command).await;
    assert_eq!(code, Some(0), "{text}");
    let findings: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let subjects: Vec<_> = findings.iter().map(|one| &one["subject"]).collect();
    assert_eq!(subjects, SUBJECTS);
    for finding in &findings {
        let is_good = finding["grade"] == "ok";
        assert!(is_good || finding["grade"] == "less", "{finding}");
        assert_eq!(finding["mend"].is_null(), is_good, "{finding}");
        assert!(finding["found"].is_string(), "{finding}");
    }
}

#[tokio::test]
async fn what_is_missing_is_named_with_how_to_mend_it() {
    skip_unless!(tools::root());
    let home = Home::new();
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "sh",
            "-c",
            "umount -l /proc && exec \"$@\"",
            "sh",
        ])
        .arg(binary("remexd"))
        .args(["doctor", "--state-dir"])
        .arg(home.path("state"));
    let (code, text) = doctor(command).await;
    assert_eq!(code, Some(69), "{text}");
    assert!(
        text.contains("MISSING /proc") && text.contains("mount -t proc proc /proc"),
        "{text}"
    );
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(binary("remexd"))
        .args(["doctor", "--state-dir"])
        .arg(home.path("state"));
    let (code, text) = doctor(command).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("less    user switch") && text.contains("CAP_SETUID"),
        "{text}"
    );
    assert!(
        text.contains("less    cgroup") && text.contains("Delegate=yes"),
        "{text}"
    );
}
