//! One session: what it was sent, and what a RESUME can bring back.

use std::{collections::VecDeque, ops::RangeInclusive, sync::Arc};

use tokio::time::Instant;

use super::{
    truth::SessionTruth,
    world::{Guild, MembersQuery},
};
use crate::model::{ShardId, ShardTotal};

/// What a session was identified with, and a RESUME must come with too.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Transport {
    pub version: u8,
    pub compression: Compression,
}

/// `compress` of the gateway's URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Compression {
    None,
    Zlib,
    Zstd,
}

/// A dispatch's `t` and `d`.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// Written out, and shared between the sessions that get it.
    Text { name: &'static str, data: Arc<str> },
    /// GUILD_CREATE of a guild as it was then: written when it is sent, since thousands of them follow a READY.
    Guild(Guild),
    /// A chunk of a guild's members, written when it is sent too.
    Members(Arc<MembersQuery>, u32),
}

/// A dispatch in its session.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub sequence: u64,
    pub body: Body,
}

/// Whether somebody has the session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Attachment {
    Live { connection: u64 },
    Away { since: Instant },
}

/// Why a session can't be resumed from a sequence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ResumeError {
    /// The sequence was never sent.
    Ahead { last: u64 },
    /// The buffer begins behind it.
    Outrun { trimmed: u64 },
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub id: String,
    pub shard: ShardId,
    pub total: ShardTotal,
    pub intents: u64,
    pub transport: Transport,
    pub began_ms: u64,
    attachment: Attachment,
    /// Ascending. What lies behind `sent` waits for the connection.
    entries: VecDeque<Entry>,
    keep: usize,
    last: u64,
    /// The connection was given everything up to here.
    cursor: u64,
    sent: u64,
    heartbeat: u64,
    trimmed: u64,
    skipped: Vec<RangeInclusive<u64>>,
    replayed: u64,
}

impl Session {
    /// A session for a connection, which keeps `keep` dispatches for a RESUME.
    pub(super) fn new(
        id: String,
        (shard, total): (ShardId, ShardTotal),
        (intents, transport): (u64, Transport),
        (connection, began_ms): (u64, u64),
        keep: usize,
    ) -> Self {
        Self {
            id,
            shard,
            total,
            intents,
            transport,
            began_ms,
            attachment: Attachment::Live { connection },
            entries: VecDeque::new(),
            keep,
            last: 0,
            cursor: 0,
            sent: 0,
            heartbeat: 0,
            trimmed: 0,
            skipped: Vec::new(),
            replayed: 0,
        }
    }

    /// The connection that has it, if one has.
    pub(super) const fn connection(&self) -> Option<u64> {
        match self.attachment {
            Attachment::Live { connection } => Some(connection),
            Attachment::Away { .. } => None,
        }
    }

    /// Since when nobody has it.
    pub(super) const fn away_since(&self) -> Option<Instant> {
        match self.attachment {
            Attachment::Live { .. } => None,
            Attachment::Away { since } => Some(since),
        }
    }

    /// The highest sequence that exists.
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// Appends a dispatch.
    pub(super) fn push(&mut self, body: Body) {
        self.last += 1;
        self.entries.push_back(Entry { sequence: self.last, body });
        self.trim();
    }

    /// Leaves out the next `by` numbers.
    pub(super) fn skip(&mut self, by: u64) {
        if by > 0 && self.skipped.len() < SKIPS_MAX {
            self.skipped.push(self.last + 1..=self.last + by);
            self.last += by;
        }
    }

    /// The next dispatches that the connection was not given, at most `max`.
    pub(super) fn pull(&mut self, max: usize) -> Vec<Entry> {
        let from = self.entries.partition_point(|entry| entry.sequence <= self.cursor);
        let batch: Vec<Entry> = self.entries.range(from..).take(max).cloned().collect();
        if let Some(last) = batch.last() {
            self.replayed +=
                batch.iter().filter(|entry| entry.sequence <= self.sent).count() as u64;
            self.cursor = last.sequence;
            self.sent = self.sent.max(self.cursor);
            self.trim();
        }
        batch
    }

    /// The newest dispatch that the connection was given.
    pub(super) fn newest_sent(&self) -> Option<Entry> {
        let end = self.entries.partition_point(|entry| entry.sequence <= self.cursor);
        end.checked_sub(1).and_then(|index| self.entries.get(index)).cloned()
    }

    /// Whether more waits for the connection than any client is waited for.
    pub(super) fn is_overrun(&self) -> bool {
        self.connection().is_some() && self.entries.len() > self.keep.max(UNSENT_MAX)
    }

    /// A heartbeat named this sequence. Returns whether it was ever sent.
    pub(super) fn heard(&mut self, sequence: u64, trim: bool) -> bool {
        if sequence > self.sent {
            return false;
        }
        self.heartbeat = self.heartbeat.max(sequence);
        if trim {
            while self.entries.front().is_some_and(|entry| entry.sequence <= self.heartbeat) {
                self.drop_first();
            }
        }
        true
    }

