//! The leader's side of identifies: the turnstile, and the permits that are out.

use futures_util::future::{join, join_all};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};
use tracing::debug;

use crate::gateway::Permit;
use crate::model::ShardId;
use crate::state::{Command, Outcome, Purpose, Refusal, State};

use super::{
    identify::{PERMIT_LIFETIME, Request, Steps, Turnstile},
    permits::Ask,
    proposer::Proposer,
};

/// Grants that are proposed side by side: a fraction of what Raft takes at once.
const GRANTS_AT_ONCE: usize = 64;

/// Lets shards identify, one after another.
#[derive(Debug)]
pub(super) struct Identifies {
    asks: mpsc::Receiver<Ask>,
    spawn_delay: std::time::Duration,
    turnstile: Turnstile,
    /// Who waits for a permit.
    waiting: Vec<(ShardId, oneshot::Sender<Permit>)>,
    /// Permits that are out.
    used: JoinSet<Option<Used>>,
}

/// What became of a permit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Used {
    Sent(Spent),
    Answered(Spent),
}

/// Which IDENTIFY it was, and when the leader heard of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    shard: ShardId,
    bucket: u32,
    at: Instant,
}

/// Something that the loop is to look at.
#[derive(Debug)]
pub(super) enum News {
    Asked(Ask),
    Used(Option<Used>),
    /// The node stops.
    Over,
}

impl Identifies {
    pub(super) fn new(asks: mpsc::Receiver<Ask>, spawn_delay: std::time::Duration) -> Self {
        let turnstile = Turnstile::new(spawn_delay);
        Self { asks, spawn_delay, turnstile, waiting: Vec::new(), used: JoinSet::new() }
    }

    /// A term begins: what this node measured in an earlier one is older than what another leader granted since.
    pub(super) fn begin_term(&mut self) {
        self.turnstile = self.turnstile.restarted(self.spawn_delay);
    }

    /// Cancel safe.
    pub(super) async fn news(&mut self) -> News {
        tokio::select! {
            ask = self.asks.recv() => ask.map_or(News::Over, News::Asked),
            Some(used) = self.used.join_next() => News::Used(used.ok().flatten()),
        }
    }

    pub(super) fn note(&mut self, used: Option<Used>) {
        match used {
            Some(Used::Sent(it)) => self.turnstile.sent(it.at, it.bucket, it.shard),
            Some(Used::Answered(it)) => self.turnstile.answered(it.at, it.bucket, it.shard),
            None => {}
        }
    }

    pub(super) fn wakes_at(&self, now: Instant) -> Option<Instant> {
        self.turnstile.wakes_at(now)
    }

    /// Opens buckets, and grants what can be granted.
    pub(super) async fn act(&mut self, proposer: &Proposer, state: &State) -> Result<(), ()> {
        self.forget_the_gone();
        let Steps { reopen, grant } = self.turnstile.steps(Instant::now(), state.ledger());
        let mut waves = grant.chunks(GRANTS_AT_ONCE);
        let reopened = async {
            if reopen.is_empty() {
                return Ok(());
            }
            proposer.propose(Command::ReopenBuckets(reopen)).await.map(drop)
        };
        // Proposed in this order and side by side: one barrier for both. A shard waits for no more than that.
        let first = self.grant(proposer, state, waves.next().unwrap_or_default());
        let (reopened, granted) = join(reopened, first).await;
        reopened.and(granted)?;
        for wave in waves {
            self.grant(proposer, state, wave).await?;
        }
        Ok(())
    }

    async fn grant(
        &mut self,
        proposer: &Proposer,
        state: &State,
        requests: &[Request],
    ) -> Result<(), ()> {
        let asked = Instant::now();
        let proposals = requests.iter().map(|request| {
            let Request { shard, epoch, purpose } = *request;
            proposer.propose(Command::Grant { shard, epoch, purpose })
        });
        let outcomes = join_all(proposals).await;
        let mut done = Ok(());
        for (Request { shard, .. }, outcome) in requests.iter().zip(outcomes) {
            match (outcome, state.ledger().bucket(*shard)) {
                (Ok(Outcome::Applied), Some(bucket)) => self.hand_over(asked, bucket, *shard),
                // Its bucket was not reopened before it. It goes on waiting.
                (Ok(Outcome::Refused(Refusal::BucketTaken(_))), _) => {}
                (Ok(_), _) => self.turnstile.withdraw(*shard),
                (Err(()), _) => done = Err(()),
            }
        }
        done
    }

    /// Hands over a permit whose grant is committed. Where nobody takes it any more it is spent all the same.
    fn hand_over(&mut self, asked: Instant, bucket: u32, shard: ShardId) {
        self.turnstile.granted(asked, bucket, shard);
        let (sent, was_sent) = oneshot::channel();
        let (answered, was_answered) = oneshot::channel();
        let expires = asked + PERMIT_LIFETIME;
        let permit = Permit { expires, sent: Some(sent), answered: Some(answered) };
        if let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == shard) {
            let (_, reply) = self.waiting.swap_remove(at);
            if reply.send(permit).is_err() {
                debug!(shard = shard.0, "a permit came too late to be used");
            }
        }
        let spent = move || Spent { shard, bucket, at: Instant::now() };
        self.used.spawn(async move { was_sent.await.ok().map(|()| Used::Sent(spent())) });
        self.used.spawn(async move { was_answered.await.ok().map(|()| Used::Answered(spent())) });
    }

    pub(super) fn ask(&mut self, ask: Ask, state: &State) {
        let Ask { shard, reply } = ask;
        let Some((epoch, held)) =
            state.shards().get(&shard).and_then(|held| Some((held.epoch()?, held)))
        else {
            // The shard has moved: whoever asked is about to be stopped.
            return;
        };
        let started = held.checkpoint().session.0 > 0;
        let purpose = if started { Purpose::Recover } else { Purpose::Start };
        self.waiting.retain(|(waiting, _)| *waiting != shard);
        self.waiting.push((shard, reply));
        self.turnstile.ask(Request { shard, epoch, purpose });
    }

    /// A connection that ended while it waited takes no permit.
    fn forget_the_gone(&mut self) {
        let turnstile = &mut self.turnstile;
        self.waiting.retain(|(shard, reply)| {
            let gone = reply.is_closed();
            if gone {
                turnstile.withdraw(*shard);
            }
            !gone
        });
    }
}
