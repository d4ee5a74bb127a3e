//! A key that does what it is asked, with a revision for each change, and random histories of one.

use rand::{RngExt as _, rngs::StdRng};

use super::*;

/// What a key is, in the plainest way: executed, not constrained.
#[derive(Clone, Debug, Default)]
pub(super) struct Plain {
    /// What it holds, and at which revisions it was made and changed last.
    present: Option<(Held, u64, u64)>,
    pub(super) last: u64,
}

impl Plain {
    /// Does it. A change takes this revision.
    pub(super) fn act(&mut self, ask: &Ask, revision: u64) -> Answer {
        let (Ask::Put { expected, .. } | Ask::Delete { expected }) = ask else {
            return self.count_or_show(ask, revision);
        };
        let current = self.present.as_ref().map(|it| it.2);
        let met = match expected {
            Expected::Anything => true,
            Expected::Absent => current.is_none(),
            Expected::Revision(wanted) => current == Some(*wanted),
            Expected::Value(wanted) => {
                self.present.as_ref().is_some_and(|it| it.0 == Held::Text(wanted.clone()))
            }
        };
        if !met {
            return Answer::Mismatch { current };
        }
        if let Ask::Put { value, .. } = ask {
            let created = self.present.as_ref().map_or(revision, |it| it.1);
            self.present = Some((Held::Text(value.clone()), created, revision));
            self.last = revision;
            return Answer::Put { revision };
        }
        let changed = self.present.take().map(|_| revision);
        self.last = changed.unwrap_or(self.last);
        Answer::Deleted { revision: changed }
    }

    fn count_or_show(&mut self, ask: &Ask, revision: u64) -> Answer {
        if let Ask::Increment { by } = ask {
            let (number, created) = match &self.present {
                Some((Held::Number(number), created, _)) => (*number, *created),
                _ => (0, revision),
            };
            self.present = Some((Held::Number(number + by), created, revision));
            self.last = revision;
            return Answer::Counted { revision, number: number + by };
        }
        let row = self.present.clone();
        Answer::Row(row.map(|(held, created, modified)| Row { held, created, modified }))
    }
}

/// What a client is at.
enum At {
    Rest,
    Asked(u64, Ask),
    Done(u64, Ask, Answer),
}

/// Some change nothing, and many of the others can be true.
const LIES: usize = 6;

/// What clients see who ask one key at random times: some are cut off in the middle, and some are told a lie.
pub(super) fn history(random: &mut StdRng, most: usize, unknown: bool) -> History {
    const CLIENTS: usize = 3;
    let (mut key, mut now, counts) = (Plain::default(), 0, random.random_ratio(1, 4));
    let mut clients = [const { At::Rest }; CLIENTS];
    let mut operations = Vec::new();
    let mut asked = 0;
    while asked < most || clients.iter().any(|client| !matches!(client, At::Rest)) {
        now += 10;
        let nth = random.random_range(0..CLIENTS);
        let cut = unknown && random.random_ratio(1, 10);
        // Each life of a client that was cut off is a client of its own.
        let client = nth + CLIENTS * (1 + asked);
        clients[nth] = match std::mem::replace(&mut clients[nth], At::Rest) {
            At::Rest if asked < most => {
                asked += 1;
                At::Asked(now, ask(random, counts))
            }
            At::Rest => At::Rest,
            At::Asked(called, ask) | At::Done(called, ask, _) if cut => {
                if ask != Ask::Get {
                    operations.push(super::unknown(client, called, ask));
                }
                At::Rest
            }
            At::Asked(called, ask) => {
                let revision = key.last + random.random_range(1..=2);
                let answer = key.act(&ask, revision);
                At::Done(called, ask, answer)
            }
            At::Done(called, ask, answer) => {
                operations.push(operation(nth, (called, now), ask, answer));
                At::Rest
            }
        };
    }
    if !operations.is_empty() {
        for _ in 0..random.random_range(0..LIES) {
            let nth = random.random_range(0..operations.len());
            lie(random, &mut operations[nth]);
        }
    }
    History(operations)
}

fn ask(random: &mut StdRng, counts: bool) -> Ask {
    let value = |random: &mut StdRng| ["a", "b", "c"][random.random_range(0..3)].to_owned();
    let expected = match random.random_range(0..8) {
        0 => Expected::Absent,
        1 => Expected::Revision(random.random_range(1..8)),
        2 => Expected::Value(value(random)),
        _ => Expected::Anything,
    };
    match random.random_range(0..8) {
        0..3 => Ask::Get,
        3 if counts => Ask::Delete { expected: Expected::Anything },
        _ if counts => Ask::Increment { by: random.random_range(1..3) },
        3 => Ask::Delete { expected },
        _ => Ask::Put { value: value(random), expected },
    }
}

/// Another answer, or one that came earlier.
fn lie(random: &mut StdRng, operation: &mut Operation) {
    let End::Returned { at_ns, answer } = &mut operation.end else { return };
    let other = |random: &mut StdRng, revision: u64| {
        (revision + random.random_range(0..3)).saturating_sub(1).max(1)
    };
    if random.random_ratio(1, 3) {
        *at_ns = operation.called_ns + 1;
        return;
    }
    match answer {
        Answer::Row(row) if random.random_ratio(1, 3) => *row = None,
        Answer::Row(Some(row)) => {
            row.modified = other(random, row.modified);
            row.created = other(random, row.created);
            if random.random() {
                row.held = Held::Text("b".to_owned());
            }
        }
        Answer::Put { revision } | Answer::Deleted { revision: Some(revision) } => {
            *revision = other(random, *revision);
        }
        Answer::Counted { revision, number } => {
            *revision = other(random, *revision);
            *number += random.random_range(0..2);
        }
        Answer::Mismatch { current } => *current = current.map(|it| other(random, it)),
        Answer::Row(None) | Answer::Deleted { revision: None } => {}
    }
}
