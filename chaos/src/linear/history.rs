//! What clients asked and were told, and when, by one clock.

use std::{
    fmt, fs,
    io::{self, BufRead as _, BufReader, BufWriter, Write as _},
    path::Path,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What was done to some keys, in any order. Only what was answered, and what may have happened: a read without an
/// answer says nothing, and neither does what has certainly not happened.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct History(pub Vec<Operation>);

/// One operation of one client.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Whose.
    pub client: usize,
    /// On which key.
    pub key: String,
    /// What was asked.
    pub ask: Ask,
    /// When, in nanoseconds of the history's clock.
    pub called_ns: u64,
    /// What came of it.
    pub end: End,
}

/// What was asked of a key.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// What it holds.
    Get,
    /// To hold a value.
    Put {
        /// Which.
        value: String,
        /// If what.
        expected: Expected,
    },
    /// To hold nothing.
    Delete {
        /// If what.
        expected: Expected,
    },
    /// To count on.
    Increment {
        /// By how much.
        by: i64,
    },
}

/// What must hold of a key for a change.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// Nothing.
    Anything,
    /// There is none.
    Absent,
    /// It was changed last at this revision.
    Revision(u64),
    /// It holds this value.
    Value(String),
}

/// How an operation ended.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It was answered.
    Returned {
        /// When, in nanoseconds of the history's clock.
        at_ns: u64,
        /// What.
        answer: Answer,
    },
    /// Nobody knows: it may have happened at any time after its call, may happen yet, or never does.
    Unknown,
}

/// What was answered.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To a get: what the key holds.
    Row(Option<Row>),
    /// A value was set.
    Put {
        /// The revision that it made.
        revision: u64,
    },
    /// There is no such key now.
    Deleted {
        /// The revision that it made; none where there was no such key before.
        revision: Option<u64>,
    },
    /// The counter went on.
    Counted {
        /// The revision that it made.
        revision: u64,
        /// What it is now.
        number: i64,
    },
    /// What was expected does not hold; nothing happened.
    Mismatch {
        /// At which revision the key was changed last, where there is such a key.
        current: Option<u64>,
    },
}

/// What a key holds, as a get shows it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What.
    pub held: Held,
    /// The revision that made the key.
    pub created: u64,
    /// The revision that changed it last.
    pub modified: u64,
}

/// A value or a counter.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// A value.
    Text(String),
    /// A counter.
    Number(i64),
}

/// Why a history can't be read.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line of it.
    #[error("line {line}: {error}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
}

impl History {
    /// Writes it down, a line of JSON for each operation.
    ///
    /// # Errors
    ///
    /// The file's.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(fs::File::create(path)?);
        for operation in &self.0 {
            serde_json::to_writer(&mut file, operation)?;
            file.write_all(b"\n")?;
        }
        file.flush()
    }

    /// Reads what was written down.
    ///
    /// # Errors
    ///
    /// [`HistoryError`].
    pub fn load(path: &Path) -> Result<Self, HistoryError> {
        let mut operations = Vec::new();
        for (nth, line) in BufReader::new(fs::File::open(path)?).lines().enumerate() {
            let read = serde_json::from_str(&line?);
            operations.push(read.map_err(|error| HistoryError::Line { line: nth + 1, error })?);
        }
        Ok(Self(operations))
    }
}

impl Operation {
    /// The last moment at which it can have taken effect, in nanoseconds.
    #[must_use]
    pub const fn returned_ns(&self) -> u64 {
        match self.end {
            End::Returned { at_ns, .. } => at_ns,
            End::Unknown => u64::MAX,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |ns: u64| ns as f64 / 1e6;
        let Self { client, ask, called_ns, end, .. } = self;
        match end {
            End::Returned { at_ns, answer } => {
                write!(f, "{:>10.3} to {:>10.3} ms", ms(*called_ns), ms(*at_ns))?;
                write!(f, "  client {client:<2} {ask:?} -> {answer:?}")
            }
            End::Unknown => {
                write!(f, "{:>10.3} to          ? ms", ms(*called_ns))?;
                write!(f, "  client {client:<2} {ask:?} -> nobody knows")
            }
        }
    }
}
