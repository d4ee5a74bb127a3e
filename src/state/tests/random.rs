//! Whatever is proposed, in whatever order.

use proptest::{collection::vec, prelude::*};

use super::*;

/// Stands for the epoch, or the boot and count of losses, that is current when the command is applied, which chance seldom meets.
const CURRENT: u64 = 0;

/// Any command over a few shards, nodes, sessions and epochs, most of them nonsense.
fn any_command() -> impl Strategy<Value = Command> {
    let shard = || (0_u32..5).prop_map(ShardId);
    let node = || prop_oneof![Just(NODE), Just(OTHER), Just(THIRD)];
    let epoch = || {
        let index = prop_oneof![2 => Just(CURRENT), 1 => 0_u64..60];
        index.prop_map(|index| Epoch { generation: 1, index: LogIndex(index) })
    };
    let checkpoint = || (0_u64..4, 0_u64..9).prop_map(|(n, s)| (SessionNumber(n), Sequence(s)));
    let report = || {
        let parts = (shard(), epoch(), checkpoint());
        parts.prop_map(|(shard, epoch, (n, s))| ShardReport::new(shard, epoch).at(n, s))
    };
    let moves = || {
        let step = (shard(), proptest::option::of(epoch()), node());
        vec(step.prop_map(|(shard, from, to)| Move { shard, from, to }), 1..4)
    };
    let boot = || (0_u64..4).prop_map(BootEpoch);
    let loss = || {
        let parts = (node(), boot(), 0_u32..3);
        parts.prop_map(|(node, boot, losses)| Loss { node, boot, losses })
    };
    let total = || prop_oneof![Just(3_u32), Just(4), Just(5)];
    let of_shards = prop_oneof![
        moves().prop_map(Command::Assign),
        moves().prop_map(Command::HandOff),
        vec(report(), 1..3).prop_map(Command::Report),
        vec(report(), 1..3).prop_map(Command::Release),
        (shard(), epoch(), 1_u64..4).prop_map(|(shard, epoch, number)| {
            Command::StartSession { shard, epoch, session: session(number) }
        }),
        (shard(), epoch(), checkpoint()).prop_map(|(shard, epoch, (session, _))| {
            Command::LoseSession { shard, epoch, session }
        }),
    ];
    let of_nodes = prop_oneof![
        (node(), boot())
            .prop_map(|(node, boot)| { Command::StartNode { node, name: String::new(), boot } }),
        (loss(), vec(report(), 0..3), moves())
            .prop_map(|(loss, reports, moves)| Command::LoseNode { loss, reports, moves }),
        loss().prop_map(Command::ReturnNode),
        (node(), any::<bool>()).prop_map(|(node, wanted)| Command::DrainNode { node, wanted }),
        (node(), boot()).prop_map(|(node, boot)| Command::StopNode { node, boot }),
        node().prop_map(|node| Command::RemoveNode { node }),
        (node(), 0_u64..4).prop_map(|(node, term)| Command::Lead { node, term }),
        (total(), total()).prop_map(|(from, to)| {
            Command::Reshard { from: facts(from).total, facts: facts(to) }
        }),
    ];
    let purpose = prop_oneof![Just(Purpose::Start), Just(Purpose::Recover)];
    let of_identifies = prop_oneof![
        (shard(), epoch(), purpose).prop_map(|(shard, epoch, purpose)| Command::Grant {
            shard,
            epoch,
            purpose
        }),
        vec(0_u32..4, 0..3).prop_map(Command::ReopenBuckets),
        Just(Command::Halt { code: 4004, shard: SHARD }),
        Just(Command::Unhalt),
        Just(Command::RaiseFormat(Format(6))),
        (1_u32..5, 0_u32..9).prop_map(|(max_concurrency, remaining)| {
            let resets_at = UnixMillis(1);
            Command::ObserveGateway(gateway(Limits {
                max_concurrency,
                total: 9,
                remaining,
                resets_at,
            }))
        }),
    ];
    prop_oneof![3 => of_shards, 3 => of_nodes, 1 => of_identifies, 1 => of_tokens()]
}

