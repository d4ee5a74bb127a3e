//! A disk that does not answer for a while.

use std::{sync::mpsc::RecvTimeoutError, thread, time::Duration};

use super::{PATIENCE, hold::Hold, records, start, vote, waiting};
use crate::store::{Backend as _, Barrier, Options, Write, open};

/// How long the barrier takes.
const STALL: Duration = Duration::from_secs(5);

#[test]
fn a_barrier_that_takes_long_delays_acknowledgements_and_loses_nothing() {
    let top = tempfile::tempdir().unwrap();
    let hold = Hold::leak();
    let options = Options { barrier: Barrier::Held(hold), ..Options::default() };
    let store = open(top.path(), &options).unwrap().store;
    let pulse = store.pulse();
    let before = pulse.under_way();

    hold.hold();
    let submit = |write| {
        let (done, answered) = waiting();
        store.submit(write, done);
        answered
    };
    let first = submit(Write::Append(records(1, 0..3)));
    hold.until_reached();
    let behind = [submit(Write::Vote(vote(2))), submit(Write::Append(records(2, 3..6)))];
    let early = first.recv_timeout(STALL);
    let early_behind = behind.each_ref().map(|answered| answered.try_recv().is_ok());
    let during = pulse.under_way();
    hold.release();
    for answered in [first].iter().chain(&behind) {
        answered.recv_timeout(PATIENCE).expect("it is answered in the end").unwrap();
    }
    // The writer says so just after its last answer.
    while pulse.under_way().is_some() {
        thread::yield_now();
    }
    drop(store);
    let recovered = start(top.path()).recovered;

    assert_eq!(before, None);
    assert!(matches!(early, Err(RecvTimeoutError::Timeout)), "{early:?}");
    assert_eq!(early_behind, [false, false]);
    assert!(during.is_some_and(|during| during >= STALL), "{during:?}");
    assert_eq!(recovered.records, [records(1, 0..3), records(2, 3..6)].concat());
    assert_eq!(recovered.vote, Some(vote(2)));
}
