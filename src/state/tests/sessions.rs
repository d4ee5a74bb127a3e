//! Sessions and checkpoints.

use super::*;

#[test]
fn one_stale_report_does_not_hold_up_the_others() {
    let mut log = Log::formed(4);
    log.start_session(SHARD, 1);
    let stale = ShardReport::new(ShardId(0), Epoch::default());
    let good = ShardReport::new(SHARD, log.epoch(SHARD)).at(SessionNumber(1), Sequence(5));

    log.apply(Command::Report(vec![stale, good]));

    assert_eq!(log.checkpoint(), (1, 5));
}

#[test]
fn a_checkpoint_never_falls_back() {
    let mut log = Log::formed(4);
    log.start_session(SHARD, 1);
    log.report(1, 10);

    for (number, sequence) in [(1, 10), (1, 9), (0, 99), (2, 1)] {
        assert_eq!(log.report(number, sequence), Outcome::Stale);
    }
    assert_eq!(log.checkpoint(), (1, 10));
}

#[test]
fn a_session_number_is_used_once_even_after_the_session_is_lost() {
    let mut log = Log::formed(4);
    log.start_session(SHARD, 1);
    let epoch = log.epoch(SHARD);
    log.ok(Command::LoseSession { shard: SHARD, epoch, session: SessionNumber(1) });

    assert_eq!(log.start_session(SHARD, 1), Outcome::Stale);
    assert_eq!(log.start_session(SHARD, 2), Outcome::Applied);
    assert_eq!(log.checkpoint(), (2, 0));
}

#[test]
fn a_lost_session_takes_no_checkpoint() {
    let mut log = Log::formed(4);
    log.start_session(SHARD, 1);
    let epoch = log.epoch(SHARD);
    log.ok(Command::LoseSession { shard: SHARD, epoch, session: SessionNumber(1) });

    assert_eq!(log.report(1, 10), Outcome::Stale);
}
