//! The store as its users see it: on real files.

mod damage;
mod golden;
pub(crate) mod hold;
mod promise;
mod stall;
mod twins;

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::Command,
    sync::mpsc,
    time::Duration,
};

use super::{
    Backend, Damage, Done, Farewell, OpenError, Opened, Options, Position, Record, Repair,
    Snapshot, Vote, Write, WriteError, has_left, open, say_farewell,
};
use crate::model::{BootEpoch, ClusterId, NodeId, UnixMillis};

const PATIENCE: Duration = Duration::from_secs(20);

fn record(term: u64, index: u64, length: usize) -> Record {
    let bytes = (0..length).map(|i| (index as usize + i) as u8).collect();
    Record { position: Position { term, index }, bytes }
}

fn records(term: u64, range: std::ops::Range<u64>) -> Vec<Record> {
    range.map(|index| record(term, index, 100)).collect()
}

fn vote(term: u64) -> Vote {
    Vote { term, committed: true, bytes: vec![9; 20] }
}

fn start(path: &Path) -> Opened {
    open(path, &Options::default()).unwrap()
}

fn waiting() -> (Done, mpsc::Receiver<Result<(), WriteError>>) {
    let (answer, answered) = mpsc::channel();
    (Box::new(move |result| answer.send(result).unwrap()), answered)
}

/// Writes, and waits until it is durable.
fn write(store: &impl Backend, write: Write) -> Result<(), WriteError> {
    let (done, answered) = waiting();
    store.submit(write, done);
    answered.recv_timeout(PATIENCE).expect("every write is answered")
}

fn snapshot(index: u64) -> Snapshot {
    let last = Some(Position { term: 1, index });
    Snapshot { last, meta: vec![1, 2, 3], state: vec![5; 300_000] }
}

