//! What the bot keeps, where nodes end.

use super::*;
use crate::state::user::{Path, Sender, UserBatch, UserOp, UserOutcome};

fn batch(node: NodeId) -> Command {
    let sent = Some(Sender { node, boot: BootEpoch(1), number: 1 });
    let op = UserOp::Increment { path: Path::new("default", "n"), by: 1, ttl_ms: None };
    Command::User(UserBatch { sent, now_ms: 0, ops: vec![op] })
}

fn counted(revision: u64, value: i64) -> Outcome {
    Outcome::User(vec![UserOutcome::Number { revision, value }])
}

#[test]
fn a_node_that_was_removed_changes_nothing_and_leaves_nothing_behind() {
    let mut log = Log::formed(1);
    log.start(THIRD, 1);
    assert_eq!(log.apply(batch(OTHER)), counted(1, 1));
    let before = log.state.user().clone();
    assert_eq!(log.apply(batch(THIRD)), counted(2, 2));
    assert_ne!(*log.state.user(), before);

    log.lose(THIRD);
    log.ok(Command::RemoveNode { node: THIRD });

    assert_eq!(log.apply(batch(THIRD)), Outcome::Refused(Refusal::Unknown));
    assert_eq!(log.apply(batch(OTHER)), counted(1, 1), "it is remembered as it was");
    assert_eq!(log.state.user().revision(), 2);
}

#[test]
fn a_recovery_keeps_what_the_survivor_has_and_leaves_revisions_out() {
    let mut log = Log::formed(1);
    assert_eq!(log.apply(batch(NODE)), counted(1, 1));

    log.ok(Command::Recover { node: NODE, gone: vec![OTHER] });

    let after = log.state.user();
    let counter = after.get(&Path::new("default", "n")).expect("it is kept");
    assert!(after.revision() > 1 << 32 && counter.modified == 1);
}
