//! `apolo recover`.

use apolo::NodeError;

use super::support::{Cluster, said};

#[tokio::test(flavor = "multi_thread")]
async fn one_node_goes_on_resumes_every_shard_and_refuses_the_others() {
    let mut cluster = Cluster::of(3, 4).await;
    let running = cluster.apolo(0, &["recover", "--i-have-lost-quorum"]).await;
    assert_eq!(running.status.code(), Some(1), "{}", said(&running));
    assert!(said(&running).contains("is in use by the process"), "{}", said(&running));
    for nth in [2, 1, 0] {
        cluster.stop(nth).await;
    }
    let identifies = cluster.discord.truth().identifies_accepted;

    let asked = cluster.apolo(0, &["recover"]).await;
    assert_eq!(asked.status.code(), Some(64), "{}", said(&asked));
    for word in ["node-1", "node-2", "node-3", "generation 2", "--i-have-lost-quorum"] {
        assert!(said(&asked).contains(word), "{word} in {}", said(&asked));
    }
    let done = cluster.apolo(0, &["recover", "--i-have-lost-quorum"]).await;
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    let again = cluster.apolo(0, &["recover", "--i-have-lost-quorum"]).await;
    assert!(said(&again).contains("only voter and needs no other"), "{}", said(&again));

    cluster.start(vec![0]).await;
    let view = cluster.whole(1).await;
    assert!(
        view.shards.iter().all(|row| row.epoch.as_ref().is_some_and(|it| it.starts_with("2.")))
    );
    let truth = cluster.discord.truth();
    assert_eq!(truth.identifies_accepted, identifies, "every session was resumed");
    let old = cluster.try_start(1).await;
    assert!(matches!(old, Err(NodeError::Removed)), "{old:?}");

    std::fs::remove_dir_all(cluster.data_dir(1)).expect("it was let go of");
    cluster.start(vec![1]).await;
    cluster.whole(2).await;
}

#[test]
fn a_directory_that_is_no_nodes_stays_as_it_is() {
    let empty = tempfile::tempdir().expect("a directory");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_apolo"));
    command.args(["recover", "--i-have-lost-quorum", "--data-dir"]).arg(empty.path()).env_clear();

    let output = command.output().expect("the binary was built for this test");

    assert_eq!(output.status.code(), Some(64), "{}", said(&output));
    assert_eq!(std::fs::read_dir(empty.path()).expect("it is there").count(), 0);
}