#[test]
fn a_new_directory_is_made_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let top = tempfile::tempdir().unwrap();
    let path = top.path().join("a/b");

    let opened = start(&path);

    assert_eq!(opened.identity.boot, BootEpoch(1));
    assert_eq!(opened.repairs, []);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
    for name in ["identity", "LOCK", "ballast"] {
        let mode = fs::metadata(path.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let top = tempfile::tempdir().unwrap();
    let first = start(top.path());
    let node = first.identity.node;
    let cluster = ClusterId::mint();
    write(&first.store, Write::Cluster(cluster)).unwrap();
    write(&first.store, Write::Vote(vote(3))).unwrap();
    write(&first.store, Write::Append(records(3, 0..20))).unwrap();
    write(&first.store, Write::Truncate(Some(Position { term: 3, index: 9 }))).unwrap();
    write(&first.store, Write::Append(records(4, 10..15))).unwrap();
    write(&first.store, Write::Committed(Some(Position { term: 4, index: 12 }))).unwrap();
    first.store.save_snapshot(&snapshot(7)).unwrap();
    write(&first.store, Write::Purge(Position { term: 3, index: 5 })).unwrap();
    drop(first);

    let second = start(top.path());

    let found = &second.recovered;
    assert_eq!((second.identity.node, second.identity.boot), (node, BootEpoch(2)));
    assert_eq!(second.identity.cluster, Some(cluster));
    assert_eq!(second.repairs, []);
    assert_eq!(found.vote, Some(vote(3)));
    assert_eq!(found.committed, Some(Position { term: 4, index: 12 }));
    assert_eq!(found.purged, Some(Position { term: 3, index: 5 }));
    assert_eq!(found.records, [records(3, 6..10), records(4, 10..15)].concat());
    assert_eq!(found.snapshot, Some(snapshot(7)));
}

#[test]
fn entries_of_any_size_stay_out_of_files_that_sled_never_syncs() {
    let top = tempfile::tempdir().unwrap();
    let first = start(top.path());
    let large: Vec<_> = (0..40).map(|index| record(1, index, 128 * 1024)).collect();
    write(&first.store, Write::Append(large.clone())).unwrap();
    drop(first);

    let second = start(top.path());

    assert_eq!(second.recovered.records, large);
    assert_eq!(fs::read_dir(top.path().join("sled/blobs")).unwrap().count(), 0);
}

#[test]
fn purges_of_thousands_survive_restarts_and_the_log_goes_on() {
    let top = tempfile::tempdir().unwrap();
    let first = start(top.path());
    write(&first.store, Write::Append(records(1, 0..3000))).unwrap();
    first.store.save_snapshot(&snapshot(2999)).unwrap();
    write(&first.store, Write::Purge(Position { term: 1, index: 2999 })).unwrap();
    drop(first);

    let second = start(top.path());
    write(&second.store, Write::Append(records(1, 3000..3001))).unwrap();
    drop(second);
    let third = start(top.path());

    assert_eq!(third.recovered.records, records(1, 3000..3001));
}

#[test]
fn a_purge_that_is_repeated_changes_nothing() {
    let top = tempfile::tempdir().unwrap();
    let first = start(top.path());
    write(&first.store, Write::Append(records(1, 0..20))).unwrap();
    first.store.save_snapshot(&snapshot(9)).unwrap();
    write(&first.store, Write::Purge(Position { term: 1, index: 9 })).unwrap();
    drop(first);

    for earlier in [9, 5] {
        let opened = start(top.path());
        write(&opened.store, Write::Purge(Position { term: 1, index: earlier })).unwrap();
        write(&opened.store, Write::Vote(vote(1))).unwrap();
    }

    let recovered = start(top.path()).recovered;
    assert_eq!(recovered.purged, Some(Position { term: 1, index: 9 }));
    assert_eq!(recovered.records, records(1, 10..20));
}

#[test]
fn a_purge_that_the_log_contradicts_is_refused_and_changes_nothing() {
    for (purged, to) in [(None, (2, 5)), (None, (1, 10)), (Some(5), (2, 5)), (None, (3, 6))] {
        let top = tempfile::tempdir().unwrap();
        let first = start(top.path());
        write(&first.store, Write::Append(records(1, 0..6))).unwrap();
        write(&first.store, Write::Append(records(2, 6..10))).unwrap();
        first.store.save_snapshot(&snapshot(20)).unwrap();
        if let Some(index) = purged {
            write(&first.store, Write::Purge(Position { term: 1, index })).unwrap();
        }

        let (term, index) = to;
        write(&first.store, Write::Purge(Position { term, index })).unwrap();
        let later = write(&first.store, Write::Vote(vote(3)));
        drop(first);
        let second = start(top.path());

        assert!(matches!(later, Err(WriteError::Io { .. })), "{to:?}: the first error is final");
        assert_eq!(second.repairs, [], "{to:?}");
        assert_eq!(second.recovered.purged.map(|at| at.index), purged, "{to:?}");
        let all = [records(1, 0..6), records(2, 6..10)].concat();
        let from = purged.map_or(0, |index| index as usize + 1);
        assert_eq!(second.recovered.records, all[from..], "{to:?}");
    }
}

#[test]
fn an_installed_snapshot_takes_the_place_of_a_log_that_ends_before_it() {
    for held in [0..0, 0..6] {
        let top = tempfile::tempdir().unwrap();
        let first = start(top.path());
        write(&first.store, Write::Append(records(1, held))).unwrap();
        let last = Some(Position { term: 2, index: 20 });
        first.store.save_snapshot(&Snapshot { last, ..snapshot(20) }).unwrap();

        write(&first.store, Write::Purge(Position { term: 2, index: 20 })).unwrap();
        write(&first.store, Write::Append(records(2, 21..23))).unwrap();
        drop(first);
        let second = start(top.path());

        assert_eq!(second.repairs, []);
        assert_eq!(second.recovered.purged, last);
        assert_eq!(second.recovered.records, records(2, 21..23));
    }
}

#[test]
fn an_entry_out_of_order_is_refused() {
    let top = tempfile::tempdir().unwrap();
    let opened = start(top.path());
    write(&opened.store, Write::Append(records(1, 0..3))).unwrap();

    let refused = write(&opened.store, Write::Append(records(1, 5..6)));

    assert!(matches!(refused, Err(WriteError::Io { .. })), "{refused:?}");
    assert!(opened.store.failure().borrow().is_some());
    assert!(write(&opened.store, Write::Vote(vote(1))).is_err(), "the first error is final");
}

#[test]
fn a_directory_belongs_to_one_cluster_for_good() {
    let top = tempfile::tempdir().unwrap();
    let (ours, other) = (ClusterId::mint(), ClusterId::mint());
    let first = start(top.path());
    write(&first.store, Write::Cluster(ours)).unwrap();

    let refused = write(&first.store, Write::Cluster(other));
    let again = write(&first.store, Write::Cluster(ours));
    drop(first);
    let joining = open(top.path(), &Options { join: Some(other), ..Options::default() });

    assert!(matches!(refused, Err(WriteError::OtherCluster(cluster)) if cluster == ours));
    assert!(again.is_ok());
    assert!(
        matches!(joining, Err(OpenError::OtherCluster { found, wanted, .. }) if (found, wanted) == (ours, other))
    );
}

#[test]
fn a_second_open_is_told_who_holds_the_directory() {
    let top = tempfile::tempdir().unwrap();
    let _held = start(top.path());

    let refused = open(top.path(), &Options::default()).unwrap_err();

    let pid = std::process::id();
    assert!(matches!(refused, OpenError::Locked { pid: Some(holder), .. } if holder == pid));
    assert!(refused.to_string().contains(&pid.to_string()));
}

#[test]
fn a_directory_with_something_else_in_it_is_left_alone() {
    let top = tempfile::tempdir().unwrap();
    fs::write(top.path().join("thesis.tex"), "mine").unwrap();

    let refused = open(top.path(), &Options::default()).unwrap_err();

    assert!(matches!(&refused, OpenError::NotOurs { found, .. } if found == "thesis.tex"));
    assert_eq!(fs::read_dir(top.path()).unwrap().count(), 1);
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let top = tempfile::tempdir().unwrap();
    let of_mode = |mode| {
        fs::set_permissions(top.path(), fs::Permissions::from_mode(mode)).unwrap();
        open(top.path(), &Options::default())
    };

    let by_all = of_mode(0o707);
    let by_group = of_mode(0o770);
    let by_the_platforms_group = of_mode(0o2770);

    assert!(matches!(by_all, Err(OpenError::Exposed { mode: 0o707, .. })));
    assert!(matches!(by_group, Err(OpenError::Exposed { mode: 0o770, .. })));
    assert!(by_the_platforms_group.is_ok());
}

#[test]
fn a_first_start_that_was_cut_short_begins_anew() {
    let top = tempfile::tempdir().unwrap();
    let identity = super::Identity::new(NodeId(1), None);
    super::identity::IdentityFile::create(top.path(), &identity).unwrap();
    fs::create_dir(top.path().join("sled")).unwrap();
    fs::write(top.path().join("sled/db"), [0xff; 5000]).unwrap();

    let opened = start(top.path());

    assert_eq!(opened.repairs, [Repair::BegunAnew]);
    assert_ne!(opened.identity.node, NodeId(1));
}

#[test]
fn a_lost_directory_may_only_join_the_cluster_that_it_lost() {
    let top = tempfile::tempdir().unwrap();
    let cluster = ClusterId::mint();
    let first = start(top.path());
    let lost = first.identity.node;
    write(&first.store, Write::Cluster(cluster)).unwrap();
    write(&first.store, Write::Append(records(1, 0..3))).unwrap();
    drop(first);
    fs::remove_dir_all(top.path().join("sled")).unwrap();

    let quarantined = open(top.path(), &Options::default()).unwrap_err();
    let again = open(top.path(), &Options::default()).unwrap_err();
    let stranger = Options { join: Some(ClusterId::mint()), ..Options::default() };
    let elsewhere = open(top.path(), &stranger).unwrap_err();
    let rejoined =
        open(top.path(), &Options { join: Some(cluster), ..Options::default() }).unwrap();

    let OpenError::Quarantined { moved, damage, tombstone, .. } = &quarantined else {
        panic!("{quarantined}");
    };
    assert_eq!(*damage, Damage::LogMissing);
    assert_eq!((tombstone.cluster, tombstone.node), (Some(cluster), Some(lost)));
    assert!(moved.join("identity").exists());
    assert!(quarantined.to_string().contains(&format!("lost cluster {cluster}")), "{quarantined}");
    assert!(matches!(again, OpenError::Lost { .. }), "{again}");
    assert!(matches!(elsewhere, OpenError::Lost { .. }), "{elsewhere}");
    assert_ne!(rejoined.identity.node, lost);
    assert_eq!(rejoined.identity.cluster, Some(cluster));
    assert!(matches!(
        write(&rejoined.store, Write::Cluster(ClusterId::mint())),
        Err(WriteError::OtherCluster(_))
    ));
}

#[test]
fn a_directory_whose_node_has_left_and_may_return_is_emptied_though_that_be_interrupted() {
    let top = tempfile::tempdir().unwrap();
    let cluster = ClusterId::mint();
    let first = start(top.path());
    let left = first.identity.node;
    write(&first.store, Write::Cluster(cluster)).unwrap();
    write(&first.store, Write::Append(records(1, 0..3))).unwrap();
    drop(first);
    let farewell =
        Farewell { cluster: Some(cluster), node: Some(left), at: UnixMillis(9), returns: true };
    say_farewell(top.path(), &farewell).unwrap();

    for interrupted in [false, true] {
        if interrupted {
            // Some of it is still there, and so is the farewell.
            fs::create_dir(top.path().join("sled")).unwrap();
            fs::write(top.path().join("sled/db"), "half").unwrap();
            fs::write(top.path().join("identity"), "whole").unwrap();
            say_farewell(top.path(), &farewell).unwrap();
        }
        let emptied = open(top.path(), &Options::default()).unwrap_err();
        let OpenError::Lost { tombstone, .. } = &emptied else { panic!("{emptied}") };
        assert_eq!((tombstone.cluster, tombstone.node), (Some(cluster), Some(left)));
        assert!(!has_left(top.path()));
    }

    let again = open(top.path(), &Options { join: Some(cluster), ..Options::default() }).unwrap();
    assert_ne!(again.identity.node, left);
    assert!(again.recovered.is_empty());
    let content = fs::read_dir(top.path()).unwrap();
    let aside = content.filter(|entry| {
        entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("quarantine-")
    });
    assert_eq!(aside.count(), 0, "what the others have is not kept");
}

/// A tmpfs of a few megabytes, for as long as it lives. None where this process may not mount.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(options: &str) -> Option<Self> {
        let top = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(top.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        if !mounted {
            writeln!(io::stderr(), "skipped: this process may not mount a tmpfs").unwrap();
        }
        mounted.then_some(Self(top))
    }

    fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{options}")]).arg(self.0.path());
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0.path()).status().unwrap();
    }
}