fn of_tokens() -> impl Strategy<Value = Command> {
    let node = prop_oneof![Just(NODE), Just(OTHER)];
    prop_oneof![
        Just(Command::CreateToken(tokens::new_token(None))),
        (node, 0_u8..3).prop_map(|(node, key)| Command::UseToken {
            token: tokens::TOKEN,
            name: String::new(),
            by: tokens::used_by(node, key, 1_790_000_000_000),
        }),
    ]
}

/// The command with what is current in place of [`CURRENT`].
fn aim(command: &mut Command, state: &State) {
    let aim_epoch = |shard: ShardId, epoch: &mut Epoch| {
        if epoch.index.0 == CURRENT
            && let Some(current) = state.shards().get(&shard).and_then(Shard::epoch)
        {
            *epoch = current;
        }
    };
    let aim_moves = |moves: &mut Vec<Move>| {
        for Move { shard, from, .. } in moves {
            from.iter_mut().for_each(|epoch| aim_epoch(*shard, epoch));
        }
    };
    let aim_reports = |reports: &mut Vec<ShardReport>| {
        reports.iter_mut().for_each(|report| aim_epoch(report.shard, &mut report.epoch));
    };
    let aim_loss = |loss: &mut Loss| {
        if loss.boot.0 == CURRENT
            && let Some(node) = state.nodes().get(&loss.node)
        {
            (loss.boot, loss.losses) = (node.boot, node.losses);
        }
    };
    match command {
        Command::Assign(moves) | Command::HandOff(moves) => aim_moves(moves),
        Command::Report(reports) | Command::Release(reports) => aim_reports(reports),
        Command::StartSession { shard, epoch, .. }
        | Command::LoseSession { shard, epoch, .. }
        | Command::Grant { shard, epoch, .. } => aim_epoch(*shard, epoch),
        Command::LoseNode { loss, reports, moves } => {
            aim_loss(loss);
            aim_reports(reports);
            aim_moves(moves);
        }
        Command::ReturnNode(loss) => aim_loss(loss),
        Command::StopNode { node, boot } => {
            if let Some(node) = state.nodes().get(node).filter(|_| boot.0 == CURRENT) {
                *boot = node.boot;
            }
        }
        Command::StartNode { .. }
        | Command::Form { .. }
        | Command::FixFacts(_)
        | Command::Reshard { .. }
        | Command::ObserveGateway(_)
        | Command::ReopenBuckets(_)
        | Command::RaiseFormat(_)
        | Command::Halt { .. }
        | Command::Unhalt
        | Command::Lead { .. }
        | Command::YieldLead { .. }
        | Command::Recover { .. }
        | Command::DrainNode { .. }
        | Command::RemoveNode { .. }
        | Command::CreateToken(_)
        | Command::UseToken { .. }
        | Command::RevokeToken { .. }
        | Command::CountGuilds(_)
        | Command::User(_)
        | Command::Restore(_) => {}
    }
}

