//! The rules of the state machine, one by one and at random.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::model::{
    ApplicationId, Checkpoint, Sequence, Session, SessionId, SessionNumber, ShardHealth,
    ShardStatus, ShardTotal, UnixMillis,
};

const NODE: NodeId = NodeId(7);
const OTHER: NodeId = NodeId(8);
const SHARD: ShardId = ShardId(3);

/// A log that is applied as it is written.
#[derive(Default)]
struct Log {
    state: State,
    index: u64,
}

impl Log {
    /// A cluster of two nodes, whose shards all belong to [`NODE`].
    fn formed(shards: u32) -> Self {
        let mut log = Self::default();
        log.ok(Command::Form { cluster: cluster() });
        for node in [NODE, OTHER] {
            log.ok(Command::StartNode { node, name: "apolo-0".into(), boot: BootEpoch(1) });
        }
        log.ok(Command::FixFacts(facts(shards)));
        log.ok(Command::Move(all_to(&log.state, NODE)));
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

#[test]
fn a_second_cluster_is_never_formed() {
    let mut log = Log::formed(1);

    let outcome = log.apply(Command::Form { cluster: ClusterId(Uuid::from_u128(2)) });

    assert_eq!(outcome, Outcome::Refused(Refusal::OtherCluster(cluster())));
}

#[test]
fn a_node_whose_data_directory_was_opened_later_is_refused() {
    let mut log = Log::formed(1);
    log.ok(Command::StartNode { node: NODE, name: "apolo-0".into(), boot: BootEpoch(5) });

    let older = Command::StartNode { node: NODE, name: "apolo-0".into(), boot: BootEpoch(4) };

    assert_eq!(log.apply(older), Outcome::Refused(Refusal::OlderBoot(BootEpoch(5))));
}

#[test]
fn a_node_that_starts_again_has_no_connection_yet() {
    let mut log = Log::formed(4);
    let health =
        ShardHealth { status: ShardStatus::Ready, guild_count: 7, ..ShardHealth::default() };
    let report = ShardReport { health: Some(health), ..ShardReport::new(SHARD, log.epoch(SHARD)) };
    log.ok(Command::Report(vec![report]));

    log.ok(Command::StartNode { node: NODE, name: "apolo-0".into(), boot: BootEpoch(2) });

    let health = log.state.shards()[&SHARD].health();
    assert_eq!((health.status, health.guild_count), (ShardStatus::Spawning, 7));
}

#[test]
fn facts_are_fixed_once() {
    let mut log = Log::formed(4);

    log.ok(Command::FixFacts(facts(4)));
    let outcome = log.apply(Command::FixFacts(facts(8)));

    assert_eq!(outcome, Outcome::Refused(Refusal::FactsDiffer(facts(4))));
}

#[test]
fn a_move_raises_the_epoch_to_its_own_log_index() {
    let mut log = Log::formed(4);
    let before = log.epoch(SHARD);

    log.ok(Command::Move(vec![Move { shard: SHARD, from: Some(before), to: OTHER }]));

    assert_eq!(log.epoch(SHARD), Epoch { generation: 1, index: LogIndex(log.index) });
}

#[test]
fn a_plan_with_one_stale_move_changes_nothing() {
    let mut log = Log::formed(4);
    let plan = all_to(&log.state, OTHER);
    let first = log.epoch(ShardId(0));
    log.ok(Command::Move(vec![Move { shard: ShardId(0), from: Some(first), to: OTHER }]));
    let before = log.state.shards().clone();

    let outcome = log.apply(Command::Move(plan));

    assert_eq!(outcome, Outcome::Stale);
    assert_eq!(log.state.shards(), &before);
}

#[test]
fn a_plan_that_moves_a_shard_twice_is_refused() {
    let mut log = Log::formed(4);
    let step = Move { shard: SHARD, from: Some(log.epoch(SHARD)), to: OTHER };

    let outcome = log.apply(Command::Move(vec![step, step]));

    assert_eq!(outcome, Outcome::Refused(Refusal::MovedTwice(SHARD)));
}

#[test]
fn a_former_owner_changes_nothing() {
    let mut log = Log::formed(4);
    log.start_session(SHARD, 1);
    let old = log.epoch(SHARD);
    log.ok(Command::Move(vec![Move { shard: SHARD, from: Some(old), to: OTHER }]));
    let before = log.state.shards().clone();
    let late = ShardReport::new(SHARD, old).at(SessionNumber(1), Sequence(9));
    let health = Some(ShardHealth { status: ShardStatus::Dead, ..ShardHealth::default() });

    for command in [
        Command::Report(vec![late]),
        Command::Report(vec![ShardReport { health, ..ShardReport::new(SHARD, old) }]),
        Command::Release(vec![late]),
        Command::StartSession { shard: SHARD, epoch: old, session: session(2) },
        Command::LoseSession { shard: SHARD, epoch: old, session: SessionNumber(1) },
        Command::Grant { shard: SHARD, epoch: old, purpose: Purpose::Recover },
    ] {
        let shown = format!("{command:?}");
        assert_eq!(log.apply(command), Outcome::Stale, "{shown}");
    }
    assert_eq!(log.state.shards(), &before);
}

#[test]
fn one_stale_report_does_not_hold_up_the_others() {
    let mut log = Log::formed(4);
    log.start_session(SHARD, 1);
    let stale = ShardReport::new(ShardId(0), Epoch::default());
    let good = ShardReport::new(SHARD, log.epoch(SHARD)).at(SessionNumber(1), Sequence(5));

    log.apply(Command::Report(vec![stale, good]));

    assert_eq!(log.checkpoint(), (1, 5));
}

#[test]
fn a_checkpoint_never_falls_back() {
    let mut log = Log::formed(4);
    log.start_session(SHARD, 1);
    log.report(1, 10);

    for (number, sequence) in [(1, 10), (1, 9), (0, 99), (2, 1)] {
        assert_eq!(log.report(number, sequence), Outcome::Stale);
    }
    assert_eq!(log.checkpoint(), (1, 10));
}

#[test]
fn a_session_number_is_used_once_even_after_the_session_is_lost() {
    let mut log = Log::formed(4);
    log.start_session(SHARD, 1);
    let epoch = log.epoch(SHARD);
    log.ok(Command::LoseSession { shard: SHARD, epoch, session: SessionNumber(1) });

    assert_eq!(log.start_session(SHARD, 1), Outcome::Stale);
    assert_eq!(log.start_session(SHARD, 2), Outcome::Applied);
    assert_eq!(log.checkpoint(), (2, 0));
}

#[test]
fn a_lost_session_takes_no_checkpoint() {
    let mut log = Log::formed(4);
    log.start_session(SHARD, 1);
    let epoch = log.epoch(SHARD);
    log.ok(Command::LoseSession { shard: SHARD, epoch, session: SessionNumber(1) });

    assert_eq!(log.report(1, 10), Outcome::Stale);
}

#[test]
fn a_release_leaves_the_session_to_the_next_owner() {
    let mut log = Log::formed(4);
    log.start_session(SHARD, 1);
    let last = ShardReport::new(SHARD, log.epoch(SHARD)).at(SessionNumber(1), Sequence(77));

    log.ok(Command::Release(vec![last]));

    let shard = &log.state.shards()[&SHARD];
    assert_eq!(shard.assignment(), None);
    assert_eq!(shard.session(), Some(&session(1)));
    assert_eq!(log.checkpoint(), (1, 77));
}

#[test]
fn resharding_drops_every_session_but_keeps_the_numbers_growing() {
    let mut log = Log::formed(4);
    log.start_session(SHARD, 5);

    log.ok(Command::Reshard { from: facts(4).total, facts: facts(8) });

    assert_eq!(log.state.shards().len(), 8);
    assert!(log.state.shards().values().all(|shard| shard.session().is_none()));
    assert_eq!(log.start_session(SHARD, 5), Outcome::Stale);
    assert_eq!(log.start_session(SHARD, 6), Outcome::Applied);
}

#[test]
fn another_bot_never_reshards_a_cluster() {
    let mut log = Log::formed(4);
    let facts = Facts { application: ApplicationId(43), ..facts(8) };

    let outcome = log.apply(Command::Reshard { from: facts.total, facts });

    assert!(matches!(outcome, Outcome::Refused(Refusal::FactsDiffer(_))));
}

#[test]
fn the_first_identify_goes_alone_until_a_ready_proves_the_token() {
    let mut log = Log::formed(4);
    log.limits(4, 1_000);

    assert_eq!(log.grant(0, Purpose::Start), Outcome::Applied);
    assert_eq!(log.grant(1, Purpose::Start), Outcome::Refused(Refusal::Unproven));
    log.start_session(ShardId(0), 1);
    assert_eq!(log.grant(1, Purpose::Start), Outcome::Applied);
}

#[test]
fn a_bucket_is_granted_once_until_it_is_reopened() {
    let mut log = Log::formed(4);
    log.limits(2, 1_000);
    log.grant(0, Purpose::Start);
    log.start_session(ShardId(0), 1);

    assert_eq!(log.grant(2, Purpose::Start), Outcome::Refused(Refusal::BucketTaken(0)));
    log.ok(Command::ReopenBuckets(vec![0]));
    assert_eq!(log.grant(2, Purpose::Start), Outcome::Applied);
}

#[test]
fn starting_shards_leaves_the_reserve_to_recoveries() {
    let mut log = Log::formed(4);
    log.limits(1, 100);

    let refused = log.grant(0, Purpose::Start);

    assert!(matches!(
        refused,
        Outcome::Refused(Refusal::BudgetSpent { remaining: 100, reserve: 100, .. })
    ));
    assert_eq!(log.grant(0, Purpose::Recover), Outcome::Applied);
}

#[test]
fn a_late_answer_of_discord_gives_no_identify_back() {
    let mut log = Log::formed(4);
    log.limits(1, 500);
    log.grant(0, Purpose::Start);

    log.limits(1, 500);

    assert_eq!(log.state.ledger().limits().map(|limits| limits.remaining), Some(499));
}

#[test]
fn a_halt_refuses_every_identify_until_the_operator_lifts_it() {
    let mut log = Log::formed(4);
    log.limits(4, 1_000);
    log.grant(0, Purpose::Start);
    log.start_session(ShardId(0), 1);
    log.ok(Command::Halt { code: 4004, shard: ShardId(0) });

    assert_eq!(log.grant(1, Purpose::Recover), Outcome::Refused(Refusal::Halted(4004)));
    log.ok(Command::Unhalt);
    log.ok(Command::ReopenBuckets(vec![0]));
    assert_eq!(log.grant(1, Purpose::Start), Outcome::Applied);
    assert_eq!(log.grant(2, Purpose::Start), Outcome::Refused(Refusal::Unproven));
}

#[test]
fn a_change_of_the_concurrency_takes_every_bucket_until_the_leader_has_waited() {
    let mut log = Log::formed(4);
    log.limits(1, 1_000);
    log.grant(0, Purpose::Start);
    log.start_session(ShardId(0), 1);

    log.limits(4, 999);

    assert_eq!(log.state.ledger().taken().collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn bytes_of_a_newer_version_are_refused_by_name() {
    let mut bytes = encode_command(&Command::Unhalt);
    bytes[0] += 1;

    assert_eq!(decode_command(&bytes), Err(CodecError::Newer(2)));
}

#[test]
fn commands_written_by_version_1_are_still_read() {
    let golden = include_str!("../../tests/data/state/commands-v1.txt");
    for (line, command) in golden.lines().zip(one_of_each()) {
        let (_, hex) = line.split_once(' ').expect("a line is a kind and its bytes");
        let bytes = unhex(hex);
        assert_eq!(decode_command(&bytes), Ok(command.clone()), "{line}");
        assert_eq!(encode_command(&command), bytes, "{line}");
    }
    assert_eq!(golden.lines().count(), one_of_each().len(), "every kind has its golden bytes");
}

#[test]
fn a_state_written_by_version_1_is_still_read() {
    let golden = unhex(include_str!("../../tests/data/state/state-v1.txt").trim());

    let mut log = Log::formed(2);
    log.limits(2, 900);
    log.grant(0, Purpose::Start);
    log.start_session(ShardId(0), 1);

    assert_eq!(decode_state(&golden), Ok(log.state.clone()));
    assert_eq!(encode_state(&log.state), golden);
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    digits.map(byte).collect()
}

/// One command of every kind, in the order of their numbers.
fn one_of_each() -> Vec<Command> {
    let shard = SHARD;
    let epoch = Epoch { generation: 1, index: LogIndex(300) };
    let health = Some(ShardHealth {
        status: ShardStatus::Ready,
        guild_count: 2_500,
        member_count: 1 << 33,
        ready_at: Some(UnixMillis(1_790_000_000_000)),
        last_check: None,
    });
    let report = ShardReport { health, ..ShardReport::new(shard, epoch) }
        .at(SessionNumber(2), Sequence(70_000));
    let resets_at = UnixMillis(1_790_000_000_000);
    vec![
        Command::Form { cluster: cluster() },
        Command::StartNode { node: NODE, name: "apolo-0".into(), boot: BootEpoch(3) },
        Command::FixFacts(facts(16)),
        Command::Reshard { from: facts(16).total, facts: facts(32) },
        Command::Move(vec![Move { shard, from: Some(epoch), to: OTHER }]),
        Command::Release(vec![report]),
        Command::StartSession { shard, epoch, session: session(2) },
        Command::LoseSession { shard, epoch, session: SessionNumber(2) },
        Command::Report(vec![report]),
        Command::ObserveGateway(gateway(Limits {
            max_concurrency: 16,
            total: 2_000,
            remaining: 1_999,
            resets_at,
        })),
        Command::Grant { shard, epoch, purpose: Purpose::Recover },
        Command::ReopenBuckets(vec![0, 15]),
        Command::Halt { code: 4004, shard },
        Command::Unhalt,
    ]
}

/// Any command over a few shards, nodes, sessions and epochs, most of them nonsense.
fn any_command() -> impl Strategy<Value = Command> {
    let shard = (0_u32..5).prop_map(ShardId);
    let node = prop_oneof![Just(NODE), Just(OTHER)];
    let epoch =
        (0_u64..24).prop_map(|index| Epoch { generation: 1, index: LogIndex(index) }).boxed();
    let checkpoint =
        (0_u64..4, 0_u64..9).prop_map(|(n, s)| (SessionNumber(n), Sequence(s))).boxed();
    let report = (shard.clone(), epoch.clone(), checkpoint.clone())
        .prop_map(|(shard, epoch, (n, s))| ShardReport::new(shard, epoch).at(n, s))
        .boxed();
    let purpose = prop_oneof![Just(Purpose::Start), Just(Purpose::Recover)];
    let step = (shard.clone(), proptest::option::of(epoch.clone()), node);
    prop_oneof![
        proptest::collection::vec(step, 1..3).prop_map(|steps| {
            let moves = steps.into_iter().map(|(shard, from, to)| Move { shard, from, to });
            Command::Move(moves.collect())
        }),
        report.clone().prop_map(|report| Command::Report(vec![report])),
        report.prop_map(|report| Command::Release(vec![report])),
        (shard.clone(), epoch.clone(), 1_u64..4).prop_map(|(shard, epoch, number)| {
            Command::StartSession { shard, epoch, session: session(number) }
        }),
        (shard.clone(), epoch.clone(), checkpoint).prop_map(|(shard, epoch, (session, _))| {
            Command::LoseSession { shard, epoch, session }
        }),
        (shard, epoch, purpose).prop_map(|(shard, epoch, purpose)| Command::Grant {
            shard,
            epoch,
            purpose
        }),
        proptest::collection::vec(0_u32..4, 0..3).prop_map(Command::ReopenBuckets),
        Just(Command::Halt { code: 4004, shard: SHARD }),
        Just(Command::Unhalt),
        (1_u32..5, 0_u32..9).prop_map(|(max_concurrency, remaining)| {
            Command::ObserveGateway(gateway(Limits {
                max_concurrency,
                total: 9,
                remaining,
                resets_at: UnixMillis(1),
            }))
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn epochs_and_checkpoints_only_grow_whatever_is_proposed(
        commands in proptest::collection::vec(any_command(), 1..60)
    ) {
        let mut log = Log::formed(4);
        for command in commands {
            let before = log.state.clone();
            let granting = matches!(command, Command::Grant { .. });
            let outcome = log.apply(command);
            for (id, shard) in log.state.shards() {
                let earlier = &before.shards()[id];
                prop_assert!(shard.checkpoint() >= earlier.checkpoint());
                if let (Some(new), Some(old)) = (shard.epoch(), earlier.epoch()) {
                    prop_assert!(new >= old);
                }
                if let Some(session) = shard.session() {
                    prop_assert_eq!(session.number, shard.checkpoint().session);
                }
            }
            if granting && outcome == Outcome::Applied {
                let spent = before.ledger().limits().map(|limits| limits.remaining);
                let left = log.state.ledger().limits().map(|limits| limits.remaining);
                prop_assert_eq!(left.map(|left| left + 1), spent, "a grant is spent");
                prop_assert!(before.ledger().halted().is_none());
            }
        }
    }

    #[test]
    fn a_state_survives_its_own_bytes(
        commands in proptest::collection::vec(any_command(), 1..40)
    ) {
        let mut log = Log::formed(4);
        for command in commands {
            prop_assert_eq!(decode_command(&encode_command(&command)), Ok(command.clone()));
            log.apply(command);
        }

        prop_assert_eq!(decode_state(&encode_state(&log.state)), Ok(log.state.clone()));
    }

    #[test]
    fn garbage_is_refused_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_command(&bytes);
        let _ = decode_state(&bytes);
    }
}
