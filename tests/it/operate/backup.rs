//! `apolo backup` and `apolo restore`, on clusters that are written to.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use apolo::{
    backup,
    kv::{Kv, KvError, PutOptions, UserChange},
    state::user::{Item, decode_chunk},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

use super::support::{Cluster, DEADLINE, said};

const SHARDS: u32 = 2;

fn kv(cluster: &Cluster, nth: usize) -> Kv {
    cluster.places[nth].kv.clone().expect("it has started").within(DEADLINE)
}

async fn asked(cluster: &Cluster, nth: usize, words: &[&str], file: &Path) -> (i32, String) {
    let file = file.to_str().expect("it is text");
    let output = cluster.apolo(nth, &[words, &[file]].concat()).await;
    (output.status.code().expect("it ended by itself"), said(&output))
}

/// Asks for it, and has it done.
async fn done(cluster: &Cluster, nth: usize, words: &[&str], file: &Path) -> String {
    let (status, said) = asked(cluster, nth, words, file).await;
    assert_eq!(status, 0, "{words:?}: {said}");
    said
}

async fn refused(cluster: &Cluster, nth: usize, words: &[&str], file: &Path) -> String {
    let (status, said) = asked(cluster, nth, words, file).await;
    assert_ne!(status, 0, "{words:?}: {said}");
    said
}

fn items(file: &Path) -> (u64, Vec<Item>) {
    let bytes = fs::read(file).expect("it was written");
    let backup = backup::read(&bytes).expect("it is whole");
    let items = backup.chunks.iter().flat_map(|chunk| decode_chunk(chunk).expect("they are items"));
    (backup.header.revision, items.collect())
}

fn counter(items: &[Item], key: &str) -> i64 {
    let found = items.iter().find_map(|item| match item {
        Item::Counter { path, value, .. } if &*path.key == key => Some(*value),
        _ => None,
    });
    found.unwrap_or(0)
}

/// Keys, kinds and contents, as a node shows them.
async fn shown(cluster: &Cluster, nth: usize) -> Vec<Value> {
    let output = cluster.apolo(nth, &["kv", "list", "--json", "-n", "test"]).await;
    let mut rows: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    for row in &mut rows {
        let row = row.as_object_mut().expect("a row");
        for other in ["created", "modified", "ttlMs"] {
            row.remove(other);
        }
    }
    rows
}

/// Counts `first` and then `second`, each acknowledged before the next, and writes something of some length meanwhile.
async fn write(kv: Kv, who: usize, stop: Arc<AtomicBool>) {
    let keys = kv.namespace("test");
    let mut nth = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        keys.increment(&format!("first/{who}"), 1).await.expect("it is counted");
        keys.increment(&format!("second/{who}"), 1).await.expect("it is counted");
        nth = (nth + 1) % 64;
        let value = vec![b'x'; 2_000];
        keys.put(&format!("value/{who}/{nth}"), value).await.expect("it is written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_cluster_that_is_written_to_is_one_moment() {
    let cluster = Cluster::of(3, SHARDS).await;
    let (directory, stop) = (TempDir::new().unwrap(), Arc::new(AtomicBool::new(false)));
    let writers: Vec<_> =
        (0..3).map(|nth| tokio::spawn(write(kv(&cluster, nth), nth, stop.clone()))).collect();
    let keys = kv(&cluster, 0).namespace("test");
    let mut before = 0;

    for round in 0..4 {
        let written = keys.increment("marker", 1).await.unwrap();
        let file = directory.path().join(format!("{round}.apolo"));
        let at_least = keys.counter("second/1").await.unwrap();
        let said = done(&cluster, round % 3, &["backup"], &file).await;

        let (revision, items) = items(&file);
        assert!(said.starts_with("backed up ") && said.contains(" counters"), "{said}");
        for who in 0..3 {
            let (first, second) = (
                counter(&items, &format!("first/{who}")),
                counter(&items, &format!("second/{who}")),
            );
            assert!(first == second || first == second + 1, "{who}: {first} and {second}");
        }
        assert_eq!(counter(&items, "marker"), written, "what was answered before is in it");
        assert!(counter(&items, "second/1") >= at_least && revision > before);
        before = revision;
    }

    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        timeout(DEADLINE, writer).await.expect("it ends").expect("nothing was held up");
    }
}

