//! Nodes that are lost, and return.

use super::*;

#[test]
fn a_lost_node_owns_nothing_and_takes_nothing() {
    let mut log = Log::formed(4);

    log.lose(NODE);

    assert_eq!(log.state.owned_by(NODE).count(), 0);
    let node = &log.state.nodes()[&NODE];
    assert_eq!((node.presence, node.losses), (Presence::Lost, 1));
    assert!(!node.takes_shards() && !node.takes_orphans());
}

#[test]
fn a_loss_gives_the_shards_to_whom_it_says_at_once() {
    let mut log = Log::formed(4);
    let moves = all_to(&log.state, OTHER);

    log.ok(losing(log.life(NODE), moves));

    assert_eq!(log.state.owned_by(OTHER).count(), 4);
    assert_eq!(log.epoch(SHARD), Epoch { generation: 1, index: LogIndex(log.index) });
}

#[test]
fn a_loss_whose_proposal_is_repeated_counts_once() {
    let mut log = Log::formed(4);
    let loss = losing(log.life(NODE), vec![]);
    log.ok(loss.clone());
    log.ok(Command::ReturnNode(log.life(NODE)));
    log.ok(Command::Assign(vec![Move { shard: SHARD, from: None, to: NODE }]));

    assert_eq!(log.apply(loss), Outcome::Stale);
    assert_eq!(log.owner(SHARD), Some(NODE));
}

#[test]
fn a_loss_of_an_earlier_start_takes_nothing() {
    let mut log = Log::formed(4);
    let loss = losing(log.life(NODE), vec![]);
    log.start(NODE, 2);

    assert_eq!(log.apply(loss), Outcome::Stale);
    assert_eq!(log.owner(SHARD), Some(NODE));
}

#[test]
fn a_loss_of_a_removed_node_does_not_fit_one_that_takes_its_id() {
    let mut log = Log::formed(4);
    let loss = losing(log.life(OTHER), vec![]);
    log.ok(Command::RemoveNode { node: OTHER });
    log.start(OTHER, 1);

    assert_eq!(log.apply(loss), Outcome::Stale);
    assert_eq!(log.state.nodes()[&OTHER].presence, Presence::Present);
}

#[test]
fn a_loss_takes_in_what_the_node_reported_last() {
    let mut log = Log::formed(4);
    log.start_session(SHARD, 1);
    let report =
        ShardReport { health: Some(ready(7)), ..ShardReport::new(SHARD, log.epoch(SHARD)) }
            .at(SessionNumber(1), Sequence(9));

    let (loss, moves) = (log.life(NODE), all_to(&log.state, OTHER));
    log.ok(Command::LoseNode { loss, reports: vec![report], moves });

    assert_eq!(log.checkpoint(), (1, 9));
    let health = log.state.shards()[&SHARD].health();
    assert_eq!((health.status, health.guild_count), (ShardStatus::Disconnected, 7));
}

#[test]
fn a_shard_that_cannot_go_where_a_loss_says_is_an_orphan() {
    let mut log = Log::formed(4);
    let epoch = log.epoch(SHARD);
    log.ok(Command::StopNode { node: OTHER, boot: BootEpoch(1) });
    log.start(THIRD, 1);
    let step = |shard, from, to| Move { shard: ShardId(shard), from: Some(from), to };

    let moves = vec![
        step(0, epoch, THIRD),
        step(1, epoch, OTHER),
        step(2, Epoch::default(), THIRD),
        step(3, epoch, NODE),
    ];
    log.ok(losing(log.life(NODE), moves));

    let owners = [0, 1, 2, 3].map(|shard| log.owner(ShardId(shard)));
    assert_eq!(owners, [Some(THIRD), None, None, None]);
}

#[test]
fn a_loss_moves_no_shard_of_another_node() {
    let mut log = Log::formed(4);
    log.start(THIRD, 1);
    log.hand_off(SHARD, OTHER);
    log.release(SHARD);
    let moves = all_to(&log.state, THIRD);

    log.ok(losing(log.life(NODE), moves));

    assert_eq!(log.owner(SHARD), Some(OTHER));
    assert_eq!(log.state.owned_by(THIRD).count(), 3);
}

#[test]
fn a_loss_that_gives_a_shard_twice_gives_it_to_the_first() {
    let mut log = Log::formed(4);
    log.start(THIRD, 1);
    let mut moves = all_to(&log.state, OTHER);
    moves.extend(all_to(&log.state, THIRD));

    log.ok(losing(log.life(NODE), moves));

    assert_eq!(log.state.owned_by(OTHER).count(), 4);
}

#[test]
fn a_loss_ends_the_hand_offs_of_the_lost_node() {
    let mut log = Log::formed(4);
    log.hand_off(SHARD, OTHER);

    log.lose(NODE);

    let shard = &log.state.shards()[&SHARD];
    assert_eq!((shard.assignment(), shard.handoff()), (None, None));
}

#[test]
fn a_node_that_returns_takes_part_again() {
    let mut log = Log::formed(1);
    log.lose(NODE);

    log.ok(Command::ReturnNode(log.life(NODE)));

    assert!(log.state.nodes()[&NODE].takes_shards());
}

#[test]
fn a_return_from_an_earlier_loss_does_not_undo_a_later_one() {
    let mut log = Log::formed(1);
    log.lose(NODE);
    let back = Command::ReturnNode(log.life(NODE));
    log.ok(back.clone());
    log.lose(NODE);

    assert_eq!(log.apply(back), Outcome::Stale);
    assert_eq!(log.state.nodes()[&NODE].presence, Presence::Lost);
}

#[test]
fn a_lost_node_that_starts_again_is_present() {
    let mut log = Log::formed(1);
    log.lose(NODE);

    log.start(NODE, 2);

    let node = &log.state.nodes()[&NODE];
    assert_eq!((node.presence, node.losses), (Presence::Present, 1));
}