#[test]
fn a_full_disk_is_an_error_and_nothing_acknowledged_is_lost() {
    let Some(disk) = SmallDisk::mount("size=24m,mode=0700") else { return };
    let path = disk.0.path().join("data");
    let first = start(&path);
    let mut acknowledged = Vec::new();
    let failed = (0..100_000).find_map(|index| {
        let record = record(1, index, 100_000);
        let written = write(&first.store, Write::Append(vec![record.clone()]));
        acknowledged.extend(written.is_ok().then_some(record));
        written.err()
    });
    assert!(failed.as_ref().is_some_and(WriteError::is_disk_full), "{failed:?}");
    assert!(first.store.failure().borrow().is_some());
    drop(first);

    let second = start(&path);
    let found = second.recovered.records.clone();
    drop(second);
    fs::write(disk.0.path().join("fill"), vec![1; 32 << 20]).unwrap_err();
    let full = open(&path, &Options::default());
    disk.remount("size=64m");
    let third = start(&path);

    assert!(found.len() >= acknowledged.len());
    assert_eq!(found[..acknowledged.len()], acknowledged);
    if let Err(error) = &full {
        assert!(matches!(error, OpenError::DiskFull { .. }), "{error}");
    }
    assert_eq!(third.recovered.records, found);
    write(&third.store, Write::Append(vec![record(1, found.len() as u64, 100)])).unwrap();
}

#[test]
fn a_read_only_disk_is_an_error() {
    let Some(disk) = SmallDisk::mount("size=24m,mode=0700") else { return };
    let path = disk.0.path().join("data");
    let first = start(&path);
    write(&first.store, Write::Append(records(1, 0..3))).unwrap();
    drop(first);

    disk.remount("ro");
    let refused = open(&path, &Options::default()).unwrap_err();
    let refused_new = open(&disk.0.path().join("new"), &Options::default()).unwrap_err();
    disk.remount("rw");
    let second = start(&path);

    assert!(matches!(refused, OpenError::ReadOnly { .. }), "{refused}");
    assert!(matches!(refused_new, OpenError::ReadOnly { .. }), "{refused_new}");
    assert_eq!(second.recovered.records, records(1, 0..3));
}
