//! Records that an earlier server has left: made without running anything, and found by a start.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Instant, SystemTime},
};

use remex::v1::{ListRequest, OnDisconnect};
use remex_client::Client;
use remex_supervisor::{
    journal::{
        self, DiskFolder, EVERYTHING, Reader, Reservation, Settings, Step, SyncMode, Writer,
    },
    lifecycle::event::Event,
};
use uuid::Uuid;

use crate::{Size, connect, memory::Memory, request, run, serve, support::Outcome};

/// A caller may hold a tenth of all records: there are so many callers.
const CALLERS: u8 = 10;

/// An execution that has ended, as its journal has it.
pub(crate) struct Template {
    reservation: Reservation,
    events: Vec<Event>,
}

/// What one that a server has run leaves.
pub(crate) async fn template(folder: &Path) -> Outcome<Template> {
    let home = folder.join("template");
    let server = serve(&home, &[])?;
    let echo = request(&["echo", "hello"], OnDisconnect::Detach);
    let seen = run(&connect(&server).await?, echo).await?;
    drop(server);
    let journals = DiskFolder::open(&home.join("state/durable"))?;
    let journal = journal::open(&journals, &seen.id)?;
    let summary = journal::inspect(&journal)?;
    let mut reader = Reader::open(journal, 0, EVERYTHING)?;
    let mut events = Vec::new();
    loop {
        match reader.next(EVERYTHING)? {
            Step::Event(event) => events.push(event),
            Step::Ended => break,
            other => return Err(format!("unexpected: {other:?}").into()),
        }
    }
    Ok(Template {
        reservation: summary.reservation.ok_or("no reservation")?,
        events,
    })
}

impl Template {
    /// Leaves `count` of them, of several callers, for a server in `folder`.
    pub(crate) fn leave(&self, folder: &Path, count: usize) -> Outcome<()> {
        let state = folder.join("state");
        let path = state.join("durable");
        fs::create_dir_all(&path)?;
        fs::set_permissions(&state, Permissions::from_mode(0o700))?;
        let journals = DiskFolder::open(&path)?;
        for index in 0..count {
            self.leave_one(&journals, u8::try_from(index % usize::from(CALLERS))?)?;
        }
        Ok(())
    }

    fn leave_one(&self, journals: &DiskFolder, caller: u8) -> Outcome<()> {
        let id = Uuid::now_v7().to_string();
        let folder = journal::prepare(journals, &id, 0, SyncMode::None)?;
        let mut writer = Writer::open(folder)?;
        // A field that comes twice has its last value: the user who asked, which is field 2.
        let details = [&self.reservation.details[..], &[2 << 3, 100 + caller]].concat();
        let reservation = Reservation {
            time: SystemTime::now(),
            details: details.into(),
            ..self.reservation.clone()
        };
        writer.reserve(&reservation, &Settings::default())?;
        for event in &self.events {
            writer.push(event.clone());
        }
        writer.commit()?;
        Ok(())
    }
}

/// A start that finds many.
pub(crate) async fn measure(folder: &Path, template: &Template, size: &Size) -> Outcome<()> {
    let home = folder.join("found");
    template.leave(&home, size.found)?;
    let begin = Instant::now();
    let server = serve(&home, &[])?;
    let serves = begin.elapsed();
    let client = connect(&server).await?;
    run(&client, request(&["/bin/true"], OnDisconnect::Kill)).await?;
    let attached = begin.elapsed();
    run(&client, request(&["/bin/true"], OnDisconnect::Detach)).await?;
    let detached = begin.elapsed();
    let found = all_are_known(&client).await?;
    let known = begin.elapsed();
    println!("a start that finds {} records", size.found);
    println!(
        "  serves after {serves:.1?}, a command has run after {attached:.1?}, a detached one after {detached:.1?}, all {found} are known after {known:.1?}"
    );
    let resident = Memory::of(server.child.id())?.resident;
    println!("  remexd then has {} KiB in memory", resident / 1024);
    Ok(())
}

/// How many records there are, counted page by page.
async fn all_are_known(client: &Client) -> Outcome<usize> {
    let mut request = ListRequest {
        page_size: 1000,
        ..ListRequest::default()
    };
    let mut count = 0;
    loop {
        let page = client.exec().list(request.clone()).await?.into_inner();
        count += page.executions.len();
        if page.next_page_token.is_empty() {
            return Ok(count);
        }
        request.page_token = page.next_page_token;
    }
}
