//! The settings that packages install, each key of which is an example behind a `#`.

use std::{
    collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command,
};

use super::options_of;
use crate::harness::{Home, binaries::binary, tools};

/// Flags that are no settings.
const NO_KEYS: [&str; 4] = ["--help", "--version", "--check", "--config"];

/// The public key of RFC 8037, appendix A.
const JWKS: &str = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "alg": "EdDSA", "use": "sig",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn shipped(program: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("packaging")
        .join(program)
        .join(format!("{program}.toml"));
    fs::read_to_string(file).expect("the file that is packed")
}

/// The keys of the file with all its examples in force, and that file.
fn in_force(text: &str) -> (BTreeSet<String>, String) {
    let mut keys = BTreeSet::new();
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(example) if example.starts_with(|letter: char| letter.is_ascii_lowercase()) => {
            let (key, _) = example.split_once(" = ").expect("a key and its value");
            assert!(keys.insert(key.to_owned()), "{key} is there twice");
            example
        }
        _ => line,
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    (keys, text)
}

/// Nobody may do anything by it.
const POLICY: &str = "";

/// What examples name in /etc/remex, as an administrator would make it.
fn make_files(home: &Home) {
    let remexd = |words: &[&str]| {
        let made = Command::new(binary("remexd"))
            .args(words)
            .current_dir(home.folder())
            .output()
            .expect("remexd runs");
        let errors = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success(), "{errors}");
        (made.stdout, errors)
    };
    remexd(&["certs", "init", "tls"]);
    let (token, line) = remexd(&["token", "new", "example"]);
    for (name, text) in [
        ("token", token),
        ("tokens", line.into_bytes()),
        ("jwks.json", JWKS.into()),
        ("policy.toml", POLICY.into()),
    ] {
        let file = home.path(name);
        fs::write(&file, text).expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its mode");
    }
}

fn assert_accepted(program: &str, text: &str) {
    let home = Home::new();
    let file = home.path("settings.toml");
    make_files(&home);
    let text = text.replace("/etc/remex/", &format!("{}/", home.folder().display()));
    fs::write(&file, &text).expect("a file");
    let check = Command::new(binary(program))
        .arg("--config")
        .arg(&file)
        .arg("--check")
        .env("XDG_STATE_HOME", home.folder())
        .output()
        .expect("it runs");
    let errors = String::from_utf8_lossy(&check.stderr);
    assert_eq!(check.status.code(), Some(0), "{program}: {errors}\n{text}");
}

#[test]
fn what_is_installed_is_accepted_as_it_is_and_with_every_example() {
    // Users are named in it.
    skip_unless!(tools::root());
    for program in ["remexd", "remex-gateway"] {
        let text = shipped(program);
        assert!(
            text.lines()
                .all(|line| line.is_empty() || line.starts_with('#')),
            "{program} is installed with settings of its own"
        );
        assert_accepted(program, &text);
        let (_, examples) = in_force(&text);
        assert_accepted(program, &examples);
    }
}

#[test]
fn every_flag_that_is_a_setting_has_its_example() {
    for program in ["remexd", "remex-gateway"] {
        let (keys, _) = in_force(&shipped(program));
        let flags = options_of(&[program]).into_iter();
        let settings: BTreeSet<_> = flags
            .filter(|flag| !NO_KEYS.contains(&flag.as_str()))
            .map(|flag| flag.trim_start_matches('-').to_owned())
            .collect();
        assert_eq!(keys, settings, "{program}");
    }
}
