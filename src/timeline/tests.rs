use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;

use super::*;
use crate::model::{
    ApplicationId, BootEpoch, ClusterId, LogIndex, NodeId, ShardHealth, ShardId, ShardStatus,
    ShardTotal, UnixMillis,
};
use crate::state::{Command, Facts, Loss, Move, Outcome, ShardReport, State};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

/// A cluster, and what is told of it.
struct Story {
    state: State,
    narrator: Narrator,
    now: Instant,
}

impl Story {
    /// Two nodes, of which the first runs all shards.
    fn begun(shards: u32) -> Self {
        let mut story = Self {
            state: State::default(),
            narrator: Narrator::new(Arc::default()),
            now: Instant::now(),
        };
        story.apply(Command::Form { cluster: ClusterId(Uuid::from_u128(7)) });
        for (node, name) in [(ONE, "apolo-0"), (TWO, "apolo-1")] {
            story.apply(Command::StartNode { node, name: name.to_owned(), boot: BootEpoch(1) });
        }
        let total = ShardTotal::new(shards).unwrap();
        let facts = Facts { application: ApplicationId(1), total, intents: 1 };
        story.apply(Command::FixFacts(facts));
        let to = |shard| Move { shard, from: None, to: ONE };
        story.apply(Command::Assign(total.shards().map(to).collect()));
        story.become_ready(&total.shards().collect::<Vec<_>>());
        story.told();
        story
    }

    fn apply(&mut self, command: Command) {
        let index = LogIndex(self.state.applied().0 + 1);
        assert_eq!(self.state.apply(index, command), Outcome::Applied);
    }

    fn become_ready(&mut self, shards: &[ShardId]) {
        self.report(shards, ShardStatus::Ready);
    }

    fn report(&mut self, shards: &[ShardId], status: ShardStatus) {
        let report = |shard: &ShardId| {
            let epoch = self.state.shards()[shard].epoch().unwrap();
            let health = Some(ShardHealth { status, ..ShardHealth::default() });
            ShardReport { health, ..ShardReport::new(*shard, epoch) }
        };
        self.apply(Command::Report(shards.iter().map(report).collect()));
    }

    fn lose(&mut self, node: NodeId, moves: Vec<Move>) {
        let known = &self.state.nodes()[&node];
        let loss = Loss { node, boot: known.boot, losses: known.losses };
        self.apply(Command::LoseNode { loss, reports: vec![], moves });
    }

    fn step(&self, shard: u32, to: NodeId) -> Move {
        let shard = ShardId(shard);
        Move { shard, from: self.state.shards()[&shard].epoch(), to }
    }

    fn pass(&mut self, span: Duration) {
        self.now += span;
    }

    fn told(&mut self) -> Vec<String> {
        let facts = self.narrator.observe(&Arc::new(self.state.clone()), self.now);
        facts.iter().map(Fact::text).collect()
    }
}

#[test]
fn a_failover_is_told_in_four_lines_with_its_duration() {
    let mut story = Story::begun(2);

    let moves = vec![story.step(0, TWO), story.step(1, TWO)];
    story.lose(ONE, moves);
    assert_eq!(
        story.told(),
        [
            "apolo-0 is lost; other nodes take 2 shards (0, 1) over",
            "apolo-1 took 2 shards (0, 1) over from apolo-0",
        ]
    );

    story.pass(Duration::from_millis(700));
    story.become_ready(&[ShardId(1)]);
    assert_eq!(story.told(), ["shard 1 is ready on apolo-1"]);

    story.pass(Duration::from_millis(600));
    story.become_ready(&[ShardId(0)]);
    assert_eq!(
        story.told(),
        [
            "shard 0 is ready on apolo-1",
            "2 shards (0, 1) of lost apolo-0 run again, 1.3 s after it was given up",
        ]
    );
}

#[test]
fn a_shard_that_nobody_takes_keeps_a_failover_open() {
    let mut story = Story::begun(2);
    let moves = vec![story.step(0, TWO)];
    story.lose(ONE, moves);
    story.become_ready(&[ShardId(0)]);
    assert!(!story.told().iter().any(|line| line.contains("run again")));

    story.pass(Duration::from_secs(60));
    story.apply(Command::Assign(vec![Move { shard: ShardId(1), from: None, to: TWO }]));
    assert_eq!(story.told(), ["apolo-1 took shard 1 over from apolo-0"]);
    story.become_ready(&[ShardId(1)]);

    let told = story.told();
    assert_eq!(told[1], "2 shards (0, 1) of lost apolo-0 run again, 60.0 s after it was given up");
}

