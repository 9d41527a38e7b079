//! The pages of docs/clients/: what they type runs in the folder in which the example was built, beside the .proto files
//! alone.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    console::{Place, Step, blocks, try_out},
    over_tls,
};
use crate::harness::{
    Daemon, Home,
    binaries::binary,
    examples::example,
    tools::{self, Missing},
};

async fn page(language: &str, folder: Result<PathBuf, Missing>) {
    skip_unless!(tools::program("bash"));
    let folder = skip_unless!(folder);
    let daemon = Daemon::start(&[]).await;
    let home = Home::new();
    let over_tls = over_tls::start(&home).await;
    let rust = binary("client").display().to_string();
    let words = [
        ("127.0.0.1:50051", daemon.socket("grpc").to_string()),
        ("127.0.0.1:50052", over_tls.socket("grpc").to_string()),
        (" certs/", format!(" {}/", home.path("certs").display())),
        (
            "cargo run --quiet -p remex-client --example client --",
            rust,
        ),
    ];
    let place = Place {
        words: words.map(|(from, to)| (from.to_owned(), to)).into(),
        folder: &folder,
        variables: [].into(),
    };
    try_out(&format!("docs/clients/{language}.md"), &place).await;
    over_tls.stop().await;
    daemon.stop().await;
}

/// `ci/transcripts` has recorded what the pages say now.
#[test]
fn recorded_transcripts_are_of_these_pages() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clients");
    for language in ["python", "go", "typescript", "java", "cpp", "rust"] {
        let page = fs::read_to_string(pages.join(format!("{language}.md"))).expect("a page");
        let file = pages.join(format!("transcripts/{language}.txt"));
        let transcript = fs::read_to_string(file).expect("a transcript");
        let shown: String = blocks(&page).iter().flatten().map(Step::shown).collect();
        assert!(!shown.is_empty());
        assert!(
            transcript.ends_with(&shown),
            "{language}: `RECORD=1 ci/transcripts {language}` records it anew:\n{shown}"
        );
    }
}

#[tokio::test]
async fn python() {
    page("python", example("python")).await;
}

#[tokio::test]
async fn go() {
    page("go", example("go")).await;
}

#[tokio::test]
async fn typescript() {
    page("typescript", example("typescript")).await;
}

#[tokio::test]
async fn java() {
    page("java", example("java")).await;
}

#[tokio::test]
async fn cpp() {
    page("cpp", example("cpp")).await;
}

#[tokio::test]
async fn rust() {
    page("rust", Ok(PathBuf::from(env!("CARGO_MANIFEST_DIR")))).await;
}
