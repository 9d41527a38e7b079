//! `remex run` to the end: bytes, exit codes, stdin, options.

use std::{
    io::Write,
    process::{Command, Stdio},
    thread,
};

use super::{is_gone, output_of, remex, result, wait_until};
use crate::fake::Fake;

#[test]
fn output_and_exit_code_are_the_commands_own() {
    let server = Fake::start();
    for code in [0, 1, 44, 255] {
        let script = format!("echo out; echo err >&2; exit {code}");
        let outcome = result(&mut remex(&server, ["run", "--shell", &script]));
        assert_eq!(outcome, (code, "out\n".into(), "err\n".into()));
    }
    let bytes = remex(&server, ["run", "--", "printf", r"\377\0\n\033[2J"])
        .output()
        .unwrap();
    assert_eq!(bytes.stdout, b"\xff\0\n\x1b[2J");
}

#[test]
fn other_endings_have_the_exit_codes_of_the_contract() {
    let server = Fake::start();
    for (args, status, said) in [
        (&["--shell", "kill -9 $$"][..], 137, ""),
        (
            &["--timeout", "100ms", "--", "cat", "/dev/zero"],
            124,
            "ended by its timeout of 100 ms",
        ),
        (&["-q", "--timeout", "0.1", "--", "sleep", "60"], 124, ""),
        (&["--", "ls -l"], 127, "remex run --shell 'ls -l'"),
        (
            &["--", "fake:exit", "-1", "9", "5"],
            137,
            "ended by SIGKILL, which another caller sent",
        ),
        (&["--", "/no/such/program"], 127, "PROGRAM_NOT_FOUND"),
        (&["--", "/"], 126, "PROGRAM_NOT_EXECUTABLE"),
        (&["--", "fake:exit", "0", "0", "3"], 255, "run it again"),
        (&["--", "fake:exit", "0", "0", "4"], 255, "shut down"),
        (
            &["--", "fake:exit", "-1", "0", "6"],
            255,
            "may or may not have run",
        ),
        (
            &["--", "fake:exit", "-1", "0", "7"],
            255,
            "how it ended was lost",
        ),
        (
            &["--", "fake:exit", "-1", "0", "8"],
            255,
            "machine went down",
        ),
    ] {
        let mut command = remex(&server, [&["run"], args].concat());
        command.stdout(Stdio::null());
        let (code, _, stderr) = result(&mut command);
        assert_eq!(code, status, "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{stderr}");
        assert_eq!(
            stderr.lines().count(),
            usize::from(!said.is_empty()),
            "{stderr}"
        );
    }
}

#[test]
fn stdin_is_forwarded_from_pipes_and_files() {
    let server = Fake::start();
    let data: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 253) as u8).collect();
    let mut child = remex(&server, ["run", "--", "cat"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = data.clone();
    let writer = thread::spawn(move || stdin.write_all(&sent));
    assert!(output_of(child).stdout == data);
    writer.join().unwrap().unwrap();

    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&data).unwrap();
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).unwrap();
    let child = remex(&server, ["run", "cat"]).stdin(file).spawn().unwrap();
    assert!(output_of(child).stdout == data);
}

#[test]
fn stdin_that_cannot_be_read_is_a_failure_and_no_end() {
    let server = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let (pid, after) = (folder.path().join("pid"), folder.path().join("after"));
    let script = format!("echo $$ >{}; cat; echo >{}", pid.display(), after.display());
    let write_only = std::fs::File::create(folder.path().join("file")).unwrap();
    for (stdin, why) in [
        (
            std::fs::File::open(folder.path()).unwrap(),
            "Is a directory",
        ),
        (write_only, "Bad file descriptor"),
    ] {
        let mut command = remex(&server, ["run", "--shell", &script]);
        let (code, stdout, stderr) = result(command.stdin(stdin));
        assert_eq!((code, &*stdout), (255, ""));
        assert_eq!(
            stderr,
            format!("remex: cannot read stdin: {why}; the command was ended; -n gives it none\n")
        );
        // It may have been killed before it wrote that.
        let pid = std::fs::read_to_string(&pid).unwrap_or_default();
        if let Ok(pid) = pid.trim().parse() {
            wait_until("the end of the command", || is_gone(pid));
        }
        assert!(!after.exists());
    }
    // Where nothing is to be read it does not matter.
    let mut command = remex(&server, ["run", "-n", "cat"]);
    command.stdin(std::fs::File::open(folder.path()).unwrap());
    assert_eq!(result(&mut command).0, 0);
}

#[test]
fn an_idle_stdin_holds_up_no_exit() {
    let server = Fake::start();
    let mut child = remex(&server, ["run", "--", "true"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let idle = child.stdin.take();
    assert!(output_of(child).status.success());
    drop(idle);
}

#[test]
fn with_no_stdin_none_is_taken() {
    let server = Fake::start();
    let script = r#"while read -r word; do "$0" run -n -- sh -c 'cat; echo "$1"' sh "$word"; done"#;
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_remex")]);
    shell.env("REMEX_SERVER", server.endpoint.to_string());
    shell.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = shell.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"one\ntwo\n")
        .unwrap();
    assert_eq!(output_of(child).stdout, b"one\ntwo\n");
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let server = Fake::start();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let (code, _, stderr) = result(remex(&server, ["run", "echo", "x"]).stdout(full));
    assert_eq!(code, 255);
    assert!(stderr.contains("cannot write the output"), "{stderr}");
}

#[test]
fn options_reach_the_command() {
    let server = Fake::start();
    let script = "pwd; echo $A $B $C";
    let args = [
        "run", "--cwd", "/", "--env", "A=1=2", "--env", "B", "--env", "C=", "--shell", script,
    ];
    let outcome = result(remex(&server, args).env("B", "local"));
    assert_eq!(outcome, (0, "/\n1=2 local\n".into(), String::new()));
}

#[test]
fn what_a_server_would_drop_unseen_is_not_sent_to_it() {
    let (new, old) = (Fake::start(), Fake::old());
    for (option, value) in [("--user", "nobody"), ("--drain", "eof")] {
        let args = ["run", option, value, "--", "echo", "ran"];
        let outcome = result(&mut remex(&new, args));
        assert_eq!(outcome, (0, "ran\n".into(), String::new()));
        let (code, stdout, stderr) = result(&mut remex(&old, args));
        assert_eq!((code, &*stdout), (255, ""));
        let said = format!("remex: {option}: the server is of an older version");
        assert!(stderr.starts_with(&said), "{stderr}");
    }
    let outcome = result(&mut remex(&old, ["run", "--", "echo", "ran"]));
    assert_eq!(outcome, (0, "ran\n".into(), String::new()));
}

#[test]
fn json_tells_each_event_on_a_line() {
    let server = Fake::start();
    let args = ["run", "--json", "--shell", r"printf '\377'; exit 3"];
    let (code, stdout, _) = result(&mut remex(&server, args));
    assert_eq!(code, 3);
    let events: Vec<serde_json::Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.len(), 3, "{stdout}");
    assert_eq!(
        (&events[0]["event"], &events[0]["execution_id"]),
        (&"started".into(), &"exec-1".into())
    );
    assert_eq!(
        (&events[1]["stream"], &events[1]["data_base64"]),
        (&"stdout".into(), &"/w==".into())
    );
    assert_eq!(
        (&events[2]["event"], &events[2]["exit_code"]),
        (&"exited".into(), &3.into())
    );
}