#[test]
fn a_handoff_is_told_with_its_duration_and_no_loss() {
    let mut story = Story::begun(1);
    story.apply(Command::DrainNode { node: ONE, wanted: true });
    let step = story.step(0, TWO);
    story.apply(Command::HandOff(vec![step]));
    assert_eq!(story.told(), ["apolo-0 hands its shards to the others, as an operator wants"]);

    let epoch = story.state.shards()[&ShardId(0)].epoch().unwrap();
    story.apply(Command::Release(vec![ShardReport::new(ShardId(0), epoch)]));
    assert_eq!(story.told(), ["apolo-1 took shard 0 over from apolo-0"]);
    story.pass(Duration::from_millis(400));
    story.become_ready(&[ShardId(0)]);

    assert_eq!(
        story.told(),
        ["shard 0 is ready on apolo-1", "shard 0 of apolo-0 runs on apolo-1 after 0.4 s"]
    );
}

#[test]
fn a_lost_connection_and_a_dead_shard_are_told_apart() {
    let mut story = Story::begun(2);

    story.report(&[ShardId(0)], ShardStatus::Disconnected);
    assert_eq!(story.told(), ["shard 0 is getting the connection back on apolo-0"]);
    story.report(&[ShardId(0)], ShardStatus::Dead);

    assert_eq!(story.told(), ["shard 0 is dead on apolo-0; see `apolo shards`"]);
}

#[test]
fn nodes_leaders_and_halts_are_told() {
    let mut story = Story::begun(1);

    story.apply(Command::Lead { node: TWO, term: 4 });
    story.apply(Command::Halt { code: 4004, shard: ShardId(0) });
    assert_eq!(
        story.told(),
        [
            "apolo-1 leads, in term 4",
            "nobody identifies any more: shard 0 was closed with 4004; see `apolo status`",
        ]
    );

    story.apply(Command::Unhalt);
    story.apply(Command::StartNode { node: TWO, name: "apolo-1".into(), boot: BootEpoch(2) });
    assert_eq!(story.told(), ["apolo-1 has started again", "identifies go on"]);
    story.apply(Command::RemoveNode { node: TWO });
    assert_eq!(story.told(), ["apolo-1 is no member any more"]);
}

#[test]
fn nothing_is_told_twice() {
    let mut story = Story::begun(3);
    story.lose(ONE, vec![]);
    story.told();

    assert_eq!(story.told(), Vec::<String>::new());
}

#[test]
fn a_sentence_names_the_first_shards_and_counts_all() {
    let fact =
        Fact { shards: (0..448).map(ShardId).collect(), ..Fact::at(Kind::ShardReady, "apolo-0") };

    assert_eq!(fact.text(), "448 shards (0, 1, 2, 3, 4, 5, 6, 7, …) are ready on apolo-0");
}

#[test]
fn a_reader_goes_on_where_it_was_and_one_of_another_process_gets_all() {
    let timeline = Timeline::new(UnixMillis(100));
    let fact = || Fact::at(Kind::NodeBack, "apolo-0");
    timeline.push([fact(), fact(), fact()], UnixMillis(5));

    let ids = |since| timeline.since(since).iter().map(|entry| entry.id).collect::<Vec<_>>();

    assert_eq!(ids(0), [101, 102, 103]);
    assert_eq!(ids(102), [103]);
    assert_eq!(ids(103), Vec::<u64>::new());
    for others in [2, 99, 104, 900] {
        assert_eq!(ids(others), [101, 102, 103], "{others}");
    }
    assert_eq!(*timeline.last().borrow(), 103);
}

#[test]
fn the_oldest_entries_give_way() {
    let timeline = Timeline::new(UnixMillis(100));
    for _ in 0..ENTRIES_MAX + 2 {
        timeline.push([Fact::at(Kind::NodeBack, "apolo-0")], UnixMillis(5));
    }

    let kept = timeline.since(0);

    assert_eq!((kept.len(), kept[0].id), (ENTRIES_MAX, 103));
}

#[test]
fn entries_that_name_all_shards_of_the_largest_bot_are_bounded_too() {
    let timeline = Timeline::new(UnixMillis(0));
    for _ in 0..100 {
        let shards = (0..16_384).map(ShardId).collect();
        timeline.push([Fact { shards, ..Fact::at(Kind::ShardReady, "apolo-0") }], UnixMillis(5));
    }

    assert_eq!(timeline.since(0).len(), 16);
}

#[test]
fn a_kind_is_named_in_the_api_as_it_is_in_json() {
    for kind in Kind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
    }
}
