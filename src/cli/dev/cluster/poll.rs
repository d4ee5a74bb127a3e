//! Asks the nodes how things stand, over and over.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::cli::client::Client;
use crate::http::View;
use crate::model::{SessionNumber, ShardId};

/// Between two rounds of questions.
const ASK_EVERY: Duration = Duration::from_millis(400);

/// A node on this machine answers within milliseconds; one that is frozen must not freeze the table.
const ANSWER_WITHIN: Duration = Duration::from_millis(300);

/// The highest committed checkpoint that any node has named, by shard and session.
pub(super) type Checkpoints = BTreeMap<(ShardId, SessionNumber), u64>;

/// What the nodes said.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// How the first that answers sees the cluster, with what the others know of their own shards. None in a round in
    /// which nobody answered.
    pub(super) view: Option<View>,
    /// What one that is no member yet waits for.
    pub(super) waiting: Option<String>,
    pub(super) checkpoints: Checkpoints,
}

/// Asks until nobody wants to know any more.
pub(super) async fn poll(clients: Vec<Client>, seen: watch::Sender<Seen>) {
    let mut rounds = interval(ASK_EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !seen.is_closed() {
        rounds.tick().await;
        let answers = join_all(clients.iter().map(|client| timeout(ANSWER_WITHIN, client.view())));
        let views: Vec<View> =
            answers.await.into_iter().filter_map(|answer| answer.ok()?.ok()).collect();
        seen.send_modify(|now| {
            now.waiting = views.iter().find_map(|view| view.waiting.clone());
            note(&mut now.checkpoints, &views);
            now.view = merge(views);
        });
    }
}

fn note(checkpoints: &mut Checkpoints, views: &[View]) {
    for row in views.iter().flat_map(|view| &view.shards) {
        if let Some(session) = row.session {
            let highest = checkpoints.entry((row.shard, session)).or_default();
            *highest = row.checkpoint.0.max(*highest);
        }
    }
}

/// The first member's view, in which every shard's row is its owner's where the owner answered.
fn merge(views: Vec<View>) -> Option<View> {
    let mut views = views.into_iter().filter(|view| view.waiting.is_none());
    let mut merged = views.next()?;
    for view in views {
        for row in view.shards.into_iter().filter(|row| row.here) {
            let known = merged.shards.iter_mut().find(|known| known.shard == row.shard);
            if let Some(known) = known.filter(|known| known.epoch == row.epoch) {
                *known = row;
            }
        }
    }
    Some(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Phase, ShardRow};
    use crate::model::Sequence;

    fn view(epoch: &str, here: bool, checkpoint: u64) -> View {
        let row = ShardRow {
            epoch: Some(epoch.to_owned()),
            here,
            phase: if here { Phase::Connected } else { Phase::Elsewhere },
            session: Some(SessionNumber(1)),
            checkpoint: Sequence(checkpoint),
            ..ShardRow::new(ShardId(0))
        };
        View { shards: vec![row], ..View::default() }
    }

    #[test]
    fn the_owner_knows_best_unless_the_shard_has_moved_on() {
        let phase = |views| merge(views).unwrap().shards[0].phase;

        assert_eq!(phase(vec![view("1.7", false, 3), view("1.7", true, 4)]), Phase::Connected);
        assert_eq!(phase(vec![view("1.9", false, 3), view("1.7", true, 4)]), Phase::Elsewhere);
    }

    #[test]
    fn a_checkpoint_that_was_seen_once_stays_seen() {
        let mut checkpoints = Checkpoints::new();

        note(&mut checkpoints, &[view("1.7", true, 9)]);
        note(&mut checkpoints, &[view("1.7", false, 4)]);

        assert_eq!(checkpoints[&(ShardId(0), SessionNumber(1))], 9);
    }
}
