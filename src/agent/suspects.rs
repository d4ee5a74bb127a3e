//! Shards that look well and are not: silent ones, which are started anew, and those that reconnect for ever, which are
//! named.

use std::collections::BTreeMap;

use tokio::time::Instant;
use tracing::{info, warn};

use super::{Agent, RunningShard};
use crate::gateway::Phase;

impl Agent {
    pub(super) fn look_for_suspects(&mut self, now: Instant) {
        self.name_the_flapping(now);
        let said = |held: &RunningShard| {
            (held.status.borrow().phase == Phase::Connected).then(|| held.received.sequence())
        };
        let running: BTreeMap<_, _> =
            self.running.iter().map(|(shard, held)| (*shard, said(held))).collect();
        self.silence.observe(now, &running);
        for shard in self.silence.take_silent(now, self.options.shard_timeout) {
            warn!(
                shard = shard.0,
                "connected, and silent for the shard timeout while others are not; it starts anew"
            );
            metrics::counter!("apolo_shards_silent_total").increment(1);
            if let Some(held) = self.running.get(&shard) {
                held.stop.cancel();
            }
        }
    }

    fn name_the_flapping(&mut self, now: Instant) {
        for (shard, held) in &mut self.running {
            let connected = held.status.borrow().phase == Phase::Connected;
            let found = held.flapping.observe(now, connected);
            let was = std::mem::replace(&mut held.flapping.found, found.is_some());
            match (was, found) {
                (false, Some(count)) => {
                    let why = held.status.borrow().last_disconnect.clone();
                    let why = why.as_deref().unwrap_or("unknown");
                    warn!(shard = shard.0, count, why, "reconnects again and again");
                }
                (true, None) => info!(shard = shard.0, "its connection lasts again"),
                _ => {}
            }
            if was || found.is_some() {
                self.options.board.set_connects_of_late(*shard, found);
            }
        }
    }
}
