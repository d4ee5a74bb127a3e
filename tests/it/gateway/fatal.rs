//! Close codes after which trying again is of no use.

use std::time::Duration;

use apolo::{
    gateway::{Exit, FatalClose},
    simulator::{Fault, When},
};

use super::fleet::{Fleet, simulator, within};

#[tokio::test]
async fn g5_a_fatal_close_ends_after_one_attempt() {
    for code in [4004, 4010, 4011, 4012, 4013, 4014] {
        let refused = Fault::Close { code: Some(code), when: When::Identify }.into();
        let mut fleet = Fleet::launch(simulator(), 1, Some(refused), |_| {}, Duration::ZERO).await;

        let shard = fleet.shards.pop().unwrap();
        let exit = within(shard.task).await.unwrap().unwrap();

        assert_eq!(exit, Exit::Halted(FatalClose(code)));
        let truth = fleet.truth();
        assert_eq!((truth.identifies.len(), truth.connections_opened), (1, 1), "{code}: {truth:?}");
    }
}