    /// The connection is gone; the session waits for a RESUME.
    pub(super) fn leave(&mut self, now: Instant) {
        self.attachment = Attachment::Away { since: now };
        self.trim();
    }

    /// A connection resumes behind `from`. Returns how many dispatches it will be sent again or late.
    pub(super) fn resume(&mut self, from: u64, connection: u64) -> Result<u64, ResumeError> {
        if from > self.sent {
            return Err(ResumeError::Ahead { last: self.sent });
        }
        if from < self.trimmed {
            return Err(ResumeError::Outrun { trimmed: self.trimmed });
        }
        self.attachment = Attachment::Live { connection };
        self.cursor = from;
        let first = self.entries.partition_point(|entry| entry.sequence <= from);
        Ok((self.entries.len() - first) as u64)
    }

    /// What is known of it.
    pub(super) fn truth(&self) -> SessionTruth {
        SessionTruth {
            id: self.id.clone(),
            shard: self.shard.0,
            total: self.total.get(),
            intents: self.intents,
            began_ms: self.began_ms,
            last: self.last,
            sent: self.sent,
            heartbeat: self.heartbeat,
            trimmed: self.trimmed,
            skipped: self.skipped.clone(),
            replayed: self.replayed,
            connected: self.connection().is_some(),
            end: None,
            ended_ms: None,
        }
    }

    /// Drops what is beyond `keep`, but nothing that a connection still waits for.
    fn trim(&mut self) {
        let live = self.connection().is_some();
        while self.entries.len() > self.keep
            && self.entries.front().is_some_and(|entry| !live || entry.sequence <= self.cursor)
        {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.trimmed = entry.sequence;
        }
    }
}

/// A connection for which more dispatches than this wait is closed: two seconds of the fastest burst that the rules
/// ask for, and above the 2,500 guilds that follow a READY.
pub(super) const UNSENT_MAX: usize = 40_000;

/// Holes in one session's sequence.
const SKIPS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn session(keep: usize) -> Session {
        let transport = Transport { version: 10, compression: Compression::None };
        Session::new("s".into(), (ShardId(0), ShardTotal::ONE), (0, transport), (1, 0), keep)
    }

    fn push(session: &mut Session, count: u64) {
        for _ in 0..count {
            session.push(Body::Text { name: "X", data: "{}".into() });
        }
    }

    fn sequences(batch: &[Entry]) -> Vec<u64> {
        batch.iter().map(|entry| entry.sequence).collect()
    }

    #[test]
    fn a_resume_brings_everything_behind_its_sequence_in_order() {
        let mut session = session(100);
        push(&mut session, 5);
        session.pull(3);
        session.leave(Instant::now());
        push(&mut session, 2);

        let replayed = session.resume(2, 7);

        assert_eq!(replayed, Ok(5));
        assert_eq!(sequences(&session.pull(100)), [3, 4, 5, 6, 7]);
        assert_eq!(session.truth().replayed, 1);
    }

    #[test]
    fn a_resume_from_before_the_buffer_is_refused() {
        let mut session = session(3);
        push(&mut session, 5);
        session.pull(5);

        assert_eq!(session.resume(1, 7), Err(ResumeError::Outrun { trimmed: 2 }));
        assert_eq!(session.resume(2, 7), Ok(3));
    }

    #[test]
    fn a_resume_from_a_sequence_that_was_never_sent_is_refused() {
        let mut session = session(10);
        push(&mut session, 5);
        session.pull(2);

        assert_eq!(session.resume(3, 7), Err(ResumeError::Ahead { last: 2 }));
    }

    #[test]
    fn nothing_is_trimmed_before_its_connection_was_given_it() {
        let mut session = session(2);
        push(&mut session, 6);

        assert_eq!(session.truth().trimmed, 0);
        assert_eq!(sequences(&session.pull(4)), [1, 2, 3, 4]);
        assert_eq!(session.truth().trimmed, 4);
    }

    #[test]
    fn a_buffer_without_a_connection_keeps_its_bound() {
        let mut session = session(2);
        session.leave(Instant::now());

        push(&mut session, 1_000);

        assert_eq!(session.entries.len(), 2);
        assert_eq!(session.truth().trimmed, 998);
    }

    #[test]
    fn a_heartbeat_frees_the_buffer_only_where_that_is_asked_for() {
        let mut session = session(10);
        push(&mut session, 4);
        session.pull(4);

        assert!(session.heard(3, false));
        assert_eq!(session.truth().trimmed, 0);
        assert!(session.heard(3, true));
        assert_eq!(session.truth().trimmed, 3);
        assert!(!session.heard(5, true));
    }

    #[test]
    fn skipped_numbers_stay_a_hole_in_the_replay() {
        let mut session = session(10);
        push(&mut session, 2);
        session.skip(3);
        push(&mut session, 1);
        session.pull(9);

        session.resume(1, 2).unwrap();

        assert_eq!(sequences(&session.pull(9)), [2, 6]);
        assert_eq!(session.truth().skipped, [3..=5]);
    }
}
