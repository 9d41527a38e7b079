//! `remex run -t` as a person has it: in a real terminal, driven by keys and looked at.

use std::{fs, path::Path, process::Stdio, time::Duration};

use rustix::process::Signal;
use tokio::process::Command;

use super::support::Server;
use crate::harness::{Marker, binaries::binary, eventually, soon, tools::program};

/// How often a screen is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A terminal of 80 x 24 with a shell in it.
struct Tmux {
    folder: std::path::PathBuf,
}

impl Tmux {
    async fn start(server: &Server) -> Self {
        let tmux = Self {
            folder: server.daemon.home().folder().to_owned(),
        };
        let server = format!("REMEX_SERVER={}", server.daemon.endpoint());
        // Not as an option of tmux: what it starts may have a profile that sets its own.
        let path = binary("remex").parent().unwrap().display();
        let shell = format!("PATH={path}:$PATH PS1='it: ' exec sh -i");
        let size = ["-x", "80", "-y", "24"];
        let session = [&["new-session", "-d", "-e", &server][..], &size, &[&shell]];
        tmux.command(&session.concat()).await;
        tmux.sees("it:").await;
        tmux
    }

    /// What `tmux ARGS` prints.
    async fn command(&self, args: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command
            .args(["-f", "/dev/null", "-S"])
            .arg(self.folder.join("tmux"))
            .args(args)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .env_remove("TMUX");
        let output = soon("tmux", command.output()).await.unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A key as tmux names it, or a text.
    async fn types(&self, keys: &[&str]) {
        self.command(&[&["send-keys"], keys].concat()).await;
    }

    async fn enters(&self, line: &str) {
        self.command(&["send-keys", "-l", line]).await;
        self.types(&["Enter"]).await;
    }

    async fn screen(&self) -> String {
        self.command(&["capture-pane", "-p"]).await
    }

    /// Waits until `text` is on the screen.
    async fn sees(&self, text: &str) {
        soon(text, async {
            while !self.screen().await.contains(text) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        })
        .await;
    }

    /// What a command that is entered writes into a file.
    async fn asks(&self, command: &str) -> String {
        let file = self.folder.join("answer");
        let draft = self.folder.join("answer.draft");
        let _ = fs::remove_file(&file);
        self.enters(&format!(
            "{command} >{} 2>&1; mv {0} {}",
            draft.display(),
            file.display()
        ))
        .await;
        eventually(command, || fs::read_to_string(&file).ok()).await
    }

    async fn quits(self) {
        self.command(&["kill-server"]).await;
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // Where a test failed; it has no process of its own left then, either.
        let _ = std::process::Command::new("tmux")
            .arg("-S")
            .arg(self.folder.join("tmux"))
            .arg("kill-server")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

fn text_of(file: &Path) -> Option<String> {
    fs::read_to_string(file).ok()
}

#[tokio::test]
async fn vim_opens_edits_and_saves() {
    skip_unless!(program("tmux"));
    skip_unless!(program("vim"));
    let server = Server::start(&[]).await;
    let tmux = Tmux::start(&server).await;
    let before = tmux.asks("stty -a").await;
    let file = server.daemon.home().path("edited");
    fs::write(&file, "the second line\n").unwrap();
    tmux.enters(&format!(
        "remex run -t -- vim -u NONE -n {}",
        file.display()
    ))
    .await;
    tmux.sees("the second line").await;
    tmux.types(&["O"]).await;
    tmux.command(&["send-keys", "-l", "the first line"]).await;
    tmux.sees("the first line").await;
    tmux.types(&["Escape"]).await;
    tmux.enters(":wq").await;
    eventually("the saved file", || {
        text_of(&file).filter(|text| text == "the first line\nthe second line\n")
    })
    .await;
    tmux.sees("it:").await;
    assert_eq!(tmux.asks("stty -a").await, before);
    tmux.quits().await;
    server.daemon.stop().await;
}

#[tokio::test]
async fn a_resize_of_the_window_reaches_the_command() {
    skip_unless!(program("tmux"));
    let server = Server::start(&[]).await;
    let tmux = Tmux::start(&server).await;
    tmux.enters(
        "remex run -t -- sh -c 'echo ready; while read x; do stty size; done'; echo \"[$?]\"",
    )
    .await;
    tmux.sees("ready").await;
    tmux.types(&["Enter"]).await;
    tmux.sees("24 80").await;
    tmux.command(&["resize-window", "-x", "100", "-y", "30"])
        .await;
    soon("the new size", async {
        while !tmux.screen().await.contains("30 100") {
            tmux.types(&["Enter"]).await;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await;
    tmux.types(&["C-d"]).await;
    tmux.sees("[0]").await;
    tmux.quits().await;
    server.daemon.stop().await;
}

#[tokio::test]
async fn ctrl_c_stops_a_sleep_and_the_terminal_is_as_before() {
    skip_unless!(program("tmux"));
    let server = Server::start(&[]).await;
    let tmux = Tmux::start(&server).await;
    let before = tmux.asks("stty -a").await;
    let marker = Marker::new();
    tmux.enters(&format!(
        "remex run -t -- sh -c 'echo re''ady; exec sleep {marker}'; echo \"[$?]\""
    ))
    .await;
    tmux.sees("ready").await;
    tmux.types(&["C-c"]).await;
    tmux.sees("[130]").await;
    marker.is_gone().await;
    assert_eq!(tmux.asks("stty -a").await, before);
    tmux.quits().await;
    server.daemon.stop().await;
}

#[tokio::test]
async fn pagers_and_prompts_work() {
    skip_unless!(program("tmux"));
    let server = Server::start(&[]).await;
    let tmux = Tmux::start(&server).await;
    if program("less").is_ok() {
        tmux.enters("remex run -t -- sh -c 'seq 1 1000 | less'; echo \"<$?>\"")
            .await;
        tmux.sees("23").await;
        tmux.types(&["G"]).await;
        tmux.sees("1000").await;
        tmux.types(&["q"]).await;
        tmux.sees("<0>").await;
    }
    tmux.enters("remex run -t -- python3 -q; echo \"[$?]\"")
        .await;
    tmux.sees(">>>").await;
    tmux.enters("print(6 * 7, 'is it')").await;
    tmux.sees("42 is it").await;
    tmux.types(&["C-d"]).await;
    tmux.sees("[0]").await;
    tmux.quits().await;
    server.daemon.stop().await;
}

#[tokio::test]
async fn the_terminal_is_as_before_after_the_death_of_the_server() {
    skip_unless!(program("tmux"));
    let mut server = Server::start(&[]).await;
    let tmux = Tmux::start(&server).await;
    let before = tmux.asks("stty -a").await;
    let marker = Marker::new();
    tmux.enters(&format!(
        "remex run -t -- sh -c 'echo re''ady; exec sleep {marker}'; echo \"[$?]\""
    ))
    .await;
    tmux.sees("ready").await;
    server.daemon.signal(Signal::KILL);
    server.daemon.wait().await;
    tmux.sees("[255]").await;
    assert_eq!(tmux.asks("stty -a").await, before);
    tmux.quits().await;
    // Its leftovers go with the next one.
    let next = Server::start_in(server.daemon.home(), &[]).await;
    marker.is_gone().await;
    next.daemon.stop().await;
}
