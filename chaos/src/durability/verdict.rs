use super::{
    entry::Mark,
    protocol::{Found, Said},
};

/// What a writer acknowledged before the power went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// The last entry that must be there.
    pub last: Mark,
    /// What lay behind `last` in its term was truncated for good, and nothing was appended since.
    pub truncated: bool,
    /// The last acknowledged vote; 0 for none.
    pub vote: u64,
}

impl Acknowledged {
    /// Takes in one more line of the writer's.
    pub(super) fn hear(&mut self, said: Said) {
        match said {
            Said::Opened(_) => {}
            Said::Entry(last) => (self.last, self.truncated) = (last, false),
            Said::Truncating(last) => (self.last, self.truncated) = (last, false),
            Said::Truncated(last) => (self.last, self.truncated) = (last, true),
            Said::Vote(vote) => self.vote = vote,
        }
    }
}

/// What a power loss did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that was acknowledged is there.
    Kept,
    /// The subject opened as if nothing were wrong, without what it had acknowledged: the one that must never be.
    Lost {
        /// Acknowledged entries that are not there.
        entries: u64,
        /// Whether the vote fell.
        vote_fell: bool,
    },
    /// The subject handed out what was never written, or what was truncated.
    Wrong(String),
    /// The subject put its files aside: it lost its memory and knows it.
    Quarantined(String),
    /// The subject refused to open.
    Refused(String),
    /// The process that opened what was left died or hung.
    Died(String),
}

/// Compares what was acknowledged with what was found.
pub fn judge(acknowledged: Acknowledged, found: &Found) -> Verdict {
    let (last, vote) = match found {
        Found::Intact { last, vote } => (*last, *vote),
        Found::Wrong(what) => return Verdict::Wrong(what.clone()),
        Found::Quarantined(why) => return Verdict::Quarantined(why.clone()),
        Found::Refused(why) => return Verdict::Refused(why.clone()),
        Found::Died(how) => return Verdict::Died(how.clone()),
    };
    let Acknowledged { last: floor, truncated, vote: vote_floor } = acknowledged;
    if last < floor || vote < vote_floor {
        return Verdict::Lost {
            entries: floor.serial.saturating_sub(last.serial),
            vote_fell: vote < vote_floor,
        };
    }
    if truncated && last.term == floor.term && last.serial > floor.serial {
        return Verdict::Wrong(format!(
            "entries behind {floor:?} were truncated, and {last:?} is there"
        ));
    }
    Verdict::Kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledged() -> Acknowledged {
        Acknowledged { last: Mark { term: 2, serial: 10 }, truncated: false, vote: 3 }
    }

    fn found(term: u64, serial: u64, vote: u64) -> Found {
        Found::Intact { last: Mark { term, serial }, vote }
    }

    #[test]
    fn more_than_was_acknowledged_is_kept() {
        assert_eq!(judge(acknowledged(), &found(2, 10, 3)), Verdict::Kept);
        assert_eq!(judge(acknowledged(), &found(2, 12, 4)), Verdict::Kept);
        assert_eq!(judge(acknowledged(), &found(3, 8, 3)), Verdict::Kept);
    }

    #[test]
    fn less_than_was_acknowledged_is_lost() {
        assert_eq!(
            judge(acknowledged(), &found(2, 7, 3)),
            Verdict::Lost { entries: 3, vote_fell: false }
        );
        assert_eq!(
            judge(acknowledged(), &found(1, 12, 3)),
            Verdict::Lost { entries: 0, vote_fell: false }
        );
        assert_eq!(
            judge(acknowledged(), &found(0, 0, 0)),
            Verdict::Lost { entries: 10, vote_fell: true }
        );
    }

    #[test]
    fn a_vote_that_fell_is_lost_even_with_every_entry() {
        assert_eq!(
            judge(acknowledged(), &found(2, 10, 2)),
            Verdict::Lost { entries: 0, vote_fell: true }
        );
    }

    #[test]
    fn entries_come_back_only_until_their_truncation_is_acknowledged() {
        let mut acknowledged = acknowledged();
        acknowledged.hear(Said::Truncating(Mark { term: 2, serial: 5 }));
        assert_eq!(judge(acknowledged, &found(2, 10, 3)), Verdict::Kept);

        acknowledged.hear(Said::Truncated(Mark { term: 2, serial: 5 }));

        assert!(matches!(judge(acknowledged, &found(2, 10, 3)), Verdict::Wrong(_)));
        assert_eq!(judge(acknowledged, &found(2, 5, 3)), Verdict::Kept);
        assert_eq!(judge(acknowledged, &found(3, 7, 3)), Verdict::Kept);
    }
}
