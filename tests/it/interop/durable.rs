//! What outlives its callers, and remexd: it is left, and joined again at the exact byte of its output and of its stdin.

use rustix::process::Signal;

use super::{
    language::{Language, fed, finished, told},
    streams::many_bytes,
};
use crate::harness::{Daemon, Home};

/// Behind which event a client says that it has left.
fn left_behind(stderr: &str) -> String {
    let mut lines = stderr.lines();
    let number = lines.find_map(|line| line.strip_prefix("client: left behind event "));
    number
        .unwrap_or_else(|| panic!("it has not left: {stderr}"))
        .to_owned()
}

/// Each client is given all of stdin, and shows what the ones before it have not; remexd is killed between two of them.
pub(crate) async fn another_goes_on_at_the_exact_byte_of_output_and_stdin(language: &Language) {
    let home = Home::new();
    let listen = format!("unix:{}", home.path("remexd.sock").display());
    let serving = ["--listen", &listen];
    let mut daemon = Daemon::start_in(&home, &serving).await;
    let command = ["sh", "-c", "cat; exit 5"];
    let (code, id, stderr) = told(&finished(language.at(&listen, "start", &[], &command)).await);
    assert_eq!((code, &*stderr), (Some(0), ""));
    let stdin = many_bytes();
    let (mut shown, mut after) = (Vec::new(), "0".to_owned());
    for outputs in ["1", "20"] {
        let flags = ["--after", &after, "--outputs", outputs];
        let client = language.at(&listen, "attach", &flags, &[id.trim_end()]);
        let output = fed(client, &stdin).await;
        let (code, _, stderr) = told(&output);
        assert_eq!(code, Some(0), "{stderr}");
        shown.extend(output.stdout);
        after = left_behind(&stderr);
        daemon.signal(Signal::KILL);
        daemon.wait().await;
        drop(daemon);
        daemon = Daemon::start_in(&home, &serving).await;
    }
    let client = language.at(&listen, "attach", &["--after", &after], &[id.trim_end()]);
    let output = fed(client, &stdin).await;
    shown.extend(output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{stderr}");
    assert_eq!(shown.len(), stdin.len(), "{stderr}");
    assert!(shown == stdin, "other bytes");
    daemon.stop().await;
}
