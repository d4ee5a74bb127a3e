use super::*;
use crate::linear::Verdict;

const DELETE: Ask = Ask::Delete { expected: Expected::Anything };

fn anyway(value: &str) -> Ask {
    put(value, Expected::Anything)
}

fn verdict(operations: impl Into<Vec<Operation>>) -> Verdict {
    check(&History(operations.into()), WITHIN)
}

#[track_caller]
fn rejected(operations: impl Into<Vec<Operation>>) -> String {
    match verdict(operations) {
        Verdict::Violation(violation) => violation.to_string(),
        other => panic!("{other}"),
    }
}

#[track_caller]
fn accepted(operations: impl Into<Vec<Operation>>) {
    let verdict = verdict(operations);
    assert!(verdict.holds(), "{verdict}");
}

#[test]
fn a_read_that_misses_an_acknowledged_write_is_rejected() {
    let why = rejected([
        operation(1, (0, 10), anyway("a"), at(1)),
        operation(1, (20, 30), anyway("b"), at(2)),
        operation(2, (40, 50), Ask::Get, row("a", 1, 1)),
    ]);

    assert!(why.contains("longest order has 2") && why.contains("modified: 1"), "{why}");
}

#[test]
fn a_read_that_goes_back_behind_another_is_rejected() {
    rejected([
        operation(1, (0, 10), anyway("a"), at(1)),
        operation(1, (20, 90), anyway("b"), at(2)),
        operation(2, (30, 40), Ask::Get, row("b", 1, 2)),
        operation(3, (50, 60), Ask::Get, row("a", 1, 1)),
    ]);
}

#[test]
fn a_lost_update_is_rejected() {
    let add = || Ask::Increment { by: 1 };

    rejected([
        operation(1, (0, 10), add(), Answer::Counted { revision: 1, number: 1 }),
        operation(2, (5, 15), add(), Answer::Counted { revision: 2, number: 1 }),
    ]);
}

#[test]
fn an_update_that_counts_twice_is_rejected() {
    let add = || Ask::Increment { by: 1 };

    rejected([
        operation(1, (0, 10), add(), Answer::Counted { revision: 1, number: 1 }),
        operation(2, (20, 30), add(), Answer::Counted { revision: 3, number: 3 }),
    ]);
}

#[test]
fn two_winners_of_one_comparison_are_rejected() {
    for expected in [Expected::Revision(1), Expected::Value("a".to_owned())] {
        rejected([
            operation(1, (0, 10), anyway("a"), at(1)),
            operation(1, (20, 40), put("b", expected.clone()), at(2)),
            operation(2, (20, 40), put("c", expected), at(3)),
        ]);
    }
    rejected([
        operation(1, (20, 40), put("b", Expected::Absent), at(2)),
        operation(2, (20, 40), put("c", Expected::Absent), at(3)),
    ]);
}

#[test]
fn a_comparison_that_fails_without_a_reason_is_rejected() {
    rejected([
        operation(1, (0, 10), anyway("a"), at(1)),
        operation(
            1,
            (20, 30),
            put("b", Expected::Revision(1)),
            Answer::Mismatch { current: Some(1) },
        ),
    ]);
}

#[test]
fn a_value_that_nobody_wrote_is_rejected() {
    rejected([
        operation(1, (0, 10), anyway("a"), at(1)),
        operation(2, (5, 30), Ask::Get, row("b", 1, 1)),
    ]);
}

#[test]
fn a_value_that_is_back_from_the_dead_is_rejected() {
    rejected([
        operation(1, (0, 10), anyway("a"), at(1)),
        operation(1, (20, 30), DELETE, Answer::Deleted { revision: Some(2) }),
        operation(2, (40, 50), Ask::Get, row("a", 1, 1)),
    ]);
}

#[test]
fn an_effect_before_its_call_is_rejected() {
    rejected([
        operation(2, (0, 10), Ask::Get, row("a", 1, 1)),
        operation(1, (20, 30), anyway("a"), at(1)),
    ]);
    rejected([operation(2, (0, 10), Ask::Get, row("a", 1, 1)), unknown(1, 20, anyway("a"))]);
}

#[test]
fn a_revision_that_does_not_grow_is_rejected() {
    rejected([
        operation(1, (0, 10), anyway("a"), at(5)),
        operation(1, (20, 30), DELETE, Answer::Deleted { revision: Some(6) }),
        operation(1, (40, 50), anyway("b"), at(6)),
    ]);
}

