//! Executions become records: those that run get a host, those that have ended are shown as their journals have them.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::FutureExt;
use remex_daemon::net::Backoff;
use remex_supervisor::{
    durable::message::{LinkRequest, Report, Stage, VERSION},
    journal::{self, JournalSummary, Lost, Stage as JournalStage},
    lifecycle::{counters::Counters, event::Exit, outcome::Outcome},
    process::{TreeRecord, Usage},
};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{
    details::{self, Known},
    host::{DurableHost, Ended, Parting},
    kept::Kept,
    recover::{Found, LeftAlone, Running},
    spare::{answer, next_report},
    store::DurableStore,
};
use crate::{
    attached::{mailbox::mailbox, registered::watch_link},
    execution::{EndRecord, Execution, Liveness, Place, labels_cost, log},
    traces::ExecutionSpan,
};

/// A supervisor that was found in the middle of a start is given this long for it.
const START_BOUND: Duration = Duration::from_secs(20);

impl DurableStore {
    /// Follows one that runs; `false`: it has ended meanwhile.
    pub(super) async fn adopt(
        self: &Arc<Self>,
        id: Uuid,
        running: Running,
    ) -> Result<bool, LeftAlone> {
        match self.try_adopt(id, running).await {
            // It may end between any two words.
            Err(LeftAlone::Io(error)) if has_ended(&error) => Ok(false),
            adopted => adopted,
        }
    }

    async fn try_adopt(self: &Arc<Self>, id: Uuid, running: Running) -> Result<bool, LeftAlone> {
        let Running {
            link,
            summary,
            tree,
        } = running;
        let mut link = watch_link(link)?;
        link.get_ref()
            .send(&LinkRequest::Hello { newest: VERSION })?;
        let stage = match answer(&mut link).await? {
            Some(Report::Welcome { version, .. }) if version > VERSION => {
                return Err(LeftAlone::Newer);
            }
            Some(Report::Welcome {
                id: other, stage, ..
            }) if other == id.to_string() => stage,
            Some(_) => return Err(LeftAlone::Silent),
            None => return Ok(false),
        };
        let mut pid = summary.started.map(|started| started.pid);
        match stage {
            // It ends, as whoever made it has gone.
            Stage::Spare | Stage::Ready => return Ok(false),
            Stage::Starting => match timeout(START_BOUND, next_report(&mut link)).await {
                Ok(Ok(Some(Report::Started { pid: new, .. }))) => pid = Some(new),
                Ok(Ok(_)) => return Ok(false),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err(LeftAlone::Silent),
            },
            Stage::Running | Stage::Ended => {}
        }
        let (reached, mailbox) = mailbox();
        let execution = self.record(
            id,
            &summary,
            pid,
            Liveness::running(reached, ExecutionSpan::default()),
        )?;
        let (execution, kept) = execution;
        let mut host = DurableHost::new(link, mailbox, Arc::clone(&execution), kept);
        if stage != Stage::Ended && !host.learn_all().await? {
            return Ok(false);
        }
        self.resources.registry.insert(execution);
        let place = self.resources.place();
        self.host(host, tree, place);
        Ok(true)
    }

    /// Shows one that has ended.
    pub(super) fn insert_ended(
        &self,
        id: Uuid,
        summary: &JournalSummary,
    ) -> Result<Arc<Execution>, LeftAlone> {
        let pid = summary.started.map(|started| started.pid);
        let life = Liveness::ended(end_of(summary));
        let (execution, kept) = self.record(id, summary, pid, life)?;
        kept.progress
            .send_modify(|progress| progress.is_over = true);
        self.note_ended(&execution);
        self.resources.registry.insert(Arc::clone(&execution));
        Ok(execution)
    }

    /// The record that a journal makes.
    fn record(
        &self,
        id: Uuid,
        summary: &JournalSummary,
        pid: Option<i32>,
        life: Liveness,
    ) -> Result<(Arc<Execution>, Arc<Kept>), LeftAlone> {
        let (created, known) = if let Some(reservation) = &summary.reservation {
            let known = details::decode(&reservation.details).ok_or(LeftAlone::Nameless)?;
            (reservation.time, known)
        } else {
            // It is damaged; what is behind it can be read.
            tracing::warn!(%id, "the journal of a durable execution does not say any more who asked for what");
            let started = summary.started.map(|started| started.time);
            (started.unwrap_or_else(SystemTime::now), Known::nothing())
        };
        let kept = Kept::new(
            known.durability,
            self.journals.clone(),
            self.files.clone(),
            self.closing.child_token(),
            None,
        );
        let counters = Arc::new(Counters::default());
        kept.learn(summary, &counters);
        let mut memory = self.resources.memory.share();
        memory.grow(size_of::<Execution>() + known.spec.cost() + labels_cost(&known.labels));
        let execution = Arc::new(Execution {
            id,
            pid: pid.unwrap_or_default(),
            until_end: known.until_end,
            labels: known.labels,
            caller: known.caller,
            through: known.through,
            created,
            counters,
            stdin: self.resources.stdin.room(),
            spec: known.spec,
            applied: known.applied,
            kept: Some(Arc::clone(&kept)),
            memory,
            life,
        });
        Ok((execution, kept))
    }

