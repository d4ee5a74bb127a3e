//! What the checker rejects and accepts, by hand and beside other checkers.

mod agreement;
mod plain;
mod planted;

use std::time::Duration;

use super::{Answer, Ask, End, Expected, Held, History, Operation, Row, check};

/// Far more than a search of these histories takes.
const WITHIN: Duration = Duration::from_secs(30);

/// What a client asked, from when to when, and was told.
fn operation(client: usize, span: (u64, u64), ask: Ask, answer: Answer) -> Operation {
    let (called_ns, at_ns) = span;
    let key = "key".to_owned();
    Operation { client, key, ask, called_ns, end: End::Returned { at_ns, answer } }
}

fn unknown(client: usize, called_ns: u64, ask: Ask) -> Operation {
    Operation { client, key: "key".to_owned(), ask, called_ns, end: End::Unknown }
}

fn put(value: &str, expected: Expected) -> Ask {
    Ask::Put { value: value.to_owned(), expected }
}

const fn at(revision: u64) -> Answer {
    Answer::Put { revision }
}

fn row(value: &str, created: u64, modified: u64) -> Answer {
    Answer::Row(Some(Row { held: Held::Text(value.to_owned()), created, modified }))
}
