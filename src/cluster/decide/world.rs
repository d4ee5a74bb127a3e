//! Many nodes that decide by themselves, in any order and with any loss.

use proptest::prelude::*;
use uuid::Uuid;

use super::{
    tests::{at, empty, lost, member, promised},
    *,
};

/// A world of nodes that look, ask, forget and are not heard, in any order.
#[derive(Debug)]
struct Node {
    lists: BTreeSet<u64>,
    standing: Standing,
    known: BTreeMap<SocketAddr, Heard>,
    silent: BTreeSet<SocketAddr>,
    callers: BTreeMap<NodeId, String>,
    looked: bool,
    kept: BTreeSet<NodeId>,
}

#[derive(Debug, Default)]
struct World {
    expect: usize,
    nodes: BTreeMap<u64, Node>,
    formed: Vec<Promise>,
    minted: u128,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A node asks all; bits say who does not hear, and whose answer is lost.
    Look {
        node: u64,
        deaf: u8,
        mute: u8,
    },
    Ask {
        founder: u64,
        member: u64,
    },
    Restart {
        node: u64,
    },
}

impl World {
    fn view<T>(&self, node: u64, judge: impl FnOnce(&Standing, &View<'_>) -> T) -> T {
        let (of, name) = (&self.nodes[&node], format!("n{node}"));
        let view = View {
            me: NodeId(node),
            name: &name,
            expect: self.expect,
            heard: &of.known,
            silent: &of.silent,
            unresolved: &[],
            callers: &of.callers,
        };
        judge(&of.standing, &view)
    }

    fn answer(&self, node: u64) -> Answer {
        let seen: Vec<_> = self.view(node, |_, view| sees(view)).iter().map(|n| n.0).collect();
        match &self.nodes[&node].standing {
            Standing::Empty => empty(node, self.expect as u64, &seen),
            Standing::Promised(promise) if self.formed.contains(promise) => {
                member(node, promise.cluster)
            }
            Standing::Promised(p) => promised(node, p.cluster, p.founder.0, &seen),
            Standing::Lost(cluster) => lost(node, *cluster),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Look { node, deaf, mute } if self.nodes.contains_key(&node) => {
                self.look(node, deaf, mute);
            }
            Step::Ask { founder, member } if self.nodes.contains_key(&founder) => {
                self.ask(founder, member);
            }
            Step::Restart { node } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.known.clear();
                    node.silent.clear();
                    node.callers.clear();
                    node.kept.clear();
                    node.looked = false;
                }
            }
            Step::Look { .. } | Step::Ask { .. } => {}
        }
    }

    fn look(&mut self, node: u64, deaf: u8, mute: u8) {
        let (mut known, mut silent) = (BTreeMap::new(), BTreeSet::new());
        for other in self.nodes[&node].lists.clone() {
            let bit = 1 << (other % 8);
            if other == node || !self.nodes.contains_key(&other) {
                continue;
            }
            if deaf & bit == 0 {
                let other = self.nodes.get_mut(&other).unwrap();
                other.callers.insert(NodeId(node), format!("n{node}"));
            }
            if (deaf | mute) & bit == 0 {
                known.insert(at(other), Heard::Answer(self.answer(other)));
            } else {
                silent.insert(at(other));
            }
        }
        let looker = self.nodes.get_mut(&node).unwrap();
        (looker.known, looker.silent, looker.looked) = (known, silent, true);
        match self.view(node, decide) {
            Decision::Found { members } => {
                self.minted += 1;
                let cluster = ClusterId(Uuid::from_u128(self.minted));
                let promise = Promise { cluster, founder: NodeId(node), members };
                let looker = self.nodes.get_mut(&node).unwrap();
                looker.standing = Standing::Promised(promise);
            }
            Decision::Join { cluster, .. } => {
                self.nodes.get_mut(&node).unwrap().standing = Standing::Lost(Some(cluster));
            }
            Decision::Collect(_) | Decision::Follow(_) | Decision::Wait(_) => {}
        }
    }

    fn ask(&mut self, founder: u64, member: u64) {
        let Standing::Promised(promise) = self.nodes[&founder].standing.clone() else { return };
        let asked = promise.members.contains_key(&NodeId(member));
        if promise.founder != NodeId(founder) || !asked {
            return;
        }
        if member != founder {
            let sure = self.nodes[&member].looked
                || matches!(self.nodes[&member].standing, Standing::Promised(_));
            let verdict = self
                .view(member, |standing, view| consider(standing, view, NodeId(founder), &promise));
            if !sure || verdict != Verdict::Keep {
                return;
            }
            self.nodes.get_mut(&member).unwrap().standing = Standing::Promised(promise.clone());
        }
        let kept = &mut self.nodes.get_mut(&founder).unwrap().kept;
        kept.insert(NodeId(member));
        let all = promise.members.keys().all(|member| kept.contains(member));
        if all && !self.formed.contains(&promise) {
            self.formed.push(promise);
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let bits = || prop_oneof![6 => Just(0_u8), 1 => any::<u8>()];
    prop_oneof![
        6 => (1..7_u64, bits(), bits())
            .prop_map(|(node, deaf, mute)| Step::Look { node, deaf, mute }),
        6 => (1..7_u64, 1..7_u64).prop_map(|(founder, member)| Step::Ask { founder, member }),
        1 => (1..7_u64).prop_map(|node| Step::Restart { node }),
    ]
}

fn world(expect: usize, lists: &[BTreeSet<u64>]) -> World {
    let nodes = (1..).zip(lists).map(|(node, lists)| {
        let lists = lists.clone();
        let (standing, looked) = (Standing::Empty, false);
        let (known, silent) = (BTreeMap::new(), BTreeSet::new());
        let (callers, kept) = (BTreeMap::new(), BTreeSet::new());
        (node, Node { lists, standing, known, silent, callers, looked, kept })
    });
    World { expect, nodes: nodes.collect(), ..World::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn in_any_world_no_two_clusters_share_or_know_a_node(
        expect in 1..5_usize,
        lists in prop::collection::vec(prop::collection::btree_set(1..7_u64, 0..7), 1..7),
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut world = world(expect, &lists);
        steps.into_iter().for_each(|step| world.step(step));

        let mut members = BTreeSet::new();
        for promise in &world.formed {
            prop_assert_eq!(promise.members.len(), expect);
            for member in promise.members.keys() {
                prop_assert!(members.insert(*member), "{:?} twice", member);
                for listed in &world.nodes[&member.0].lists {
                    let exists = world.nodes.contains_key(listed);
                    let inside = promise.members.contains_key(&NodeId(*listed));
                    prop_assert!(inside || !exists, "{member:?} knows {listed}");
                }
            }
        }
    }

    #[test]
    fn where_all_name_all_exactly_the_expected_form_one(
        count in 1..6_u64,
        expect in 1..6_usize,
        steps in prop::collection::vec(step(), 0..150),
    ) {
        let lists = vec![(1..=count).collect(); usize::try_from(count).unwrap()];
        let mut world = world(expect, &lists);
        steps.into_iter().for_each(|step| world.step(step));
        let fits = usize::try_from(count) == Ok(expect);
        prop_assert!(world.formed.len() <= usize::from(fits));

        // Once everybody is heard again, it forms.
        for _ in 0..4 {
            (1..=count).for_each(|node| world.step(Step::Look { node, deaf: 0, mute: 0 }));
            for (founder, member) in (1..=count).flat_map(|f| (1..=count).map(move |m| (f, m))) {
                world.step(Step::Ask { founder, member });
            }
        }
        prop_assert_eq!(world.formed.len(), usize::from(fits));
    }
}
