//! Liveness, as a question about each state: if the faults end here, is every shard owned again in time?
//!
//! stateright's own `eventually` is no use here: it looks at paths that end, ignores those that run into a cycle, and
//! forgets at a join which path it came by, so that it reports nothing where something is wrong. With time as ages this
//! model has no path that ends. So each state is followed by one fair run without faults: all nodes up, and then each
//! node dead for good.

use std::iter;

use super::{
    log::{Entry, NodeId, ShardId},
    machine::{Protocol, State, nodes, others, shards},
    scenario::Bounds,
};

impl State {
    pub(super) fn settles(model: &Protocol, state: &Self) -> bool {
        let unbounded = Protocol { bounds: UNBOUNDED, ..model.clone() };
        let mut deaths = iter::once(None).chain(nodes().map(Some));
        deaths.all(|dead| state.clone().settles_without(dead, &unbounded))
    }

    fn settles_without(&mut self, dead: Option<NodeId>, model: &Protocol) -> bool {
        self.network.lose_all();
        let alive: Vec<_> = nodes().filter(|id| Some(*id) != dead).collect();
        // An election, then a whole TTL, each of which may have just missed its time.
        let ticks = 2 * (model.timing.ttl + model.timing.leader_owns + model.timing.election) + 2;
        (0..ticks).any(|_| {
            self.turn(&alive, model);
            let owned = shards().all(|shard| {
                alive.iter().any(|id| self.nodes[*id as usize].delivers(*id, shard, model))
            });
            self.network.tick(model);
            for node in &mut self.nodes {
                node.tick(model);
            }
            owned
        })
    }

    /// Everybody does what there is to do.
    fn turn(&mut self, alive: &[NodeId], model: &Protocol) {
        for id in alive {
            self.step_down(*id, model);
        }
        let Some(leader) = self.settled_leader(alive, model) else { return };
        self.commit_all(leader, alive, model);
        for id in alive {
            self.greet(*id, leader, *id, model);
            self.commit_all(leader, alive, model);
            for shard in shards() {
                self.release_again(leader, *id, shard, alive, model);
            }
        }
        for id in others(leader) {
            for to in alive {
                self.lose(leader, id, *to, model);
                self.propose(leader, *to, model);
            }
            self.commit_all(leader, alive, model);
        }
        for id in alive.iter().filter(|id| **id != leader) {
            self.renew(*id, leader, model);
        }
        self.network.lose_all();
    }

    fn settled_leader(&mut self, alive: &[NodeId], model: &Protocol) -> Option<NodeId> {
        let leader = match self.rightful_leader().filter(|leader| alive.contains(leader)) {
            Some(asked) if self.node(asked).lead.is_some_and(|lead| lead.asked) => {
                self.transfer_again(asked, alive, model)?
            }
            Some(leader) => leader,
            None => self.elect_any(alive, model)?,
        };
        for voter in alive.iter().filter(|id| **id != leader) {
            self.round(leader, *voter, model);
            self.acknowledge(leader, model);
            self.establish(leader, *voter, model);
        }
        Some(leader)
    }

    fn transfer_again(
        &mut self,
        from: NodeId,
        alive: &[NodeId],
        model: &Protocol,
    ) -> Option<NodeId> {
        let to = *alive.iter().find(|id| **id != from)?;
        self.network.lose_all();
        let taken = self.ask_transfer(from, to, model) && self.take_transfer(to, from, model);
        Some(if taken { to } else { from })
    }

    fn elect_any(&mut self, alive: &[NodeId], model: &Protocol) -> Option<NodeId> {
        let pairs = alive.iter().flat_map(|one| alive.iter().map(move |other| (*one, *other)));
        let mut pairs = pairs.filter(|(one, other)| one != other);
        pairs.find_map(|(one, other)| self.elect(one, other, None, model).then_some(one))
    }

    fn commit_all(&mut self, leader: NodeId, alive: &[NodeId], model: &Protocol) {
        for voter in alive.iter().filter(|id| **id != leader) {
            self.commit(leader, *voter, model);
        }
        for id in alive {
            while self.apply(*id, model) {}
        }
    }

    /// An owner that has stopped a shard says so again, until the shard is another's.
    fn release_again(
        &mut self,
        leader: NodeId,
        id: NodeId,
        shard: ShardId,
        alive: &[NodeId],
        model: &Protocol,
    ) {
        let word = self.node(id).stopped[shard as usize];
        let to = alive.iter().find(|to| **to != id);
        if let (Some(word), Some(to)) = (word, to) {
            self.append(leader, Entry::Release { word, to: *to });
            self.commit_all(leader, alive, model);
        }
    }
}

const UNBOUNDED: Bounds = Bounds {
    terms: u8::MAX,
    messages: 1,
    entries: u8::MAX,
    restarts: u8::MAX,
    handoffs: u8::MAX,
    transfers: u8::MAX,
    ..Bounds::NONE
};
