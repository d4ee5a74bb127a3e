//! A Discord gateway session, and how far a shard has come in it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Discord's `s`: the number of a dispatch within its session, from 1.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The sequence that Discord sends after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of a shard's sessions: 1 for the first, one more with every READY. 0 means that there was none yet.
///
/// Discord's session ids have no order. This number gives them one, so that a late checkpoint of an older session can
/// be told from progress.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct SessionNumber(pub u64);

impl SessionNumber {
    /// The number of the session that follows this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for SessionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Discord's session id.
///
/// Together with the token it resumes (that is, takes over) the session, so `Debug` prints only its first characters
/// and there is no `Display`.
#[derive(Clone, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub String);

/// So much of a session id is shown: enough to tell two apart, too little to resume with.
const SESSION_ID_SHOWN: usize = 6;

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.0.chars().take(SESSION_ID_SHOWN).collect();
        write!(f, "{shown}…")
    }
}

/// A gateway session as READY announced it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its place among the shard's sessions.
    pub number: SessionNumber,
    /// Discord's id.
    pub id: SessionId,
    /// Where Discord wants a RESUME to go (`resume_gateway_url`).
    pub resume_url: String,
}

/// How far a shard has come: every event of the session up to `sequence` has been handled.
///
/// The order is the order of progress: session first, then sequence.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
)]
pub struct Checkpoint {
    /// The session.
    pub session: SessionNumber,
    /// The highest sequence up to which every event's handler has finished.
    pub sequence: Sequence,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.session, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_session_is_progress_at_any_sequence() {
        let old = Checkpoint { session: SessionNumber(1), sequence: Sequence(4_000) };
        let new = Checkpoint { session: SessionNumber(2), sequence: Sequence(1) };

        assert!(new > old);
    }

    #[test]
    fn debug_output_shows_too_little_of_a_session_id_to_resume_with() {
        assert_eq!(format!("{:?}", SessionId("0123456789abcdef".into())), "012345…");
    }
}
