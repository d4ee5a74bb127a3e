//! What operators see of other nodes and of what happens: `apolo events`, `shards`, `respawn`, and the streams.

use std::time::Duration;

use apolo::{
    http::{Phase, ShardHistory, View},
    timeline::{Entry, Kind},
};
use tokio::time::{sleep, timeout};

use super::support::{Cluster, DEADLINE, said};

/// The events that a node tells, once they hold what is wanted.
async fn told(cluster: &Cluster, nth: usize, wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
    let waited = async {
        loop {
            let output = cluster.apolo(nth, &["events", "--json"]).await;
            let text = String::from_utf8(output.stdout).expect("text");
            let entries = text.lines().map(|line| serde_json::from_str(line).expect("an entry"));
            let entries: Vec<Entry> = entries.collect();
            if entries.iter().any(&wanted) {
                return entries;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(DEADLINE, waited).await.expect("it is told")
}

/// The node that runs the most shards: of those that were there first, one may run none yet.
fn busiest(view: &View) -> String {
    let node = view.nodes.iter().max_by_key(|node| node.shards).expect("there are nodes");
    node.name.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_told_by_every_node_with_how_long_the_handoffs_took() {
    let cluster = Cluster::of(3, 6).await;
    let drained = busiest(&cluster.whole(3).await);

    let output = cluster.apolo(0, &["drain", &drained]).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));

    for nth in 0..3 {
        let from_it = |entry: &Entry| entry.from.as_ref() == Some(&drained);
        let handed = |entry: &Entry| entry.kind == Kind::Handoff && from_it(entry);
        let entries = told(&cluster, nth, handed).await;
        let at = |kind| entries.iter().position(|entry| entry.kind == kind);
        let drains = at(Kind::NodeDraining).expect("the drain is told");
        assert!(drains < at(Kind::Handoff).expect("it was waited for"), "{entries:?}");
        assert!(entries.iter().filter(|entry| handed(entry)).all(|entry| entry.took_ms.is_some()));
        assert!(entries.is_sorted_by_key(|entry| entry.id));
        let moved = entries.iter().find(|entry| handed(entry)).expect("it was waited for");
        let shard = moved.shards[0].to_string();
        let of_it = said(&cluster.apolo(nth, &["shards", &shard]).await);
        assert!(of_it.contains(&moved.text), "{of_it}");
        let only = cluster.apolo(nth, &["shards", &shard, "--json"]).await;
        let only: ShardHistory = serde_json::from_slice(&only.stdout).expect("JSON");
        assert!(only.history.iter().all(|entry| entry.shards.contains(&moved.shards[0])));
    }
    let lines = said(&cluster.apolo(0, &["events"]).await);
    assert!(lines.contains(&format!("{drained} hands its shards to the others")), "{lines}");
    let none = cluster.apolo(0, &["shards", "6"]).await;
    assert_eq!(none.status.code(), Some(1));
    assert!(said(&none).contains("there is no shard 6: there are 6, from 0 on"), "{}", said(&none));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_drained_while_no_other_takes_shards_says_that_it_keeps_them() {
    let cluster = Cluster::of(1, 2).await;
    cluster.whole(1).await;
    for words in [&["health"][..], &["health", "--ready"]] {
        let output = cluster.apolo(0, words).await;
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }

    let output = cluster.apolo(0, &["drain", "node-1"]).await;

    assert!(said(&output).contains("keeps its 2 shards for now"), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_shows_what_the_shards_of_the_others_are_doing() {
    let cluster = Cluster::of(3, 6).await;
    let connected = |view: &View| {
        let phases = view.shards.iter().all(|row| row.phase == Phase::Connected);
        let elsewhere = view.shards.iter().any(|row| !row.here);
        phases && elsewhere && view.nodes.iter().all(|node| node.said.is_some())
    };

    let view = cluster.sees("every shard's phase", connected).await;

    assert!(view.nodes.iter().any(|node| node.said.as_ref().is_some_and(|s| s.round_trip_us > 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_respawned_from_afar_resumes_and_spends_no_identify() {
    let cluster = Cluster::of(3, 6).await;
    let view = cluster.whole(3).await;
    let before = cluster.discord.truth();
    let row = view.shards.first().expect("there are shards");
    let (shard, owner) = (row.shard, row.node.as_deref().expect("it runs"));
    let asked = (cluster.index_of(owner) + 1) % 3;

    let output = cluster.apolo(asked, &["respawn", &shard.to_string()]).await;

    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let resumed = async {
        while cluster.discord.truth().resumes_accepted == before.resumes_accepted {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, resumed).await.expect("it resumes");
    cluster.whole(3).await;
    let after = cluster.discord.truth();
    assert_eq!(after.resumes_accepted, before.resumes_accepted + 1, "one shard alone");
    assert_eq!(after.identifies_accepted, before.identifies_accepted);
    assert!(after.broken.is_empty(), "{:?}", after.broken);

    let all = cluster.apolo(1, &["respawn", "--all"]).await;
    assert_eq!(said(&all), "6 shards start anew, and resume their sessions");
    let none = cluster.apolo(1, &["respawn", "77"]).await;
    assert_eq!(none.status.code(), Some(1));
    assert!(said(&none).contains("numbered from 0 to 5"), "{}", said(&none));
}

/// What a stream says until `enough`.
async fn read(url: String, last: Option<&str>, enough: impl Fn(&str) -> bool) -> String {
    let mut request = reqwest::Client::new().get(url).header("accept", "text/event-stream");
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let mut response = request.send().await.expect("it answers");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut bytes = Vec::new();
    let reading = async {
        // A chunk may end within a character.
        while !enough(&String::from_utf8_lossy(&bytes)) {
            let chunk = response.chunk().await.expect("it goes on").expect("it does not end");
            bytes.extend_from_slice(&chunk);
        }
    };
    timeout(DEADLINE, reading).await.expect("it says so");
    String::from_utf8(bytes).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_streams_tell_what_is_and_what_happens_and_go_on_where_a_reader_was() {
    let cluster = Cluster::of(2, 4).await;
    let base = format!("http://{}/api/v1", cluster.places[0].config.http_addr);

    let whole = |text: &str| {
        ["event: status\n", "event: shards\n", "event: ready\n"].iter().all(|it| text.contains(it))
    };
    let status = read(format!("{base}/status/stream"), None, whole).await;
    let line = status.lines().find(|line| line.contains("\"total\":4")).expect("the shards");
    assert_eq!(line.matches("\"shard\":").count(), 4, "{line}");

    let drained = |text: &str| text.contains("event: handoff\n");
    let node = busiest(&cluster.whole(2).await);
    let output = cluster.apolo(1, &["drain", &node]).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let events = read(format!("{base}/events"), None, drained).await;
    let last = events.lines().filter_map(|line| line.strip_prefix("id: ")).next_back();
    let last = last.expect("ids").to_owned();

    let back = |text: &str| text.contains("event: nodeUndrained\n");
    let output = cluster.apolo(1, &["undrain", &node]).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let events = read(format!("{base}/events"), Some(&last), back).await;
    assert!(!events.contains("event: nodeDraining\n"), "that was told already: {events}");
}
