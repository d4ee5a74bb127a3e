//! How Raft is set up.

use openraft::{Config, SnapshotPolicy};

use crate::model::Profile;

/// In milliseconds: between two heartbeats, which is also how long an append may take; and the shortest election
/// timeout.
const fn spans(profile: Profile) -> (u64, u64) {
    match profile {
        Profile::Lan => (100, 250),
        Profile::Fast => (50, 150),
        Profile::Wan => (300, 1_000),
    }
}

/// A follower takes over when it has heard nothing for the lease (the longest election timeout) and an election timeout
/// more.
pub(super) fn config(profile: Profile) -> Result<Config, openraft::ConfigError> {
    let (heartbeat_interval, election_timeout_min) = spans(profile);
    let election_timeout_max = profile.election().as_millis() as u64;
    Config {
        cluster_name: "apolo".to_owned(),
        heartbeat_interval,
        election_timeout_min,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_profile_is_one_that_raft_takes() {
        for profile in Profile::ALL {
            let config = config(profile).unwrap();

            assert!(config.heartbeat_interval * 2 < config.election_timeout_min, "{profile}");
        }
    }
}
