//! The rules of the state machine, one by one and at random.

mod bytes;
mod cluster;
mod identify;
mod losses;
mod nodes;
mod ownership;
mod random;
mod rosters;
mod sessions;
mod tokens;
mod users;

use uuid::Uuid;

use super::*;
use crate::model::{
    ApplicationId, BootEpoch, Checkpoint, GuildId, Sequence, Session, SessionId, SessionNumber,
    ShardHealth, ShardStatus, ShardTotal, UnixMillis,
};

const NODE: NodeId = NodeId(7);
const OTHER: NodeId = NodeId(8);
const THIRD: NodeId = NodeId(9);
const SHARD: ShardId = ShardId(3);

/// A log that is applied as it is written.
#[derive(Default)]
struct Log {
    state: State,
    index: u64,
}

impl Log {
    /// A cluster of two nodes, led by [`OTHER`], whose shards all belong to [`NODE`].
    fn formed(shards: u32) -> Self {
        let mut log = Self::default();
        log.ok(Command::Form { cluster: cluster() });
        for node in [NODE, OTHER] {
            log.start(node, 1);
        }
        log.ok(Command::Lead { node: OTHER, term: 1 });
        log.ok(Command::FixFacts(facts(shards)));
        log.ok(Command::Assign(all_to(&log.state, NODE)));
        log
    }

    fn apply(&mut self, command: Command) -> Outcome {
        self.index += 1;
        self.state.apply(LogIndex(self.index), command)
    }

    fn ok(&mut self, command: Command) {
        let shown = format!("{command:?}");
        assert_eq!(self.apply(command), Outcome::Applied, "{shown}");
    }

    fn start(&mut self, node: NodeId, boot: u64) {
        self.ok(Command::StartNode { node, name: "apolo-0".into(), boot: BootEpoch(boot) });
    }

    /// The stretch of its life that `node` is in.
    fn life(&self, node: NodeId) -> Loss {
        let Node { boot, losses, .. } = self.state.nodes()[&node];
        Loss { node, boot, losses }
    }

    fn lose(&mut self, node: NodeId) {
        let loss = self.life(node);
        self.ok(losing(loss, vec![]));
    }

    fn hand_off(&mut self, shard: ShardId, to: NodeId) -> Outcome {
        let step = Move { shard, from: Some(self.epoch(shard)), to };
        self.apply(Command::HandOff(vec![step]))
    }

    fn release(&mut self, shard: ShardId) -> Outcome {
        let report = ShardReport::new(shard, self.epoch(shard));
        self.apply(Command::Release(vec![report]))
    }

    fn owner(&self, shard: ShardId) -> Option<NodeId> {
        self.state.shards()[&shard].assignment().map(|held| held.node)
    }

    fn epoch(&self, shard: ShardId) -> Epoch {
        self.state.shards()[&shard].epoch().expect("the shard is owned")
    }

    fn limits(&mut self, max_concurrency: u32, remaining: u32) {
        let limits =
            Limits { max_concurrency, total: 1_000, remaining, resets_at: UnixMillis(86_400_000) };
        self.ok(Command::ObserveGateway(gateway(limits)));
    }

    fn grant(&mut self, shard: u32, purpose: Purpose) -> Outcome {
        let shard = ShardId(shard);
        let epoch = self.epoch(shard);
        self.apply(Command::Grant { shard, epoch, purpose })
    }

    fn start_session(&mut self, shard: ShardId, number: u64) -> Outcome {
        let epoch = self.epoch(shard);
        self.apply(Command::StartSession { shard, epoch, session: session(number) })
    }

    fn report(&mut self, number: u64, sequence: u64) -> Outcome {
        let report = ShardReport::new(SHARD, self.epoch(SHARD))
            .at(SessionNumber(number), Sequence(sequence));
        self.apply(Command::Report(vec![report]))
    }

    fn checkpoint(&self) -> (u64, u64) {
        let Checkpoint { session, sequence } = self.state.shards()[&SHARD].checkpoint();
        (session.0, sequence.0)
    }
}

fn cluster() -> ClusterId {
    ClusterId(Uuid::from_u128(1))
}

fn facts(shards: u32) -> Facts {
    let total = ShardTotal::new(shards).expect("a valid total");
    Facts { application: ApplicationId(42), total, intents: 1 }
}

fn gateway(limits: Limits) -> Gateway {
    let recommended = ShardTotal::new(16).expect("a valid total");
    Gateway { url: "wss://gateway.discord.gg".into(), recommended, limits }
}

fn session(number: u64) -> Session {
    Session {
        number: SessionNumber(number),
        id: SessionId(format!("session-{number}")),
        resume_url: "wss://gateway-us-east1-b.discord.gg".into(),
    }
}

fn all_to(state: &State, node: NodeId) -> Vec<Move> {
    state.shards().iter().map(|(id, s)| Move { shard: *id, from: s.epoch(), to: node }).collect()
}

fn losing(loss: Loss, moves: Vec<Move>) -> Command {
    Command::LoseNode { loss, reports: vec![], moves }
}

fn ready(guild_count: u32) -> ShardHealth {
    ShardHealth { status: ShardStatus::Ready, guild_count, ..ShardHealth::default() }
}
