//! What the planner and the state cost in the largest cluster that is planned for: 1,000 nodes, 16,384 shards.
//!
//! Pure functions on one core: no disk, no network, no clock of theirs.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use apolo::{
    ApplicationId, BootEpoch, Checkpoint, ClusterId, GuildId, LogIndex, NodeId, Sequence, Session,
    SessionId, SessionNumber, ShardHealth, ShardId, ShardStatus, ShardTotal, UnixMillis,
    control::report_pause,
    placement::{self, COOL_DOWN, Seen},
    state::{
        Command, Facts, GuildSize, Loss, Move, Outcome, RosterReport, ShardReport, State,
        decode_state, encode_command, encode_state,
    },
};

use crate::{
    Failure,
    report::{Goal, Report},
};

const NODES: u64 = 1_000;
const SHARDS: u32 = 16_384;

/// Guilds of the largest bot that is planned for.
const GUILDS_COUNTED: u32 = 1_000_000;

/// Guilds of a shard, about: Discord's least is 1,000 guilds for each.
const GUILDS: u32 = 1_000;

/// Reports in one entry, as the leader gathers them.
const ENTRY_REPORTS: usize = 2_048;

/// The longest entry of the log.
const ENTRY_BYTES_MAX: f64 = 128.0 * 1024.0;

/// So often a second does every owner tell how far its shards have come.
const TICKS: f64 = 4.0;

/// A leader sends the log to every member; this is what it may come to.
const SENT_MB_MAX: f64 = 10.0;

/// How far a session has come: a sequence that takes as many bytes as that of a busy shard after a day.
const SEQUENCE: u64 = 5_000_000;

pub(crate) fn measure(report: &mut Report, rounds: u32) -> Result<(), Failure> {
    eprintln!("{NODES} nodes and {SHARDS} shards, {rounds} rounds");
    let mut spans = Spans::default();
    let mut world = World::formed()?;
    for _ in 0..rounds {
        world = World::formed()?;
        spans.round(&mut world)?;
    }
    spans.tell(report);
    let snapshot = encode_state(&world.state).len() as f64;
    report.add("scale: snapshot", "MB", None, vec![snapshot / 1e6]);
    world.tell_log(report);
    let with_guilds = encode_state(&world.counted()?).len() as f64;
    report.add("scale: snapshot with 1,000,000 guilds", "MB", None, vec![with_guilds / 1e6]);
    Ok(())
}

/// How long each took, in milliseconds.
#[derive(Default)]
struct Spans {
    assign: Vec<f64>,
    assign_all: Vec<f64>,
    loss: Vec<f64>,
    apply_loss: Vec<f64>,
    counts: Vec<f64>,
    weights: Vec<f64>,
    apply_report: Vec<f64>,
    encode: Vec<f64>,
    decode: Vec<f64>,
    encode_guilds: Vec<f64>,
    decode_guilds: Vec<f64>,
    copy_guilds: Vec<f64>,
}

impl Spans {
    fn round(&mut self, world: &mut World) -> Result<(), Failure> {
        let all = Instant::now();
        loop {
            let (moves, took) = timed(|| placement::assign(&world.state));
            if moves.is_empty() {
                break;
            }
            self.assign.push(took);
            world.apply(Command::Assign(moves))?;
        }
        self.assign_all.push(ms(all.elapsed()));
        world.connect()?;
        for entry in world.progress() {
            let (done, took) = timed(|| world.apply(entry));
            self.apply_report.push(took);
            done?;
        }
        // Guilds are uneven, and counts are even: what is left to plan is the weights.
        self.weights.push(timed(|| world.hand_offs()).1);
        let lost = NodeId(NODES / 2);
        let (moves, took) = timed(|| placement::on_loss(&world.state, lost));
        self.loss.push(took);
        let (done, took) = timed(|| world.lose(lost, moves));
        self.apply_loss.push(took);
        done?;
        // It comes back empty, and the others have one too many.
        world.give_back(lost)?;
        let (moves, took) = timed(|| world.hand_offs());
        if moves.is_empty() {
            return Err("nothing was balanced".into());
        }
        self.counts.push(took);
        let (bytes, took) = timed(|| encode_state(&world.state));
        self.encode.push(took);
        let (read, took) = timed(|| decode_state(&bytes));
        self.decode.push(took);
        if read? != world.state {
            return Err("a snapshot reads differently".into());
        }
        self.guilds(&world.counted()?)
    }

