//! A new Run beside many executions that run and that have ended; and what one that runs takes of memory.

use std::path::Path;

use remex::v1::{self, OnDisconnect, SignalRequest, event::Kind};
use remex_client::Client;

use crate::{
    Size, connect, median, median_figure,
    memory::{Memory, supervisors},
    records::Template,
    request, run, serve,
    support::{Outcome, Server},
    times,
};

pub(crate) async fn measure(folder: &Path, template: &Template, size: &Size) -> Outcome<()> {
    let home = folder.join("busy");
    template.leave(&home, size.ended)?;
    let busy_server = serve(&home, &[])?;
    let quiet_server = serve(&folder.join("quiet"), &[])?;
    let (busy, quiet) = (connect(&busy_server).await?, connect(&quiet_server).await?);
    let before = Memory::of(busy_server.child.id());
    let running = occupy(&busy, size.running).await?;
    let (mut beside, mut alone, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms up and is not counted.
    for round in 0..=size.rounds {
        let start = async |client| {
            let start = || run(client, request(&["/bin/true"], OnDisconnect::Kill));
            times(size.starts, start).await.map(median)
        };
        let (many, none) = (start(&busy).await?, start(&quiet).await?);
        if round > 0 {
            beside.push(many * 1e6);
            alone.push(none * 1e6);
            ratios.push(many / none);
        }
    }
    println!(
        "/bin/true beside {} that run and {} that have ended: {:.1} us; beside none {:.1} us: {:.3} (bound 1.05)",
        size.running,
        size.ended,
        median_figure(beside),
        median_figure(alone),
        median_figure(ratios)
    );
    if let Err(error) = before.and_then(|before| memory(&busy_server, before, size)) {
        println!("skipped: what they take of memory, as that cannot be seen: {error}");
    }
    end(&busy, running).await
}

/// Has so many run, and nobody attached to them.
async fn occupy(client: &Client, count: usize) -> Outcome<Vec<String>> {
    let mut running = Vec::with_capacity(count);
    for _ in 0..count {
        // Whatever becomes of this process, they end.
        let sleep = request(&["sleep", "600"], OnDisconnect::Detach);
        let mut events = client.exec().start(sleep).await?.into_inner();
        let first = events.message().await?.and_then(|first| first.event);
        match first.and_then(|event| event.kind) {
            Some(Kind::Started(started)) => running.push(started.execution_id),
            other => return Err(format!("unexpected: {other:?}").into()),
        }
    }
    Ok(running)
}

/// Ends them, who would outlive their server.
async fn end(client: &Client, running: Vec<String>) -> Outcome<()> {
    for execution_id in running {
        let signal = SignalRequest {
            execution_id,
            signal: v1::Signal::Kill.into(),
        };
        client.exec().signal(signal).await?;
    }
    Ok(())
}

fn memory(server: &Server, before: Memory, size: &Size) -> Outcome<()> {
    let remexd = server.child.id();
    let all = supervisors(remexd)?;
    let all = all.into_iter().map(Memory::of);
    let all = all.collect::<Outcome<Vec<_>>>()?;
    if all.len() < size.running {
        return Err(format!("{} supervisors", all.len()).into());
    }
    let kib = |of: fn(&Memory) -> u64| {
        let mut all: Vec<_> = all.iter().map(of).collect();
        all.sort_unstable();
        all[all.len() / 2] / 1024
    };
    let grown = Memory::of(remexd)?.private.saturating_sub(before.private);
    println!(
        "one that runs: its supervisor has {} KiB of its own (bound 200, goal 100), and {} KiB of page tables; remexd has {} bytes more",
        kib(|memory| memory.private),
        kib(|memory| memory.page_tables),
        grown / size.running as u64
    );
    Ok(())
}
