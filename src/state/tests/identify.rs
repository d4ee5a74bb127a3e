//! The identify ledger.

use super::*;

#[test]
fn the_first_identify_goes_alone_until_a_ready_proves_the_token() {
    let mut log = Log::formed(4);
    log.limits(4, 1_000);

    assert_eq!(log.grant(0, Purpose::Start), Outcome::Applied);
    assert_eq!(log.grant(1, Purpose::Start), Outcome::Refused(Refusal::Unproven));
    log.start_session(ShardId(0), 1);
    assert_eq!(log.grant(1, Purpose::Start), Outcome::Applied);
}

#[test]
fn a_bucket_is_granted_once_until_it_is_reopened() {
    let mut log = Log::formed(4);
    log.limits(2, 1_000);
    log.grant(0, Purpose::Start);
    log.start_session(ShardId(0), 1);

    assert_eq!(log.grant(2, Purpose::Start), Outcome::Refused(Refusal::BucketTaken(0)));
    log.ok(Command::ReopenBuckets(vec![0]));
    assert_eq!(log.grant(2, Purpose::Start), Outcome::Applied);
}

#[test]
fn starting_shards_leaves_the_reserve_to_recoveries() {
    let mut log = Log::formed(4);
    log.limits(1, 100);

    let refused = log.grant(0, Purpose::Start);

    assert!(matches!(
        refused,
        Outcome::Refused(Refusal::BudgetSpent { remaining: 100, reserve: 100, .. })
    ));
    assert_eq!(log.grant(0, Purpose::Recover), Outcome::Applied);
}

#[test]
fn a_late_answer_of_discord_gives_no_identify_back() {
    let mut log = Log::formed(4);
    log.limits(1, 500);
    log.grant(0, Purpose::Start);

    log.limits(1, 500);

    assert_eq!(log.state.ledger().limits().map(|limits| limits.remaining), Some(499));
}

#[test]
fn a_halt_refuses_every_identify_until_the_operator_lifts_it() {
    let mut log = Log::formed(4);
    log.limits(4, 1_000);
    log.grant(0, Purpose::Start);
    log.start_session(ShardId(0), 1);
    log.ok(Command::Halt { code: 4004, shard: ShardId(0) });

    assert_eq!(log.grant(1, Purpose::Recover), Outcome::Refused(Refusal::Halted(4004)));
    log.ok(Command::Unhalt);
    log.ok(Command::ReopenBuckets(vec![0]));
    assert_eq!(log.grant(1, Purpose::Start), Outcome::Applied);
    assert_eq!(log.grant(2, Purpose::Start), Outcome::Refused(Refusal::Unproven));
}

#[test]
fn a_change_of_the_concurrency_takes_every_bucket_until_the_leader_has_waited() {
    let mut log = Log::formed(4);
    log.limits(1, 1_000);
    log.grant(0, Purpose::Start);
    log.start_session(ShardId(0), 1);

    log.limits(4, 999);

    assert_eq!(log.state.ledger().taken().collect::<Vec<_>>(), [0, 1, 2, 3]);
}