    fn guilds(&mut self, state: &State) -> Result<(), Failure> {
        let (bytes, took) = timed(|| encode_state(state));
        self.encode_guilds.push(took);
        let (read, took) = timed(|| decode_state(&bytes));
        self.decode_guilds.push(took);
        let (copy, took) = timed(|| state.clone());
        self.copy_guilds.push(took);
        if read? != copy { Err("a snapshot reads differently".into()) } else { Ok(()) }
    }

    fn tell(self, report: &mut Report) {
        let mut add = |name: &str, spans| report.add(format!("scale: {name}"), "ms", None, spans);
        add("plan of 2,048 orphans", self.assign);
        add("all shards planned and applied", self.assign_all);
        add("plan of a node's loss", self.loss);
        add("plan of a balance, counts", self.counts);
        add("plan of a balance, guilds", self.weights);
        add("applying a node's loss", self.apply_loss);
        add("applying 2,048 checkpoints", self.apply_report);
        add("snapshot written", self.encode);
        add("snapshot read", self.decode);
        add("snapshot with 1,000,000 guilds written", self.encode_guilds);
        add("snapshot with 1,000,000 guilds read", self.decode_guilds);
        add("the same state copied for a batch", self.copy_guilds);
    }
}

/// A cluster, and the index of its last entry.
struct World {
    state: State,
    index: u64,
}

impl World {
    /// All nodes are there, and nobody owns a shard yet.
    fn formed() -> Result<Self, Failure> {
        let mut world = Self { state: State::default(), index: 0 };
        world.apply(Command::Form { cluster: ClusterId::mint() })?;
        for node in 1..=NODES {
            let name = format!("apolo-{node}");
            world.apply(Command::StartNode { node: NodeId(node), name, boot: BootEpoch(1) })?;
        }
        let total = ShardTotal::new(SHARDS)?;
        let application = ApplicationId(1);
        world.apply(Command::FixFacts(Facts { application, total, intents: 53_575_421 }))?;
        world.apply(Command::Lead { node: NodeId(1), term: 1 })?;
        Ok(world)
    }

    fn apply(&mut self, command: Command) -> Result<(), Failure> {
        self.index += 1;
        match self.state.apply(LogIndex(self.index), command) {
            Outcome::Applied => Ok(()),
            other => Err(format!("not applied: {other:?}").into()),
        }
    }

    /// Every shard has a session, and reports guilds that are not the same everywhere.
    fn connect(&mut self) -> Result<(), Failure> {
        for (shard, epoch) in self.owned() {
            let id = SessionId(format!("{:032x}", u128::from(shard.0) << 64));
            let resume_url = "wss://gateway-us-east1-b.discord.gg".to_owned();
            let session = Session { number: SessionNumber(1), id, resume_url };
            self.apply(Command::StartSession { shard, epoch, session })?;
            let health = Some(ShardHealth {
                status: ShardStatus::Ready,
                // Spread over half of the average, in an order that is none.
                guild_count: GUILDS * 3 / 4 + shard.0.wrapping_mul(2_654_435_761) % (GUILDS / 2),
                member_count: 100_000,
                ready_at: Some(UnixMillis(1_800_000_000_000)),
                last_check: Some(UnixMillis(1_800_000_000_000)),
            });
            let report = ShardReport { health, ..ShardReport::new(shard, epoch) };
            self.apply(Command::Report(vec![report]))?;
        }
        Ok(())
    }

