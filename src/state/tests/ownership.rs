//! Who owns a shard, and what takes it from its owner.

use super::*;

#[test]
fn an_orphans_epoch_is_the_log_index_of_its_assignment() {
    let mut log = Log::formed(4);
    log.release(SHARD);

    log.ok(Command::Assign(vec![Move { shard: SHARD, from: None, to: OTHER }]));

    assert_eq!(log.epoch(SHARD), Epoch { generation: 1, index: LogIndex(log.index) });
}

#[test]
fn an_assignment_never_takes_a_shard_from_its_owner() {
    let mut log = Log::formed(4);
    let before = log.state.shards().clone();

    for from in [None, Some(log.epoch(SHARD))] {
        let step = Move { shard: SHARD, from, to: OTHER };
        assert_eq!(log.apply(Command::Assign(vec![step])), Outcome::Stale);
    }
    assert_eq!(log.state.shards(), &before);
}

#[test]
fn a_plan_with_one_stale_move_changes_nothing() {
    let mut log = Log::formed(4);
    log.release(ShardId(0));
    log.release(SHARD);
    let orphan = |shard| Move { shard, from: None, to: OTHER };
    log.ok(Command::Assign(vec![orphan(ShardId(0))]));
    let before = log.state.shards().clone();

    let outcome = log.apply(Command::Assign(vec![orphan(SHARD), orphan(ShardId(0))]));

    assert_eq!(outcome, Outcome::Stale);
    assert_eq!(log.state.shards(), &before);
}

#[test]
fn a_plan_that_moves_a_shard_twice_is_refused() {
    let mut log = Log::formed(4);
    log.release(SHARD);
    let step = Move { shard: SHARD, from: None, to: OTHER };

    let outcome = log.apply(Command::Assign(vec![step, step]));

    assert_eq!(outcome, Outcome::Refused(Refusal::MovedTwice(SHARD)));
}

#[test]
fn an_orphan_is_not_assigned_to_a_node_that_is_lost_meanwhile() {
    let mut log = Log::formed(4);
    log.release(SHARD);
    log.lose(OTHER);

    let outcome = log.apply(Command::Assign(vec![Move { shard: SHARD, from: None, to: OTHER }]));

    assert_eq!((outcome, log.owner(SHARD)), (Outcome::Stale, None));
}

#[test]
fn a_stopping_node_is_given_no_orphan() {
    let mut log = Log::formed(4);
    log.release(SHARD);
    log.ok(Command::StopNode { node: OTHER, boot: BootEpoch(1) });

    let outcome = log.apply(Command::Assign(vec![Move { shard: SHARD, from: None, to: OTHER }]));

    assert_eq!(outcome, Outcome::Stale);
}

#[test]
fn a_node_that_an_operator_drained_may_still_be_given_an_orphan() {
    let mut log = Log::formed(4);
    log.release(SHARD);
    log.ok(Command::DrainNode { node: OTHER, wanted: true });

    log.ok(Command::Assign(vec![Move { shard: SHARD, from: None, to: OTHER }]));

    assert_eq!(log.owner(SHARD), Some(OTHER));
}

#[test]
fn a_former_owner_changes_nothing() {
    let mut log = Log::formed(4);
    log.start_session(SHARD, 1);
    let old = log.epoch(SHARD);
    log.hand_off(SHARD, OTHER);
    log.release(SHARD);
    let before = log.state.shards().clone();
    let late = ShardReport::new(SHARD, old).at(SessionNumber(1), Sequence(9));
    let health = Some(ShardHealth { status: ShardStatus::Dead, ..ShardHealth::default() });

    for command in [
        Command::Report(vec![late]),
        Command::Report(vec![ShardReport { health, ..ShardReport::new(SHARD, old) }]),
        Command::Release(vec![late]),
        Command::StartSession { shard: SHARD, epoch: old, session: session(2) },
        Command::LoseSession { shard: SHARD, epoch: old, session: SessionNumber(1) },
        Command::Grant { shard: SHARD, epoch: old, purpose: Purpose::Recover },
        Command::HandOff(vec![Move { shard: SHARD, from: Some(old), to: NODE }]),
    ] {
        let shown = format!("{command:?}");
        assert_eq!(log.apply(command), Outcome::Stale, "{shown}");
    }
    assert_eq!(log.state.shards(), &before);
}