#[test]
fn an_unknown_write_that_was_overwritten_does_not_come_back() {
    rejected([
        unknown(1, 0, anyway("a")),
        operation(2, (20, 30), Ask::Get, row("a", 1, 1)),
        operation(2, (40, 50), anyway("b"), at(2)),
        operation(2, (60, 70), Ask::Get, row("a", 1, 1)),
    ]);
}

#[test]
fn operations_at_once_may_take_effect_in_any_order() {
    accepted([
        operation(1, (0, 100), anyway("a"), at(2)),
        operation(2, (0, 100), anyway("b"), at(1)),
        operation(3, (10, 20), Ask::Get, Answer::Row(None)),
        operation(3, (30, 40), Ask::Get, row("b", 1, 1)),
        operation(3, (50, 60), Ask::Get, row("a", 1, 2)),
        operation(
            4,
            (55, 99),
            put("c", Expected::Revision(1)),
            Answer::Mismatch { current: Some(2) },
        ),
    ]);
}

#[test]
fn a_life_of_a_key_is_accepted() {
    accepted([
        operation(1, (0, 1), DELETE, Answer::Deleted { revision: None }),
        operation(1, (2, 3), put("a", Expected::Absent), at(4)),
        operation(1, (4, 5), put("b", Expected::Value("a".to_owned())), at(7)),
        operation(1, (6, 7), Ask::Get, row("b", 4, 7)),
        operation(1, (8, 9), put("c", Expected::Revision(7)), at(8)),
        operation(1, (10, 11), DELETE, Answer::Deleted { revision: Some(9) }),
        operation(1, (12, 13), put("d", Expected::Revision(8)), Answer::Mismatch { current: None }),
        operation(
            1,
            (14, 15),
            Ask::Increment { by: 3 },
            Answer::Counted { revision: 12, number: 3 },
        ),
    ]);
}

#[test]
fn an_unknown_write_may_have_happened_late_early_or_never() {
    let after = |last: Operation| {
        vec![
            operation(1, (0, 10), anyway("a"), at(1)),
            unknown(2, 20, put("b", Expected::Revision(1))),
            operation(3, (30, 40), Ask::Get, row("a", 1, 1)),
            last,
        ]
    };

    accepted(after(operation(3, (50, 60), Ask::Get, row("a", 1, 1))));
    accepted(after(operation(3, (50, 60), Ask::Get, row("b", 1, 2))));
    accepted(after(operation(3, (50, 60), anyway("c"), at(3))));
    rejected(after(operation(3, (50, 60), Ask::Get, row("b", 1, 1))));
}

#[test]
fn keys_are_independent() {
    let elsewhere = |mut operation: Operation| {
        operation.key = "other".to_owned();
        operation
    };

    accepted([
        operation(1, (0, 10), anyway("a"), at(1)),
        elsewhere(operation(1, (20, 30), Ask::Get, Answer::Row(None))),
    ]);
    let why = rejected([
        operation(1, (0, 10), anyway("a"), at(1)),
        elsewhere(operation(1, (20, 30), Ask::Get, row("a", 1, 1))),
    ]);
    assert!(why.contains("\"other\""), "{why}");
}

/// Forty writes of which nobody heard, and a read of what none of them wrote: every subset in every order.
#[test]
fn a_search_that_takes_too_long_is_no_success() {
    let mut operations: Vec<_> =
        (0..40).map(|nth| unknown(nth, nth as u64, anyway(&nth.to_string()))).collect();
    operations.push(operation(99, (100, 110), Ask::Get, row("never", 1, 1_000)));

    let verdict = check(&History(operations), Duration::from_millis(50));

    assert!(matches!(verdict, Verdict::TimedOut { .. }) && !verdict.holds(), "{verdict}");
}

#[test]
fn a_history_that_was_saved_is_read_as_it_was() {
    let history = History(vec![
        operation(1, (0, 10), put("a", Expected::Absent), at(1)),
        operation(2, (5, 30), Ask::Get, row("a", 1, 1)),
        unknown(3, 7, Ask::Delete { expected: Expected::Revision(1) }),
    ]);
    let file = tempfile::NamedTempFile::new().unwrap();

    history.save(file.path()).unwrap();

    assert_eq!(History::load(file.path()).unwrap(), history);
}

/// As many as a long run may leave: what is checked after each history must not be what a run waits for.
#[test]
fn a_long_history_of_one_key_is_checked_within_its_time() {
    let mut operations = Vec::new();
    for nth in 0..10_000_u64 {
        let (client, from) = ((nth % 8) as usize, nth * 10);
        let answer = Answer::Counted { revision: nth + 1, number: nth as i64 + 1 };
        operations.push(operation(client, (from, from + 75), Ask::Increment { by: 1 }, answer));
    }

    accepted(operations);
}