    /// The state with as many guilds as the largest bot that is planned for has.
    fn counted(&self) -> Result<State, Failure> {
        let mut state = self.state.clone();
        for (index, (shard, epoch)) in (self.index + 1..).zip(self.owned()) {
            let id = |nth| (1_u64 << 60) + (u64::from(shard.0 + nth * SHARDS) << 22);
            let here = (0..GUILDS_COUNTED / SHARDS)
                .map(|nth| GuildSize { guild: GuildId(id(nth)), members: Some(200 + nth) })
                .collect();
            let counted = Checkpoint { session: SessionNumber(1), sequence: Sequence(SEQUENCE) };
            let report =
                RosterReport { shard, epoch, counted, whole: true, here, gone: Vec::new() };
            match state.apply(LogIndex(index), Command::CountGuilds(vec![report])) {
                Outcome::Applied => {}
                other => return Err(format!("not counted: {other:?}").into()),
            }
        }
        Ok(state)
    }

    fn owned(&self) -> Vec<(ShardId, apolo::Epoch)> {
        let shards = self.state.shards().iter();
        shards.filter_map(|(id, shard)| Some((*id, shard.epoch()?))).collect()
    }

    /// The entries of a tick in which every shard has come further.
    fn progress(&self) -> Vec<Command> {
        let report = |(shard, epoch)| {
            ShardReport::new(shard, epoch).at(SessionNumber(1), Sequence(SEQUENCE))
        };
        let reports: Vec<_> = self.owned().into_iter().map(report).collect();
        reports.chunks(ENTRY_REPORTS).map(|entry| Command::Report(entry.to_vec())).collect()
    }

    fn hand_offs(&self) -> Vec<Move> {
        let calm = Seen { since_hand_offs: COOL_DOWN, ..Seen::default() };
        placement::hand_offs(&self.state, &calm)
    }

    fn lose(&mut self, node: NodeId, moves: Vec<Move>) -> Result<(), Failure> {
        let loss = Loss { node, boot: BootEpoch(1), losses: 0 };
        self.apply(Command::LoseNode { loss, reports: Vec::new(), moves })
    }

    fn give_back(&mut self, node: NodeId) -> Result<(), Failure> {
        self.apply(Command::ReturnNode(Loss { node, boot: BootEpoch(1), losses: 1 }))
    }

    /// What a tick puts into the log, as commands' bytes: what the log adds to each entry is some tens of bytes.
    fn tell_log(&self, report: &mut Report) {
        let entries = self.progress();
        let bytes_of: Vec<_> = entries.iter().map(|it| encode_command(it).len()).collect();
        let bytes: Vec<f64> = bytes_of.iter().map(|bytes| *bytes as f64).collect();
        let tick: f64 = bytes.iter().sum();
        let sent = tick * TICKS * NODES as f64 / 1e6;
        let goal = Some(Goal::AtMost(ENTRY_BYTES_MAX));
        report.add("scale: checkpoints, entry of 2,048 shards", "B", goal, bytes);
        let log = vec![tick * TICKS / 1e3];
        report.add(
            "scale: checkpoints, log at 4 ticks/s if every shard progresses",
            "kB/s",
            None,
            log,
        );
        report.add("scale: the same, sent to 1,000 members", "MB/s", None, vec![sent]);
        let pauses = bytes_of.iter().map(|bytes| report_pause(*bytes, NODES as usize));
        let stretched = pauses.sum::<Duration>().as_secs_f64().max(1.0 / TICKS);
        report.add("scale: the leader stretches its tick to", "s", None, vec![stretched]);
        let sent = vec![tick * NODES as f64 / stretched / 1e6];
        let goal = Some(Goal::AtMost(SENT_MB_MAX));
        report.add("scale: and so sends to 1,000 members", "MB/s", goal, sent);
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let began = Instant::now();
    let done = black_box(work());
    (done, ms(began.elapsed()))
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
