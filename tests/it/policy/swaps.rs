//! What is swapped between the judgement and the execution: whatever ran is what was judged.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use remex::v1;

use super::site::{Site, allow, run};
use crate::{bad_input::argv, harness::tools::root, supervision::support::count};

/// A link that leads to one place and the other in turns, until this is dropped.
struct Swapped {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Swapped {
    fn start(link: PathBuf, places: [PathBuf; 2]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let new = link.with_extension("new");
            for place in places.iter().cycle() {
                symlink(place, &new).unwrap();
                fs::rename(&new, &link).unwrap();
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                thread::yield_now();
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Swapped {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Folders with a program called `echo` each: a link to the one that is allowed, and a copy of `touch`.
fn programs(folder: &Path) -> [PathBuf; 2] {
    let [good, bad] = ["good", "bad"].map(|name| folder.join(name));
    for place in [&good, &bad] {
        fs::create_dir(place).unwrap();
    }
    symlink("/bin/echo", good.join("echo")).unwrap();
    fs::copy("/bin/touch", bad.join("echo")).unwrap();
    [good.join("echo"), bad.join("echo")]
}

/// Runs `command`, whose program is swapped all the time, until it was both allowed and not; what `file` it was to leave never
/// is. Then by a rule for the other program it is.
async fn never_the_other(site: &Site, command: v1::Command, file: &Path, other: &Path) {
    let client = site.daemon.client().await;
    let (mut ran, mut refused) = (0, 0);
    let least = count(20, 2000);
    while ran < least || refused < least {
        match run(&client, command.clone()).await {
            Ok(response) => {
                let said = String::from_utf8_lossy(&response.stdout_data).into_owned();
                assert_eq!(said.trim_end(), file.to_str().unwrap(), "{response:?}");
                ran += 1;
            }
            Err(_) => refused += 1,
        }
        assert!(
            !file.exists(),
            "the other one ran, after {ran} and {refused}"
        );
    }
    let rule = format!(
        "programs = ['{}']\narguments = 'any'\nenvironment = ['PATH']",
        other.display()
    );
    site.reload(&allow(&rule), "the policy was read again")
        .await;
    // The same attempt, at last when it leads there.
    crate::harness::soon("the other one", async {
        while !file.exists() {
            let _ = run(&client, command.clone()).await;
        }
    })
    .await;
}

const ECHO: &str = "programs = ['/bin/echo']\narguments = 'any'\nenvironment = ['PATH']";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_1_a_link_that_is_swapped_never_runs_what_was_not_judged() {
    skip_unless!(root());
    let folder = tempfile::tempdir().unwrap();
    let [good, bad] = programs(folder.path());
    let link = folder.path().join("echo");
    let site = Site::start(&allow(ECHO), &[]).await;
    let file = site.home.path("file");
    symlink(&good, &link).unwrap();
    let swapped = Swapped::start(link.clone(), [good, bad.clone()]);
    let command = argv(&[link.to_str().unwrap(), file.to_str().unwrap()]);
    never_the_other(&site, command, &file, &bad).await;
    drop(swapped);
    site.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_1_an_entry_of_path_that_is_swapped_never_runs_what_was_not_judged() {
    skip_unless!(root());
    let folder = tempfile::tempdir().unwrap();
    let [good, bad] = programs(folder.path());
    let link = folder.path().join("bin");
    let site = Site::start(&allow(ECHO), &[]).await;
    let file = site.home.path("file");
    let places = [&good, &bad].map(|program| program.parent().unwrap().to_owned());
    symlink(&places[0], &link).unwrap();
    let swapped = Swapped::start(link.clone(), places);
    let path = link.to_str().unwrap().to_owned();
    let command = v1::Command {
        environment: [("PATH".to_owned(), path)].into(),
        ..argv(&["echo", file.to_str().unwrap()])
    };
    never_the_other(&site, command, &file, &bad).await;
    drop(swapped);
    site.daemon.stop().await;
}
