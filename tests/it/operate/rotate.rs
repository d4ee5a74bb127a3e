//! `apolo ca rotate` on a running cluster.

use std::{net::SocketAddr, path::Path, process::Command, time::Duration};

use apolo::http::View;
use rustls::pki_types::CertificateDer;
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::support::{Cluster, DEADLINE, said};
use crate::transport::support::raw;

/// The leaf that a node shows to whoever dials it.
async fn leaf_of(address: SocketAddr) -> Option<Vec<u8>> {
    let endpoint = raw::client(None, b"apolo/1");
    let dialled = endpoint.connect(address, "meet.apolo").ok()?;
    let connection = timeout(Duration::from_secs(5), dialled).await.ok()?.ok()?;
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    chain.first().map(|leaf| leaf.to_vec())
}

async fn leaves(cluster: &Cluster) -> Vec<Vec<u8>> {
    let mut leaves = Vec::new();
    for place in &cluster.places {
        let shown = async {
            loop {
                if let Some(leaf) = leaf_of(place.config.quic_addr).await {
                    return leaf;
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        leaves.push(timeout(DEADLINE, shown).await.expect("every node shows a leaf"));
    }
    leaves
}

/// Every node has seen the step: it trusts what it is to trust before it shows a new leaf.
async fn renewed(cluster: &Cluster, before: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let renewed = async {
        loop {
            let now = leaves(cluster).await;
            if now.iter().zip(before).all(|(now, before)| now != before) {
                return now;
            }
            sleep(Duration::from_millis(250)).await;
        }
    };
    timeout(DEADLINE, renewed).await.expect("every node renews its leaf")
}

async fn step(ca_dir: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_apolo"));
    command.args(["ca", "rotate", "--now", "--ca-dir"]).arg(ca_dir).env_clear();
    let output = spawn_blocking(move || command.output()).await;
    let output = output.expect("it does not panic").expect("the binary was built for this test");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

fn owners(view: &View) -> Vec<(Option<String>, Option<String>)> {
    view.shards.iter().map(|row| (row.node.clone(), row.epoch.clone())).collect()
}

/// The connections to Discord: each id, and whether it has ended.
fn connected(cluster: &Cluster) -> Vec<(u64, bool)> {
    let truth = cluster.discord.truth();
    let mut all: Vec<_> = truth.connections.iter().map(|it| (it.id, it.end.is_some())).collect();
    all.sort_unstable();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_is_replaced_under_load_and_no_shard_moves() {
    let cluster = Cluster::of(3, 3).await;
    // One each: nothing is left to balance.
    let even = cluster.sees("a shard for each node", |view| {
        view.nodes.len() == 3 && view.nodes.iter().all(|node| node.shards == 1)
    });
    let before = owners(&even.await);
    cluster.whole(3).await;
    let connected = connected(&cluster);
    let ca_dir = cluster.places[0].config.ca_dir.clone().expect("the cluster has one");

    let mut shown = leaves(&cluster).await;
    for _ in 0..3 {
        step(&ca_dir).await;
        shown = renewed(&cluster, &shown).await;
    }

    let view = cluster.whole(3).await;
    assert_eq!(owners(&view), before);
    assert_eq!(self::connected(&cluster), connected, "nobody connected anew");
    // The nodes still hear each other, by the new authority alone.
    let to = if before[0].0.as_deref() == Some("node-1") { "node-2" } else { "node-1" };
    let moved = cluster.apolo(0, &["move", "0", to]).await;
    assert_eq!(moved.status.code(), Some(0), "{}", said(&moved));
}
