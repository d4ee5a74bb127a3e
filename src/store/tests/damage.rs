//! Files that are damaged: repaired, quarantined or refused, never silently wrong, never a hang.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::time::Instant;

use super::{PATIENCE, record, records, snapshot, start, vote, write};
use crate::{
    model::ClusterId,
    store::{Backend as _, Damage, OpenError, Options, Position, Recovered, Repair, Write, open},
};

/// Trials for each class of files. Together they are more than 200.
const TRIALS: u64 = 45;

/// No open may take longer than this, with all its attempts. The database itself gets a fraction of it.
const DEADLINE: Duration = Duration::from_secs(30);

/// A directory that has lived: several starts, a truncation, a purge, large and small entries.
struct Lived {
    top: tempfile::TempDir,
    cluster: ClusterId,
    recovered: Recovered,
}

impl Lived {
    fn new(purged: bool) -> Self {
        let top = tempfile::tempdir().unwrap();
        let cluster = ClusterId::mint();
        let first = start(top.path());
        write(&first.store, Write::Cluster(cluster)).unwrap();
        write(&first.store, Write::Vote(vote(1))).unwrap();
        write(&first.store, Write::Append(records(1, 0..1500))).unwrap();
        drop(first);
        let second = start(top.path());
        let kept = Position { term: 1, index: 1399 };
        write(&second.store, Write::Truncate(Some(kept))).unwrap();
        write(&second.store, Write::Vote(vote(2))).unwrap();
        write(&second.store, Write::Append(records(2, 1400..1800))).unwrap();
        let large = (1800..1830).map(|index| record(2, index, 40_000)).collect();
        write(&second.store, Write::Append(large)).unwrap();
        if purged {
            second.store.save_snapshot(&snapshot(1200)).unwrap();
            write(&second.store, Write::Purge(Position { term: 1, index: 1000 })).unwrap();
        }
        write(&second.store, Write::Vote(vote(3))).unwrap();
        drop(second);
        let recovered = start(top.path()).recovered;
        Self { top, cluster, recovered }
    }

    /// A copy to damage. The ballast is shared: nobody writes to one that is there.
    fn copy(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_directory(self.top.path(), copy.path());
        copy
    }
}

