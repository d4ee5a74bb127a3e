//! What an opened directory must satisfy before a node may act on it: a pure judgement.

use super::{
    Damage, Identity, Position,
    frame::{self, Linked},
    log::Scan,
};

/// What may be used, and what must be cleaned up first.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Verdict {
    /// The log behind the purged part.
    pub(super) records: Vec<Linked>,
    /// The last entry, or the last purged one.
    pub(super) last: Option<Position>,
    /// The chain up to it.
    pub(super) chain: u32,
    /// Delete every record from here on: they were never acknowledged and are not whole.
    pub(super) trim_from: Option<u64>,
    /// Delete every record up to here: the purge of them was not finished.
    pub(super) purge_to: Option<u64>,
}

/// Compares what the database says with what was acknowledged.
///
/// `snapshot` is the last entry that an intact snapshot holds.
pub(super) fn judge(
    identity: &Identity,
    scan: &Scan,
    snapshot: Option<Position>,
) -> Result<Verdict, Damage> {
    owner(identity, scan)?;
    vote(identity, scan)?;
    if let Some(purged) = scan.purged
        && snapshot.is_none_or(|held| held.index < purged.position.index)
    {
        return Err(Damage::SnapshotLost { purged: purged.position });
    }
    let verdict = log(identity, scan)?;
    acknowledged(identity, scan, &verdict)?;
    Ok(verdict)
}

fn owner(identity: &Identity, scan: &Scan) -> Result<(), Damage> {
    let Some(owner) = scan.owner else { return Err(Damage::LogMissing) };
    if owner.node != identity.node {
        return Err(Damage::Disagree("node id"));
    }
    // The database is written first, so it may be one step ahead but never behind.
    if identity.cluster.is_some() && owner.cluster != identity.cluster {
        return Err(Damage::Disagree("cluster id"));
    }
    if owner.boot < identity.boot || owner.boot > identity.boot.next() {
        return Err(Damage::Disagree("boot epoch"));
    }
    Ok(())
}

fn vote(identity: &Identity, scan: &Scan) -> Result<(), Damage> {
    let Some(acknowledged) = &identity.vote else { return Ok(()) };
    let lost = Damage::VoteLost { acknowledged: acknowledged.term };
    let Some(stored) = &scan.vote else { return Err(lost) };
    if stored.rank() < acknowledged.rank() {
        return Err(lost);
    }
    if stored.rank() == acknowledged.rank() && stored.bytes != acknowledged.bytes {
        return Err(Damage::Disagree("vote"));
    }
    Ok(())
}

/// Walks the log. What is wrong with a record that was acknowledged is damage; what is wrong with one that was not
/// ends the log before it.
fn log(identity: &Identity, scan: &Scan) -> Result<Verdict, Damage> {
    let purged_to = scan.purged.map(|purged| purged.position.index);
    let mut verdict = Verdict {
        records: Vec::with_capacity(scan.records.len()),
        last: scan.purged.map(|purged| purged.position),
        chain: scan.purged.map_or(0, |purged| purged.chain),
        trim_from: None,
        purge_to: None,
    };
    let trimmable = |index| identity.last.is_none_or(|last| index > last.index);
    for linked in &scan.records {
        let position = linked.record.position;
        if purged_to.is_some_and(|purged| position.index <= purged) {
            verdict.purge_to = purged_to;
            continue;
        }
        if let Err(damage) = follows(&verdict, linked) {
            if !trimmable(position.index) {
                return Err(damage);
            }
            verdict.trim_from = Some(position.index);
            return Ok(verdict);
        }
        verdict.last = Some(position);
        verdict.chain = linked.chain;
        verdict.records.push(linked.clone());
    }
    if let Some(broken) = scan.broken {
        // Behind it nothing was read, so a broken record that is to be purged is no better.
        if !trimmable(broken.index) || purged_to.is_some_and(|purged| broken.index <= purged) {
            return Err(Damage::EntryBroken { index: broken.index });
        }
        verdict.trim_from = Some(broken.index);
    }
    Ok(verdict)
}

