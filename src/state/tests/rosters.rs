//! The guilds of a shard.

use super::*;

pub(super) fn size(guild: u64, members: impl Into<Option<u32>>) -> GuildSize {
    GuildSize { guild: GuildId(guild), members: members.into() }
}

/// The whole of a session: three guilds, of which one is unavailable.
pub(super) fn report(shard: ShardId, epoch: Epoch, counted: (u64, u64)) -> RosterReport {
    let counted = Checkpoint { session: SessionNumber(counted.0), sequence: Sequence(counted.1) };
    let here = vec![size(300, 20), size(1 << 60, None), size(200, 25_000_000)];
    RosterReport { shard, epoch, counted, whole: true, here, gone: vec![GuildId(100)] }
}

impl Log {
    fn roster(&self) -> Vec<(u64, Option<u32>)> {
        let roster = self.state.rosters().get(&SHARD);
        let guilds = roster.map(|roster| roster.guilds().to_vec()).unwrap_or_default();
        guilds.iter().map(|size| (size.guild.0, size.members)).collect()
    }

    fn count(&mut self, report: &RosterReport) -> Outcome {
        self.apply(Command::CountGuilds(vec![report.clone()]))
    }
}

/// A shard in session 2 with three guilds, counted up to sequence 10, and the report that said so.
fn counted() -> (Log, RosterReport) {
    let mut log = Log::formed(4);
    log.start_session(SHARD, 2);
    let whole = report(SHARD, log.epoch(SHARD), (2, 10));
    assert_eq!(log.count(&whole), Outcome::Applied);
    (log, whole)
}

/// What changed up to `sequence`.
fn change(whole: &RosterReport, sequence: u64, here: &[GuildSize], gone: &[u64]) -> RosterReport {
    let counted = Checkpoint { sequence: Sequence(sequence), ..whole.counted };
    let gone = gone.iter().copied().map(GuildId).collect();
    RosterReport { counted, whole: false, here: here.to_vec(), gone, ..whole.clone() }
}

#[test]
fn a_roster_follows_what_its_owner_counts() {
    let (mut log, whole) = counted();
    assert_eq!(log.roster(), [(200, Some(25_000_000)), (300, Some(20)), (1 << 60, None)]);

    let changed = change(&whole, 11, &[size(300, 21), size(7, 3), size(1 << 60, 9)], &[200]);
    assert_eq!(log.count(&changed), Outcome::Applied);

    assert_eq!(log.roster(), [(7, Some(3)), (300, Some(21)), (1 << 60, Some(9))]);
    assert_eq!(log.state.rosters()[&SHARD].counted(), changed.counted);
}

#[test]
fn what_comes_late_or_twice_changes_nothing() {
    let (mut log, whole) = counted();
    log.count(&change(&whole, 11, &[size(300, 21)], &[200]));
    let before = log.roster();

    assert_eq!(log.count(&whole), Outcome::Stale);
    assert_eq!(log.count(&change(&whole, 10, &[size(300, 1)], &[])), Outcome::Stale);
    log.count(&change(&whole, 11, &[size(300, 21)], &[200]));

    assert_eq!(log.roster(), before);
}

#[test]
fn parts_with_the_same_mark_add_up_and_a_repeated_first_one_undoes_no_other() {
    let mut log = Log::formed(4);
    log.start_session(SHARD, 2);
    let first = report(SHARD, log.epoch(SHARD), (2, 0));
    log.count(&first);

    log.count(&change(&first, 0, &[size(8, 8)], &[]));
    assert_eq!(log.count(&first), Outcome::Stale);
    log.count(&change(&first, 5, &[size(9, 9)], &[]));

    assert_eq!(log.roster().len(), 5);
}

#[test]
fn a_former_owner_and_a_former_session_count_nothing() {
    let (mut log, whole) = counted();
    let former = RosterReport { epoch: Epoch::default(), ..change(&whole, 11, &[], &[300]) };
    assert_eq!(log.count(&former), Outcome::Stale);

    log.start_session(SHARD, 3);
    assert_eq!(log.count(&change(&whole, 11, &[], &[300])), Outcome::Stale);
    assert_eq!(log.roster().len(), 3, "what was known is known until READY comes");

    let next = report(SHARD, log.epoch(SHARD), (3, 1));
    assert_eq!(log.count(&RosterReport { here: vec![size(1, 1)], ..next }), Outcome::Applied);
    assert_eq!(log.roster(), [(1, Some(1))]);
}

#[test]
fn a_report_of_a_shard_without_a_session_leaves_nothing_behind() {
    let mut log = Log::formed(4);
    let early = report(SHARD, log.epoch(SHARD), (1, 1));

    assert_eq!(log.count(&early), Outcome::Stale);

    assert!(log.state.rosters().is_empty());
}

#[test]
fn another_total_makes_every_roster_void() {
    let (mut log, _) = counted();

    log.ok(Command::Reshard { from: facts(4).total, facts: facts(8) });

    assert!(log.state.rosters().is_empty());
}
