//! The host of one durable execution: passes on what callers ask of it to its supervisor, and tells its readers how far it has
//! come. The supervisor runs it, whether or not this task lives.

mod stdin;

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use remex_supervisor::{
    durable::{
        Link,
        message::{Attached, BlockedBy, EndCause, LinkRequest, Report, Stage, Status, VERSION},
    },
    journal::JournalCosts,
    lifecycle::{
        counters::Position,
        event::{Event, EventKind, Exit},
        outcome::Cause,
        presence::OnDisconnect,
    },
};
use tokio::{io::unix::AsyncFd, sync::oneshot, time::Instant};

use self::stdin::Feeding;
use super::{kept::Kept, spare};
use crate::{
    attached::{
        mailbox::{ControlRequest, Mailbox, StdinRequest},
        registered::{sleep_or_never, watch_link},
    },
    execution::Execution,
};

/// Requests that wait for the supervisor to take them; as long as so many do, callers wait.
const OUTGOING: usize = 32;

/// How far callers have come is told this often, where the supervisor waits to hear it.
const TELL_INTERVAL: Duration = Duration::from_millis(10);

/// How a supervisor and this task have parted.
#[derive(Debug)]
pub(super) enum Parting {
    /// The execution has ended.
    Ended(Ended),
    /// The supervisor has gone without a word, or is not understood.
    Lost,
    /// The server goes; the execution runs on.
    Closing,
}

/// The end, as the supervisor told it.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) sequence: u64,
    pub(super) time: SystemTime,
    pub(super) exit: Exit,
    /// It is in the journal.
    pub(super) is_kept: bool,
    /// The journal has nothing to add to what the supervisor has told.
    pub(super) is_summed_up: bool,
}

/// Follows one supervisor.
#[derive(Debug)]
pub(super) struct DurableHost {
    link: AsyncFd<Link>,
    mailbox: Mailbox,
    execution: Arc<Execution>,
    kept: Arc<Kept>,
    outgoing: VecDeque<LinkRequest>,
    asked: HashMap<u32, Asked>,
    next_request: u32,
    feeding: Option<Feeding>,
    told: Attached,
    tell_at: Option<Instant>,
    is_blocked: bool,
    /// Of its journal, as far as the supervisor has said.
    costs: JournalCosts,
}

/// Who waits for an answer. One who does not any more needs none.
#[derive(Debug)]
enum Asked {
    Signal(oneshot::Sender<()>),
    Resize(oneshot::Sender<bool>),
    Status(oneshot::Sender<()>),
}

/// What it waits for.
enum Input {
    Report,
    Control(ControlRequest),
    Stdin(StdinRequest),
    Seats,
    Tell,
    Room,
    Closing,
}

impl DurableHost {
    /// Follows the supervisor at the other end of `link`, which has been greeted and runs `execution`.
    pub(super) fn new(
        link: AsyncFd<Link>,
        mailbox: Mailbox,
        execution: Arc<Execution>,
        kept: Arc<Kept>,
    ) -> Self {
        Self {
            link,
            mailbox,
            execution,
            kept,
            outgoing: VecDeque::new(),
            asked: HashMap::new(),
            next_request: 1,
            feeding: None,
            told: Attached::default(),
            tell_at: None,
            is_blocked: false,
            costs: JournalCosts::default(),
        }
    }

    /// What its journal has cost.
    pub(super) fn costs(&self) -> JournalCosts {
        self.costs
    }

    /// The supervisor takes it that a caller is there, who has asked for the execution.
    pub(super) fn with_caller(mut self) -> Self {
        self.told.callers = 1;
        self
    }

    pub(super) fn execution(&self) -> &Arc<Execution> {
        &self.execution
    }

    pub(super) fn kept(&self) -> &Arc<Kept> {
        &self.kept
    }

    /// Whether a drain ends it: nobody could come back to it.
    pub(super) fn ends_in_a_drain(&self) -> bool {
        self.kept.durability.on_disconnect == OnDisconnect::Kill
    }

    /// Its last event was `sequence`.
    pub(super) fn ended_at(&self, sequence: u64) {
        self.execution.counters.follow(Position {
            last_sequence: sequence,
            ..Position::default()
        });
    }

    /// Asks how far the execution is, of which nothing is known; `false`: its supervisor has gone.
    pub(super) async fn learn_all(&mut self) -> io::Result<bool> {
        let (answer, mut answered) = oneshot::channel();
        let request = self.ask(Asked::Status(answer));
        self.link
            .get_ref()
            .send(&LinkRequest::GetStatus { request })?;
        loop {
            match spare::answer(&mut self.link).await? {
                Some(Report::Ended { .. }) | None => return Ok(false),
                Some(report) => drop(self.take_report(report)),
            }
            if answered.try_recv().is_ok() {
                return Ok(true);
            }
        }
    }

