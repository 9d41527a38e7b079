//! A person at a terminal, who starts something, looks at it, joins it, leaves it, and comes back.

use remex::v1::execution::State;

use crate::{
    harness::{soon, tools::program},
    supervision::{support::Server, tmux::Tmux},
};

/// A shell far away, with a prompt of its own.
const SHELL: &str = "remex start -t -- sh -c 'PS1=\"far: \" exec sh -i'";

#[tokio::test]
async fn a_session_is_started_listed_followed_joined_left_and_forgotten() {
    skip_unless!(program("tmux"));
    let server = Server::start(&[]).await;
    let tmux = Tmux::start(&server).await;
    let before = tmux.asks("stty -a").await;
    let id = tmux.asks(SHELL).await;
    let id = id.trim_end();
    assert_eq!(tmux.asks("remex ps -q").await, format!("{id}\n"));
    let listed = tmux.asks("remex ps").await;
    assert!(listed.contains("running"), "{listed}");

    // The beginning of an id is enough.
    let short = &id[..13];
    tmux.enters(&format!("clear; remex logs -f {short}")).await;
    tmux.sees("far:").await;
    tmux.types(&["C-c"]).await;
    tmux.sees("it:").await;

    tmux.enters(&format!("clear; remex attach {short}; echo \"<$?>\""))
        .await;
    tmux.sees_no("^C").await;
    tmux.sees("far:").await;
    tmux.enters("cd /usr; stty size; echo $((6 * 7))").await;
    tmux.sees("42").await;
    tmux.sees("24 80").await;
    tmux.types(&["C-p", "C-q"]).await;
    tmux.sees("<0>").await;
    tmux.sees("remex: left").await;
    assert_eq!(tmux.asks("stty -a").await, before);
    assert_eq!(server.get(id).await.state(), State::Running);

    tmux.enters(&format!("clear; remex attach {id}; echo \"<$?>\""))
        .await;
    tmux.sees_no("<0>").await;
    // What was on its screen when it was left, and the shell that was left.
    tmux.sees("42").await;
    tmux.enters("pwd").await;
    tmux.sees("/usr").await;
    tmux.enters("exit 3").await;
    tmux.sees("<3>").await;
    assert_eq!(tmux.asks("stty -a").await, before);
    let listed = tmux.asks("remex ps -a").await;
    assert!(listed.contains("ended"), "{listed}");
    let waited = tmux
        .asks(&format!("{{ remex wait {short}; echo $?; }}"))
        .await;
    assert_eq!(waited, "3\n");
    assert_eq!(tmux.asks(&format!("remex rm {short}")).await, "");
    assert_eq!(tmux.asks("remex ps -aq").await, "");
    tmux.quits().await;
    server.daemon.stop().await;
}

/// As with ssh and tmux: a window that is closed takes nothing along that outlives it.
#[tokio::test]
async fn a_window_that_is_closed_ends_nothing_that_was_attached_to() {
    skip_unless!(program("tmux"));
    let server = Server::start(&[]).await;
    let tmux = Tmux::start(&server).await;
    let id = tmux.asks(SHELL).await;
    let id = id.trim_end();
    tmux.enters(&format!("remex attach {id}")).await;
    tmux.sees("far:").await;
    tmux.quits().await;
    soon("the client's end", async {
        while server.get(id).await.attached > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    server.write_to(id, b"exit 4\r").await;
    let exit = server.wait(id).await.exit.expect("an exit");
    assert_eq!((exit.code, exit.signal), (Some(4), 0));
    server.daemon.stop().await;
}
