//! What a bot's handlers wrote down before they returned: one line each, one `write` a line, so that a killed process
//! leaves whole lines and perhaps one torn one at the end.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader},
    path::Path,
};

/// One handled event, or one session that began.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Record {
    /// A handler finished.
    Event {
        /// The shard.
        shard: u32,
        /// Its session, by apolo's count.
        session: u64,
        /// The sequence.
        sequence: u64,
        /// What the context said.
        redelivered: bool,
    },
    /// READY was handled: which of Discord's sessions this is.
    Session {
        /// The shard.
        shard: u32,
        /// By apolo's count.
        session: u64,
        /// Discord's id.
        id: String,
    },
    /// Discord dropped a session, and the bot was told.
    Lost {
        /// The shard.
        shard: u32,
        /// By apolo's count.
        session: u64,
        /// The last sequence that was delivered.
        after: u64,
    },
}

impl Record {
    /// The record as a line.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::Event { shard, session, sequence, redelivered } => {
                format!("e {shard} {session} {sequence} {}\n", u8::from(*redelivered))
            }
            Self::Session { shard, session, id } => format!("s {shard} {session} {id}\n"),
            Self::Lost { shard, session, after } => format!("l {shard} {session} {after}\n"),
        }
    }

    /// The record that a line holds; `None` for a torn one.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_suffix('\n')?.split(' ');
        let kind = words.next()?;
        let shard = words.next()?.parse().ok()?;
        let session = words.next()?.parse().ok()?;
        let last = words.next()?;
        match kind {
            "e" => {
                let redelivered = words.next()? == "1";
                Some(Self::Event { shard, session, sequence: last.parse().ok()?, redelivered })
            }
            "s" => Some(Self::Session { shard, session, id: last.to_owned() }),
            "l" => Some(Self::Lost { shard, session, after: last.parse().ok()? }),
            _ => None,
        }
    }
}

/// Reads what a life wrote.
#[derive(Debug)]
pub struct Records(BufReader<File>);

impl Records {
    /// Opens a life's file.
    ///
    /// # Errors
    ///
    /// Where it is not there.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(BufReader::new(File::open(path)?)))
    }

    /// All of them; none where there is no such file.
    pub(crate) fn read(path: &Path) -> Vec<Record> {
        Self::open(path).map(Iterator::collect).unwrap_or_default()
    }
}

impl Iterator for Records {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let mut line = String::new();
        self.0.read_line(&mut line).ok()?;
        Record::parse(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_a_torn_line_is_not() {
        let records = [
            Record::Event { shard: 3, session: 1, sequence: 77, redelivered: true },
            Record::Session { shard: 3, session: 1, id: "abc".into() },
            Record::Lost { shard: 3, session: 1, after: 9 },
        ];

        for record in records {
            let line = record.line();
            assert_eq!(Record::parse(&line), Some(record));
            assert_eq!(Record::parse(line.trim_end()), None);
        }
    }
}
