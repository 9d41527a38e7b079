//! docs/json.md: every shape that `--json` prints, as it is printed.

use std::path::Path;

use super::console::{Place, try_out};
use crate::harness::{Daemon, binaries::binary, tools};

#[tokio::test]
async fn every_shape_is_as_it_is_shown() {
    skip_unless!(tools::program("bash"));
    let daemon = Daemon::start(&["--legacy", "tcp://127.0.0.1:0/exec"]).await;
    let state = daemon.home().path("state");
    let at_home = |tool: &str| {
        (
            tool.to_owned(),
            format!("{tool} --state-dir {}", state.display()),
        )
    };
    let programs = binary("remex").parent().expect("a folder").display();
    let place = Place {
        words: [
            (
                "127.0.0.1:50051".to_owned(),
                daemon.socket("grpc").to_string(),
            ),
            (
                "127.0.0.1:8080".to_owned(),
                daemon.socket("tcp-exec").to_string(),
            ),
            at_home("remexd status"),
            at_home("remexd reload"),
        ]
        .into(),
        folder: Path::new(env!("CARGO_MANIFEST_DIR")),
        variables: [
            ("REMEX_SERVER", daemon.url("grpc").to_owned()),
            ("PATH", format!("{programs}:/usr/bin:/bin")),
        ]
        .into(),
    };
    try_out("docs/json.md", &place).await;
    daemon.stop().await;
}
