//! What a node has to learn from Discord's REST API: who the bot is, how many shards, how many identifies.
//!
//! A restarted node does not wait for it, unless it is to change the total: its facts, its sessions and its URLs are
//! committed. It asks all the same, in the background, since a token that belongs to another bot must be told from an outage.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    NodeError, commit,
    facts::{self, Application, FactsError, Plan, Wanted},
};
use crate::cluster::Waiting;
use crate::config::Config;
use crate::gateway::{GatewayInfo, Rest, RestError};
use crate::model::{SHARDS_MAX, ShardTotal, UnixMillis};
use crate::raft::Handle;
use crate::state::{Command, Gateway, Limits, State};

/// How long a restarted node waits for Discord's word before it resumes on what it knows.
const KNOWN_FACTS_PATIENCE: Duration = Duration::from_millis(800);

/// Between two looks at the session start limit and the recommended shard count.
const REFRESH: Duration = Duration::from_secs(3_600);

/// Between two rounds of tries that have come to nothing.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Discord's REST API, as a node uses it.
#[derive(Debug)]
pub(super) struct Discord {
    rest: Rest,
    wanted: Wanted,
    /// Whether Discord has been asked since the start.
    asked: bool,
}

impl Discord {
    pub(super) fn new(rest: Rest, config: &Config, reshard: bool) -> Self {
        let wanted = Wanted {
            total: config.total_shards,
            guilds_per_shard: config.guilds_per_shard,
            intents: config.intents.bits(),
            reshard,
        };
        Self { rest, wanted, asked: false }
    }

    /// Fixes the facts of a new cluster, or checks those of an old one, and returns the gateway's URL. Until there are
    /// facts, what passes by itself is waited for: to be started again and again would only spend Discord's patience. From
    /// then on this node has shards, which are others' to run where it can't.
    pub(super) async fn settle(
        &mut self,
        raft: &Handle,
        waiting: &watch::Sender<Option<Waiting>>,
    ) -> Result<String, NodeError> {
        waiting.send_replace(Some(Waiting::Discord { problem: None }));
        let mut states = raft.states();
        let are_fixed = |state: &Arc<State>| state.facts().is_some();
        while !are_fixed(&state(raft)) {
            let answer = tokio::select! {
                // Another node's answer will do.
                Ok(_) = states.wait_for(are_fixed) => break,
                answer = self.ask() => answer,
            };
            let settled = match answer {
                Ok(answer) => self.apply(raft, answer).await,
                Err(error) => Err(error.into()),
            };
            let (problem, pause) = match settled {
                // Another node was faster.
                Err(_) if are_fixed(&state(raft)) => break,
                Err(NodeError::Facts(error @ FactsError::Unaffordable { .. })) => {
                    (error.to_string(), self.next_refresh(raft))
                }
                Err(NodeError::Discord(error)) if error.is_retryable() => {
                    (error.to_string(), ASK_AGAIN)
                }
                settled => return settled,
            };
            warn!(
                problem,
                seconds = pause.as_secs(),
                "no shard starts yet; Discord is asked again"
            );
            waiting.send_replace(Some(Waiting::Discord { problem: Some(problem) }));
            let _ = timeout(pause, states.wait_for(are_fixed)).await;
        }
        self.settle_once(raft).await
    }

