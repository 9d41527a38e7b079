//! Scrapes metrics, as Prometheus does.

use std::{collections::BTreeMap, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{LOOK_AGAIN, soon};

/// What was told, by name and labels as they are written: `remex_refusals_total{reason="DRAINING"}`.
#[derive(Debug)]
pub(crate) struct Scrape(BTreeMap<String, String>);

impl Scrape {
    /// Of the address of a ready file, `http://127.0.0.1:9464/metrics`.
    pub(crate) async fn of(url: &str) -> Self {
        let (head, body) = get(url, "/metrics").await;
        assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
        assert!(head.contains("text/plain; version=0.0.4"), "{head}");
        let lines = body.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.to_owned())
        });
        Self(samples.collect())
    }

    /// The value of one that counts.
    #[track_caller]
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.value(name).parse().expect("a whole number")
    }

    /// The value of one that measures.
    #[track_caller]
    pub(super) fn seconds(&self, name: &str) -> f64 {
        self.value(name).parse().expect("a number")
    }

    #[track_caller]
    fn value(&self, name: &str) -> &str {
        let value = self.0.get(name);
        value.unwrap_or_else(|| panic!("no {name} in {:#?}", self.0))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Scrapes until `is_there`, since what has just happened may be counted a moment later.
pub(super) async fn until(url: &str, what: &str, is_there: impl Fn(&Scrape) -> bool) -> Scrape {
    soon(what, async {
        loop {
            let scrape = Scrape::of(url).await;
            if is_there(&scrape) {
                return scrape;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await
}

/// Where a URL leads.
pub(super) fn socket(url: &str) -> SocketAddr {
    let rest = url.strip_prefix("http://").expect("a URL");
    let (address, _) = rest.split_once('/').expect("a path");
    address.parse().expect("a host and a port")
}

/// The head and the body of an answer.
pub(super) async fn get(url: &str, path: &str) -> (String, String) {
    let address = socket(url);
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    let answer = soon("a scrape", async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    });
    let answer = answer.await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}
