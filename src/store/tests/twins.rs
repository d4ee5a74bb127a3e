//! The disk and its twin in memory agree on every history, over restarts too.

use proptest::prelude::*;

use super::{start, vote, write};
use crate::store::{Backend as _, Memory, Position, Record, Recovered, Snapshot, Write};

#[derive(Clone, Copy, Debug)]
enum Step {
    Append { count: u64, length: usize },
    NewTerm,
    Truncate { back: u64 },
    Committed { back: u64 },
    SnapshotAndPurge { back: u64, keep: u64 },
    PurgeAgain,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u64..40, 0_usize..9000).prop_map(|(count, length)| Step::Append { count, length }),
        2 => Just(Step::NewTerm),
        1 => (0_u64..30).prop_map(|back| Step::Truncate { back }),
        1 => (0_u64..5).prop_map(|back| Step::Committed { back }),
        1 => (0_u64..10, 0_u64..10).prop_map(|(back, keep)| Step::SnapshotAndPurge { back, keep }),
        1 => Just(Step::PurgeAgain),
        1 => Just(Step::Restart),
    ]
}

/// The writes that a step means in a store that holds `found`.
fn writes(step: Step, found: &Recovered) -> Vec<Write> {
    let last = found.records.last().map(|record| record.position).or(found.purged);
    let term = found.vote.as_ref().map_or(1, |vote| vote.term);
    let back_by = |back: u64| {
        let kept = found.records.len().checked_sub(1 + usize::try_from(back).unwrap())?;
        Some(found.records[kept].position)
    };
    match step {
        Step::Append { count, length } => {
            let from = last.map_or(0, |last| last.index + 1);
            let records = (from..from + count).map(|index| Record {
                position: Position { term, index },
                bytes: vec![index as u8; length],
            });
            vec![Write::Append(records.collect())]
        }
        Step::NewTerm => vec![Write::Vote(vote(term + 1))],
        Step::Truncate { back } => vec![Write::Truncate(back_by(back).or(found.purged))],
        Step::Committed { back } => vec![Write::Committed(back_by(back).or(found.purged))],
        Step::SnapshotAndPurge { back, keep } => {
            back_by(back + keep).map(Write::Purge).into_iter().collect()
        }
        Step::PurgeAgain => found.purged.map(Write::Purge).into_iter().collect(),
        Step::Restart => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn agree(steps in prop::collection::vec(step(), 1..25)) {
        let top = tempfile::tempdir().unwrap();
        let memory = Memory::default();
        let mut disk = start(top.path()).store;
        for step in steps.into_iter().chain([Step::Restart]) {
            let writes = writes(step, &memory.recovered());
            if matches!(step, Step::SnapshotAndPurge { .. }) {
                let last = memory.recovered().records.last().map(|record| record.position);
                let snapshot = Snapshot { last, meta: vec![1], state: vec![2; 1000] };
                if last.is_some() {
                    disk.save_snapshot(&snapshot).unwrap();
                    memory.save_snapshot(&snapshot).unwrap();
                }
            }
            for change in writes {
                write(&memory, change.clone()).unwrap();
                write(&disk, change).unwrap();
            }
            if matches!(step, Step::Restart) {
                drop(disk);
                let opened = start(top.path());
                let mut expected = memory.recovered();
                let last = expected.records.last().map(|record| record.position);
                expected.committed = expected.committed.min(last.or(expected.purged));
                prop_assert_eq!(opened.recovered, expected);
                prop_assert_eq!(opened.repairs, []);
                disk = opened.store;
            }
        }
    }
}
