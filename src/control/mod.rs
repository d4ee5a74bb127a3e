//! What only the leader does: give orphans an owner, and let shards through the identify turnstile.
//!
//! One loop: look at the state, decide ([`placement::assign`], [`identify::Turnstile`]), propose. It runs on every node
//! and acts only while that node leads. What it decides is in the log or never happened.

pub mod identify;
mod permits;

pub use permits::PermitDesk;

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::gateway::Permit;
use crate::model::ShardId;
use crate::placement;
use crate::raft::{Handle, Leadership};
use crate::state::{Command, Outcome, Purpose, State};

use identify::{PERMIT_LIFETIME, Request, Turnstile};
use permits::Ask;

/// How long the leader waits before it looks again after a proposal failed.
const RETRY: Duration = Duration::from_millis(100);

/// Grants that are proposed side by side: a fraction of what Raft takes at once.
const GRANTS_AT_ONCE: usize = 64;

/// Without any change the state is looked at this often, in case a wake-up was missed.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(5);

/// The leader's loop.
#[derive(Debug)]
pub struct Control {
    raft: Handle,
    asks: mpsc::Receiver<Ask>,
    spawn_delay: Duration,
    turnstile: Turnstile,
    /// Who waits for a permit.
    waiting: Vec<(ShardId, oneshot::Sender<Permit>)>,
    /// Permits that are out.
    used: JoinSet<Option<Used>>,
}

/// What became of a permit.
#[derive(Clone, Copy, Debug)]
enum Used {
    Sent(Spent),
    Answered(Spent),
}

/// Which IDENTIFY it was, and when the leader heard of it.
#[derive(Clone, Copy, Debug)]
struct Spent {
    shard: ShardId,
    bucket: u32,
    at: Instant,
}

impl Control {
    /// The loop, and the desk at which shards ask for permits. `spawn_delay` comes on top of Discord's own spacing.
    #[must_use]
    pub fn new(raft: Handle, spawn_delay: Duration) -> (Self, PermitDesk) {
        let (desk, asks) = PermitDesk::new();
        let turnstile = Turnstile::new(spawn_delay);
        let control =
            Self { raft, asks, spawn_delay, turnstile, waiting: Vec::new(), used: JoinSet::new() };
        (control, desk)
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut states = self.raft.states();
        let mut leadership = self.raft.leadership();
        let mut leading = None;
        loop {
            let state = Arc::clone(&states.borrow_and_update());
            let leads = match *leadership.borrow_and_update() {
                Leadership::Leading { term } => Some(term),
                Leadership::Following { .. } => None,
            };
            if leads.is_some() && leads != leading {
                // What this node measured in an earlier term is older than what another leader granted since.
                self.turnstile = self.turnstile.restarted(self.spawn_delay);
            }
            leading = leads;
            let done = if leads.is_some() { self.act(&state).await } else { Ok(()) };
            let now = Instant::now();
            let wake = match done {
                Ok(()) => self.turnstile.wakes_at(now).unwrap_or(now + LOOK_AT_LEAST_EVERY),
                Err(()) => now + RETRY,
            };
            tokio::select! {
                changed = states.changed() => if changed.is_err() { return },
                changed = leadership.changed() => if changed.is_err() { return },
                ask = self.asks.recv() => match ask {
                    Some(ask) => self.ask(ask, &states.borrow()),
                    None => return,
                },
                Some(used) = self.used.join_next() => match used {
                    Ok(Some(Used::Sent(it))) => self.turnstile.sent(it.at, it.bucket, it.shard),
                    Ok(Some(Used::Answered(it))) => {
                        self.turnstile.answered(it.at, it.bucket, it.shard);
                    }
                    Ok(None) | Err(_) => {}
                },
                () = sleep_until(wake) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn act(&mut self, state: &State) -> Result<(), ()> {
        let moves = placement::assign(state);
        if !moves.is_empty() {
            info!(shards = moves.len(), "assigning shards that nobody owns");
            self.propose(Command::Assign(moves)).await?;
            // The new state wakes the loop.
            return Ok(());
        }
        self.forget_the_gone();
        let now = Instant::now();
        let steps = self.turnstile.steps(now, state.ledger());
        if !steps.reopen.is_empty() {
            self.propose(Command::ReopenBuckets(steps.reopen)).await?;
        }
        for wave in steps.grant.chunks(GRANTS_AT_ONCE) {
            self.grant(state, wave).await?;
        }
        Ok(())
    }

    /// Commits grants, and hands the permits over. They are proposed side by side, so that a wave of them shares the
    /// disk's barriers.
    async fn grant(&mut self, state: &State, requests: &[Request]) -> Result<(), ()> {
        let asked = Instant::now();
        let proposals = requests.iter().map(|request| {
            let Request { shard, epoch, purpose } = *request;
            self.propose(Command::Grant { shard, epoch, purpose })
        });
        let outcomes = join_all(proposals).await;
        let mut done = Ok(());
        for (Request { shard, .. }, outcome) in requests.iter().zip(outcomes) {
            match (outcome, state.ledger().bucket(*shard)) {
                (Ok(Outcome::Applied), Some(bucket)) => self.hand_over(asked, bucket, *shard),
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
                debug!(%shard, "a permit came too late to be used");
            }
        }
        let spent = move || Spent { shard, bucket, at: Instant::now() };
        self.used.spawn(async move { was_sent.await.ok().map(|()| Used::Sent(spent())) });
        self.used.spawn(async move { was_answered.await.ok().map(|()| Used::Answered(spent())) });
    }

    fn ask(&mut self, ask: Ask, state: &State) {
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

    async fn propose(&self, command: Command) -> Result<Outcome, ()> {
        let kind = command.kind();
        match self.raft.propose(command).await {
            Ok(outcome) => {
                if outcome != Outcome::Applied {
                    warn!(command = kind, ?outcome, "a proposal was turned down");
                }
                Ok(outcome)
            }
            Err(error) => {
                warn!(command = kind, %error, "a proposal failed");
                Err(())
            }
        }
    }
}
