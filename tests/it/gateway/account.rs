//! What a shard's queue yielded, to be held against the simulator's truth.

use std::collections::{BTreeMap, BTreeSet};

use apolo::gateway::{Item, LostReason, Oddity};

/// What one shard's queue yielded.
#[derive(Debug, Default)]
pub(super) struct Account {
    current: String,
    pub(super) sessions: BTreeMap<String, Yield>,
    pub(super) lost: Vec<(u64, LostReason)>,
    pub(super) resumed: usize,
    pub(super) undecodable: usize,
}

/// What came of one session.
#[derive(Debug, Default)]
pub(super) struct Yield {
    pub(super) last: u64,
    came: BTreeSet<u64>,
    /// Sequences that the queue itself called missing.
    pub(super) reported: BTreeSet<u64>,
}

impl Account {
    pub(super) fn note(&mut self, item: Item) {
        match item {
            Item::SessionStarted(session) => {
                self.current.clone_from(&session.id.0);
                self.sessions.insert(session.id.0, Yield::default());
            }
            Item::Dispatch(dispatch) => {
                let session = self.sessions.get_mut(&self.current).expect("a session came first");
                let sequence = dispatch.sequence.0;
                assert!(sequence > session.last, "{sequence} came after {}", session.last);
                match dispatch.oddity {
                    Some(Oddity::Gap { after }) => {
                        session.reported.extend(after.0 + 1..sequence);
                    }
                    Some(Oddity::Undecodable) => self.undecodable += 1,
                    None => {}
                }
                session.last = sequence;
                session.came.insert(sequence);
            }
            Item::SessionLost { after, reason, .. } => {
                let session = &self.sessions[&self.current];
                assert_eq!(after.0, session.last, "the range of the loss");
                self.lost.push((after.0, reason));
            }
            Item::Connected { resumed } => self.resumed += usize::from(resumed),
            Item::Disconnected { .. } | Item::Rewound { .. } => {}
        }
    }

    /// What is missing from a session up to `last`, other than what the queue itself called missing.
    pub(super) fn missing(&self, session: &str, last: u64) -> Vec<u64> {
        let Some(came) = self.sessions.get(session) else { return (1..=last).collect() };
        (1..=last).filter(|it| !came.came.contains(it) && !came.reported.contains(it)).collect()
    }
}
