//! A grandchild holds the output open: the call ends all the same, and a kill reaches it.

use futures_util::{StreamExt, stream};
use remex::v1::{StartRequest, exit::Reason};

use super::support::{RequestExt, Server, argv};
use crate::harness::{Marker, eventually};

/// Combinations at a time.
const AT_ONCE: usize = 8;

const SHELLS: [&str; 3] = ["sh", "bash", "dash"];

/// `a` is a sleep that outlasts every test.
const SHAPES: [&str; 6] = [
    "sleep M &",
    "sleep M | cat",
    "(sleep M)",
    "sleep M; true",
    "nohup sleep M &",
    "setsid sleep M &",
];

/// One shape, one shell, with or without a terminal.
struct Case {
    shape: &'static str,
    shell: &'static str,
    terminal: bool,
    marker: Marker,
}

impl Case {
    /// Each shape with each shell, with and without a terminal.
    fn all() -> impl Iterator<Item = Self> {
        SHAPES.into_iter().flat_map(|shape| {
            SHELLS.into_iter().flat_map(move |shell| {
                [false, true].map(|terminal| Self {
                    shape,
                    shell,
                    terminal,
                    marker: Marker::new(),
                })
            })
        })
    }

    fn is_in_background(&self) -> bool {
        self.shape.ends_with('&')
    }

    fn request(&self, then: &str) -> StartRequest {
        let text = self.shape.replace('M', &self.marker.to_string());
        let separator = if self.is_in_background() { "" } else { ";" };
        let request = argv([self.shell, "-c", &format!("{text}{separator} {then}")]);
        if self.terminal {
            request.on_terminal()
        } else {
            request
        }
    }

    /// Waits until `a` itself runs.
    async fn grandchild(&self) {
        eventually("the grandchild", || {
            let processes = self.marker.processes();
            let runs = |line: &str| line.starts_with("sleep ");
            processes
                .iter()
                .any(|process| runs(&process.command_line))
                .then_some(())
        })
        .await;
    }

    fn assert_gone(&self) {
        let left = self.marker.processes();
        assert!(left.is_empty(), "{self}: {left:?}");
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let terminal = if self.terminal { ", terminal" } else { "" };
        write!(f, "{} -c {:?}{terminal}", self.shell, self.shape)
    }
}

/// For each of `cases`, a few at a time.
async fn each<F: Future<Output = ()>>(
    cases: impl Iterator<Item = Case>,
    scenario: impl Fn(Case) -> F,
) {
    stream::iter(cases)
        .map(scenario)
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
}

async fn killed(server: Server) {
    let server = &server;
    each(Case::all(), async |case| {
        let running = server.begin(case.request("wait")).await;
        case.grandchild().await;
        running.signal(9).await.unwrap();
        let record = running.end().await;
        case.assert_gone();
        assert_eq!(record.ending(), (-1, 9, Reason::Signal), "{case}");
    })
    .await;
}

async fn timed_out(server: Server) {
    let server = &server;
    each(Case::all(), async |case| {
        let record = server.run(case.request("wait").timeout(300)).await;
        case.assert_gone();
        assert_eq!(record.exit().reason(), Reason::Timeout, "{case}");
    })
    .await;
}

async fn ended(server: Server) {
    let server = &server;
    let background = Case::all().filter(Case::is_in_background);
    each(background, async |case| {
        let record = server.run(case.request("echo done; exit 3")).await;
        assert!(record.text().contains("done"), "{case}: {record:?}");
        assert_eq!(record.ending(), (3, 0, Reason::Self_), "{case}");
        if !case.terminal {
            // What a command leaves in the background runs on. On a terminal it is hung up.
            case.grandchild().await;
        }
        case.marker.kill();
    })
    .await;
}

with_each_containment! {
    pitfall_02_a_grandchild_that_holds_the_pipe_open_is_killed_too => killed;
    pitfall_02_a_grandchild_that_holds_the_pipe_open_does_not_outlast_a_timeout => timed_out;
    pitfall_02_a_grandchild_that_holds_the_pipe_open_does_not_hold_up_the_exit => ended;
}
