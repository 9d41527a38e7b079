//! One reader of one durable execution: from its journal, at its own pace, to its stream.

use std::sync::Arc;

use remex_supervisor::{
    journal::{self, EVERYTHING, Gap, OpenError, Reader, Step},
    lifecycle::event::{Event, EventKind},
};
use tokio::sync::mpsc;

use super::kept::{Kept, Progress};
use crate::execution::{Attaching, Cut, Execution, Items, Told};

/// What waits between a journal and a stream that sends it.
const WAITING: usize = 2;

/// Most events, and about the most bytes, that are read at once.
const BATCH_EVENTS: usize = 64;
const BATCH_BYTES: usize = 256 * 1024;

/// Outputs that wait for a reader where the journal keeps none; more are a gap for an observer, and never come for a caller.
pub(super) const LIVE_OUTPUTS: usize = 16;

/// The sequence of the first event, which is the start.
const FIRST: u64 = 1;

/// Opens what is kept of `execution`, and begins to follow it.
pub(crate) async fn attach(
    execution: &Arc<Execution>,
    kept: &Arc<Kept>,
    how: Attaching,
) -> Result<Items, OpenError> {
    let live = kept
        .durability
        .keep
        .no_output
        .then(|| mpsc::channel(LIVE_OUTPUTS));
    let (live_to, live) = live.unzip();
    // Before the journal is opened: whoever is there keeps output from making room.
    let seat = kept.seats.take(how.observer, how.after, live_to);
    let progress = *kept.progress.borrow();
    let source = Source {
        kept: Arc::clone(kept),
        id: execution.id.to_string(),
    };
    // Where nothing but the start is there yet, there is no position to be refused; it is opened to be read.
    let is_new = how.after == 0 && limit(progress) <= FIRST;
    let reader = if is_new {
        None
    } else {
        Some(source.open(how.after, limit(progress)).await?)
    };
    let (to, told) = mpsc::channel(WAITING);
    let follower = Follower {
        execution: Arc::clone(execution),
        source,
        reader,
        live,
        position: how.after,
        // Whoever has just come has been told of nothing, and may wait for it before it sends more.
        stdin_accepted: 0,
        until: how.no_follow.then(|| limit(progress)),
        tells_accepted: how.tells_accepted,
        to,
    };
    tokio::spawn(follower.run());
    Ok(Items::durable(told, seat))
}

fn limit(progress: Progress) -> u64 {
    if progress.is_over {
        EVERYTHING
    } else {
        progress.through
    }
}

/// The journal.
struct Source {
    kept: Arc<Kept>,
    id: String,
}

impl Source {
    /// Opens it, on a thread that may be held.
    fn opening(
        &self,
        after: u64,
        through: u64,
    ) -> impl FnOnce() -> Result<Reader, OpenError> + Send + use<> {
        let (journals, id) = (self.kept.journals.clone(), self.id.clone());
        move || {
            let folder = journal::open(&journals, &id)?;
            Reader::open(folder, after, through)
        }
    }

    async fn open(&self, after: u64, through: u64) -> Result<Reader, OpenError> {
        self.kept.files.run(self.opening(after, through)).await
    }
}

struct Follower {
    execution: Arc<Execution>,
    source: Source,
    /// `None` while it reads, and once it has to be opened anew.
    reader: Option<Reader>,
    /// Outputs that no journal keeps.
    live: Option<mpsc::Receiver<Event>>,
    /// The last event that was told.
    position: u64,
    stdin_accepted: u64,
    /// It ends there.
    until: Option<u64>,
    tells_accepted: bool,
    to: mpsc::Sender<Result<Told, Cut>>,
}

/// The reader has gone, or has been told all.
struct Done;

/// What a batch ended with.
enum Next {
    /// There is more.
    More,
    /// There is nothing for now.
    UpToDate,
    /// There is nothing any more.
    Ended,
}

