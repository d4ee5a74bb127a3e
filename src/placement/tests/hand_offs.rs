//! Owned shards that are to change hands.

use super::*;

/// Shards that had no connection for as long as makes them stuck.
fn stuck(shards: &[u32]) -> Seen {
    let disconnected = shards.iter().map(|shard| (ShardId(*shard), STUCK_AFTER)).collect();
    Seen { disconnected, ..Seen::default() }
}

#[test]
fn a_node_that_is_drained_or_stopping_hands_off_every_shard() {
    for empty in [World::drain, World::stop] {
        let mut world = World::spread(3, 12);
        empty(&mut world, 2);

        world.hand_off(&hand_offs(&world.state, &Seen::default()));

        assert_eq!([1, 2, 3].map(|node| world.owned(node)), [6, 0, 6]);
    }
}

#[test]
fn a_drain_is_not_held_up_by_the_bound_on_other_hand_offs() {
    let mut world = World::spread(2, 400);
    world.drain(2);

    assert_eq!(hand_offs(&world.state, &Seen::default()).len(), 200);
}

#[test]
fn without_another_node_a_drained_one_keeps_its_shards() {
    let mut world = World::spread(2, 12);
    world.drain(1);
    world.stop(2);

    assert_eq!(hand_offs(&world.state, &calm()), []);
}

#[test]
fn a_shard_whose_hand_off_is_under_way_is_not_planned_again() {
    let mut world = World::spread(2, 12);
    world.drain(2);
    let moves = hand_offs(&world.state, &calm());
    world.ok(Command::HandOff(moves));

    assert_eq!(hand_offs(&world.state, &calm()), []);
}

#[test]
fn draining_goes_before_balancing() {
    let mut world = World::spread(2, 12);
    world.start(3);
    world.drain(2);

    let moves = hand_offs(&world.state, &calm());

    let of_the_drained: Vec<_> = world.state.owned_by(NodeId(2)).map(|(id, _)| id.0).collect();
    assert_eq!(shards_of(&moves), of_the_drained);
}

#[test]
fn a_node_that_joins_is_filled_up_to_the_others() {
    let mut world = World::spread(2, 12);
    world.ready(|_| 1_000);
    world.start(3);

    let moved = world.settle();

    assert_eq!((moved, world.owned(3)), (4, 4));
}

#[test]
fn nothing_is_balanced_while_it_cools_down() {
    let mut world = World::spread(2, 12);
    world.start(3);
    let just_now = Seen { since_hand_offs: COOL_DOWN - Duration::from_millis(1), ..calm() };

    assert_eq!(hand_offs(&world.state, &just_now), []);
}

#[test]
fn only_so_many_healthy_shards_are_on_their_way_at_once() {
    let mut world = World::spread(1, 400);
    world.start(2);

    let moves = hand_offs(&world.state, &calm());
    assert_eq!(moves.len(), HAND_OFFS_MAX);
    world.ok(Command::HandOff(moves));

    assert_eq!(hand_offs(&world.state, &calm()), []);
}

#[test]
fn what_gets_its_connection_back_is_not_balanced_and_what_must_identify_is() {
    let mut world = World::spread(1, 8);
    world.identify();
    world.ready(|_| 1_000);
    for (shard, status) in [(0, ShardStatus::Disconnected), (1, ShardStatus::Dead)] {
        world.report(shard, status, 1_000);
    }
    world.start(2);
    let moved = shards_of(&hand_offs(&world.state, &calm()));
    assert!(moved.len() == 4 && moved.iter().all(|shard| *shard > 1), "{moved:?}");

    // Discord is down for all, then back for one.
    for shard in 0..8 {
        world.report(shard, ShardStatus::Disconnected, 1_000);
    }
    assert_eq!(hand_offs(&world.state, &calm()), []);
    world.report(5, ShardStatus::Ready, 1_000);
    assert_eq!(shards_of(&hand_offs(&world.state, &calm())), [5]);

    // Brought here by a loss, and on its way.
    world.report(5, ShardStatus::Spawning, 1_000);
    assert_eq!(hand_offs(&world.state, &calm()), []);

    let mut early = World::spread(1, 8);
    early.start(2);
    assert_eq!(hand_offs(&early.state, &calm()).len(), 4);
    // Their sessions are gone.
    for shard in 0..8 {
        early.report(shard, ShardStatus::Disconnected, 1_000);
    }
    assert_eq!(hand_offs(&early.state, &calm()).len(), 4);
}

#[test]
fn a_node_none_of_whose_shards_can_move_does_not_keep_the_others_from_it() {
    let mut world = World::new(3, 12);
    world.give(&[1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]);
    world.identify();
    world.ready(|_| 1_000);
    for shard in 0..5 {
        world.report(shard, ShardStatus::Disconnected, 1_000);
    }
    world.start(4);

    let moves = hand_offs(&world.state, &calm());

    assert_eq!(by_target(&moves), [(NodeId(4), 2)].into());
    assert!(shards_of(&moves).iter().all(|shard| *shard >= 5), "{moves:?}");
}

#[test]
fn counts_that_differ_by_one_are_even() {
    let mut world = World::spread(3, 16);
    world.ready(|_| 1_000);

    assert_eq!(hand_offs(&world.state, &calm()), []);
}

