//! What a session begins with, beside OpenSSH's: one terminal, one command through both.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Stdio};

use tokio::process::Command;

use super::{support::Server, tmux::Tmux};
use crate::harness::{soon, tools};

const SSHD: &str = "/usr/sbin/sshd";

/// The line of ssh up to the command: sshd serves the one connection on its stdin, on no port, with keys of its own, and
/// finds the folder that it wants in a /run of its own.
async fn ssh(folder: &Path) -> String {
    for key in ["host", "user"] {
        let mut keygen = Command::new("ssh-keygen");
        keygen
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(folder.join(key))
            .stdin(Stdio::null());
        let made = soon("ssh-keygen", keygen.status()).await.unwrap();
        assert!(made.success());
    }
    let folder = folder.display();
    let config = format!(
        "HostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\nPidFile none\nStrictModes no\n\
         UsePAM no\nPermitRootLogin yes\nPrintMotd no\nPrintLastLog no\n"
    );
    fs::write(format!("{folder}/sshd_config"), config).unwrap();
    let serve = format!(
        "#!/bin/sh\nexec unshare --mount sh -c 'mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec {SSHD} -i -f {folder}/sshd_config'\n"
    );
    let script = format!("{folder}/serve");
    fs::write(&script, serve).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    format!(
        "ssh -t -q -F none -i {folder}/user -o ProxyCommand={script} -o StrictHostKeyChecking=no \
         -o UserKnownHostsFile=/dev/null root@localhost"
    )
}

#[tokio::test]
async fn pitfall_59_a_terminal_has_the_modes_that_openssh_gives_it() {
    skip_unless!(tools::root());
    for program in ["tmux", "ssh", "ssh-keygen", "unshare"] {
        skip_unless!(tools::program(program));
    }
    if !Path::new(SSHD).exists() {
        return tools::skip(&tools::Missing::new(format!(
            "{SSHD}, which `ci/tools` installs"
        )));
    }
    let server = Server::start(&[]).await;
    let tmux = Tmux::start(&server).await;
    let ssh = ssh(server.daemon.home().folder()).await;
    let by_ssh = tmux.asks(&format!("{ssh} stty -a")).await;
    let by_remex = tmux.asks("remex run -t -- stty -a").await;
    assert!(by_ssh.contains("rows 24; columns 80"), "{by_ssh}");
    assert_eq!(by_remex, by_ssh);
    // The exit code of a command is theirs, too.
    for code in [0, 3, 255] {
        let ends = |line: &str| format!("sh -c '{line}; echo $?'");
        let by_ssh = tmux.asks(&ends(&format!("{ssh} exit {code}"))).await;
        let by_remex = tmux
            .asks(&ends(&format!("remex run -t --shell \"exit {code}\"")))
            .await;
        assert_eq!(by_remex, by_ssh);
    }
    tmux.quits().await;
    server.daemon.stop().await;
}