#[test]
fn a_release_leaves_the_session_to_the_next_owner() {
    let mut log = Log::formed(4);
    log.start_session(SHARD, 1);
    let last = ShardReport::new(SHARD, log.epoch(SHARD)).at(SessionNumber(1), Sequence(77));

    log.ok(Command::Release(vec![last]));

    let shard = &log.state.shards()[&SHARD];
    assert_eq!(shard.assignment(), None);
    assert_eq!(shard.session(), Some(&session(1)));
    assert_eq!(log.checkpoint(), (1, 77));
}

#[test]
fn a_released_shard_is_connected_no_more() {
    let mut log = Log::formed(4);
    let last = ShardReport { health: Some(ready(7)), ..ShardReport::new(SHARD, log.epoch(SHARD)) };

    log.ok(Command::Release(vec![last]));

    let health = log.state.shards()[&SHARD].health();
    assert_eq!((health.status, health.guild_count), (ShardStatus::Disconnected, 7));
}

#[test]
fn a_hand_off_leaves_the_shard_to_its_owner_until_that_releases_it() {
    let mut log = Log::formed(4);
    let epoch = log.epoch(SHARD);

    assert_eq!(log.hand_off(SHARD, OTHER), Outcome::Applied);

    let shard = &log.state.shards()[&SHARD];
    assert_eq!(shard.assignment(), Some(Assignment { node: NODE, epoch }));
    assert_eq!(shard.handoff(), Some(OTHER));
}

#[test]
fn a_release_gives_the_shard_at_once_to_whom_it_is_handed_off() {
    let mut log = Log::formed(4);
    log.hand_off(SHARD, OTHER);

    log.release(SHARD);

    let epoch = Epoch { generation: 1, index: LogIndex(log.index) };
    let shard = &log.state.shards()[&SHARD];
    assert_eq!(shard.assignment(), Some(Assignment { node: OTHER, epoch }));
    assert_eq!(shard.handoff(), None);
}

#[test]
fn a_release_that_is_repeated_takes_nothing_from_the_next_owner() {
    let mut log = Log::formed(4);
    log.hand_off(SHARD, OTHER);
    let last = ShardReport::new(SHARD, log.epoch(SHARD));
    log.ok(Command::Release(vec![last]));

    assert_eq!(log.apply(Command::Release(vec![last])), Outcome::Stale);
    assert_eq!(log.owner(SHARD), Some(OTHER));
}

#[test]
fn a_shard_is_handed_off_only_to_another_node_that_takes_shards() {
    let mut log = Log::formed(4);
    log.start(THIRD, 1);
    log.ok(Command::DrainNode { node: THIRD, wanted: true });

    for to in [NODE, THIRD, NodeId(99)] {
        assert_eq!(log.hand_off(SHARD, to), Outcome::Stale);
    }
    assert_eq!(log.state.shards()[&SHARD].handoff(), None);
}

#[test]
fn one_stale_hand_off_does_not_hold_up_the_others() {
    let mut log = Log::formed(4);
    let good = Move { shard: SHARD, from: Some(log.epoch(SHARD)), to: OTHER };
    let stale = Move { shard: ShardId(0), from: Some(Epoch::default()), to: OTHER };

    log.apply(Command::HandOff(vec![stale, good]));

    let handoffs: Vec<_> = log.state.shards().values().map(Shard::handoff).collect();
    assert_eq!(handoffs, [None, None, None, Some(OTHER)]);
}