/// Something of everything, of which one value has an end.
async fn fill(kv: &Kv) {
    let keys = kv.namespace("test");
    let ttl = Some(Duration::from_secs(300));
    keys.put("greeting", "hello").await.expect("it is written");
    keys.put_with("soon", "x", PutOptions { ttl, ..PutOptions::default() })
        .await
        .expect("it is written");
    for nth in 0..40 {
        keys.put(&format!("long/{nth}"), vec![b'y'; 20_000]).await.expect("it is written");
    }
    keys.increment("n", -42).await.expect("it is written");
    for member in ["ada", "bob"] {
        keys.leaderboard("xp").add(member, 7).await.expect("it is written");
    }
}

/// A backup of a cluster that is gone, and the last token that it gave.
async fn of_another(directory: &TempDir) -> (PathBuf, Vec<Value>, u64) {
    let cluster = Cluster::of(1, SHARDS).await;
    let kv = kv(&cluster, 0);
    fill(&kv).await;
    let lock =
        kv.namespace("test").lock("job", Duration::from_secs(20)).await.expect("it is written");
    let file = directory.path().join("bot.apolo");
    done(&cluster, 0, &["backup"], &file).await;
    let token = lock.token();
    lock.release().await.expect("it is written");
    (file, shown(&cluster, 0).await, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_keeps_after_a_restore_what_the_lost_one_kept() {
    let directory = TempDir::new().unwrap();
    let (file, before, token) = of_another(&directory).await;
    assert!(before.len() > 40);
    let cluster = Cluster::of(3, SHARDS).await;
    let keys = kv(&cluster, 1).namespace("test");
    let held = keys.lock("own", Duration::from_secs(20)).await.unwrap();

    let said = done(&cluster, 2, &["restore"], &file).await;

    assert!(said.contains("restored 44 keys at revision"), "{said}");
    assert!(said.contains("1 lock held on"), "{said}");
    assert!(held.is_held());
    held.release().await.unwrap();
    for nth in 0..3 {
        assert_eq!(shown(&cluster, nth).await, before);
    }
    let left = keys.get("soon").await.unwrap().unwrap().ttl.unwrap();
    assert!((290..=321).contains(&left.as_secs()), "{left:?}");
    let next = keys.lock("job", Duration::from_secs(20)).await.unwrap();
    assert!(next.token() > token + (1 << 32), "{} {token}", next.token());

    let refused = refused(&cluster, 0, &["restore"], &file).await;
    assert!(
        refused.contains("keeps 44 keys already") && refused.contains("--replace"),
        "{refused}"
    );
    keys.put("mine", "1").await.unwrap();
    let mut watch = keys.watch("");
    done(&cluster, 0, &["restore", "--replace"], &file).await;
    assert_eq!(
        shown(&cluster, 1).await.len(),
        before.len() + 1,
        "the lock that is held, and not `mine`"
    );
    let change = loop {
        match timeout(DEADLINE, watch.next()).await.expect("it is told") {
            Ok(change) => assert!(matches!(change.change, UserChange::Put(_)), "{change:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(change, KvError::Compacted(_)), "{change}");
    next.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_whole_backup_changes_nothing() {
    let cluster = Cluster::of(1, SHARDS).await;
    let kv = kv(&cluster, 0);
    fill(&kv).await;
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("bot.apolo");
    done(&cluster, 0, &["backup"], &file).await;
    let again = refused(&cluster, 0, &["backup"], &file).await;
    assert!(again.contains("--force"), "{again}");
    done(&cluster, 0, &["backup", "--force"], &file).await;
    kv.namespace("test").put("later", "1").await.unwrap();
    let (before, bytes) = (shown(&cluster, 0).await, fs::read(&file).unwrap());
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    let mut newer = bytes.clone();
    newer[8] += 1;
    let sum = crc32fast::hash(&newer[..12]);
    newer[12..16].copy_from_slice(&sum.to_le_bytes());

    for (wrong, why) in [
        (&flipped[..], "it is damaged"),
        (&bytes[..bytes.len() / 2], "it ends in the middle"),
        (&newer, "format version 2"),
        (b"#!/bin/sh\n", "no backup of apolo"),
        (b"", "it ends in the middle"),
    ] {
        let path = directory.path().join("wrong.apolo");
        fs::write(&path, wrong).unwrap();
        for words in [&["restore", "--replace"][..], &["restore", "--check"]] {
            let said = refused(&cluster, 0, words, &path).await;
            assert!(said.contains(why) && said.contains("Nothing was changed"), "{said}");
        }
    }
    assert_eq!(shown(&cluster, 0).await, before);
    let checked = done(&cluster, 0, &["restore", "--check"], &file).await;
    assert!(checked.contains("whole") && checked.contains("1 counter"), "{checked}");
    assert_eq!(shown(&cluster, 0).await, before, "it was checked, and no more");
}