impl Follower {
    async fn run(mut self) {
        let to = self.to.clone();
        let closing = self.source.kept.closing.clone();
        let execution = Arc::clone(&self.execution);
        let running_on = async {
            closing.cancelled().await;
            if execution.end_record().is_some() {
                // A drain may be what it ended with: its callers have the server's last seconds to be told all of it.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = to.closed() => {}
            _ = self.follow() => {}
            // What has been told is enough: the rest is there when the server is back.
            () = running_on => drop(to.send(Err(Cut::Draining)).await),
        }
    }

    async fn follow(&mut self) -> Result<(), Done> {
        let mut progress = self.source.kept.progress.subscribe();
        loop {
            let now = *progress.borrow_and_update();
            self.pass_live_on(now).await?;
            let through = self.until.unwrap_or_else(|| limit(now));
            if through > self.position {
                self.tell_start().await?;
            }
            if through > self.position && !self.lacks_the_end_alone(now) {
                self.read(through).await?;
            }
            if self.until.is_some() {
                return Ok(());
            }
            if now.is_over {
                return self.end().await;
            }
            if self.tells_accepted && now.stdin_accepted > self.stdin_accepted {
                self.stdin_accepted = now.stdin_accepted;
                self.tell(Told::StdinAccepted).await?;
            }
            let has_live = async {
                match &mut self.live {
                    Some(live) if !live.is_closed() => live.recv().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = progress.changed() => changed.map_err(|_| Done)?,
                event = has_live => if let Some(event) = event {
                    self.pass(event).await?;
                },
            }
        }
    }

    /// Tells of the start, if it is what comes next and this server has seen it.
    async fn tell_start(&mut self) -> Result<(), Done> {
        let Some(time) = self.source.kept.started.filter(|_| self.position < FIRST) else {
            return Ok(());
        };
        let pid = self.execution.pid;
        let kind = EventKind::Started { pid };
        self.tell(Told::Event(Event {
            sequence: FIRST,
            time,
            kind,
        }))
        .await
    }

    /// Whether nothing is left to be told but the last event, which this server has been told itself.
    fn lacks_the_end_alone(&self, now: Progress) -> bool {
        now.is_over
            && self.until.is_none()
            && self.execution.end_record().is_some()
            && self.position.saturating_add(1) == self.execution.counters.last_sequence()
    }

    /// Tells what is there up to `through`.
    async fn read(&mut self, through: u64) -> Result<(), Done> {
        loop {
            let reader = self.reader.take();
            // What comes behind the start may be gone by now, which is no reason to refuse what does.
            let after = match self.position {
                ..=FIRST => 0,
                position => position,
            };
            let opening = self.source.opening(after, through);
            let batch = move || {
                let reader = reader.map_or_else(opening, Ok)?;
                Ok(read_batch(reader, through))
            };
            let read: Result<_, OpenError> = self.source.kept.files.run(batch).await;
            let (reader, steps, next) = match read {
                Ok(read) => read,
                Err(error) => return self.fail(error.to_string()).await,
            };
            self.reader = Some(reader);
            for step in steps {
                self.tell_step(step).await?;
            }
            match next {
                Ok(Next::More) => {}
                Ok(Next::UpToDate | Next::Ended) => return Ok(()),
                Err(why) => return self.fail(why).await,
            }
        }
    }

    async fn tell_step(&mut self, step: Step) -> Result<(), Done> {
        let told = match step {
            // Told already: it was known before it was read.
            Step::Event(event) if event.sequence <= self.position => return Ok(()),
            Step::Event(event) => Told::Event(event),
            Step::Lost(lost) => return self.tell_lost(lost.sequence).await,
            Step::Gap(gap) => Told::Gap(gap),
            // How much was in them is not known; what comes behind them has its offsets.
            Step::Damaged(damage) => {
                self.source.kept.note_damage(damage);
                Told::Gap(Gap {
                    first_sequence: damage.first_sequence,
                    sequence: damage.sequence,
                    bytes: [0; 3],
                })
            }
            Step::UpToDate | Step::Ended => return Ok(()),
        };
        self.tell(told).await
    }

    /// The last event, where the journal does not have it: its storage has failed.
    async fn end(&mut self) -> Result<(), Done> {
        self.execution.ended().await;
        let Some(&end) = self.execution.end_record() else {
            return Ok(());
        };
        let last = self.execution.counters.last_sequence();
        if self.position >= last {
            return Ok(());
        }
        if self.position + 1 < last {
            let gap = Gap {
                first_sequence: self.position + 1,
                sequence: last - 1,
                bytes: [0; 3],
            };
            self.tell(Told::Gap(gap)).await?;
        }
        if end.lost.is_some() {
            return self.tell_lost(last).await;
        }
        let exited = Event {
            sequence: last,
            time: end.time,
            kind: EventKind::Exited(end.exit),
        };
        self.tell(Told::Event(exited)).await
    }

    async fn tell_lost(&mut self, sequence: u64) -> Result<(), Done> {
        self.execution.ended().await;
        match self.execution.end_record() {
            Some(&end) => self.tell(Told::Lost { sequence, end }).await,
            None => Ok(()),
        }
    }

    /// Passes on the outputs that came live before `now`.
    async fn pass_live_on(&mut self, now: Progress) -> Result<(), Done> {
        while let Some(event) = self.live.as_mut().and_then(|live| live.try_recv().ok()) {
            // What was missed before it is in the journal, once it is told to be.
            if event.sequence > self.position + 1 && now.through > self.position {
                self.read(now.through.min(event.sequence - 1)).await?;
            }
            self.pass(event).await?;
        }
        Ok(())
    }

    async fn pass(&mut self, event: Event) -> Result<(), Done> {
        if event.sequence <= self.position {
            return Ok(());
        }
        if event.sequence > self.position + 1 {
            let before = event.sequence - 1;
            let mut progress = self.source.kept.progress.subscribe();
            let reached = |now: &Progress| now.is_over || now.through >= before;
            progress.wait_for(reached).await.map_err(|_| Done)?;
            self.read(before).await?;
        }
        // The journal's reader is behind from now on.
        self.reader = None;
        self.tell(Told::Event(event)).await
    }

    async fn tell(&mut self, told: Told) -> Result<(), Done> {
        let is_last = matches!(
            &told,
            Told::Event(Event {
                kind: EventKind::Exited(_),
                ..
            })
        );
        if is_last {
            // Whoever is told of the end finds it in the record.
            self.execution.ended().await;
        }
        if let Some(sequence) = told.sequence() {
            self.position = sequence;
        }
        self.to.send(Ok(told)).await.map_err(|_| Done)
    }

    async fn fail<T>(&mut self, why: String) -> Result<T, Done> {
        let _ = self.to.send(Err(Cut::Unreadable(why))).await;
        Err(Done)
    }
}

/// Reads on, as far as is good at once.
fn read_batch(mut reader: Reader, through: u64) -> (Reader, Vec<Step>, Result<Next, String>) {
    let (mut steps, mut bytes) = (Vec::new(), 0);
    let next = loop {
        if steps.len() >= BATCH_EVENTS || bytes >= BATCH_BYTES {
            break Ok(Next::More);
        }
        match reader.next(through) {
            Ok(Step::UpToDate) => break Ok(Next::UpToDate),
            Ok(Step::Ended) => break Ok(Next::Ended),
            Ok(step) => {
                if let Step::Event(Event {
                    kind: EventKind::Output(chunk),
                    ..
                }) = &step
                {
                    bytes += chunk.data.len();
                }
                steps.push(step);
            }
            Err(error) => break Err(error.to_string()),
        }
    };
    (reader, steps, next)
}
