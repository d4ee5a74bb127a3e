//! The state machine that the checker explores: what can happen, and what follows.

use super::{
    NODES, Rules, SHARDS,
    discord::Discord,
    log::{Checkpoint, Entry, Facts, Index, NodeId, Shard, ShardId},
    network::{Message, Network},
    node::{Lead, Node},
    properties,
    rule::Rule,
    scenario::Bounds,
    time::Timing,
};

/// The protocol, how much of it is explored, and which rule is taken out.
#[derive(Clone, Debug)]
pub(super) struct Protocol {
    pub(super) timing: Timing,
    pub(super) bounds: Bounds,
    pub(super) rules: Rules,
    /// What has happened before the exploration begins, to a cluster that has just formed.
    pub(super) before: &'static [Action],
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct State {
    pub(super) nodes: [Node; NODES],
    /// What every node has applied.
    pub(super) base: Facts,
    /// The entries after `base`.
    pub(super) log: Vec<Entry>,
    pub(super) network: Network,
    pub(super) discord: [Discord; SHARDS],
    pub(super) restarts: u8,
    pub(super) handoffs: u8,
    pub(super) transfers: u8,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Action {
    /// Time passes. Whoever does nothing meanwhile is paused or cut off.
    Tick,
    /// `voter` hears a leader's heartbeat, which makes a quorum with the leader's own.
    Round {
        leader: NodeId,
        voter: NodeId,
    },
    /// The acknowledgement comes.
    Acknowledge {
        leader: NodeId,
    },
    /// A leader learns of a higher term.
    StepDown {
        node: NodeId,
    },
    /// Two votes of three. `adopt`: the candidate's log holds the entry that some leader could not commit.
    Elect {
        candidate: NodeId,
        voter: NodeId,
        adopt: Option<NodeId>,
    },
    /// The first entry of a leader's term is committed, with what its log held before.
    Establish {
        leader: NodeId,
        voter: NodeId,
    },
    /// The leader's entry is committed.
    Commit {
        leader: NodeId,
        voter: NodeId,
    },
    /// A node applies the next entry.
    Apply {
        node: NodeId,
    },
    /// A process dies and the next one starts.
    Restart {
        node: NodeId,
    },
    /// A node sends a renewal.
    Renew {
        node: NodeId,
        leader: NodeId,
    },
    /// A node's process says that it has started; its shards go to `to`.
    Greet {
        node: NodeId,
        leader: NodeId,
        to: NodeId,
    },
    /// A message arrives.
    Deliver {
        message: Message,
        at: NodeId,
    },
    /// A message is lost.
    Drop {
        message: Message,
    },
    /// A leader decides that `node` is lost.
    Lose {
        leader: NodeId,
        node: NodeId,
        to: NodeId,
    },
    /// A leader proposes the loss on which it decided.
    Propose {
        leader: NodeId,
        to: NodeId,
    },
    /// A leader asks `to` to take over.
    Yield {
        leader: NodeId,
    },
    AskTransfer {
        leader: NodeId,
        to: NodeId,
    },
    /// An owner stops a shard and says so.
    HandOff {
        node: NodeId,
        shard: ShardId,
    },
    /// An owner says once more that it has stopped.
    SayAgain {
        node: NodeId,
        shard: ShardId,
    },
    /// An owner resumes or, where it can't, identifies.
    Connect {
        node: NodeId,
        shard: ShardId,
    },
    /// The owner says which session it started.
    SayReady {
        node: NodeId,
        shard: ShardId,
    },
    /// Discord's next event comes.
    Receive {
        node: NodeId,
        shard: ShardId,
    },
    /// An event's handler finishes.
    Handle {
        node: NodeId,
        shard: ShardId,
        sequence: u8,
    },
    /// The owner says how far it is.
    SayProgress {
        node: NodeId,
        shard: ShardId,
    },
    /// Discord drops the session.
    DropSession {
        shard: ShardId,
    },
}

/// The shard that has events, where there are any.
const EVENTFUL: ShardId = 1;

pub(super) fn nodes() -> impl Iterator<Item = NodeId> {
    0..NODES as NodeId
}

pub(super) fn shards() -> impl Iterator<Item = ShardId> {
    0..SHARDS as ShardId
}

pub(super) fn others(of: NodeId) -> impl Iterator<Item = NodeId> {
    nodes().filter(move |node| *node != of)
}

impl Protocol {
    pub(super) const fn late_grants_matter(&self) -> bool {
        !self.rules.hold(Rule::RenewalCountsFromSend)
    }

    /// A cluster after its first leader's first entry: node 0 leads and owns shard 0, node 1 owns shard 1.
    pub(super) fn formed(&self) -> State {
        let shard = |owner| Shard {
            owner,
            epoch: 1,
            checkpoint: Checkpoint { session: 1, sequence: 0 },
            session: 1,
        };
        let base = Facts {
            index: 1,
            leader: 0,
            before: 0,
            term: 1,
            boots: [1; NODES],
            shards: [shard(0), shard(1)],
            went_back: false,
        };
        let node = Node {
            boot: 1,
            term: 1,
            contact: 0,
            facts: base,
            lease: None,
            lead: None,
            losing: None,
            appended: None,
            stopped: [None; SHARDS],
            work: [None; SHARDS],
        };
        let mut nodes = [node; NODES];
        nodes[0].contact = self.timing.election;
        nodes[0].lead = Some(Lead { round: 0, ..Lead::elected(0, self) });
        State {
            nodes,
            base,
            log: Vec::new(),
            network: Network::default(),
            discord: [Discord::new(); SHARDS],
            restarts: 0,
            handoffs: 0,
            transfers: 0,
        }
    }

    /// What follows from an action, or nothing where it can't happen.
    pub(super) fn step(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        let happened = match action {
            Action::Tick => state.tick(self),
            Action::Round { leader, voter } => state.round(leader, voter, self),
            Action::Acknowledge { leader } => state.acknowledge(leader, self),
            Action::StepDown { node } => state.step_down(node, self),
            Action::Elect { candidate, voter, adopt } => state.elect(candidate, voter, adopt, self),
            Action::Establish { leader, voter } => state.establish(leader, voter, self),
            Action::Commit { leader, voter } => state.commit(leader, voter, self),
            Action::Apply { node } => state.apply(node, self),
            Action::Restart { node } => state.restart(node, self),
            Action::Renew { node, leader } => state.renew(node, leader, self),
            Action::Greet { node, leader, to } => state.greet(node, leader, to, self),
            Action::Deliver { message, at } => state.deliver(message, at, self),
            Action::Drop { message } => state.drop_message(message),
            Action::Lose { leader, node, to } => state.lose(leader, node, to, self),
            Action::Propose { leader, to } => state.propose(leader, to, self),
            Action::Yield { leader } => state.yield_lead(leader),
            Action::AskTransfer { leader, to } => state.ask_transfer(leader, to, self),
            Action::HandOff { node, shard } => state.hand_off(node, shard, self),
            Action::SayAgain { node, shard } => state.say_again(node, shard, self),
            Action::Connect { node, shard } => state.connect(node, shard, self),
            Action::SayReady { node, shard } => state.say_ready(node, shard, self),
            Action::Receive { node, shard } => state.receive(node, shard, self),
            Action::Handle { node, shard, sequence } => state.handle(node, shard, sequence),
            Action::SayProgress { node, shard } => state.say_progress(node, shard, self),
            Action::DropSession { shard } => state.drop_session(shard, self),
        };
        happened.then(|| {
            state.forget(self);
            state
        })
    }
}

impl stateright::Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let begin =
            |state: State, action: &Action| self.step(&state, *action).expect("it can happen");
        vec![self.before.iter().fold(self.formed(), begin)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if !self.bounds.still {
            actions.push(Action::Tick);
        }
        for node in nodes() {
            actions.push(Action::Apply { node });
            // Without a second term nobody would follow a leader that restarts.
            let survives = self.bounds.terms > 1 || state.nodes[node as usize].lead.is_none();
            if state.restarts < self.bounds.restarts && survives {
                actions.push(Action::Restart { node });
            }
            for other in others(node) {
                if state.nodes[node as usize].lead.is_none() {
                    actions.push(Action::Renew { node, leader: other });
                    if self.bounds.restarts > 0 {
                        actions.push(Action::Greet { node, leader: other, to: node });
                        actions.push(Action::Greet { node, leader: other, to: other });
                    }
                    self.elections(state, node, other, actions);
                } else {
                    self.leading(node, other, actions);
                }
            }
            self.leading_alone(state, node, actions);
            self.owning(state, node, actions);
        }
        for message in state.network.messages() {
            actions.extend(nodes().map(|at| Action::Deliver { message: *message, at }));
            actions.push(Action::Drop { message: *message });
        }
        if self.bounds.drops > 0 {
            actions.push(Action::DropSession { shard: EVENTFUL });
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        self.step(last, action)
    }

    fn properties(&self) -> Vec<stateright::Property<Self>> {
        properties::all(self)
    }
}

impl Protocol {
    fn elections(&self, state: &State, candidate: NodeId, voter: NodeId, into: &mut Vec<Action>) {
        into.push(Action::Elect { candidate, voter, adopt: None });
        for adopt in nodes().filter(|node| state.nodes[*node as usize].appended.is_some()) {
            into.push(Action::Elect { candidate, voter, adopt: Some(adopt) });
        }
    }

    fn leading(&self, leader: NodeId, other: NodeId, into: &mut Vec<Action>) {
        into.extend([
            Action::Round { leader, voter: other },
            Action::Establish { leader, voter: other },
            Action::Commit { leader, voter: other },
        ]);
        // Where the loss is proposed in a step of its own, that step says who gets the shards.
        let heirs = others(other).take(if self.bounds.slow_losses { 1 } else { NODES });
        into.extend(heirs.map(|to| Action::Lose { leader, node: other, to }));
        if self.bounds.transfers > 0 {
            into.push(Action::AskTransfer { leader, to: other });
        }
    }

    fn leading_alone(&self, state: &State, leader: NodeId, into: &mut Vec<Action>) {
        if state.nodes[leader as usize].lead.is_some() {
            into.push(Action::StepDown { node: leader });
            into.push(Action::Acknowledge { leader });
            if self.bounds.transfers > 0 {
                into.push(Action::Yield { leader });
            }
        }
        into.extend(nodes().map(|to| Action::Propose { leader, to }));
    }

    fn owning(&self, state: &State, node: NodeId, into: &mut Vec<Action>) {
        for shard in shards()
            .filter(|shard| state.nodes[node as usize].facts.shards[*shard as usize].owner == node)
        {
            if self.bounds.handoffs > 0 && (self.bounds.events == 0 || shard == EVENTFUL) {
                into.push(Action::HandOff { node, shard });
                into.push(Action::SayAgain { node, shard });
            }
            if self.bounds.events > 0 && shard == EVENTFUL {
                into.extend([
                    Action::Connect { node, shard },
                    Action::SayReady { node, shard },
                    Action::Receive { node, shard },
                    Action::SayProgress { node, shard },
                ]);
                into.extend((1..=self.bounds.events).map(|sequence| Action::Handle {
                    node,
                    shard,
                    sequence,
                }));
            }
        }
    }
}

impl State {
    pub(super) fn node(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id as usize]
    }

    pub(super) fn last_index(&self) -> Index {
        self.base.index + self.log.len() as Index
    }

    /// What the whole log says.
    pub(super) fn committed(&self, rules: Rules) -> Facts {
        let mut facts = self.base;
        for entry in &self.log {
            facts.apply(*entry, rules);
        }
        facts
    }

    fn tick(&mut self, model: &Protocol) -> bool {
        for node in &mut self.nodes {
            node.tick(model);
        }
        self.network.tick(model);
        true
    }

    /// Makes states equal that nothing can tell apart any more.
    fn forget(&mut self, model: &Protocol) {
        let applied = self.nodes.iter().map(|node| node.facts.index).min().unwrap_or_default();
        while self.base.index < applied {
            let entry = self.log.remove(0);
            self.base.apply(entry, model.rules);
        }
        let committed = self.committed(model.rules);
        for (id, node) in nodes().zip(&mut self.nodes) {
            node.forget(id, committed, model);
        }
    }
}