fn copy_directory(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let (from, name) = {
            let entry = entry.unwrap();
            (entry.path(), entry.file_name())
        };
        let to = to.join(&name);
        if from.is_dir() {
            fs::create_dir(&to).unwrap();
            copy_directory(&from, &to);
        } else if name == "ballast" {
            fs::hard_link(&from, &to).unwrap();
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// How the trials ended.
#[derive(Debug, Default)]
struct Tally {
    unharmed: u32,
    repaired: u32,
    quarantined: u32,
    refused: u32,
}

/// Opens a damaged copy and holds it against what was stored.
fn judge(lived: &Lived, path: &Path, what: &str, tally: &mut Tally) {
    let options = Options { open_within: Duration::from_secs(10), ..Options::default() };
    let begun = Instant::now();
    let opened = open(path, &options);
    assert!(begun.elapsed() < DEADLINE, "{what}: it took {:?}", begun.elapsed());
    match opened {
        Ok(opened) => {
            let mut found = opened.recovered;
            // What is known to be committed may lag behind: it is only a hint.
            found.committed = lived.recovered.committed;
            assert_eq!(found, lived.recovered, "{what}: silently wrong");
            assert_eq!(opened.identity.cluster, Some(lived.cluster), "{what}");
            let next = found.records.last().unwrap().position.index + 1;
            write(&opened.store, Write::Append(records(3, next..next + 3))).unwrap();
            drop(opened.store);
            let again = start(path).recovered;
            assert_eq!(again.records.len(), found.records.len() + 3, "{what}: written in vain");
            if opened.repairs.is_empty() { tally.unharmed += 1 } else { tally.repaired += 1 }
        }
        Err(OpenError::Quarantined { moved, damage, tombstone, .. }) => {
            assert!(moved.read_dir().unwrap().count() > 0, "{what}: nothing was kept");
            assert!(!damage.to_string().is_empty());
            assert!(tombstone.cluster.is_none_or(|cluster| cluster == lived.cluster), "{what}");
            let again = open(path, &options).unwrap_err();
            assert!(matches!(again, OpenError::Lost { .. }), "{what}: {again}");
            tally.quarantined += 1;
        }
        Err(error) => {
            assert!(error.to_string().contains(&path.display().to_string()), "{what}: {error}");
            tally.refused += 1;
        }
    }
}

/// Damages one file in one of the ways that disks and people do. Says how.
fn damage(file: &Path, random: &mut StdRng) -> String {
    let mut bytes = fs::read(file).unwrap();
    let at = random.random_range(0..bytes.len().max(1));
    let how = match random.random_range(0..7) {
        0 | 1 if !bytes.is_empty() => {
            bytes[at] ^= 1 << random.random_range(0..8);
            format!("flip a bit of byte {at}")
        }
        2 => {
            bytes.truncate(at);
            format!("truncate to {at}")
        }
        3 => {
            let end = bytes.len().min(at + 512);
            bytes[at.min(end)..end].fill(0);
            format!("zero a sector at {at}")
        }
        4 => {
            let from = at / 4096 * 4096;
            let end = bytes.len().min(from + 4096);
            bytes[from..end].fill(0);
            format!("zero the block at {from}")
        }
        5 => {
            bytes.clear();
            "empty it".to_owned()
        }
        6 => {
            fs::remove_file(file).unwrap();
            return "delete it".to_owned();
        }
        _ => {
            bytes.extend_from_slice(&[0xa5; 700]);
            "append garbage".to_owned()
        }
    };
    fs::write(file, bytes).unwrap();
    how
}

fn files(path: &Path, class: &str) -> Vec<PathBuf> {
    let (folder, prefix) = class.rsplit_once('/').unwrap_or(("", class));
    let entries = fs::read_dir(path.join(folder)).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
}

fn trials(lived: &Lived, class: &str) -> Tally {
    let mut tally = Tally::default();
    for seed in 0..TRIALS {
        let mut random = StdRng::seed_from_u64(seed);
        let copy = lived.copy();
        let candidates = files(copy.path(), class);
        assert!(!candidates.is_empty(), "there is a {class}");
        let file = &candidates[random.random_range(0..candidates.len())];

        let how = damage(file, &mut random);

        judge(lived, copy.path(), &format!("{class}, seed {seed}: {how}"), &mut tally);
    }
    tally
}

#[test]
fn sleds_file() {
    let tally = trials(&Lived::new(true), "sled/db");

    assert!(tally.quarantined > 0, "{tally:?}");
}

#[test]
fn sleds_index() {
    let tally = trials(&Lived::new(true), "sled/snap.");

    assert!(tally.repaired > 0, "sled rebuilds it: {tally:?}");
    assert_eq!((tally.quarantined, tally.refused), (0, 0), "{tally:?}");
}

#[test]
fn sleds_settings() {
    let tally = trials(&Lived::new(true), "sled/conf");

    assert_eq!((tally.quarantined, tally.refused), (0, 0), "{tally:?}");
}

#[test]
fn the_identity_file() {
    let tally = trials(&Lived::new(true), "identity");

    assert!(tally.quarantined > 0, "{tally:?}");
}

#[test]
fn the_snapshot() {
    let tally = trials(&Lived::new(true), "snapshot");

    assert_eq!((tally.unharmed, tally.repaired), (0, 0), "the log under it is purged: {tally:?}");
}

#[test]
fn a_snapshot_over_a_whole_log_is_dropped() {
    let lived = Lived::new(false);
    let copy = lived.copy();
    fs::write(copy.path().join("snapshot"), "nonsense").unwrap();

    let opened = start(copy.path());

    assert_eq!(opened.repairs, [Repair::SnapshotDropped]);
    assert_eq!(opened.recovered, lived.recovered);
}

#[test]
fn an_unfinished_index_is_removed() {
    let lived = Lived::new(true);
    let copy = lived.copy();
    let stray = copy.path().join("sled/snap.00000000000FFFFF.generating");
    fs::write(&stray, [7; 100]).unwrap();

    let opened = start(copy.path());

    assert_eq!(opened.repairs, [Repair::StrayRemoved]);
    assert_eq!(opened.recovered, lived.recovered);
    assert!(!stray.exists());
}

#[test]
fn a_database_that_does_not_answer_is_given_up_in_time() {
    let lived = Lived::new(true);
    let copy = lived.copy();
    let options = Options { open_within: Duration::ZERO, ..Options::default() };

    let begun = Instant::now();
    let refused = open(copy.path(), &options).unwrap_err();

    assert!(matches!(refused, OpenError::Stalled { .. }), "{refused}");
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(start(copy.path()).recovered, lived.recovered, "nothing was changed");
}

/// The database as it was before `change`, under the identity file as it is after it.
fn with_an_older_database(change: Write) -> OpenError {
    let top = tempfile::tempdir().unwrap();
    let (sled, older) = (top.path().join("sled"), tempfile::tempdir().unwrap());
    let opened = start(top.path());
    write(&opened.store, Write::Vote(vote(1))).unwrap();
    write(&opened.store, Write::Append(records(1, 0..10))).unwrap();
    copy_directory(&sled, older.path());
    write(&opened.store, change).unwrap();
    drop(opened);
    fs::remove_dir_all(&sled).unwrap();
    fs::create_dir(&sled).unwrap();
    copy_directory(older.path(), &sled);

    open(top.path(), &Options::default()).unwrap_err()
}

#[test]
fn a_database_that_forgot_what_it_acknowledged_is_noticed() {
    let vote = with_an_older_database(Write::Vote(vote(2)));
    let entry = with_an_older_database(Write::Append(records(1, 10..11)));
    let cluster = with_an_older_database(Write::Cluster(ClusterId::mint()));

    let damage = |error| {
        let OpenError::Quarantined { damage, .. } = &error else { panic!("{error}") };
        damage.clone()
    };
    assert_eq!(damage(vote), Damage::VoteLost { acknowledged: 2 });
    let acknowledged = Position { term: 1, index: 10 };
    assert_eq!(damage(entry), Damage::EntryLost { acknowledged });
    assert_eq!(damage(cluster), Damage::Disagree("cluster id"));
}