    /// Follows the same supervisor over another link; `false`: it goes. What was asked over the one before is not answered any
    /// more.
    pub(super) async fn relink(&mut self, link: Link) -> io::Result<bool> {
        self.link = watch_link(link)?;
        self.outgoing.clear();
        self.asked.clear();
        self.feeding = None;
        self.told = Attached::default();
        self.link
            .get_ref()
            .send(&LinkRequest::Hello { newest: VERSION })?;
        let is_there = match spare::answer(&mut self.link).await? {
            Some(Report::Welcome { stage, .. }) => match stage {
                Stage::Running => self.learn_all().await?,
                // How it ended comes next.
                Stage::Ended => true,
                Stage::Spare | Stage::Ready | Stage::Starting => false,
            },
            _ => false,
        };
        if !is_there {
            return Ok(false);
        }
        self.send_attached(self.kept.seats.tell());
        self.flush();
        Ok(true)
    }

    /// Follows it until they part.
    pub(super) async fn run(&mut self) -> Parting {
        self.kept.seats.watch(self.kept.durability.keep.no_output);
        loop {
            let parting = match self.wait().await {
                Input::Report => self.take_reports(),
                Input::Control(control) => self.control(control),
                Input::Stdin(stdin) => self.feed(stdin),
                Input::Seats => self.look_at_seats(),
                Input::Tell => self.tell_attached(),
                Input::Room => None,
                Input::Closing => Some(Parting::Closing),
            };
            if let Some(parting) = parting {
                return parting;
            }
            self.flush();
        }
    }

    async fn wait(&mut self) -> Input {
        let Self {
            link,
            mailbox,
            kept,
            outgoing,
            feeding,
            tell_at,
            ..
        } = self;
        let has_room = outgoing.len() < OUTGOING;
        tokio::select! {
            biased;
            () = kept.closing.cancelled() => Input::Closing,
            _ = link.readable() => Input::Report,
            Some(control) = mailbox.control.recv(), if has_room => Input::Control(control),
            () = kept.seats.changed(), if has_room => Input::Seats,
            () = sleep_or_never(*tell_at) => Input::Tell,
            () = room(link), if !outgoing.is_empty() => Input::Room,
            Some(stdin) = mailbox.stdin.recv(), if has_room && feeding.is_none() => Input::Stdin(stdin),
        }
    }

    fn take_reports(&mut self) -> Option<Parting> {
        loop {
            let report = match self
                .link
                .try_io_mut(tokio::io::Interest::READABLE, Link::receive)
            {
                Ok(Some(report)) => report,
                Ok(None) => return Some(Parting::Lost),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => {
                    tracing::warn!(id = %self.execution.id, %error, "a supervisor is not understood");
                    return Some(Parting::Lost);
                }
            };
            if let Some(ended) = self.take_report(report) {
                return Some(Parting::Ended(ended));
            }
        }
    }

    fn take_report(&mut self, report: Report) -> Option<Ended> {
        match report {
            Report::Grown {
                through,
                stdin_accepted,
            } => self.grown(through, stdin_accepted),
            Report::StdinTaken { accepted } => self.stdin_taken(accepted),
            Report::StdinRefused(why) => {
                if let Some((_, writer)) = self.feeding.take().and_then(|feeding| feeding.writer) {
                    let _ = writer.send(Err(why));
                }
            }
            Report::Done { request, done } => self.done(request, done),
            Report::Status { request, status } => {
                self.learn(&status);
                self.grown(status.through, status.stdin_accepted);
                self.done(request, true);
            }
            Report::Blocked(by) => {
                self.set_blocked(true);
                if by == BlockedBy::Keep {
                    // It may be that callers have come further than it knows.
                    self.tell_at = Some(Instant::now());
                }
            }
            Report::Unblocked => self.set_blocked(false),
            Report::Costs(costs) => self.costs = costs,
            Report::Output {
                sequence,
                time,
                chunk,
            } => self.kept.seats.pass_on(&Event {
                sequence,
                time,
                kind: EventKind::Output(chunk),
            }),
            Report::Ended {
                sequence,
                time,
                exit,
                kept,
                summary,
            } => {
                if let Some((status, costs)) = summary.as_deref() {
                    // Readers come to know of it with the end itself, for which they need not read the journal.
                    self.learn(status);
                    self.costs = *costs;
                }
                if !kept {
                    // It waits for that, and for nothing else.
                    self.outgoing.push_back(LinkRequest::Release);
                    self.flush();
                }
                return Some(Ended {
                    sequence,
                    time,
                    exit,
                    is_kept: kept,
                    is_summed_up: summary.is_some(),
                });
            }
            Report::Welcome { .. }
            | Report::Prepared
            | Report::Unfit { .. }
            | Report::Started { .. }
            | Report::NotStarted(_) => {}
        }
        None
    }

