//! The bytes of every version.

use super::*;

#[test]
fn bytes_of_a_newer_version_are_refused_by_name() {
    let mut bytes = encode_command(&Command::Unhalt);
    bytes[0] += 1;

    assert_eq!(decode_command(&bytes), Err(CodecError::Newer(2)));
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
fn a_state_written_by_version_3_is_still_read_and_written_the_same() {
    let golden = unhex(include_str!("../../../tests/data/state/state-v3.txt").trim());

    let bytes: String = encode_state(&state()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(encode_state(&state()), golden, "{bytes}");
    assert_eq!(decode_state(&golden), Ok(state()));
}

/// A state with something of everything.
fn state() -> State {
    let mut log = before_rosters();
    let epoch = log.epoch(ShardId(0));
    log.ok(Command::CountGuilds(vec![rosters::report(ShardId(0), epoch, (1, 300))]));
    log.state
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
    ]
}