    /// Follows one that runs to its end, in a task.
    pub(super) fn host(
        self: &Arc<Self>,
        host: DurableHost,
        tree: Option<TreeRecord>,
        place: Option<Place>,
    ) {
        self.note_running(host.execution());
        let store = Arc::clone(self);
        let tasks = if host.ends_in_a_drain() {
            &self.resources.tasks
        } else {
            &self.tasks
        };
        tasks.spawn(async move {
            let execution = Arc::clone(host.execution());
            let hosted = std::panic::AssertUnwindSafe(store.follow(host, place));
            if hosted.catch_unwind().await.is_err() {
                // Its supervisor lives: another host takes over, and readers come back to that one.
                tracing::error!(id = %execution.id, "the host of a durable execution has failed");
                if let Some(kept) = &execution.kept {
                    kept.closing.cancel();
                }
                store.recover_one(execution.id).await;
            } else if let Some(tree) = tree
                && execution.end_record().is_some()
            {
                store.recovery.spawner.leave_durable(&tree);
            }
        });
    }

    async fn follow(&self, mut host: DurableHost, place: Option<Place>) {
        let end = loop {
            match host.run().await {
                Parting::Closing => return,
                Parting::Ended(ended) => break self.ended(&host, ended).await,
                Parting::Lost => {
                    if let Some(end) = self.lost(&mut host).await {
                        break end;
                    }
                }
            }
        };
        self.resources.measures.journaled(host.costs());
        // Whoever is told of the end may start another at once.
        drop(place);
        let (execution, kept) = (host.execution(), host.kept());
        self.resources.registry.retire(execution, end);
        self.note_ended(execution);
        log::ended(execution, &end.exit);
        kept.progress
            .send_modify(|progress| progress.is_over = true);
        self.tell_end(execution).await;
    }

    async fn ended(&self, host: &DurableHost, ended: Ended) -> EndRecord {
        let (execution, kept) = (host.execution(), host.kept());
        if !ended.is_summed_up {
            // Its supervisor is one of an earlier version.
            let (journals, id) = (self.journals.clone(), execution.id.to_string());
            let inspect = move || journal::inspect(&journal::open(&journals, &id)?);
            match self.files.run(inspect).await {
                Ok(summary) => kept.learn(&summary, &execution.counters),
                Err(error) => {
                    tracing::warn!(id = %execution.id, %error, "cannot read the journal of what has ended");
                }
            }
        }
        kept.update(|facts| facts.is_blocked = false);
        host.ended_at(ended.sequence);
        if !ended.is_kept {
            kept.update(|facts| {
                if facts.storage_error.is_empty() {
                    "its output could not be stored to the end"
                        .clone_into(&mut facts.storage_error);
                }
            });
        }
        EndRecord {
            exit: ended.exit,
            lost: None,
            time: ended.time,
        }
    }

    /// The link to the supervisor is gone. The end, once nobody supervises the execution any more; `None`: its supervisor lives
    /// and is followed again, or the server goes.
    async fn lost(&self, host: &mut DurableHost) -> Option<EndRecord> {
        let execution = Arc::clone(host.execution());
        let id = execution.id;
        let mut pauses = Backoff::default();
        loop {
            let recovery = self.recovery.clone();
            let found = self.recovery_files.run(move || recovery.find(id)).await;
            let why = match found {
                Ok(Found::Over(summary)) => {
                    host.kept().learn(&summary, &execution.counters);
                    return Some(end_of(&summary));
                }
                Ok(Found::Nothing) => break,
                Ok(Found::Running(running)) => match host.relink(running.link).await {
                    Ok(true) => return None,
                    // It may end between any two words: then the journal says how.
                    Ok(false) => "it goes while it is asked".to_owned(),
                    Err(error) => error.to_string(),
                },
                Err(error) if error.is_passing() => error.to_string(),
                Err(error) => {
                    tracing::warn!(%id, %error, "nobody can tell what became of an execution");
                    break;
                }
            };
            if !pauses.is_failing() {
                tracing::warn!(%id, why, "a supervisor that may live is looked for again");
            }
            tokio::select! {
                () = sleep(pauses.fail()) => {}
                () = self.closing.cancelled() => return None,
            }
        }
        // Its end comes behind what was told of it, wherever that is written.
        host.ended_at(execution.counters.last_sequence().saturating_add(1));
        Some(unknown(Lost::Exit, execution.created, SystemTime::now()))
    }
}

/// Whether nobody is there any more to take what was sent.
fn has_ended(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

/// How an execution ended that has, as its journal says.
fn end_of(summary: &JournalSummary) -> EndRecord {
    let started = summary.started.map(|started| started.time);
    match summary.stage {
        JournalStage::Ended { time, exit } => EndRecord {
            exit,
            lost: None,
            time,
        },
        JournalStage::Lost { time, lost } => unknown(lost, started.unwrap_or(time), time),
        JournalStage::Prepared
        | JournalStage::Reserved
        | JournalStage::NotStarted
        | JournalStage::Running => {
            let now = SystemTime::now();
            unknown(Lost::Exit, started.unwrap_or(now), now)
        }
    }
}

fn unknown(lost: Lost, started: SystemTime, time: SystemTime) -> EndRecord {
    EndRecord {
        exit: Exit {
            outcome: Outcome::LOST,
            wall_time: time.duration_since(started).unwrap_or_default(),
            usage: Usage::default(),
            oom_killed: false,
            output_left_open: false,
        },
        lost: Some(lost),
        time,
    }
}
