use super::entry::Mark;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};

/// What a writer says on its standard output, one line each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// The subject is open, and this is where its log ended.
    Opened(Mark),
    /// Every entry up to this one is durable.
    Entry(Mark),
    /// The entries behind this one are about to go: they may be there from here on, or not.
    Truncating(Mark),
    /// They are gone for good.
    Truncated(Mark),
    /// This vote is durable.
    Vote(u64),
}

/// What a checker found, the single line on its standard output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// An unbroken run of right entries.
    Intact {
        /// Where it ends.
        last: Mark,
        /// The vote; 0 if there is none.
        vote: u64,
    },
    /// The subject opened and handed out something that was never written, or left out what lies between others.
    Wrong(String),
    /// The subject knew that something is wrong and put it aside.
    Quarantined(String),
    /// The subject refused to open, with its reason.
    Refused(String),
    /// The checker panicked or hung: its parent says so.
    Died(String),
}

/// Writes one line and flushes it: an acknowledgement that stays in a buffer is none.
pub(super) fn say(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    out.write_all(&bytes)?;
    out.flush()
}
