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
    for (program, sockets) in [
        ("remexd", &["remexd.socket", "remexd-legacy.socket"][..]),
        ("remex-gateway", &["remex-gateway.socket"]),
    ] {
        let text = fs::read_to_string(unit(program)).expect("the unit");
        let installed = format!("ExecStart=/usr/sbin/{program} ");
        assert_eq!(text.matches(&installed).count(), 1, "{program}");
        // It looks whether the program is there.
        let built = format!("ExecStart={} ", binary(program).display());
        let file = home.path(&format!("{program}.service"));
        fs::write(&file, text.replace(&installed, &built)).expect("a file");
        for socket in sockets {
            let copied = fs::copy(unit(program).with_file_name(socket), home.path(socket));
            copied.expect("the unit of a socket");
        }
        let verified = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&file)
            .args(sockets.iter().map(|socket| home.path(socket)))
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

/// What the units of sockets bind is what the daemons serve as they are installed, and what their names say is a key.
#[test]
fn the_sockets_are_those_of_the_installed_settings() {
    for (program, file, key, default) in [
        (
            "remexd",
            "remexd.socket",
            "listen",
            "gRPC on 127.0.0.1:50051",
        ),
        ("remexd", "remexd-legacy.socket", "legacy", ""),
        ("remex-gateway", "remex-gateway.socket", "legacy", ""),
    ] {
        let text = fs::read_to_string(unit(program).with_file_name(file)).expect("the unit");
        let values = |key: &str| -> Vec<String> {
            let lines = text
                .lines()
                .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(values("FileDescriptorName"), [key]);
        assert_eq!(values("BindIPv6Only"), ["ipv6-only"]);
        let home = Home::new();
        let settings = unit(program).with_file_name(format!("{program}.toml"));
        let check = Command::new(binary(program))
            .arg("--config")
            .arg(settings)
            .arg("--check")
            .env("XDG_STATE_HOME", home.folder())
            .output()
            .expect("it runs");
        let served = String::from_utf8_lossy(&check.stdout);
        assert!(served.contains(default), "{served}");
        let bound = values("ListenStream")
            .into_iter()
            .map(|address| ("tcp", address));
        let bound = bound.chain(
            values("ListenDatagram")
                .into_iter()
                .map(|address| ("udp", address)),
        );
        for (scheme, address) in bound {
            let url = if key == "listen" {
                address
            } else {
                format!("{scheme}://{address}: ")
            };
            assert!(served.contains(&url), "{url}: {served}");
        }
    }
}
