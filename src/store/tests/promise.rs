//! A promise outlives everything, is the only one of its directory, and goes with it into quarantine.

use std::fs;

use super::{super::*, record, start, write};
use crate::model::{ClusterId, NodeId};
use crate::store::promise::{Found, decode, encode};

fn promise() -> Promise {
    let members = [(NodeId(3), "a".to_owned()), (NodeId(300), "b".to_owned())];
    let cluster = ClusterId(uuid::Uuid::from_u128(0x0102_0304));
    Promise { cluster, founder: NodeId(3), members: members.into() }
}

#[test]
fn a_promise_is_there_after_a_restart_and_names_the_cluster() {
    let top = tempfile::tempdir().unwrap();
    let first = start(top.path());
    write(&first.store, Write::Promise(promise())).unwrap();
    drop(first);

    let second = start(top.path());

    assert_eq!(second.recovered.promise, Some(promise()));
    assert!(second.recovered.is_empty());
    assert_eq!(second.identity.cluster, Some(promise().cluster));
}

#[test]
fn a_second_promise_is_refused_and_the_first_one_kept_again() {
    let top = tempfile::tempdir().unwrap();
    let first = start(top.path());
    write(&first.store, Write::Promise(promise())).unwrap();
    drop(first);
    let opened = start(top.path());
    let elsewhere = Promise { cluster: ClusterId::mint(), ..promise() };
    let other_founder = Promise { founder: NodeId(300), ..promise() };

    let refused = [elsewhere, other_founder].map(|p| write(&opened.store, Write::Promise(p)));

    for refused in refused {
        assert!(matches!(refused, Err(WriteError::OtherCluster(of)) if of == promise().cluster));
    }
    write(&opened.store, Write::Promise(promise())).unwrap();
    drop(opened);
    assert_eq!(start(top.path()).recovered.promise, Some(promise()));
}

#[test]
fn a_directory_that_joins_a_cluster_promises_nothing() {
    let top = tempfile::tempdir().unwrap();
    let opened = start(top.path());
    write(&opened.store, Write::Cluster(promise().cluster)).unwrap();

    let refused = write(&opened.store, Write::Promise(promise()));

    assert!(matches!(refused, Err(WriteError::OtherCluster(_))));
    assert!(!top.path().join("promise").exists());
}

#[test]
fn a_power_cut_between_the_promise_and_the_clusters_id_leaves_the_promise() {
    let top = tempfile::tempdir().unwrap();
    drop(start(top.path()));
    fs::write(top.path().join("promise"), encode(&promise())).unwrap();

    let opened = start(top.path());

    assert_eq!(opened.recovered.promise, Some(promise()));
    assert_eq!(opened.identity.cluster, Some(promise().cluster));
    drop(opened);
    assert_eq!(start(top.path()).identity.cluster, Some(promise().cluster));
}

#[test]
fn with_a_log_the_promise_is_history_even_a_damaged_one() {
    let top = tempfile::tempdir().unwrap();
    let first = start(top.path());
    write(&first.store, Write::Promise(promise())).unwrap();
    write(&first.store, Write::Append(vec![record(1, 0, 10)])).unwrap();
    drop(first);

    let second = start(top.path());
    let found = second.recovered.promise.clone();
    drop(second);
    fs::write(top.path().join("promise"), b"nonsense").unwrap();

    assert_eq!(found, None);
    assert_eq!(start(top.path()).recovered.promise, None);
}

#[test]
fn a_damaged_promise_is_damage_and_is_put_aside() {
    let top = tempfile::tempdir().unwrap();
    let first = start(top.path());
    write(&first.store, Write::Promise(promise())).unwrap();
    drop(first);
    fs::write(top.path().join("promise"), b"nonsense").unwrap();

    let error = open(top.path(), &Options::default()).unwrap_err();

    let OpenError::Quarantined { moved, damage, tombstone, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*damage, Damage::PromiseUnreadable);
    assert_eq!(tombstone.cluster, Some(promise().cluster));
    assert!(moved.join("promise").exists() && !top.path().join("promise").exists());
    let again = open(top.path(), &Options::default()).unwrap_err();
    assert_eq!(again.tombstone().unwrap().cluster, Some(promise().cluster));
}

#[test]
fn a_promise_whose_identity_is_gone_is_a_loss() {
    let top = tempfile::tempdir().unwrap();
    let first = start(top.path());
    write(&first.store, Write::Promise(promise())).unwrap();
    drop(first);
    fs::remove_file(top.path().join("identity")).unwrap();
    fs::remove_dir_all(top.path().join("sled")).unwrap();

    let error = open(top.path(), &Options::default()).unwrap_err();

    assert_eq!(error.tombstone().unwrap().cluster, Some(promise().cluster));
}

#[test]
fn every_flipped_bit_of_a_promise_is_found_and_a_newer_format_told_from_damage() {
    let bytes = encode(&promise());

    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode(&flipped), Found::Unreadable, "bit {bit}");
    }
    let body = [&[9], &bytes[5..]].concat();
    let newer = [&crc32fast::hash(&body).to_le_bytes()[..], &body].concat();
    assert_eq!(decode(&newer), Found::Newer(9));
}

#[test]
fn the_twin_in_memory_keeps_one_promise_too() {
    let store = Memory::default();
    write(&store, Write::Promise(promise())).unwrap();

    let other = Promise { cluster: ClusterId::mint(), ..promise() };

    assert!(write(&store, Write::Promise(other)).is_err());
    assert_eq!(store.recovered().promise, Some(promise()));
}