    async fn settle_once(&mut self, raft: &Handle) -> Result<String, NodeError> {
        let state = state(raft);
        let asked = self.ask();
        let known = state.facts().zip(state.gateway().cloned());
        let needs_discord = self.wanted_differs(&state);
        if let Some((facts, gateway)) = &known
            && !self.wanted.reshard
        {
            // What is refused needs no answer, for which this node's shards would wait.
            let bot = Application { id: facts.application, guilds: 0 };
            facts::choose(Some(*facts), bot, gateway, &self.wanted)?;
        }
        let answer = match known {
            Some((_, gateway)) if !needs_discord => {
                match timeout(KNOWN_FACTS_PATIENCE, asked).await {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(error)) if !error.is_retryable() => return Err(error.into()),
                    Ok(Err(error)) => {
                        warn!(%error, "Discord's API does not answer; resuming on what is known");
                        return Ok(gateway.url);
                    }
                    Err(_) => {
                        info!("Discord's API takes its time; resuming on what is known");
                        return Ok(gateway.url);
                    }
                }
            }
            Some(_) | None => asked.await?,
        };
        self.apply(raft, answer).await
    }

    /// Keeps limits and recommendation fresh until `stop`. Returns where the token turns out to be another bot's.
    pub(super) async fn watch(
        mut self,
        raft: Handle,
        stop: CancellationToken,
    ) -> Option<FactsError> {
        loop {
            let pause = if self.asked { self.next_refresh(&raft) } else { Duration::ZERO };
            let answer = tokio::select! {
                () = stop.cancelled() => return None,
                answer = async { sleep(pause).await; self.ask().await } => answer,
            };
            let applied = match answer {
                Ok(answer) => self.apply(&raft, answer).await,
                Err(error) => Err(error.into()),
            };
            match applied {
                Ok(_) => {}
                Err(NodeError::Facts(error @ FactsError::OtherBot { .. })) => return Some(error),
                Err(error) => {
                    warn!(%error, "could not ask Discord for limits; going on with what is known");
                    self.asked = true;
                }
            }
        }
    }

    async fn ask(&self) -> Result<(Application, Gateway), RestError> {
        let (application, gateway) =
            tokio::try_join!(self.rest.application(), self.rest.gateway())?;
        let application = Application {
            id: application.id,
            guilds: application.approximate_guild_count.unwrap_or(0),
        };
        Ok((application, sighting(gateway)))
    }

    async fn apply(
        &mut self,
        raft: &Handle,
        (application, gateway): (Application, Gateway),
    ) -> Result<String, NodeError> {
        let before = state(raft);
        let plan = facts::choose(before.facts(), application, &gateway, &self.wanted)?;
        let url = gateway.url.clone();
        commit(raft, Command::ObserveGateway(gateway.clone())).await?;
        if let Plan::Fix(facts) | Plan::Reshard { facts, .. } = plan {
            let needed = facts.total.get();
            self.afford(raft, needed)?;
            let seconds = facts::identify_time(needed, gateway.limits.max_concurrency).as_secs();
            info!(%facts, identifies = needed, seconds, "fixing the cluster's facts");
        }
        match plan {
            Plan::Keep(facts) => {
                let needed = before.shards().values().filter(|held| held.session().is_none());
                let needed = u32::try_from(needed.count()).unwrap_or(u32::MAX);
                if let Err(error) = self.afford(raft, needed) {
                    // Who has a session needs none, and of the others each waits by itself.
                    warn!(%error, "shards without a session wait for identifies");
                }
                recommend(facts.total, gateway.recommended);
            }
            Plan::Fix(facts) => commit(raft, Command::FixFacts(facts)).await?,
            Plan::Reshard { from, facts } => {
                commit(raft, Command::Reshard { from, facts }).await?;
                // Asked for once: a later refresh must not find a difference again.
                self.wanted.reshard = false;
            }
        }
        self.asked = true;
        Ok(url)
    }

    /// Whether the day can pay for all, asked once: later a shard waits by itself.
    fn afford(&self, raft: &Handle, needed: u32) -> Result<(), FactsError> {
        let state = state(raft);
        let ledger = state.ledger();
        match ledger.limits() {
            Some(limits) if !self.asked => {
                facts::check_budget(needed, limits, ledger.reserve(), UnixMillis::now())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn wanted_differs(&self, state: &State) -> bool {
        state.facts().is_none_or(|facts| {
            facts.intents != self.wanted.intents
                || self.wanted.total.is_some_and(|total| total != facts.total)
        })
    }

    fn next_refresh(&self, raft: &Handle) -> Duration {
        let reset = state(raft).ledger().limits().map(|limits| limits.resets_at);
        let until_reset = reset.map(|at| at.since(UnixMillis::now()));
        // A second past the reset, so that the new day's count is seen; never more often than once a minute.
        let after_reset = until_reset.map(|span| span + Duration::from_secs(1));
        after_reset.unwrap_or(REFRESH).clamp(Duration::from_secs(60), REFRESH)
    }
}

fn state(raft: &Handle) -> Arc<State> {
    Arc::clone(&raft.states().borrow())
}

/// Takes Discord's answer for what it can be: at least one shard, at least one identify at once.
fn sighting(info: GatewayInfo) -> Gateway {
    let limit = info.session_start_limit;
    let recommended = ShardTotal::new(info.shards.clamp(1, SHARDS_MAX)).unwrap_or(ShardTotal::ONE);
    Gateway {
        url: info.url,
        recommended,
        limits: Limits {
            max_concurrency: limit.max_concurrency.max(1),
            total: limit.total,
            remaining: limit.remaining,
            resets_at: UnixMillis::now().plus(Duration::from_millis(limit.reset_after)),
        },
    }
}

/// The total stays, since sessions can't cross a change of it; that Discord wants more is said.
fn recommend(total: ShardTotal, recommended: ShardTotal) {
    metrics::gauge!("apolo_shards_recommended").set(f64::from(recommended.get()));
    if recommended > total {
        warn!(
            %total, %recommended,
            "Discord recommends more shards; `apolo run --total-shards N --reshard` changes the total, and spends N identifies"
        );
    }
}
