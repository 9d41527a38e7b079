//! Clients that are killed, or leave, in the middle of everything; and others that go on where those were.

use std::pin::pin;

use bytes::Bytes;
use remex_client::{Attach, Interaction, Stdin};
use tokio::io::AsyncReadExt;

use super::caller::{Watched, Way, pieces};
use crate::{harness::soon, supervision::support::Random};

/// So many clients come and go before one stays.
const MAX_LEAVERS: usize = 4;

impl Watched {
    /// Command lines are typed and killed, until one is not.
    pub(super) async fn type_and_kill(&mut self, way: &Way, random: &mut Random) {
        let whole = self.job.expected.streams[0].len();
        for _ in 0..=random.below(MAX_LEAVERS) {
            self.kill_after(way, random.below(whole)).await;
        }
        let child = self.type_it(way);
        assert!(self.typed(child).await, "the server is there");
    }

    /// Types it, and kills what was typed once it has shown more than `bytes` of output, or all.
    async fn kill_after(&mut self, way: &Way, bytes: usize) {
        let mut child = self.type_it(way);
        let mut stdout = child.stdout.take().expect("stdout");
        let (mut shown, mut buffer) = (Vec::new(), vec![0; 4096]);
        while shown.len() <= bytes {
            let read = soon("output", stdout.read(&mut buffer)).await;
            match read.expect("a pipe") {
                0 => break,
                read => shown.extend_from_slice(&buffer[..read]),
            }
        }
        child.kill().await.expect("it is killed");
        let begun = self.history.has_begun(0, &shown);
        self.check(begun);
    }

    /// Clients of the library come and are dropped with what they have on the way, until one stays to the end.
    pub(super) async fn come_and_go(&mut self, way: &Way, random: &mut Random) {
        let whole = self.job.expected.streams[0].len();
        let begun = way.client.interact(self.command().resume()).await;
        let mut interaction = begun.expect("it starts");
        // Whoever leaves ends no stdin.
        let mut left = Vec::new();
        for _ in 0..=random.below(MAX_LEAVERS) {
            let enough = random.below(whole) as u64;
            left.extend(self.talk(&mut interaction, enough).await);
            let attach = Attach::to(interaction.id()).after(self.history.position());
            drop(interaction);
            let joined = way.client.attach_interactive(attach.resume()).await;
            interaction = joined.expect("it is there");
        }
        self.talk(&mut interaction, u64::MAX).await;
        drop(left);
    }

    /// Gives it the rest of its stdin, and takes its events until more than `enough` bytes of stdout were told, or all. Returns
    /// its stdin if that has not ended.
    async fn talk(&mut self, interaction: &mut Interaction, enough: u64) -> Option<Stdin> {
        let mut stdin = interaction.stdin.take().expect("stdin");
        self.joins(interaction);
        let accepted = usize::try_from(stdin.accepted()).expect("a short stdin");
        let rest = self.job.stdin.slice(accepted..);
        let stays = enough == u64::MAX;
        {
            let mut feeding = pin!(feed(&mut stdin, &rest, stays));
            // Nothing more may come until its stdin ends.
            while self.history.told_bytes(0) <= enough {
                tokio::select! {
                    () = &mut feeding => break,
                    event = soon("an event", interaction.next()) => {
                        let Some(event) = event.expect("no error") else { break };
                        self.hears(interaction.position(), event);
                    }
                }
            }
        }
        if !stays {
            return Some(stdin);
        }
        drop(stdin);
        self.follow(interaction).await;
        None
    }
}

/// Gives it all of `data`; returns only if whoever does it stays.
async fn feed(stdin: &mut Stdin, data: &Bytes, stays: bool) {
    for piece in pieces(data) {
        stdin.write(piece).await.expect("it takes all of it");
    }
    if !stays {
        std::future::pending::<()>().await;
    }
}
