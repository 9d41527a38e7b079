//! Servers by names, and colours.

use std::{
    fs,
    io::Read,
    process::{Command, Stdio},
};

use super::{output_of, remex, result};
use crate::{fake::Fake, terminal::terminal};

const BOLD: &str = "\u{1b}[1m";

#[test]
fn a_server_may_have_a_name() {
    let server = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("remex/config.toml");
    fs::create_dir(folder.path().join("remex")).unwrap();
    let text = format!("[servers.prod]\nserver = '{}'\n", server.endpoint);
    fs::write(&file, text).unwrap();
    let typed = |args: &[&str], variable: &str| {
        let mut command = remex(&server, args);
        command
            .env("REMEX_SERVER", variable)
            .env("XDG_CONFIG_HOME", folder.path());
        result(&mut command)
    };
    let elsewhere = "unix:/no/such/socket";
    for args in [
        &["-s", "prod", "echo", "x"][..],
        &["echo", "-s", "prod", "x"],
        &["--server", "prod", "echo", "x"],
        &["echo", "--server=prod", "x"],
    ] {
        let (code, stdout, stderr) = typed(args, elsewhere);
        assert_eq!((code, stdout.as_str()), (0, "X\n"), "{args:?}: {stderr}");
    }
    assert_eq!(typed(&["echo", "x"], "prod").0, 0);
    // Behind `kill` it is the signal.
    let (_, _, stderr) = typed(&["-s", "prod", "kill", "-s", "TERM", "nobody"], elsewhere);
    assert!(stderr.contains("nobody"), "{stderr}");

    fs::write(&file, "\n[servers.prod]\nsevrer = 'x'\n").unwrap();
    let (code, _, stderr) = typed(&["-s", "prod", "echo", "x"], elsewhere);
    let said = format!("remex: {}:3: unknown field `sevrer`", file.display());
    assert_eq!(code, 255);
    assert!(
        stderr.starts_with(&said) && stderr.lines().count() == 1,
        "{stderr}"
    );
    // What can only be an address needs no file.
    let address = server.endpoint.to_string();
    assert_eq!(typed(&["echo", "x"], &address).0, 0);
}

/// `remex ARGS` with an environment that says nothing of colours but that it can show them.
fn colourful(server: &Fake, args: &[&str]) -> Command {
    let mut command = remex(server, args);
    // In CI, too, colours are shown whatever TERM is.
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        command.env_remove(name);
    }
    command.env("TERM", "xterm");
    command
}

/// What `remex ARGS` writes on a terminal with these variables.
fn on_terminal(server: &Fake, args: &[&str], variables: &[(&str, &str)]) -> String {
    let (mut near, far) = terminal();
    let mut command = colourful(server, args);
    command
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(far);
    let child = command.spawn().unwrap();
    // This side's copy of the far end.
    drop(command);
    let mut written = Vec::new();
    // A terminal whose far end has gone is an error, not an end.
    let _ = near.read_to_end(&mut written);
    assert!(output_of(child).status.success());
    String::from_utf8(written).unwrap()
}

#[test]
fn there_are_colours_on_a_terminal_alone_and_never_with_no_color() {
    let server = Fake::start();
    for args in [&["ps"][..], &["--help"], &["run", "--help"]] {
        let coloured = on_terminal(&server, args, &[]);
        assert!(coloured.contains("\u{1b}["), "{args:?}: {coloured}");
        for variables in [[("NO_COLOR", "1")], [("TERM", "dumb")]] {
            let plain = on_terminal(&server, args, &variables);
            assert!(!plain.contains('\u{1b}'), "{args:?}: {plain}");
        }
        let (code, piped, _) = result(&mut colourful(&server, args));
        assert_eq!((code, piped.contains('\u{1b}')), (0, false), "{piped}");
    }
    let table = on_terminal(&server, &["ps"], &[]);
    assert!(table.starts_with(BOLD), "{table}");
}
