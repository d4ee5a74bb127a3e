//! The bytes of every version.

use std::sync::Arc;

use super::*;
use crate::state::user::{
    Condition, Path, Restore, RestoreId, RestorePlan, RestoreStep, Sender, UserBatch, UserOp,
    UserOutcome, chained,
};

#[test]
fn bytes_of_a_newer_version_are_refused_by_name() {
    let mut bytes = encode_command(&Command::Unhalt);
    bytes[0] += 2;

    assert_eq!(decode_command(&bytes), Err(CodecError::Newer(3)));
}

#[test]
fn a_format_that_is_not_read_stops_a_node_at_its_entry_and_so_does_a_state_written_in_it() {
    let format = Format(Format::MAX.0 + 1);
    let raised = encode_command(&Command::RaiseFormat(format));
    assert_eq!(decode_command(&raised), Err(CodecError::Newer(format.0)));

    let mut state = encode_state(&State { format: Format::MAX, ..State::default() });
    state[0] += 1;
    assert_eq!(decode_state(&state), Err(CodecError::Newer(format.0)));
}

#[test]
fn what_an_older_apolo_cannot_read_is_not_written_before_the_format_is_raised() {
    let mut log = Log::formed(1);
    assert_eq!(log.state.format(), Format(5));
    assert_eq!(encode_state(&log.state)[0], 5);

    log.ok(Command::RaiseFormat(Format(6)));
    assert_eq!(log.state.format(), Format(6));
    assert_eq!(encode_state(&log.state)[0], 6);
    assert_eq!(decode_state(&encode_state(&log.state)), Ok(log.state.clone()));

    log.ok(Command::RaiseFormat(Format(5)));
    assert_eq!(log.state.format(), Format(6), "a format is never left");
}

#[test]
fn commands_written_by_version_1_are_still_read() {
    let golden = include_str!("../../../tests/data/state/commands-v1.txt");
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
    let golden = unhex(include_str!("../../../tests/data/state/state-v1.txt").trim());

    let state = State { gone: Vec::new(), ..before_tokens().state };

    assert_eq!(decode_state(&golden), Ok(state));
}

#[test]
fn a_state_written_by_version_2_is_still_read() {
    let golden = unhex(include_str!("../../../tests/data/state/state-v2.txt").trim());

    assert_eq!(decode_state(&golden), Ok(before_rosters().state));
}

#[test]
fn a_state_written_by_version_3_is_still_read() {
    let golden = unhex(include_str!("../../../tests/data/state/state-v3.txt").trim());

    assert_eq!(decode_state(&golden), Ok(before_user().state));
}

#[test]
fn a_state_written_by_version_4_is_still_read() {
    let golden = unhex(include_str!("../../../tests/data/state/state-v4.txt").trim());

    assert_eq!(decode_state(&golden), Ok(before_restores().state));
}

