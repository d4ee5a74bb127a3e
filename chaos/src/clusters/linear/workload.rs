//! What a client asks next.

use std::collections::BTreeMap;

use apolo::http::{self, KvAsk, KvRequest, KvText};
use rand::{RngExt as _, rngs::StdRng};

use crate::linear::{Answer, Ask, Expected, Held};

/// Few, so that clients meet.
const KEYS: usize = 10;

/// Of them, so many hold counters.
const COUNTERS: usize = 2;

/// So large that a number tells which steps led to it: no two sums of some are the same.
const BY_MAX: i64 = 1 << 40;

const NAMESPACE: &str = "linear";

/// Asks at random for what makes sense: what a client compares with, it has seen.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) random: StdRng,
    history: usize,
    client: usize,
    /// Values are written once, so that who reads one knows who wrote it.
    written: usize,
    seen: BTreeMap<String, Seen>,
    stale: bool,
}

/// What a client saw last of a key.
#[derive(Debug, Default)]
struct Seen {
    value: Option<String>,
    revision: Option<u64>,
}

impl Workload {
    pub(super) fn new(random: StdRng, history: usize, client: usize, stale: bool) -> Self {
        Self { random, history, client, written: 0, seen: BTreeMap::new(), stale }
    }

    /// Every key of this history.
    pub(super) fn keys(&self) -> impl Iterator<Item = String> + use<> {
        let history = self.history;
        (0..KEYS).map(move |key| format!("{history}/{key}"))
    }

    pub(super) fn next(&mut self) -> (String, Ask) {
        let nth = self.random.random_range(0..KEYS);
        let key = format!("{}/{nth}", self.history);
        let ask = if nth < COUNTERS { self.of_counter() } else { self.of_value(&key) };
        (key, ask)
    }

    fn of_counter(&mut self) -> Ask {
        match self.random.random_range(0..20) {
            0..8 => Ask::Get,
            8 => Ask::Delete { expected: Expected::Anything },
            _ => Ask::Increment { by: self.random.random_range(1..=BY_MAX) },
        }
    }

    fn of_value(&mut self, key: &str) -> Ask {
        let seen = self.seen.get(key);
        let at = seen.and_then(|seen| seen.revision).map(Expected::Revision);
        let same = seen.and_then(|seen| seen.value.clone()).map(Expected::Value);
        let absent = Expected::Absent;
        let (put, expected) = match self.random.random_range(0..20) {
            0..8 => return Ask::Get,
            8..12 => (true, Expected::Anything),
            12..15 => (true, at.unwrap_or(absent)),
            15..17 => (true, same.unwrap_or(absent)),
            17 => (true, absent),
            18 => (false, at.unwrap_or(Expected::Anything)),
            _ => (false, same.unwrap_or(Expected::Anything)),
        };
        if !put {
            return Ask::Delete { expected };
        }
        self.written += 1;
        Ask::Put { value: format!("{}-{}", self.client, self.written), expected }
    }

    /// What was answered is what the client knows.
    pub(super) fn saw(&mut self, key: &str, ask: &Ask, answer: &Answer) {
        let seen = match (ask, answer) {
            (_, Answer::Row(Some(row))) => match &row.held {
                Held::Text(value) => {
                    Seen { value: Some(value.clone()), revision: Some(row.modified) }
                }
                Held::Number(_) => return,
            },
            (Ask::Put { value, .. }, Answer::Put { revision }) => {
                Seen { value: Some(value.clone()), revision: Some(*revision) }
            }
            (_, Answer::Mismatch { current }) => Seen { value: None, revision: *current },
            _ => Seen::default(),
        };
        self.seen.insert(key.to_owned(), seen);
    }

    pub(super) fn request(&self, key: &str, ask: &Ask) -> KvRequest {
        let key = key.to_owned();
        let ask = match ask {
            Ask::Get => KvAsk::Get { key, local: self.stale },
            Ask::Put { value, expected } => {
                let (value, expected) = (KvText::Text(value.clone()), on_the_wire(expected));
                KvAsk::Put { key, value, ttl_ms: None, expected }
            }
            Ask::Delete { expected } => KvAsk::Delete { key, expected: on_the_wire(expected) },
            Ask::Increment { by } => KvAsk::Increment { key, by: *by, ttl_ms: None },
        };
        KvRequest { namespace: NAMESPACE.to_owned(), ask }
    }
}

fn on_the_wire(expected: &Expected) -> http::Expected {
    match expected {
        Expected::Anything => http::Expected::Anything,
        Expected::Absent => http::Expected::Absent,
        Expected::Revision(revision) => http::Expected::Revision(*revision),
        Expected::Value(value) => http::Expected::Value(KvText::Text(value.clone())),
    }
}
