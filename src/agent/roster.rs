//! What a shard has counted of its guilds that the cluster does not know yet. Pure.

use std::collections::{BTreeMap, VecDeque};

use super::tally::Counted;
use crate::model::{Checkpoint, Epoch, GuildId, Sequence, SessionNumber, ShardId};
use crate::state::{GuildSize, Roster, RosterReport, Shard};

/// Guilds in one entry of the log: 16 bytes each at most, so that it stays below 128 KiB.
const ENTRY_GUILDS_MAX: usize = 7_000;

/// What a report takes beside its guilds, in guilds.
const REPORT_WEIGHS: usize = 4;

/// Guilds in one report.
const PART_MAX: usize = ENTRY_GUILDS_MAX - REPORT_WEIGHS;

/// The changes of one session that are not committed yet.
///
/// A checkpoint must not be ahead of them: whoever resumes behind it never hears of them again.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    session: SessionNumber,
    /// READY, while it is not committed.
    whole: Option<Sequence>,
    /// Each guild's last change.
    changes: BTreeMap<GuildId, Change>,
    /// The sequences of all changes, in order.
    sequences: VecDeque<Sequence>,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    at: Sequence,
    /// `None` for a guild that the bot has left.
    size: Option<GuildSize>,
}

impl Draft {
    /// Notes what an event of `session` has changed.
    pub(crate) fn note(&mut self, session: SessionNumber, at: Sequence, counted: Counted) {
        if session != self.session {
            *self = Self { session, ..Self::default() };
        }
        self.sequences.push_back(at);
        match counted {
            Counted::All(guilds) => {
                self.whole = Some(at);
                let changes = guilds.into_iter().map(|size| (size.guild, Some(size)));
                self.changes = changes.map(|(guild, size)| (guild, Change { at, size })).collect();
            }
            Counted::Here(size) => {
                self.changes.insert(size.guild, Change { at, size: Some(size) });
            }
            Counted::Gone(guild) => drop(self.changes.insert(guild, Change { at, size: None })),
        }
    }

    /// Forgets what the cluster has, or will never take in since the session is gone.
    pub(super) fn forget_the_settled(&mut self, shard: &Shard, roster: Option<&Roster>) {
        let last = shard.checkpoint().session;
        if last > self.session || (last == self.session && shard.session().is_none()) {
            *self = Self { session: self.session, ..Self::default() };
        }
        let Some(counted) = self.known(roster) else { return };
        while self.sequences.front().is_some_and(|at| *at <= counted.sequence) {
            self.sequences.pop_front();
        }
        self.changes.retain(|_, change| change.at > counted.sequence);
        self.whole.take_if(|at| *at <= counted.sequence);
    }

    /// How far the checkpoint `handled` may be committed now.
    pub(super) fn covered(&self, session: SessionNumber, handled: Sequence) -> Sequence {
        match self.sequences.front() {
            Some(first) if session == self.session => {
                handled.min(Sequence(first.0.saturating_sub(1)))
            }
            _ => handled,
        }
    }

    /// The reports of all changes, to be committed in this order, where `roster` is what the cluster knows.
    pub(super) fn reports(
        &self,
        shard: ShardId,
        epoch: Epoch,
        roster: Option<&Roster>,
    ) -> Vec<RosterReport> {
        let Some(last) = self.sequences.back() else { return Vec::new() };
        let known = self.known(roster);
        let session = self.session;
        let before = known.unwrap_or_else(|| Checkpoint { session, sequence: Sequence::default() });
        let changes: Vec<_> = self.changes.iter().collect();
        // READY may have named no guild, and says something even so.
        let parts = changes.len().div_ceil(PART_MAX).max(1);
        // An heir would count what is replayed behind a part. Behind a READY it counts anew anyway, and elsewhere a shard
        // is never so far ahead of its checkpoint.
        assert!(parts == 1 || self.whole.is_some(), "changes behind a READY come in one part");
        let mut reports: Vec<_> = (0..parts)
            .map(|n| {
                let part = changes.iter().skip(n * PART_MAX).take(PART_MAX);
                RosterReport {
                    shard,
                    epoch,
                    // Only the last part makes the others count.
                    counted: before,
                    // What the session's first part has said must not be undone by its repetition.
                    whole: n == 0 && self.whole.is_some() && known.is_none(),
                    here: part.clone().filter_map(|(_, change)| change.size).collect(),
                    gone: part.filter(|it| it.1.size.is_none()).map(|it| *it.0).collect(),
                }
            })
            .collect();
        if let Some(end) = reports.last_mut() {
            end.counted = Checkpoint { session, sequence: *last };
        }
        reports
    }