#[test]
fn a_state_written_by_version_5_is_still_read_and_written_the_same() {
    let golden = unhex(include_str!("../../../tests/data/state/state-v5.txt").trim());

    let bytes: String = encode_state(&state()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(encode_state(&state()), golden, "{bytes}");
    assert_eq!(decode_state(&golden), Ok(state()));
}

#[test]
fn a_state_written_by_version_6_is_still_read_and_written_the_same() {
    let golden = unhex(include_str!("../../../tests/data/state/state-v6.txt").trim());

    let state = State { format: Format(6), ..state() };
    let bytes: String = encode_state(&state).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(encode_state(&state), golden, "{bytes}");
    assert_eq!(decode_state(&golden), Ok(state));
}

/// A state with something of everything.
fn state() -> State {
    let mut log = before_restores();
    let [begin, chunk, finish, _] = restore_steps(300);
    for step in [begin, chunk] {
        log.ok(Command::Restore(step));
    }
    assert!(matches!(log.apply(Command::Restore(finish)), Outcome::Restored(_)));
    let [begin, chunk, _, abandon] = restore_steps(301);
    for step in [begin.clone(), abandon, begin, chunk] {
        log.ok(Command::Restore(step));
    }
    log.state
}

/// A step of every kind, in the order of their numbers, of a restore of one value.
fn restore_steps(id: u64) -> [Restore; 4] {
    let chunk = b"\x00\x07default\x01c\x05value\x01\xac\x02";
    let (id, seed) = (RestoreId(id), [1; 32]);
    let digest = chained(&seed, chunk);
    let plan = RestorePlan {
        id,
        revision: 70_000,
        seed,
        digest,
        chunks: 1,
        keys: 1,
        replace: true,
        within_ms: 60_000,
    };
    [
        RestoreStep::Begin(plan),
        RestoreStep::Chunk { id, number: 0, chunk: chunk[..].into() },
        RestoreStep::Finish(id),
        RestoreStep::Abandon(id),
    ]
    .map(|step| Restore { now_ms: 70_600, step })
}

/// The same without what version 4 did not have.
fn before_restores() -> Log {
    let mut log = before_user();
    let ops = user_ops();
    let Outcome::User(outcomes) = log.apply(Command::User(UserBatch { ops, ..batch(1) })) else {
        panic!("it is a batch");
    };
    let refused = |outcome: &&UserOutcome| matches!(outcome, UserOutcome::Refused(_));
    assert_eq!(outcomes.iter().filter(refused).count(), 4, "{outcomes:?}");
    log.apply(Command::User(UserBatch { now_ms: 70_500, ..UserBatch::default() }));
    log
}

fn batch(number: u64) -> UserBatch {
    let sent = Some(Sender { node: NODE, boot: BootEpoch(3), number });
    UserBatch { sent, now_ms: 70_000, ops: Vec::new() }
}

/// One operation of every kind, in the order of their numbers.
fn user_ops() -> Vec<UserOp> {
    let path = |key| Path::new("default", key);
    let member = Arc::from("ada");
    let put = |key, ttl_ms, condition| {
        let value = b"value"[..].into();
        UserOp::Put { path: path(key), value, ttl_ms, condition }
    };
    vec![
        put("a", Some(500), Condition::Always),
        put("b", None, Condition::Absent),
        put("b", None, Condition::Value(b"value"[..].into())),
        UserOp::Delete { path: path("b"), condition: Condition::Revision(300) },
        UserOp::Increment { path: path("counter"), by: -300, ttl_ms: Some(60_000) },
        UserOp::AddScore { path: path("board"), member: Arc::clone(&member), by: 7 },
        UserOp::SetScore { path: path("board"), member: Arc::clone(&member), score: -7 },
        UserOp::RemoveMember { path: path("board"), member: "bob".into() },
        UserOp::Acquire { path: path("lock"), holder: "node-1".into(), ttl_ms: 10_000 },
        UserOp::Acquire { path: path("lock"), holder: "node-2".into(), ttl_ms: 10_000 },
        UserOp::Renew { path: path("lock"), token: 300, ttl_ms: 10_000 },
        UserOp::Release { path: path("lock"), token: 300 },
    ]
}

/// The same without what version 3 did not have.
fn before_user() -> Log {
    let mut log = before_rosters();
    let epoch = log.epoch(ShardId(0));
    log.ok(Command::CountGuilds(vec![rosters::report(ShardId(0), epoch, (1, 300))]));
    log
}

/// The same without what version 2 did not have.
fn before_rosters() -> Log {
    let mut log = before_tokens();
    log.ok(Command::CreateToken(tokens::new_token(Some("apolo-3"))));
    let by = tokens::used_by(THIRD, 3, 1_790_000_000_500);
    log.ok(Command::UseToken { token: tokens::TOKEN, name: "apolo-3".into(), by });
    log
}

/// The same without what version 1 did not have.
fn before_tokens() -> Log {
    let mut log = Log::formed(2);
    log.limits(2, 900);
    log.grant(0, Purpose::Start);
    log.start_session(ShardId(0), 1);
    log.start(THIRD, 1);
    log.lose(THIRD);
    log.ok(Command::RemoveNode { node: THIRD });
    log.ok(Command::DrainNode { node: NODE, wanted: true });
    log.hand_off(ShardId(1), OTHER);
    log
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    digits.map(byte).collect()
}

/// One command of every kind, in the order of their numbers.
fn one_of_each() -> Vec<Command> {
    let mut commands = before_restore_commands();
    commands.extend(restore_steps(300).map(Command::Restore));
    commands.push(Command::RaiseFormat(Format(6)));
    commands
}

fn before_restore_commands() -> Vec<Command> {
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
    let loss = Loss { node: NODE, boot: BootEpoch(3), losses: 200 };
    vec![
        Command::Form { cluster: cluster() },
        Command::StartNode { node: NODE, name: "apolo-0".into(), boot: BootEpoch(3) },
        Command::FixFacts(facts(16)),
        Command::Reshard { from: facts(16).total, facts: facts(32) },
        Command::Assign(vec![Move { shard, from: Some(epoch), to: OTHER }]),
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
        Command::Lead { node: NODE, term: 300 },
        Command::LoseNode {
            loss,
            reports: vec![report],
            moves: vec![Move { shard, from: Some(epoch), to: OTHER }],
        },
        Command::ReturnNode(loss),
        Command::DrainNode { node: NODE, wanted: true },
        Command::StopNode { node: NODE, boot: BootEpoch(3) },
        Command::RemoveNode { node: NODE },
        Command::HandOff(vec![Move { shard, from: Some(epoch), to: OTHER }]),
        Command::YieldLead { node: NODE, term: 300 },
        Command::Recover { node: NODE, gone: vec![OTHER, THIRD] },
        Command::CreateToken(tokens::new_token(Some("apolo-3"))),
        Command::UseToken {
            token: tokens::TOKEN,
            name: "apolo-3".into(),
            by: tokens::used_by(THIRD, 3, 1_790_000_000_000),
        },
        Command::RevokeToken { token: tokens::TOKEN },
        Command::CountGuilds(vec![rosters::report(shard, epoch, (2, 70_000))]),
        Command::User(UserBatch { ops: user_ops(), ..batch(300) }),
    ]
}
