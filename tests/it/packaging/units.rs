//! The units, as systemd reads them.

use std::{fs, path::PathBuf, process::Command};

use crate::harness::{Home, binaries::binary, tools};

/// The most that `systemd-analyze security` may find open about the gateway, in tenths: what it calls OK ends at 4.9.
const GATEWAY_EXPOSURE_TENTHS: &str = "20";

fn unit(program: &str) -> PathBuf {
    let name = format!("{program}.service");
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("packaging")
        .join(program)
        .join(name)
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    skip_unless!(tools::program("systemd-analyze"));
    let home = Home::new();
    for program in ["remexd", "remex-gateway"] {
        let text = fs::read_to_string(unit(program)).expect("the unit");
        let installed = format!("ExecStart=/usr/sbin/{program} ");
        assert_eq!(text.matches(&installed).count(), 1, "{program}");
        // It looks whether the program is there.
        let built = format!("ExecStart={} ", binary(program).display());
        let file = home.path(&format!("{program}.service"));
        fs::write(&file, text.replace(&installed, &built)).expect("a file");
        let verified = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&file)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&verified.stderr);
        // It reads the machine's own units too, which are not ours to mend.
        let ours: Vec<_> = said.lines().filter(|line| line.contains(program)).collect();
        assert!(verified.status.success() && ours.is_empty(), "{said}");
    }
}

#[test]
fn the_gateway_has_little_that_it_does_not_need() {
    skip_unless!(tools::program("systemd-analyze"));
    let judged = Command::new("systemd-analyze")
        .args([
            "security",
            "--offline=true",
            "--threshold",
            GATEWAY_EXPOSURE_TENTHS,
        ])
        .arg(unit("remex-gateway"))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&judged.stdout);
    assert!(judged.status.success(), "{said}");
}

/// What outlives remexd is not ended with its unit, and what commands need is not taken from them.
#[test]
fn the_unit_of_the_server_spares_commands() {
    let text = fs::read_to_string(unit("remexd")).expect("the unit");
    let has = |line: &str| text.lines().any(|other| other == line);
    for line in [
        "Type=notify",
        "Delegate=yes",
        "KillMode=mixed",
        "OOMPolicy=continue",
        "User=root",
    ] {
        assert!(has(line), "{line}");
    }
    for taken in [
        "Protect",
        "Private",
        "Restrict",
        "SystemCall",
        "Capability",
        "NoNewPrivileges",
        "ReadOnly",
    ] {
        let is_setting =
            |line: &str| line.starts_with(taken) && !line.starts_with("RestartPrevent");
        assert!(!text.lines().any(is_setting), "commands inherit {taken}…");
    }
}
