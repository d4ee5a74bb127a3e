//! Nodes that start, are drained, stop and are removed.

use super::*;

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
fn a_start_gives_the_nodes_shards_a_new_epoch() {
    let mut log = Log::formed(4);
    let old = log.epoch(SHARD);

    log.start(NODE, 2);

    assert_eq!(log.owner(SHARD), Some(NODE));
    assert_eq!(log.epoch(SHARD), Epoch { generation: 1, index: LogIndex(log.index) });
    let late = ShardReport::new(SHARD, old);
    assert_eq!(log.apply(Command::Release(vec![late])), Outcome::Stale);
}

#[test]
fn a_start_that_is_committed_twice_counts_once() {
    let mut log = Log::formed(4);
    log.start(NODE, 2);
    let before = log.state.clone();

    log.start(NODE, 2);

    assert_eq!((log.state.nodes(), log.state.shards()), (before.nodes(), before.shards()));
}

#[test]
fn a_start_leaves_the_shards_of_other_nodes_alone() {
    let mut log = Log::formed(4);
    let before = log.state.shards().clone();

    log.start(OTHER, 2);

    assert_eq!(log.state.shards(), &before);
}

#[test]
fn what_an_operator_wants_empty_stays_so_over_a_restart() {
    let mut log = Log::formed(1);
    log.ok(Command::DrainNode { node: NODE, wanted: true });

    log.start(NODE, 2);

    assert_eq!(log.state.nodes()[&NODE].drain, Drain::Wanted);
}

#[test]
fn a_stopping_node_takes_part_again_from_its_next_start() {
    let mut log = Log::formed(1);
    log.ok(Command::StopNode { node: NODE, boot: BootEpoch(1) });
    assert!(!log.state.nodes()[&NODE].takes_orphans());

    log.start(NODE, 2);

    assert!(log.state.nodes()[&NODE].takes_shards());
}

#[test]
fn a_stop_that_comes_late_does_not_stop_the_next_start() {
    let mut log = Log::formed(1);
    log.start(NODE, 2);

    let late = log.apply(Command::StopNode { node: NODE, boot: BootEpoch(1) });

    assert_eq!((late, log.state.nodes()[&NODE].drain), (Outcome::Stale, Drain::No));
}

#[test]
fn stopping_and_being_wanted_empty_do_not_undo_each_other() {
    let stop = |log: &mut Log| log.ok(Command::StopNode { node: NODE, boot: BootEpoch(1) });
    let want = |log: &mut Log, wanted| log.ok(Command::DrainNode { node: NODE, wanted });

    let mut stopped_last = Log::formed(1);
    want(&mut stopped_last, true);
    stop(&mut stopped_last);
    let mut wanted_last = Log::formed(1);
    stop(&mut wanted_last);
    want(&mut wanted_last, true);
    let mut unwanted = Log::formed(1);
    stop(&mut unwanted);
    want(&mut unwanted, false);

    let drain = |log: &Log| log.state.nodes()[&NODE].drain;
    assert_eq!(drain(&stopped_last), Drain::Stopping { wanted: true });
    assert_eq!(drain(&wanted_last), Drain::Stopping { wanted: true });
    assert_eq!(drain(&unwanted), Drain::Stopping { wanted: false });
    stopped_last.start(NODE, 2);
    assert_eq!(drain(&stopped_last), Drain::Wanted);
}

#[test]
fn a_drain_that_is_taken_back_lets_the_node_take_part_again() {
    let mut log = Log::formed(1);
    log.ok(Command::DrainNode { node: NODE, wanted: true });

    log.ok(Command::DrainNode { node: NODE, wanted: false });

    assert!(log.state.nodes()[&NODE].takes_shards());
}

#[test]
fn nothing_is_handed_off_any_more_to_a_node_that_is_lost_drained_stopped_or_removed() {
    for command in [
        Command::DrainNode { node: OTHER, wanted: true },
        Command::StopNode { node: OTHER, boot: BootEpoch(1) },
        losing(Loss { node: OTHER, boot: BootEpoch(1), losses: 0 }, vec![]),
        Command::RemoveNode { node: OTHER },
    ] {
        let shown = format!("{command:?}");
        let mut log = Log::formed(4);
        log.hand_off(SHARD, OTHER);

        log.ok(command);

        assert_eq!(log.state.shards()[&SHARD].handoff(), None, "{shown}");
        log.release(SHARD);
        assert_eq!(log.owner(SHARD), None, "{shown}");
    }
}

#[test]
fn a_node_that_owns_a_shard_is_not_removed() {
    let mut log = Log::formed(4);

    let outcome = log.apply(Command::RemoveNode { node: NODE });

    assert_eq!(outcome, Outcome::Refused(Refusal::StillOwns { shards: 4 }));
    assert!(log.state.nodes().contains_key(&NODE));
}

#[test]
fn a_node_that_owns_nothing_is_removed_and_removing_it_again_is_no_error() {
    let mut log = Log::formed(4);

    log.ok(Command::RemoveNode { node: OTHER });
    log.ok(Command::RemoveNode { node: OTHER });

    assert_eq!(log.state.nodes().keys().collect::<Vec<_>>(), [&NODE]);
}

#[test]
fn commands_for_a_node_that_nobody_knows_are_refused() {
    let mut log = Log::formed(1);
    let loss = Loss { node: THIRD, boot: BootEpoch(1), losses: 0 };

    for command in [
        Command::ReturnNode(loss),
        Command::DrainNode { node: THIRD, wanted: true },
        Command::StopNode { node: THIRD, boot: BootEpoch(1) },
    ] {
        assert_eq!(log.apply(command), Outcome::Refused(Refusal::Unknown));
    }
}

#[test]
fn removed_nodes_are_remembered_and_of_very_many_the_last() {
    let mut log = Log::formed(1);
    for id in 100..1200 {
        log.start(NodeId(id), 1);
        log.ok(Command::RemoveNode { node: NodeId(id) });
    }

    assert!(log.state.was_removed(NodeId(1199)) && log.state.was_removed(NodeId(176)));
    assert!(!log.state.was_removed(NodeId(175)) && !log.state.was_removed(NODE));
    log.ok(Command::RemoveNode { node: NodeId(5000) });
    assert!(!log.state.was_removed(NodeId(5000)), "nobody knows it");
}
