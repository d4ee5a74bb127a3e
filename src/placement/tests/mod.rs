//! The planner's promises, one by one and at random.

mod assign;
mod hand_offs;
mod random;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use uuid::Uuid;

use super::*;
use crate::model::{
    ApplicationId, BootEpoch, ClusterId, Epoch, LogIndex, Session, SessionId, SessionNumber,
    ShardHealth, ShardId, ShardStatus, ShardTotal, UnixMillis,
};
use crate::state::{Command, Drain, Facts, Loss, Outcome, Presence, Shard, ShardReport};

/// A cluster, and the index of its last entry.
struct World {
    state: State,
    index: u64,
}

impl World {
    /// Nodes from 1, and shards that nobody owns yet.
    fn new(nodes: u64, shards: u32) -> Self {
        let total = ShardTotal::new(shards).unwrap();
        let mut world = Self { state: State::default(), index: 0 };
        world.ok(Command::Form { cluster: ClusterId(Uuid::from_u128(1)) });
        for node in 1..=nodes {
            world.start(node);
        }
        world.ok(Command::FixFacts(Facts { application: ApplicationId(1), total, intents: 0 }));
        world.ok(Command::Lead { node: NodeId(1), term: 1 });
        world
    }

    /// One whose shards are spread evenly.
    fn spread(nodes: u64, shards: u32) -> Self {
        let mut world = Self::new(nodes, shards);
        world.assign();
        world
    }

    fn apply(&mut self, command: Command) -> Outcome {
        self.index += 1;
        self.state.apply(LogIndex(self.index), command)
    }

    fn ok(&mut self, command: Command) {
        assert_eq!(self.apply(command), Outcome::Applied);
    }

    fn start(&mut self, node: u64) {
        let name = format!("apolo-{node}");
        self.ok(Command::StartNode { node: NodeId(node), name, boot: BootEpoch(1) });
    }

    fn drain(&mut self, node: u64) {
        self.ok(Command::DrainNode { node: NodeId(node), wanted: true });
    }

    fn stop(&mut self, node: u64) {
        self.ok(Command::StopNode { node: NodeId(node), boot: BootEpoch(1) });
    }

    fn lose(&mut self, node: u64, moves: Vec<Move>) {
        let node = NodeId(node);
        let losses = self.state.nodes()[&node].losses;
        let loss = Loss { node, boot: BootEpoch(1), losses };
        self.ok(Command::LoseNode { loss, reports: vec![], moves });
    }

    /// Gives every orphan an owner.
    fn assign(&mut self) {
        loop {
            let moves = assign(&self.state);
            if moves.is_empty() {
                return;
            }
            self.ok(Command::Assign(moves));
        }
    }

    /// Gives shards to nodes as `owners` says, from shard 0.
    fn give(&mut self, owners: &[u64]) {
        let moves = (0..).zip(owners).map(|(shard, node)| Move {
            shard: ShardId(shard),
            from: None,
            to: NodeId(*node),
        });
        self.ok(Command::Assign(moves.collect()));
    }

    fn report(&mut self, shard: u32, status: ShardStatus, guild_count: u32) {
        let shard = ShardId(shard);
        let Some(epoch) = self.state.shards()[&shard].epoch() else { return };
        let ready_at = Some(UnixMillis(1));
        let health = Some(ShardHealth { status, guild_count, ready_at, ..ShardHealth::default() });
        self.ok(Command::Report(vec![ShardReport { health, ..ShardReport::new(shard, epoch) }]));
    }

    /// Every owned shard has a session.
    fn identify(&mut self) {
        let held = self.state.shards().iter().filter_map(|(id, it)| Some((*id, it.epoch()?)));
        for (shard, epoch) in held.collect::<Vec<_>>() {
            let session = Session {
                number: SessionNumber(1),
                id: SessionId(format!("session-{shard}")),
                resume_url: "wss://gateway.discord.gg".to_owned(),
            };
            self.ok(Command::StartSession { shard, epoch, session });
        }
    }

    /// Every shard reports to be ready, with as many guilds as `guilds` says.
    fn ready(&mut self, guilds: impl Fn(u32) -> u32) {
        for shard in self.state.shards().keys().copied().collect::<Vec<_>>() {
            self.report(shard.0, ShardStatus::Ready, guilds(shard.0));
        }
    }

    /// Notes hand-offs, and has their owners release them.
    fn hand_off(&mut self, moves: &[Move]) {
        self.ok(Command::HandOff(moves.to_vec()));
        let reports = moves.iter().filter_map(|step| {
            let shard = &self.state.shards()[&step.shard];
            shard.epoch().map(|epoch| {
                // The next owner resumes it: it stays as healthy as it was.
                let health = Some(shard.health());
                ShardReport { health, ..ShardReport::new(step.shard, epoch) }
            })
        });
        let reports: Vec<_> = reports.collect();
        let healths: Vec<_> = reports.iter().map(|it| (it.shard, it.health)).collect();
        self.ok(Command::Release(reports));
        let resumed = healths.into_iter().filter_map(|(shard, health)| {
            let epoch = self.state.shards()[&shard].epoch()?;
            Some(ShardReport { health, ..ShardReport::new(shard, epoch) })
        });
        let resumed = resumed.collect();
        self.ok(Command::Report(resumed));
    }

    /// Plans and does hand-offs until none is planned, and says how many there were.
    fn settle(&mut self) -> usize {
        let mut done = 0;
        for _ in 0..self.state.shards().len() + 8 {
            let moves = hand_offs(&self.state, &calm());
            if moves.is_empty() {
                return done;
            }
            done += moves.len();
            self.hand_off(&moves);
        }
        panic!("the plans do not end");
    }

    fn owned(&self, node: u64) -> usize {
        self.state.owned_by(NodeId(node)).count()
    }

    /// How many shards more the fullest node has than the emptiest, of those that take shards.
    fn unevenness(&self) -> usize {
        let takers = nodes(&self.state, Node::takes_shards);
        let counts = || takers.iter().map(|node| self.state.owned_by(*node).count());
        counts().max().unwrap_or(0) - counts().min().unwrap_or(0)
    }
}

/// Nothing is wrong, and nothing has moved for long.
fn calm() -> Seen {
    Seen { since_hand_offs: COOL_DOWN, ..Seen::default() }
}

/// How many of the moves go to each node.
fn by_target(moves: &[Move]) -> BTreeMap<NodeId, usize> {
    let mut counts = BTreeMap::new();
    for step in moves {
        *counts.entry(step.to).or_insert(0) += 1;
    }
    counts
}

fn shards_of(moves: &[Move]) -> Vec<u32> {
    moves.iter().map(|step| step.shard.0).collect()
}
