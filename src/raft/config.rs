//! How Raft is set up.

use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

/// A follower votes for nobody for so long after a word of the leader; leases rest on it.
pub const ELECTION_TIMEOUT_MAX: Duration = Duration::from_millis(500);

/// The profile `lan`. A follower takes over when it has heard nothing for the lease (the longest election timeout) and
/// an election timeout more.
pub(super) fn config() -> Result<Config, openraft::ConfigError> {
    let election_timeout_max = ELECTION_TIMEOUT_MAX.as_millis() as u64;
    Config {
        cluster_name: "apolo".to_owned(),
        heartbeat_interval: 100,
        election_timeout_min: 250,
        election_timeout_max,
        enable_pre_vote: Some(true),
        // A leader that lost its quorum falls silent for this long, so that another can be elected (openraft#2080).
        quorum_loss_probe_interval: Some(2 * election_timeout_max + 200),
        // Leading without an election would be leading on a state that may lack committed entries.
        enable_leader_restore: Some(false),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(5000),
        replication_lag_threshold: 6000,
        max_in_snapshot_log_to_keep: 1000,
        purge_batch_size: 256,
        install_snapshot_timeout: 5000,
        backoff: "50ms 100ms 200ms ...500ms".to_owned(),
        ..Config::default()
    }
    .validate()
}