#[test]
fn of_a_nodes_shards_one_of_average_size_moves_first() {
    let mut world = World::new(2, 4);
    world.give(&[1, 1, 1, 2]);
    world.ready(|shard| [10, 5_000, 1_300, 1_000][shard as usize]);
    world.start(3);

    let moves = hand_offs(&world.state, &calm());

    assert_eq!(shards_of(&moves), [2]);
}

#[test]
fn nodes_whose_guilds_are_off_swap_shards() {
    let mut world = World::new(2, 4);
    world.give(&[1, 1, 2, 2]);
    world.ready(|shard| [2_000, 2_000, 1_000, 1_000][shard as usize]);

    world.settle();

    let guilds = |node| -> u32 {
        world.state.owned_by(NodeId(node)).map(|(_, shard)| shard.health().guild_count).sum()
    };
    assert_eq!([guilds(1), guilds(2)], [3_000, 3_000]);
    assert_eq!(world.unevenness(), 0);
}

#[test]
fn guilds_that_are_hardly_off_move_no_shard() {
    let mut world = World::new(2, 4);
    world.give(&[1, 1, 2, 2]);
    world.ready(|shard| [1_045, 1_045, 955, 955][shard as usize]);

    assert_eq!(hand_offs(&world.state, &calm()), []);
}

#[test]
fn a_heavy_shard_of_the_node_with_one_more_moves_alone() {
    let mut world = World::new(2, 3);
    world.give(&[1, 1, 2]);
    world.ready(|shard| [2_000, 2_000, 1_000][shard as usize]);

    let moved = world.settle();

    assert_eq!((moved, world.owned(1)), (1, 1));
}

#[test]
fn a_swap_that_wins_next_to_nothing_is_not_made() {
    let mut world = World::new(2, 4);
    world.give(&[1, 1, 2, 2]);
    world.ready(|shard| [10_000, 60, 20, 30][shard as usize]);

    assert_eq!(hand_offs(&world.state, &calm()), []);
}

#[test]
fn guilds_are_not_weighed_before_all_are_known() {
    let mut world = World::new(2, 4);
    world.give(&[1, 1, 2, 2]);
    for shard in [0, 1, 2] {
        world.report(shard, ShardStatus::Ready, 1_000);
    }

    assert_eq!(hand_offs(&world.state, &calm()), []);
}

#[test]
fn a_shard_that_its_node_cannot_connect_goes_elsewhere() {
    let mut world = World::spread(3, 9);
    world.ready(|_| 1_000);
    world.report(0, ShardStatus::Disconnected, 1_000);

    let moves = hand_offs(&world.state, &stuck(&[0]));

    let from = world.state.shards()[&ShardId(0)].epoch();
    assert_eq!(moves, [Move { shard: ShardId(0), from, to: NodeId(2) }]);
}

#[test]
fn a_shard_that_has_just_lost_its_connection_is_left_to_its_node() {
    let mut world = World::spread(3, 9);
    world.ready(|_| 1_000);
    world.report(0, ShardStatus::Disconnected, 1_000);
    let mut seen = stuck(&[]);
    seen.disconnected.insert(ShardId(0), STUCK_AFTER - Duration::from_millis(1));

    assert_eq!(hand_offs(&world.state, &seen), []);
}

#[test]
fn when_no_shard_is_connected_none_is_moved_for_it() {
    let world = World::spread(3, 9);

    assert_eq!(hand_offs(&world.state, &stuck(&[0, 1, 2, 3, 4, 5, 6, 7, 8])), []);
}

#[test]
fn a_fatal_close_code_moves_no_shard() {
    let mut world = World::spread(3, 9);
    world.ready(|_| 1_000);
    world.report(0, ShardStatus::Dead, 1_000);
    world.ok(Command::Halt { code: 4004, shard: ShardId(0) });

    assert_eq!(hand_offs(&world.state, &stuck(&[0])), []);
}

#[test]
fn a_troubled_node_is_given_neither_stuck_nor_healthy_shards() {
    let mut world = World::new(3, 9);
    world.give(&[1, 2, 2, 2, 2, 3, 3, 3, 3]);
    world.ready(|_| 1_000);
    world.report(0, ShardStatus::Disconnected, 1_000);
    let seen = Seen { since_hand_offs: COOL_DOWN, ..stuck(&[0]) };

    let troubled = troubled(&world.state, &seen);
    assert_eq!(troubled, BTreeSet::from([NodeId(1)]));
    world.hand_off(&hand_offs(&world.state, &seen));

    assert_eq!(world.owned(1), 0);
    assert_eq!(hand_offs(&world.state, &Seen { avoid: troubled, ..calm() }), []);
}

#[test]
fn a_troubled_node_takes_a_drained_ones_shards_if_nobody_else_does() {
    let mut world = World::spread(2, 4);
    world.drain(2);
    let seen = Seen { avoid: BTreeSet::from([NodeId(1)]), ..calm() };

    assert_eq!(by_target(&hand_offs(&world.state, &seen)), BTreeMap::from([(NodeId(1), 2)]));
}
