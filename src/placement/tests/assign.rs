//! Shards that nobody owns, or soon nobody does.

use super::*;

#[test]
fn one_node_gets_every_shard() {
    let plan = assign(&World::new(1, 16).state);

    assert_eq!(plan.len(), 16);
    assert!(plan.iter().all(|step| step.to == NodeId(1) && step.from.is_none()));
}

#[test]
fn nodes_are_filled_evenly_the_lower_id_first() {
    let plan = assign(&World::new(3, 16).state);

    assert_eq!(by_target(&plan), BTreeMap::from([(NodeId(1), 6), (NodeId(2), 5), (NodeId(3), 5)]));
}

#[test]
fn an_owned_shard_is_not_assigned() {
    assert_eq!(assign(&World::spread(1, 4).state), []);
}

#[test]
fn without_a_node_nothing_is_planned() {
    assert_eq!(assign(&World::new(0, 4).state), []);
}

#[test]
fn a_lost_a_drained_and_a_stopping_node_are_given_nothing_while_another_takes_shards() {
    let mut world = World::new(4, 8);
    world.lose(1, vec![]);
    world.drain(2);
    world.stop(3);

    assert_eq!(by_target(&assign(&world.state)), BTreeMap::from([(NodeId(4), 8)]));
}

#[test]
fn nodes_that_an_operator_drained_are_the_last_resort() {
    let mut world = World::new(3, 8);
    world.lose(1, vec![]);
    world.drain(2);
    world.stop(3);

    assert_eq!(by_target(&assign(&world.state)), BTreeMap::from([(NodeId(2), 8)]));
}

#[test]
fn a_stopping_node_is_given_nothing_even_if_nobody_else_is_there() {
    let mut world = World::new(1, 8);
    world.drain(1);
    world.stop(1);

    assert_eq!(assign(&world.state), []);
}

#[test]
fn a_shard_counts_for_the_node_that_it_is_handed_off_to() {
    let mut world = World::new(2, 5);
    world.give(&[1, 1, 1, 1]);
    let moves = hand_offs(&world.state, &calm());
    world.ok(Command::HandOff(moves));

    let plan = assign(&world.state);

    assert_eq!(plan, [Move { shard: ShardId(4), from: None, to: NodeId(1) }]);
}

#[test]
fn a_plan_fits_into_a_log_entry_and_the_next_one_goes_on() {
    let mut world = World::new(1, 5_000);

    assert_eq!(assign(&world.state).len(), MOVES_MAX);
    world.assign();

    assert_eq!(world.owned(1), 5_000);
}

#[test]
fn the_shards_of_a_lost_node_are_spread_evenly_over_the_others() {
    let mut world = World::spread(4, 16);

    let moves = on_loss(&world.state, NodeId(2));
    world.lose(2, moves);

    assert_eq!([1, 2, 3, 4].map(|node| world.owned(node)), [6, 0, 5, 5]);
}

#[test]
fn what_a_lost_node_was_handing_off_goes_to_one_node_only_and_is_counted_once() {
    let mut world = World::new(3, 6);
    world.give(&[1, 1, 1, 1, 2, 3]);
    let moves = hand_offs(&world.state, &calm());
    world.ok(Command::HandOff(moves));

    let moves = on_loss(&world.state, NodeId(1));
    world.lose(1, moves);

    assert_eq!([1, 2, 3].map(|node| world.owned(node)), [0, 3, 3]);
}

#[test]
fn the_last_node_that_is_lost_leaves_orphans() {
    assert_eq!(on_loss(&World::spread(1, 4).state, NodeId(1)), []);
}

#[test]
fn a_soft_target_is_exceeded_rather_than_leaving_a_shard_down_and_it_shows() {
    let mut world = World::spread(3, 12);
    assert_eq!(over_target(&world.state, 4), []);

    let moves = on_loss(&world.state, NodeId(1));
    world.lose(1, moves);

    assert_eq!(over_target(&world.state, 4), [(NodeId(2), 6), (NodeId(3), 6)]);
}