    fn grown(&mut self, through: u64, stdin_accepted: u64) {
        self.execution.counters.follow(Position {
            stdin_accepted,
            last_sequence: through,
            ..Position::default()
        });
        self.kept.progress.send_modify(|progress| {
            progress.through = progress.through.max(through);
            progress.stdin_accepted = progress.stdin_accepted.max(stdin_accepted);
        });
    }

    fn learn(&mut self, status: &Status) {
        self.execution.counters.follow(Position {
            stdout_bytes: status.stdout_bytes,
            stderr_bytes: status.stderr_bytes,
            stdin_accepted: status.stdin_accepted,
            last_sequence: status.through,
        });
        self.kept.update(|facts| {
            facts.first_sequence = status.first_kept;
            facts.stored_bytes = status.stored_bytes;
            // What a reader has found to be damaged stays so.
            if !status.storage_error.is_empty() {
                facts.storage_error.clone_from(&status.storage_error);
            }
        });
        self.set_blocked(status.blocked.is_some());
    }

    fn set_blocked(&mut self, is_blocked: bool) {
        self.is_blocked = is_blocked;
        self.kept.update(|facts| facts.is_blocked = is_blocked);
        let is_watched = is_blocked || self.kept.durability.keep.no_output;
        self.kept.seats.watch(is_watched);
    }

    fn done(&mut self, request: u32, done: bool) {
        match self.asked.remove(&request) {
            // Unanswered, it has ended.
            Some(Asked::Signal(answer)) if done => drop(answer.send(())),
            Some(Asked::Resize(answer)) => drop(answer.send(done)),
            Some(Asked::Status(answer)) => drop(answer.send(())),
            Some(Asked::Signal(_)) | None => {}
        }
    }

    fn ask(&mut self, asked: Asked) -> u32 {
        let request = self.next_request;
        self.next_request = self.next_request.wrapping_add(1);
        self.asked.insert(request, asked);
        request
    }

    fn control(&mut self, control: ControlRequest) -> Option<Parting> {
        let request = match control {
            ControlRequest::Signal(number, answer) => LinkRequest::Signal {
                request: self.ask(Asked::Signal(answer)),
                number,
            },
            ControlRequest::Resize(size, answer) => LinkRequest::Resize {
                request: self.ask(Asked::Resize(answer)),
                size,
            },
            ControlRequest::Status(answer) => LinkRequest::GetStatus {
                request: self.ask(Asked::Status(answer)),
            },
            ControlRequest::End(Cause::Shutdown) => LinkRequest::End(EndCause::Shutdown),
            ControlRequest::End(Cause::Disconnect) => LinkRequest::End(EndCause::Disconnect),
            // The supervisor has its clock.
            ControlRequest::End(Cause::Timeout) => return None,
        };
        self.outgoing.push_back(request);
        None
    }

    /// Callers that come and go are told of at once, how far they have come now and then.
    fn look_at_seats(&mut self) -> Option<Parting> {
        let told = self.kept.seats.tell();
        let is_news = told.len() > 1
            || told.iter().any(|now| {
                (now.callers, now.observers) != (self.told.callers, self.told.observers)
            });
        if is_news {
            self.send_attached(told);
        } else if told.last().is_some_and(|now| now.sent != self.told.sent) {
            self.tell_at
                .get_or_insert_with(|| Instant::now() + TELL_INTERVAL);
        }
        None
    }

    fn tell_attached(&mut self) -> Option<Parting> {
        let told = self.kept.seats.tell();
        self.send_attached(told);
        None
    }

    fn send_attached(&mut self, told: Vec<Attached>) {
        self.tell_at = None;
        if let Some(&now) = told.last() {
            self.told = now;
        }
        self.outgoing
            .extend(told.into_iter().map(LinkRequest::Attached));
    }

    /// Sends what the supervisor takes now.
    fn flush(&mut self) {
        while let Some(request) = self.outgoing.front() {
            match self.link.get_ref().send(request) {
                Ok(()) => drop(self.outgoing.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Its end is seen where reports come from.
                Err(_) => self.outgoing.clear(),
            }
        }
    }
}

/// Returns when the supervisor may take more than it did.
async fn room(link: &AsyncFd<Link>) {
    if let Ok(mut ready) = link.writable().await {
        // It was, before it took no more: what is sent now says whether it still is.
        ready.clear_ready();
    }
}
