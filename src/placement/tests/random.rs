//! Whatever the cluster looks like.

use proptest::{collection::vec, prelude::*};

use super::*;

/// What befalls a node before the plan.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Fine,
    Drained,
    Stopping,
    Lost,
}

fn any_fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        4 => Just(Fate::Fine),
        1 => Just(Fate::Drained),
        1 => Just(Fate::Stopping),
        1 => Just(Fate::Lost),
    ];
    vec(fate, 1..9)
}

/// A cluster whose shards lie anywhere or nowhere, and whose nodes then met their fates. Owner 0 is nobody.
fn any_world() -> impl Strategy<Value = World> {
    let shards = vec((0_u64..9, 0_u32..3_000), 1..80);
    (any_fates(), shards).prop_map(|(fates, shards)| {
        let nodes = fates.len() as u64;
        let mut world = World::new(nodes, u32::try_from(shards.len()).unwrap());
        let moves = (0..).zip(&shards).filter(|(_, (owner, _))| (1..=nodes).contains(owner));
        let moves = moves.map(|(shard, (owner, _))| Move {
            shard: ShardId(shard),
            from: None,
            to: NodeId(*owner),
        });
        let moves = moves.collect();
        world.ok(Command::Assign(moves));
        world.ready(|shard| shards[shard as usize].1);
        for (node, fate) in (1..).zip(fates) {
            match fate {
                Fate::Fine => {}
                Fate::Drained => world.drain(node),
                Fate::Stopping => world.stop(node),
                Fate::Lost => world.lose(node, vec![]),
            }
        }
        world
    })
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let owners: Vec<_> = self.state.shards().values().map(Shard::assignment).collect();
        write!(f, "{:?} {owners:?}", self.state.nodes())
    }
}

fn healthy(world: &World) -> BTreeMap<ShardId, Epoch> {
    let takes = |node: &NodeId| world.state.nodes()[node].takes_shards();
    let shards = world.state.shards().iter().filter_map(|(id, shard)| {
        let held = shard.assignment().filter(|held| takes(&held.node))?;
        Some((*id, held.epoch))
    });
    shards.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_shard_is_left_unowned_while_a_node_lives(mut world in any_world()) {
        let lives = world.state.nodes().values().any(Node::takes_orphans);

        world.assign();

        let orphans = world.state.shards().values().filter(|shard| shard.epoch().is_none()).count();
        prop_assert!(!lives || orphans == 0);
    }

    #[test]
    fn hand_offs_end_and_leave_the_counts_even_and_the_drained_empty(mut world in any_world()) {
        world.assign();

        world.settle();

        prop_assert!(world.unevenness() <= 1);
        if world.state.nodes().values().any(Node::takes_shards) {
            for (id, node) in world.state.nodes() {
                prop_assert!(node.drain == Drain::No || world.state.owned_by(*id).count() == 0);
            }
        }
    }

    #[test]
    fn a_node_that_joins_moves_no_more_than_its_share(nodes in 1_u64..12, shards in 1_u32..200) {
        let mut world = World::spread(nodes, shards);
        world.ready(|_| 1_000);
        world.start(nodes + 1);

        let moved = world.settle();

        let share = shards.div_ceil(u32::try_from(nodes).unwrap() + 1) as usize;
        prop_assert!(moved <= share + 1, "{moved} moves");
        prop_assert!(world.unevenness() <= 1);
    }

    #[test]
    fn healthy_shards_stay_where_counts_and_guilds_are_even(
        nodes in 1_u64..12,
        guilds in vec(976_u32..1_024, 1..200),
    ) {
        let mut world = World::spread(nodes, u32::try_from(guilds.len()).unwrap());
        world.ready(|shard| guilds[shard as usize]);

        prop_assert_eq!(hand_offs(&world.state, &calm()), []);
    }

    #[test]
    fn each_move_starts_from_what_is_and_goes_to_another_node_that_takes_shards(
        mut world in any_world()
    ) {
        world.assign();

        let moves = hand_offs(&world.state, &calm());

        let mut planned = BTreeSet::new();
        for step in moves {
            let held = world.state.shards()[&step.shard].assignment();
            prop_assert_eq!(held.map(|held| held.epoch), step.from);
            prop_assert!(held.is_some_and(|held| held.node != step.to));
            prop_assert!(world.state.nodes()[&step.to].takes_shards());
            prop_assert!(planned.insert(step.shard), "one reason for a shard");
        }
    }

    #[test]
    fn a_loss_moves_the_lost_nodes_shards_alone(mut world in any_world(), lost in 1_u64..9) {
        prop_assume!(world.state.nodes().get(&NodeId(lost)).is_some_and(|node| {
            node.presence == Presence::Present
        }));
        world.assign();
        let before = healthy(&world);
        let owned: BTreeSet<u32> = world.state.owned_by(NodeId(lost)).map(|(id, _)| id.0).collect();

        let moves = on_loss(&world.state, NodeId(lost));

        prop_assert!(moves.iter().all(|step| owned.contains(&step.shard.0)));
        prop_assert!(moves.iter().all(|step| step.to != NodeId(lost)));
        let others = world.state.nodes().iter().filter(|(id, _)| id.0 != lost);
        let lives = others.map(|(_, node)| node).any(Node::takes_orphans);
        prop_assert_eq!(moves.len(), if lives { owned.len() } else { 0 });
        world.lose(lost, moves);
        for (shard, epoch) in before {
            let kept = world.state.shards()[&shard].epoch() == Some(epoch);
            prop_assert!(kept || owned.contains(&shard.0));
        }
        prop_assert!(!lives || assign(&world.state).is_empty(), "every move is good");
    }

    #[test]
    fn equal_states_make_equal_plans(world in any_world()) {
        let twin = world.state.clone();

        prop_assert_eq!(assign(&world.state), assign(&twin));
        prop_assert_eq!(hand_offs(&world.state, &calm()), hand_offs(&twin, &calm()));
        prop_assert_eq!(on_loss(&world.state, NodeId(1)), on_loss(&twin, NodeId(1)));
    }
}

/// Sixteen shards for each node, as many as Discord has for its largest bots: a plan that looked at every node for
/// every shard would show.
#[test]
fn a_large_cluster_is_planned() {
    let mut world = World::spread(1_000, 16_384);
    assert_eq!(world.unevenness(), 1);

    world.start(1_001);

    assert_eq!(hand_offs(&world.state, &calm()).len(), 16);
    assert_eq!(on_loss(&world.state, NodeId(1)).len(), 17);
}
