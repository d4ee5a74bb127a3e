//! How long each shard had nobody. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use apolo::simulator::Truth;

use crate::clusters::spans::Spans;

/// A process that stood still from a moment on.
#[derive(Clone, Debug)]
pub(super) struct Frozen {
    pub(super) at_ms: u64,
    /// Those that it ran.
    pub(super) shards: BTreeSet<u32>,
}

/// Between each shard's connection and its next one, of those that were established after `since_ms`.
///
/// A frozen process leaves its connections open, until the next owner's RESUME takes their sessions: such a gap begins
/// with the freeze.
pub(super) fn gaps(truth: &Truth, since_ms: u64, frozen: Option<&Frozen>) -> Spans {
    let mut shards: BTreeMap<u32, Vec<(u64, Option<u64>)>> = BTreeMap::new();
    for connection in &truth.connections {
        if let (Some((shard, _)), Some(from)) = (connection.shard, connection.established_ms) {
            shards.entry(shard).or_default().push((from, connection.closed_ms));
        }
    }
    let mut gaps = Vec::new();
    for (shard, connections) in &mut shards {
        let mut frozen_ms = frozen.filter(|it| it.shards.contains(shard)).map(|it| it.at_ms);
        connections.sort_unstable();
        for pair in connections.windows(2).filter(|pair| pair[1].0 >= since_ms) {
            let [(_, closed_ms), (next_ms, _)] = [pair[0], pair[1]];
            let from_ms = frozen_ms.take().or(closed_ms).unwrap_or(next_ms);
            gaps.push(Duration::from_millis(next_ms.saturating_sub(from_ms)));
        }
    }
    gaps.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use apolo::simulator::{ConnectionTruth, Url};

    use super::*;

    fn truth(connections: &[(u32, u64, u64)]) -> Truth {
        let connection = |(shard, from, closed): &(u32, u64, u64)| ConnectionTruth {
            id: *from,
            url: Url::Main,
            shard: Some((*shard, 2)),
            session: None,
            opened_ms: *from,
            established_ms: Some(*from),
            last_received_ms: None,
            received: 0,
            received_bytes: 0,
            closed_ms: Some(*closed),
            end: None,
        };
        let connections = connections.iter().map(connection).collect();
        Truth { connections, ..Truth::default() }
    }

    #[test]
    fn a_gap_is_between_two_connections_of_one_shard() {
        let truth = truth(&[(0, 0, 10), (0, 15, 100), (0, 130, 900), (1, 0, 500)]);

        let all = gaps(&truth, 0, None);

        assert_eq!((all.count(), all.percentile(100)), (2, Duration::from_millis(30)));
        assert_eq!(gaps(&truth, 100, None).count(), 1);
    }

    #[test]
    fn the_first_gap_of_a_frozen_owner_begins_with_the_freeze() {
        let truth = truth(&[(0, 0, 300), (0, 300, 400), (0, 410, 900), (1, 0, 350), (1, 355, 900)]);
        let frozen = Frozen { at_ms: 100, shards: [0].into() };

        let gaps = gaps(&truth, 100, Some(&frozen));

        let spans = [1, 50, 100].map(|percent| gaps.percentile(percent).as_millis());
        assert_eq!(spans, [5, 10, 200]);
    }
}
