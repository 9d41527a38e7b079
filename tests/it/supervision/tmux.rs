//! `remex run -t` as a person has it: in a real terminal, driven by keys and looked at.

use std::{fs, path::Path, process::Stdio, time::Duration};

use rustix::process::Signal;
use tokio::{process::Command, time::timeout};

use super::support::{Server, is_long};
use crate::harness::{Marker, PATIENCE, binaries::binary, eventually, soon, tools::program};

/// How often a screen is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A terminal of 80 x 24 with a shell in it.
pub(crate) struct Tmux {
    folder: std::path::PathBuf,
}

impl Tmux {
    pub(crate) async fn start(server: &Server) -> Self {
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
    pub(crate) async fn types(&self, keys: &[&str]) {
        self.command(&[&["send-keys"], keys].concat()).await;
    }

    pub(crate) async fn enters(&self, line: &str) {
        self.command(&["send-keys", "-l", line]).await;
        self.types(&["Enter"]).await;
    }

    async fn screen(&self) -> String {
        self.command(&["capture-pane", "-p"]).await
    }

    /// Waits until `text` is on the screen.
    pub(crate) async fn sees(&self, text: &str) {
        self.shows(text, |screen| screen.contains(text)).await;
    }

    /// Waits until `text` is off the screen.
    pub(crate) async fn sees_no(&self, text: &str) {
        self.shows(text, |screen| !screen.contains(text)).await;
    }

    async fn shows(&self, what: &str, is_it: impl Fn(&str) -> bool) {
        let look = async {
            while !is_it(&self.screen().await) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let looked = timeout(PATIENCE, look).await;
        assert!(
            looked.is_ok(),
            "{what:?} took too long:\n{}",
            self.screen().await
        );
    }

    /// What a command that is entered writes into a file.
    pub(crate) async fn asks(&self, command: &str) -> String {
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

    pub(crate) async fn quits(self) {
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

/// So many bytes of lines are pasted.
const PASTE_BYTES: usize = 300_000;

/// Lines to paste, which a program in line mode takes as they are.
fn paste() -> String {
    let lines = (0..).map(|number| format!("{number:0>59}\n"));
    lines.take(PASTE_BYTES / 60).collect()
}

#[tokio::test]
async fn pitfall_59_vim_takes_a_paste_is_suspended_and_lives_through_a_terminal_of_no_size() {
    skip_unless!(program("tmux"));
    skip_unless!(program("vim"));
    let server = Server::start(&[]).await;
    let tmux = Tmux::start(&server).await;
    let before = tmux.asks("stty -a").await;
    let (file, pasted) = (
        server.daemon.home().path("edited"),
        server.daemon.home().path("paste"),
    );
    fs::write(&file, "at the end\n").unwrap();
    fs::write(&pasted, paste()).unwrap();
    let vim = format!(
        "remex run -t -- vim -u NONE -n -c 'set paste showmode' {}",
        file.display()
    );
    tmux.enters(&vim).await;
    tmux.sees("at the end").await;

    // Suspended, the terminal is the shell's.
    tmux.types(&["Enter", "~", "C-z"]).await;
    tmux.sees("Stopped").await;
    assert_eq!(tmux.asks("stty -a").await, before);
    // What vim had on the screen has to be gone before it is looked for again.
    tmux.enters("clear").await;
    tmux.sees_no("at the end").await;
    tmux.enters("fg").await;
    tmux.types(&["C-l"]).await;
    tmux.sees("at the end").await;

    // A window that has no size, and has one again.
    let tty = tmux
        .command(&["display-message", "-p", "#{pane_tty}"])
        .await;
    for size in [["0", "0"], ["0", "80"], ["24", "80"]] {
        let mut stty = Command::new("stty");
        stty.args(["-F", tty.trim(), "rows", size[0], "cols", size[1]]);
        assert!(soon("stty", stty.status()).await.unwrap().success());
    }

    tmux.types(&["g", "g", "O"]).await;
    tmux.sees("INSERT").await;
    tmux.command(&["load-buffer", pasted.to_str().unwrap()])
        .await;
    tmux.command(&["paste-buffer"]).await;
    tmux.types(&["Escape"]).await;
    tmux.enters(":wq").await;
    let whole = format!("{}\nat the end\n", paste());
    eventually("the saved file", || {
        text_of(&file).filter(|text| *text == whole)
    })
    .await;
    tmux.sees("it:").await;
    assert_eq!(tmux.asks("stty -a").await, before);
    tmux.quits().await;
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_59_tilde_dot_leaves_a_command_that_takes_no_keys() {
    skip_unless!(program("tmux"));
    let server = Server::start(&[]).await;
    let tmux = Tmux::start(&server).await;
    let before = tmux.asks("stty -a").await;
    let pasted = server.daemon.home().path("paste");
    fs::write(&pasted, paste()).unwrap();
    let marker = Marker::new();
    tmux.enters(&format!(
        "remex run -t -- sh -c 'stty raw -echo; echo re''ady; trap \"\" INT TERM HUP; sleep {marker}'; echo \"[$?]\""
    ))
    .await;
    tmux.sees("ready").await;
    // More than the command, its terminal and what is on its way hold.
    tmux.command(&["load-buffer", pasted.to_str().unwrap()])
        .await;
    tmux.command(&["paste-buffer"]).await;
    tmux.types(&["C-c", "Enter", "~", "."]).await;
    tmux.sees("[255]").await;
    marker.is_gone().await;
    assert_eq!(tmux.asks("stty -a").await, before);
    tmux.quits().await;
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_60_a_client_that_is_stopped_keeps_its_command() {
    skip_unless!(program("tmux"));
    let server = Server::start(&[]).await;
    let tmux = Tmux::start(&server).await;
    // A test's hour: far longer than it takes a client that runs to say a word.
    let stopped = Duration::from_secs(if is_long() { 90 } else { 3 });
    tmux.enters("remex run --shell 'echo re\"\"ady; read x; echo got $x; exit 7'")
        .await;
    tmux.sees("ready").await;
    tmux.types(&["C-z"]).await;
    tmux.sees("Stopped").await;
    tokio::time::sleep(stopped).await;
    tmux.enters("fg; echo \"[$?]\"").await;
    tmux.enters("word").await;
    tmux.sees("got word").await;
    tmux.sees("[7]").await;
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