/// Whether `command` may make `after` out of `before`, the assignment of `shard`.
fn may_change_hands(
    command: &Command,
    shard: ShardId,
    before: Option<Assignment>,
    after: Option<Assignment>,
) -> bool {
    let next = after.map(|next| next.node);
    let Some(held) = before else {
        return matches!(command, Command::Assign(moves)
            if moves.iter().any(|step| (step.shard, Some(step.to)) == (shard, next)));
    };
    matches!(command, Command::Release(reports)
        if reports.iter().any(|report| (report.shard, report.epoch) == (shard, held.epoch)))
        || matches!(command, Command::LoseNode { loss, .. }
            if loss.node == held.node && next != Some(held.node))
        || matches!(command, Command::StartNode { node, .. }
            if held.node == *node && next == Some(*node))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn a_shard_changes_hands_by_release_loss_start_or_from_nobody_and_its_epoch_grows(
        commands in vec(any_command(), 1..60)
    ) {
        let mut log = Log::formed(4);
        let mut highest: BTreeMap<ShardId, Epoch> =
            log.state.shards().iter().filter_map(|(id, shard)| Some((*id, shard.epoch()?))).collect();
        for mut command in commands {
            aim(&mut command, &log.state);
            let before = log.state.clone();
            log.apply(command.clone());
            for (id, shard) in log.state.shards() {
                let held = before.shards().get(id).and_then(Shard::assignment);
                if shard.assignment() == held {
                    continue;
                }
                prop_assert!(may_change_hands(&command, *id, held, shard.assignment()), "{command:?}");
                if let Some(epoch) = shard.epoch() {
                    // Over owners and over the time without one.
                    prop_assert!(highest.insert(*id, epoch) < Some(epoch), "{command:?}");
                }
            }
        }
    }

    #[test]
    fn a_lost_node_owns_nothing_and_nothing_waits_for_a_node_that_takes_nothing(
        commands in vec(any_command(), 1..60)
    ) {
        let mut log = Log::formed(4);
        for mut command in commands {
            aim(&mut command, &log.state);
            log.apply(command);
            for shard in log.state.shards().values() {
                if let Some(held) = shard.assignment() {
                    let owner = log.state.nodes().get(&held.node);
                    prop_assert_eq!(owner.map(|node| node.presence), Some(Presence::Present));
                    prop_assert!(shard.handoff() != Some(held.node));
                }
                if let Some(to) = shard.handoff() {
                    prop_assert!(shard.assignment().is_some());
                    prop_assert!(log.state.nodes().get(&to).is_some_and(Node::takes_shards));
                }
            }
        }
    }

    #[test]
    fn checkpoints_only_grow(commands in vec(any_command(), 1..60)) {
        let mut log = Log::formed(4);
        for mut command in commands {
            aim(&mut command, &log.state);
            let before = log.state.clone();
            log.apply(command);
            for (id, shard) in log.state.shards() {
                if let Some(earlier) = before.shards().get(id) {
                    prop_assert!(shard.checkpoint() >= earlier.checkpoint());
                }
                if let Some(session) = shard.session() {
                    prop_assert_eq!(session.number, shard.checkpoint().session);
                }
            }
        }
    }

    #[test]
    fn a_grant_is_spent_and_never_made_while_halted(commands in vec(any_command(), 1..60)) {
        let mut log = Log::formed(4);
        for mut command in commands {
            aim(&mut command, &log.state);
            let granting = matches!(command, Command::Grant { .. });
            let before = log.state.ledger().clone();
            if log.apply(command) == Outcome::Applied && granting {
                let spent = before.limits().map(|limits| limits.remaining);
                let left = log.state.ledger().limits().map(|limits| limits.remaining + 1);
                prop_assert_eq!(left, spent);
                prop_assert!(before.halted().is_none());
            }
        }
    }

    #[test]
    fn equal_logs_make_equal_states(commands in vec(any_command(), 1..60)) {
        let (mut one, mut other) = (Log::formed(4), Log::formed(4));
        for mut command in commands {
            aim(&mut command, &one.state);
            prop_assert_eq!(one.apply(command.clone()), other.apply(command));
            // A replica that starts from a snapshot goes on like one that has seen every entry.
            other.state = decode_state(&encode_state(&other.state)).expect("its own bytes");
        }

        prop_assert_eq!(encode_state(&one.state), encode_state(&other.state));
        prop_assert_eq!(one.state, other.state);
    }

    #[test]
    fn a_command_survives_its_own_bytes(command in any_command()) {
        prop_assert_eq!(decode_command(&encode_command(&command)), Ok(command));
    }

    #[test]
    fn garbage_is_refused_and_never_panics(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode_command(&bytes);
        let _ = decode_state(&bytes);
    }
}