    /// How far the cluster has counted in this session.
    fn known(&self, roster: Option<&Roster>) -> Option<Checkpoint> {
        roster.map(Roster::counted).filter(|counted| counted.session == self.session)
    }
}

/// The reports in entries of the log that are not too long, in their order.
pub(super) fn entries(reports: Vec<RosterReport>) -> Vec<Vec<RosterReport>> {
    let mut entries: Vec<Vec<RosterReport>> = Vec::new();
    let mut weight = 0;
    for report in reports {
        let more = report.here.len() + report.gone.len() + REPORT_WEIGHS;
        match entries.last_mut() {
            Some(entry) if weight + more <= ENTRY_GUILDS_MAX => {
                weight += more;
                entry.push(report);
            }
            _ => {
                weight = more;
                entries.push(vec![report]);
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::model::{ApplicationId, BootEpoch, ClusterId, LogIndex, NodeId};
    use crate::model::{Session, SessionId, ShardTotal};
    use crate::state::{Command, Facts, Move, Outcome, State};

    const SHARD: ShardId = ShardId(0);

    /// A cluster with one shard, in session 1.
    struct Known {
        state: State,
        index: u64,
    }

    impl Known {
        fn new() -> Self {
            let mut known = Self { state: State::default(), index: 0 };
            let (node, boot) = (NodeId(1), BootEpoch(1));
            let facts = Facts { application: ApplicationId(1), total: ShardTotal::ONE, intents: 0 };
            known.apply(Command::Form { cluster: ClusterId(uuid::Uuid::from_u128(1)) });
            known.apply(Command::StartNode { node, name: String::new(), boot });
            known.apply(Command::FixFacts(facts));
            known.apply(Command::Assign(vec![Move { shard: SHARD, from: None, to: node }]));
            known.start_session(1);
            known
        }

        fn apply(&mut self, command: Command) -> Outcome {
            self.index += 1;
            self.state.apply(LogIndex(self.index), command)
        }

        fn shard(&self) -> &Shard {
            &self.state.shards()[&SHARD]
        }

        fn start_session(&mut self, number: u64) {
            let (id, resume_url) = (SessionId("s".into()), String::new());
            let session = Session { number: SessionNumber(number), id, resume_url };
            let epoch = self.shard().epoch().unwrap();
            self.apply(Command::StartSession { shard: SHARD, epoch, session });
        }

        fn roster(&self) -> Option<&Roster> {
            self.state.rosters().get(&SHARD)
        }

        fn guilds(&self) -> Vec<GuildSize> {
            self.roster().map(|roster| roster.guilds().to_vec()).unwrap_or_default()
        }

        fn entries(&self, draft: &Draft) -> Vec<Vec<RosterReport>> {
            entries(draft.reports(SHARD, self.shard().epoch().unwrap(), self.roster()))
        }

        /// Commits what `draft` has to say.
        fn take(&mut self, draft: &mut Draft) {
            for entry in self.entries(draft) {
                assert_eq!(self.apply(Command::CountGuilds(entry)), Outcome::Applied);
            }
            draft.forget_the_settled(self.shard(), self.roster());
        }
    }

    fn size(guild: u64, members: u32) -> GuildSize {
        GuildSize { guild: GuildId(guild), members: Some(members) }
    }

    fn note(draft: &mut Draft, at: u64, counted: Counted) {
        draft.note(SessionNumber(1), Sequence(at), counted);
    }

    fn covered(draft: &Draft, handled: u64) -> u64 {
        draft.covered(SessionNumber(1), Sequence(handled)).0
    }

    #[test]
    fn a_checkpoint_waits_for_the_first_change_that_is_not_committed() {
        let (mut known, mut draft) = (Known::new(), Draft::default());
        note(&mut draft, 1, Counted::All(vec![size(1, 10), size(2, 20)]));
        assert_eq!(covered(&draft, 40), 0);
        known.take(&mut draft);
        assert_eq!(covered(&draft, 40), 40);

        note(&mut draft, 50, Counted::Here(size(1, 11)));
        let before = known.entries(&draft);
        note(&mut draft, 60, Counted::Here(size(1, 12)));
        known.apply(Command::CountGuilds(before[0].clone()));
        draft.forget_the_settled(known.shard(), known.roster());

        assert_eq!(known.guilds(), [size(1, 11), size(2, 20)]);
        assert_eq!((covered(&draft, 49), covered(&draft, 70)), (49, 59));
        known.take(&mut draft);
        assert_eq!(covered(&draft, 70), 70);
    }

    #[test]
    fn a_session_without_guilds_has_them_gone() {
        let (mut known, mut draft) = (Known::new(), Draft::default());
        note(&mut draft, 1, Counted::All(vec![size(1, 10)]));
        known.take(&mut draft);
        known.start_session(2);

        draft.note(SessionNumber(2), Sequence(1), Counted::All(vec![]));
        known.take(&mut draft);

        assert_eq!(known.guilds(), []);
        assert!(draft.sequences.is_empty());
    }

    #[test]
    fn a_session_that_is_gone_keeps_nothing_waiting() {
        let (mut known, mut draft) = (Known::new(), Draft::default());
        note(&mut draft, 1, Counted::All(vec![size(1, 10)]));
        let epoch = known.shard().epoch().unwrap();
        known.apply(Command::LoseSession { shard: SHARD, epoch, session: SessionNumber(1) });

        draft.forget_the_settled(known.shard(), known.roster());

        assert!(draft.reports(SHARD, epoch, None).is_empty());
    }

    #[test]
    fn a_session_that_the_state_at_hand_does_not_show_yet_is_not_forgotten() {
        let (known, mut draft) = (Known::new(), Draft::default());
        draft.note(SessionNumber(2), Sequence(1), Counted::All(vec![size(1, 10)]));

        draft.forget_the_settled(known.shard(), known.roster());

        assert_eq!(draft.sequences, [Sequence(1)]);
    }

    #[test]
    fn a_large_shard_comes_in_parts_none_of_which_counts_before_the_last() {
        let (mut known, mut draft) = (Known::new(), Draft::default());
        let guilds: Vec<_> = (0..16_000).map(|guild| size(guild, 5)).collect();
        note(&mut draft, 1, Counted::All(guilds.clone()));

        let entries = known.entries(&draft);
        assert_eq!(entries.len(), 3);
        known.apply(Command::CountGuilds(entries[0].clone()));
        draft.forget_the_settled(known.shard(), known.roster());
        assert_eq!(covered(&draft, 9), 0);
        // A guild of the first part changes, and everything is proposed once more.
        note(&mut draft, 2, Counted::Here(size(3, 6)));
        assert_eq!(known.apply(Command::CountGuilds(entries[0].clone())), Outcome::Stale);
        known.take(&mut draft);

        assert_eq!(covered(&draft, 9), 9);
        assert_eq!(known.guilds().len(), guilds.len());
        assert_eq!(known.guilds()[3], size(3, 6));
    }

    #[test]
    fn no_entry_is_too_long() {
        let mut draft = Draft::default();
        let longest = (u64::MAX - 40_000)..u64::MAX;
        note(&mut draft, 1, Counted::All(longest.map(|id| size(id, u32::MAX)).collect()));
        let mut small = Draft::default();
        note(&mut small, u64::MAX, Counted::Here(size(1, 1)));
        let epoch = Epoch { generation: u32::MAX, index: LogIndex(u64::MAX) };
        let mut reports = draft.reports(ShardId(u32::MAX), epoch, None);
        reports.extend((0..16_384).flat_map(|_| small.reports(ShardId(u32::MAX), epoch, None)));

        for entry in entries(reports) {
            let bytes = crate::state::encode_command(&Command::CountGuilds(entry)).len();
            assert!(bytes <= 128 * 1024, "{bytes}");
        }
    }

    proptest! {
        /// Whatever is proposed twice, or only in part, the roster is what the shard has counted once all is in.
        #[test]
        fn the_cluster_ends_up_with_what_was_counted(
            steps in vec((0_u8..5, 1_u64..6, 1_u32..9), 1..60)
        ) {
            let (mut known, mut draft) = (Known::new(), Draft::default());
            let mut truth = BTreeMap::from([(GuildId(1), size(1, 1)), (GuildId(2), size(2, 2))]);
            note(&mut draft, 1, Counted::All(truth.values().copied().collect()));
            let mut proposed = Vec::new();
            for (at, (step, guild, members)) in (2..).zip(steps) {
                match step {
                    0 => {
                        truth.insert(GuildId(guild), size(guild, members));
                        note(&mut draft, at, Counted::Here(size(guild, members)));
                    }
                    1 => {
                        truth.remove(&GuildId(guild));
                        note(&mut draft, at, Counted::Gone(GuildId(guild)));
                    }
                    2 => proposed.extend(known.entries(&draft)),
                    3 if !proposed.is_empty() => {
                        let late = proposed[usize::try_from(guild).unwrap() % proposed.len()].clone();
                        known.apply(Command::CountGuilds(late));
                    }
                    _ => draft.forget_the_settled(known.shard(), known.roster()),
                }
            }
            draft.forget_the_settled(known.shard(), known.roster());
            known.take(&mut draft);
            prop_assert_eq!(known.guilds(), truth.into_values().collect::<Vec<_>>());
            prop_assert!(draft.sequences.is_empty());
        }
    }
}
