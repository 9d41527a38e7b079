//! An isolation goes with a durable execution: its ruleset crosses to the supervisor as a descriptor.

use std::fs;

use remex_supervisor::process::{IsolationSpec, NetworkSpec, landlock_abi};

use crate::{
    commands::{Running, shell},
    server::{Spare, order},
};

#[test]
fn what_is_not_listed_is_out_of_reach() {
    if landlock_abi() < 4 {
        eprintln!("skipped: it needs Landlock 4");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secret"), "secret\n").unwrap();
    let text = format!(
        "cat {}/secret; grep NoNewPrivs /proc/self/status; exit 0",
        folder.path().display()
    );
    let isolation = |read: Vec<std::path::PathBuf>| IsolationSpec {
        read_paths: read,
        execute_paths: ["/usr", "/bin", "/lib"].map(Into::into).to_vec(),
        network: NetworkSpec::Ports {
            connect: Vec::new(),
            bind: Vec::new(),
        },
        ..IsolationSpec::default()
    };
    for (read, is_read) in [
        (vec!["/proc".into()], false),
        (vec!["/proc".into(), folder.path().to_owned()], true),
    ] {
        let command = shell(text.as_str());
        let mut spec = command.spec();
        spec.isolation = Some(isolation(read));
        let told = Running::of(Spare::new().start(&order(&spec)).unwrap()).end();
        let said = told.text();
        assert_eq!(said.contains("secret\n"), is_read, "{said}");
        assert!(said.contains("NoNewPrivs:\t1"), "{said}");
    }
}