fn follows(verdict: &Verdict, linked: &Linked) -> Result<(), Damage> {
    let position = linked.record.position;
    let expected = verdict.last.map_or(0, |last| last.index + 1);
    if position.index != expected {
        return Err(Damage::Hole { expected, found: position.index });
    }
    if verdict.last.is_some_and(|last| position.term < last.term) {
        return Err(Damage::TermFell { index: position.index });
    }
    if frame::link(verdict.chain, &linked.record) != linked.chain {
        return Err(Damage::Unchained { index: position.index });
    }
    Ok(())
}

/// The last entry that was acknowledged must be there, or be part of what was purged.
fn acknowledged(identity: &Identity, scan: &Scan, verdict: &Verdict) -> Result<(), Damage> {
    let Some(last) = identity.last else { return Ok(()) };
    if scan.purged.is_some_and(|purged| purged.position.index >= last.index) {
        return Ok(());
    }
    let first = verdict.records.first().map_or(u64::MAX, |linked| linked.record.position.index);
    let offset = last.index.checked_sub(first).and_then(|offset| usize::try_from(offset).ok());
    match offset.and_then(|offset| verdict.records.get(offset)) {
        Some(linked) if linked.record.position == last && linked.chain == identity.chain => Ok(()),
        _ => Err(Damage::EntryLost { acknowledged: last }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BootEpoch, ClusterId, NodeId};
    use crate::store::{
        Record, Vote,
        frame::Broken,
        log::{Owner, Purged},
    };

    fn chained(seed: u32, positions: &[(u64, u64)]) -> Vec<Linked> {
        let mut chain = seed;
        positions
            .iter()
            .map(|&(term, index)| {
                let record = Record { position: Position { term, index }, bytes: vec![1, 2, 3] };
                chain = frame::link(chain, &record);
                Linked { record, chain }
            })
            .collect()
    }

    /// A directory that acknowledged entries 0 to 4 and the vote of term 2.
    fn healthy() -> (Identity, Scan) {
        let records = chained(0, &[(1, 0), (1, 1), (1, 2), (2, 3), (2, 4)]);
        let vote = Vote { term: 2, committed: true, bytes: vec![2] };
        let cluster = Some(ClusterId::mint());
        let mut identity = Identity::new(NodeId(7), cluster);
        identity.boot = BootEpoch(3);
        identity.vote = Some(vote.clone());
        identity.last = Some(Position { term: 2, index: 4 });
        identity.chain = records[4].chain;
        let owner = Owner { cluster, node: NodeId(7), boot: BootEpoch(3) };
        let scan = Scan { owner: Some(owner), vote: Some(vote), records, ..Scan::default() };
        (identity, scan)
    }

    fn judged(change: impl FnOnce(&mut Identity, &mut Scan)) -> Result<Verdict, Damage> {
        let (mut identity, mut scan) = healthy();
        change(&mut identity, &mut scan);
        judge(&identity, &scan, None)
    }

    #[test]
    fn what_was_acknowledged_and_is_whole_passes() {
        let verdict = judged(|_, _| {}).unwrap();

        assert_eq!(verdict.last, Some(Position { term: 2, index: 4 }));
        assert_eq!((verdict.trim_from, verdict.purge_to), (None, None));
    }

    #[test]
    fn a_lost_tail_is_damage() {
        let judged = judged(|_, scan| scan.records.truncate(4));

        let acknowledged = Position { term: 2, index: 4 };
        assert_eq!(judged, Err(Damage::EntryLost { acknowledged }));
    }

    #[test]
    fn an_empty_database_is_damage() {
        assert_eq!(judged(|_, scan| *scan = Scan::default()), Err(Damage::LogMissing));
    }

    #[test]
    fn a_hole_is_damage() {
        let judged = judged(|_, scan| drop(scan.records.remove(2)));

        assert_eq!(judged, Err(Damage::Hole { expected: 2, found: 3 }));
    }

    #[test]
    fn an_entry_from_before_a_truncation_is_damage() {
        let judged = judged(|_, scan| {
            scan.records[3] = chained(scan.records[2].chain, &[(1, 3)]).remove(0);
        });

        assert_eq!(judged, Err(Damage::Unchained { index: 4 }));
    }

    #[test]
    fn a_falling_term_is_damage() {
        let judged = judged(|identity, scan| {
            scan.records = chained(0, &[(1, 0), (2, 1), (1, 2), (2, 3), (2, 4)]);
            identity.chain = scan.records[4].chain;
        });

        assert_eq!(judged, Err(Damage::TermFell { index: 2 }));
    }

    #[test]
    fn an_older_vote_is_damage_and_a_newer_one_is_not() {
        let older = judged(|_, scan| scan.vote.as_mut().unwrap().term = 1);
        let uncommitted = judged(|_, scan| scan.vote.as_mut().unwrap().committed = false);
        let gone = judged(|_, scan| scan.vote = None);
        let other = judged(|_, scan| scan.vote.as_mut().unwrap().bytes = vec![3]);
        let newer = judged(|_, scan| scan.vote.as_mut().unwrap().term = 3);

        assert_eq!(older, Err(Damage::VoteLost { acknowledged: 2 }));
        assert_eq!(uncommitted, Err(Damage::VoteLost { acknowledged: 2 }));
        assert_eq!(gone, Err(Damage::VoteLost { acknowledged: 2 }));
        assert_eq!(other, Err(Damage::Disagree("vote")));
        assert!(newer.is_ok());
    }

    #[test]
    fn another_nodes_or_clusters_database_is_damage() {
        let node = judged(|_, scan| scan.owner.as_mut().unwrap().node = NodeId(8));
        let cluster = judged(|_, scan| scan.owner.as_mut().unwrap().cluster = None);
        let older = judged(|_, scan| scan.owner.as_mut().unwrap().boot = BootEpoch(2));
        let begun = judged(|_, scan| scan.owner.as_mut().unwrap().boot = BootEpoch(4));

        assert_eq!(node, Err(Damage::Disagree("node id")));
        assert_eq!(cluster, Err(Damage::Disagree("cluster id")));
        assert_eq!(older, Err(Damage::Disagree("boot epoch")));
        assert!(begun.is_ok(), "a start that was cut short has counted in the database alone");
    }

    #[test]
    fn what_was_never_acknowledged_is_kept_if_whole_and_trimmed_if_not() {
        let extra = |scan: &mut Scan| {
            let chain = scan.records[4].chain;
            scan.records.extend(chained(chain, &[(2, 5), (2, 6)]));
        };
        let whole = judged(|_, scan| extra(scan)).unwrap();
        let torn = judged(|_, scan| {
            extra(scan);
            scan.records.pop();
            scan.broken = Some(Broken { index: 6 });
        });
        let holed = judged(|_, scan| {
            extra(scan);
            scan.records.remove(5);
        });

        assert_eq!((whole.records.len(), whole.trim_from), (7, None));
        let torn = torn.unwrap();
        assert_eq!((torn.records.len(), torn.trim_from), (6, Some(6)));
        let holed = holed.unwrap();
        assert_eq!((holed.records.len(), holed.trim_from), (5, Some(6)));
    }

    #[test]
    fn a_broken_entry_that_was_acknowledged_is_damage() {
        let judged = judged(|_, scan| {
            scan.records.truncate(3);
            scan.broken = Some(Broken { index: 3 });
        });

        assert_eq!(judged, Err(Damage::EntryBroken { index: 3 }));
    }

    #[test]
    fn a_purge_needs_its_snapshot_and_may_be_unfinished() {
        let (identity, mut scan) = healthy();
        let position = Position { term: 1, index: 2 };
        scan.purged = Some(Purged { position, chain: scan.records[2].chain });

        let verdict = judge(&identity, &scan, Some(Position { term: 2, index: 3 })).unwrap();
        let without = judge(&identity, &scan, None);
        let older = judge(&identity, &scan, Some(Position { term: 1, index: 1 }));

        assert_eq!((verdict.records.len(), verdict.purge_to), (2, Some(2)));
        assert_eq!(without, Err(Damage::SnapshotLost { purged: position }));
        assert_eq!(older, Err(Damage::SnapshotLost { purged: position }));
    }
}
