//! The rules of the users' state, one by one; and at random, beside a naive model.

mod model;
mod restore;

use super::*;

fn path(key: &str) -> Path {
    Path::new("default", key)
}

fn put(key: &str, value: &'static [u8]) -> UserOp {
    put_for(key, value, None)
}

fn put_for(key: &str, value: &'static [u8], ttl_ms: Option<u64>) -> UserOp {
    put_if(key, value, ttl_ms, Condition::Always)
}

fn put_if(key: &str, value: &'static [u8], ttl_ms: Option<u64>, condition: Condition) -> UserOp {
    UserOp::Put { path: path(key), value: value.into(), ttl_ms, condition }
}

fn acquire(holder: &str, ttl_ms: u64) -> UserOp {
    UserOp::Acquire { path: path("lock"), holder: holder.into(), ttl_ms }
}

fn increment(key: &str, by: i64, ttl_ms: Option<u64>) -> UserOp {
    UserOp::Increment { path: path(key), by, ttl_ms }
}

fn add_score(member: &str, by: i64) -> UserOp {
    UserOp::AddScore { path: path("board"), member: member.into(), by }
}

impl UserState {
    fn at(&mut self, now_ms: u64, ops: Vec<UserOp>) -> Vec<UserOutcome> {
        let outcomes = self.apply(UserBatch { sent: None, now_ms, ops });
        self.assert_exact();
        outcomes
    }

    fn one(&mut self, now_ms: u64, op: UserOp) -> UserOutcome {
        self.at(now_ms, vec![op]).remove(0)
    }

    fn value(&self, key: &str) -> Option<&[u8]> {
        let Value::Bytes(bytes) = &self.get(&path(key))?.value else { panic!("no value") };
        Some(bytes)
    }

    /// What is kept beside the entries is what follows from them.
    fn assert_exact(&self) {
        assert_eq!(self.table, Table::from(self.table.entries().clone()));
        assert!(self.bytes() <= TOTAL_BYTES_MAX, "{}", self.bytes());
        for entry in self.table.entries().values() {
            if let Value::Board(board) = &entry.value {
                let scores: RedBlackTreeMapSync<Arc<str>, i64> = board.clone().into();
                assert_eq!(*board, Board::from(scores));
                assert!(!board.is_empty());
            }
        }
        let (events, bytes) = self.history.size();
        assert!(events <= HISTORY_MAX && bytes <= HISTORY_BYTES_MAX, "{events}, {bytes}");
    }
}

#[test]
fn every_change_takes_the_next_revision() {
    let mut state = UserState::default();

    let outcomes = state.at(0, vec![put("a", b"1"), put("b", b"2"), put("a", b"3")]);

    let changed = |revision| UserOutcome::Changed { revision };
    assert_eq!(outcomes, [1, 2, 3].map(changed));
    let entry = state.get(&path("a")).unwrap();
    assert_eq!((entry.created, entry.modified), (1, 3));
    assert_eq!(state.value("a"), Some(&b"3"[..]));
}

#[test]
fn of_two_that_compare_and_set_one_wins() {
    let mut state = UserState::default();
    let absent = || put_if("a", b"1", None, Condition::Absent);

    assert_eq!(state.one(0, absent()), UserOutcome::Changed { revision: 1 });
    let mismatch = |current| UserOutcome::Refused(UserRefusal::Mismatch { current });
    assert_eq!(state.one(0, absent()), mismatch(Some(1)));
    let by_revision = |value| put_if("a", value, None, Condition::Revision(1));
    assert_eq!(state.one(0, by_revision(b"2")), UserOutcome::Changed { revision: 2 });
    assert_eq!(state.one(0, by_revision(b"3")), mismatch(Some(2)));
    let by_value = |key| put_if(key, b"4", None, Condition::Value(b"2"[..].into()));
    assert_eq!(state.one(0, by_value("a")), UserOutcome::Changed { revision: 3 });
    assert_eq!(state.one(0, by_value("none")), mismatch(None));
    let delete = |at| UserOp::Delete { path: path("a"), condition: Condition::Revision(at) };
    assert_eq!(state.one(0, delete(1)), mismatch(Some(3)));
    assert_eq!(state.one(0, delete(3)), UserOutcome::Changed { revision: 4 });
    assert_eq!(state.value("a"), None);
}

#[test]
fn a_key_is_gone_as_soon_as_the_states_time_reaches_its_end() {
    let mut state = UserState::default();
    state.at(1_000, vec![put_for("a", b"1", Some(500)), put("b", b"2")]);

    state.at(1_499, vec![]);
    assert_eq!(state.value("a"), Some(&b"1"[..]));
    assert_eq!(state.next_due(), Some(1_500));
    state.at(1_500, vec![]);

    assert_eq!((state.value("a"), state.value("b")), (None, Some(&b"2"[..])));
    assert_eq!(state.next_due(), None);
    let expired = UserEvent { path: path("a"), change: UserChange::Expired };
    assert_eq!(state.changes(3).unwrap().collect::<Vec<_>>(), [(3, &expired)]);
}

#[test]
fn time_does_not_go_back() {
    let mut state = UserState::default();
    state.at(1_000, vec![put_for("a", b"1", Some(500))]);

    state.at(400, vec![put_for("b", b"1", Some(500))]);

    assert_eq!(state.now_ms(), 1_000);
    assert_eq!(state.get(&path("b")).unwrap().expires_at, Some(1_500));
}

#[test]
fn a_value_without_a_time_to_live_lives_for_good_whatever_was_there() {
    let mut state = UserState::default();
    state.at(0, vec![put_for("a", b"1", Some(500)), put("a", b"2")]);

    state.at(TTL_MS_MAX, vec![]);

    assert_eq!(state.value("a"), Some(&b"2"[..]));
}

#[test]
fn what_is_due_reads_as_absent_although_a_batch_removes_so_many_at_most() {
    let mut state = UserState::default();
    for nth in 0..EXPIRED_MAX + 10 {
        state.one(0, put_for(&format!("k{nth:05}"), b"1", Some(100)));
    }

    state.at(100, vec![]);

    assert_eq!(state.scan("default", "", None).count(), 0);
    assert_eq!(state.next_due(), Some(100));
    let last = format!("k{:05}", EXPIRED_MAX + 9);
    assert_eq!(
        state.one(100, put_if(&last, b"2", None, Condition::Absent)),
        UserOutcome::Changed { revision: 2 * EXPIRED_MAX as u64 + 21 }
    );
    assert_eq!((state.next_due(), state.scan("default", "", None).count()), (None, 1));
}

#[test]
fn a_counter_adds_up_and_keeps_the_end_that_its_first_increment_gave_it() {
    let mut state = UserState::default();

    state.one(0, increment("n", 5, Some(100)));
    let outcome = state.one(50, increment("n", -7, Some(100)));

    assert_eq!(outcome, UserOutcome::Number { revision: 2, value: -2 });
    assert_eq!(
        state.one(100, increment("n", 1, Some(100))),
        UserOutcome::Number { revision: 4, value: 1 }
    );
}

#[test]
fn a_sum_that_does_not_fit_is_refused_and_changes_nothing() {
    let mut state = UserState::default();
    state.at(0, vec![increment("n", i64::MAX, None), add_score("m", i64::MIN)]);

    let outcomes = state.at(0, vec![increment("n", 1, None), add_score("m", -1)]);

    let overflow = |value, by| UserOutcome::Refused(UserRefusal::Overflow { value, by });
    assert_eq!(outcomes, [overflow(i64::MAX, 1), overflow(i64::MIN, -1)]);
    assert_eq!(state.revision(), 2);
}

#[test]
fn a_key_is_of_one_kind() {
    let mut state = UserState::default();
    state.at(0, vec![put("v", b"1"), acquire("me", 100), add_score("m", 1)]);

    for (op, is) in [
        (increment("v", 1, None), Kind::Value),
        (put("lock", b"1"), Kind::Lock),
        (put("board", b"1"), Kind::Leaderboard),
        (UserOp::Release { path: path("v"), token: 1 }, Kind::Value),
    ] {
        let outcome = state.one(0, op);
        assert!(
            matches!(outcome, UserOutcome::Refused(UserRefusal::WrongKind { is: it, .. }) if it == is),
            "{outcome:?}"
        );
    }
    assert_eq!(state.revision(), 3);
}

#[test]
fn a_leaderboard_is_in_order_and_gone_with_its_last_member() {
    let mut state = UserState::default();
    state.at(0, ["ada", "bob", "cy"].iter().map(|name| add_score(name, 5)).collect());
    state.at(
        0,
        vec![
            add_score("bob", 5),
            UserOp::SetScore { path: path("board"), member: "cy".into(), score: -1 },
        ],
    );

    let Value::Board(board) = &state.get(&path("board")).unwrap().value else { panic!() };
    let ranked: Vec<_> = board.ranked().map(|(name, score)| (&**name, score)).collect();
    assert_eq!(ranked, [("bob", 10), ("ada", 5), ("cy", -1)]);
    assert_eq!((board.rank("cy"), board.rank("dee"), board.score("ada")), (Some(2), None, Some(5)));

    let remove = |name: &str| UserOp::RemoveMember { path: path("board"), member: name.into() };
    state.at(0, vec![remove("ada"), remove("bob"), remove("cy"), remove("cy")]);
    assert_eq!((state.get(&path("board")), state.bytes()), (None, 0));
}

#[test]
fn a_locks_token_grows_with_every_acquisition_and_one_holds_it_at_a_time() {
    let mut state = UserState::default();
    let held = |token| UserOutcome::Held { token };

    assert_eq!(state.one(0, acquire("one", 100)), held(1));
    let taken = UserRefusal::Taken { holder: "one".into(), for_ms: 40 };
    assert_eq!(state.one(60, acquire("two", 100)), UserOutcome::Refused(taken));
    assert_eq!(state.one(60, acquire("one", 100)), held(1), "asked again, it is told again");
    let renew = |token| UserOp::Renew { path: path("lock"), token, ttl_ms: 100 };
    assert_eq!(state.one(150, renew(1)), held(1));
    assert_eq!(state.revision(), 1, "a renewal is no change");
    // It expires at 250, with revision 2.
    assert_eq!(state.one(250, acquire("two", 100)), held(3));

    let not_held = UserOutcome::Refused(UserRefusal::NotHeld { token: 1 });
    let release = |token| UserOp::Release { path: path("lock"), token };
    assert_eq!(state.one(260, renew(1)), not_held);
    assert_eq!(state.one(260, release(1)), not_held);
    assert_eq!(state.one(260, release(3)), UserOutcome::Changed { revision: 4 });
    assert_eq!(state.one(260, acquire("one", 100)), held(5));
}

#[test]
fn a_batch_counts_once_however_often_it_is_proposed() {
    let mut state = UserState::default();
    let batch = |boot, number| UserBatch {
        sent: Some(Sender { node: NodeId(7), boot: BootEpoch(boot), number }),
        now_ms: 0,
        ops: vec![increment("n", 1, None)],
    };
    let number = |value| vec![UserOutcome::Number { revision: value as u64, value }];

    assert_eq!(state.apply(batch(1, 1)), number(1));
    assert_eq!(state.apply(batch(1, 1)), number(1));
    assert_eq!(state.apply(batch(1, 2)), number(2));
    assert_eq!(state.apply(batch(2, 1)), number(3), "it was started again");
    let overtaken = vec![UserOutcome::Refused(UserRefusal::Overtaken)];
    assert_eq!(state.apply(batch(1, 3)), overtaken, "one that was given up comes late");
    assert_eq!(state.revision(), 3);
}

#[test]
fn where_there_is_no_room_only_what_takes_none_goes_through() {
    let mut state = UserState::default();
    let value = vec![7; VALUE_BYTES_MAX];
    let mut nth = 0;
    let refusal = loop {
        let path = path(&format!("k{nth:05}"));
        let value = value.clone().into();
        let op = UserOp::Put { path, value, ttl_ms: None, condition: Condition::Always };
        let outcome = state.apply(UserBatch { ops: vec![op], ..UserBatch::default() }).remove(0);
        if let UserOutcome::Refused(refusal) = outcome {
            break refusal;
        }
        nth += 1;
    };
    state.assert_exact();

    let each = (VALUE_BYTES_MAX + 7 + 6) as u64 + ENTRY_BYTES;
    assert_eq!(nth, TOTAL_BYTES_MAX / each);
    let (used, limit) = (nth * each, TOTAL_BYTES_MAX);
    assert_eq!(refusal, UserRefusal::Full { used, limit, more: each });
    assert!(refusal.to_string().contains("delete keys"), "{refusal}");
    assert!(matches!(state.one(0, put("k00000", b"less")), UserOutcome::Changed { .. }));
    assert!(matches!(state.one(0, put("new", b"now it fits")), UserOutcome::Changed { .. }));
}

#[test]
fn what_is_too_long_or_nothing_is_refused() {
    let mut state = UserState::default();
    let long: &'static [u8] = vec![0; VALUE_BYTES_MAX + 1].leak();
    let key = "k".repeat(KEY_BYTES_MAX + 1);
    let half: &'static [u8] = &long[..VALUE_BYTES_MAX / 2 + 1];

    for op in [
        put("a", long),
        put(&key, b""),
        put("", b""),
        put_if("a", half, None, Condition::Value(half.into())),
        UserOp::Increment { path: Path::new("", "a"), by: 1, ttl_ms: None },
        UserOp::Increment { path: Path::new("n".repeat(65), "a"), by: 1, ttl_ms: None },
        add_score("", 1),
        acquire("", 1),
    ] {
        let outcome = state.one(0, op);
        assert!(matches!(outcome, UserOutcome::Refused(UserRefusal::Length { .. })), "{outcome:?}");
    }
    for ttl in [0, TTL_MS_MAX + 1] {
        assert_eq!(
            state.one(0, put_for("a", b"", Some(ttl))),
            UserOutcome::Refused(UserRefusal::Ttl(ttl))
        );
    }
    assert_eq!((state.revision(), state.bytes()), (0, 0));
}

#[test]
fn a_scan_finds_the_keys_of_its_namespace_and_prefix_in_order() {
    let mut state = UserState::default();
    state.at(0, ["b/1", "a", "b/3", "b/2", "b", "c"].map(|key| put(key, b"")).into());
    state.one(0, UserOp::Increment { path: Path::new("other", "b/9"), by: 1, ttl_ms: None });
    let keys = |prefix: &'static str, after: Option<&str>| -> Vec<_> {
        state.scan("default", prefix, after).map(|(path, _)| path.key.to_string()).collect()
    };

    assert_eq!(keys("b/", None), ["b/1", "b/2", "b/3"]);
    assert_eq!(keys("b/", Some("b/1")), ["b/2", "b/3"]);
    assert_eq!(keys("b/", Some("a")), ["b/1", "b/2", "b/3"]);
    assert_eq!(keys("", None), ["a", "b", "b/1", "b/2", "b/3", "c"]);
    assert!(keys("d", None).is_empty());
}

#[test]
fn a_watch_from_what_is_forgotten_is_told_where_it_may_begin() {
    let mut state = UserState::default();
    let changes = HISTORY_MAX as u64 + 5;
    for _ in 0..changes {
        state.apply(UserBatch { ops: vec![increment("n", 1, None)], ..UserBatch::default() });
    }
    state.assert_exact();

    assert_eq!(state.changes(5).err(), Some(Compacted { oldest: 6 }));
    let seen: Vec<_> = state.changes(6).unwrap().map(|(revision, _)| revision).collect();
    assert_eq!(seen, (6..=changes).collect::<Vec<_>>());
    assert_eq!(state.changes(changes + 1).unwrap().count(), 0);
}

#[test]
fn after_a_recovery_no_token_is_given_that_others_may_have_given() {
    let mut state = UserState::default();
    let held = |token| UserOutcome::Held { token };
    assert_eq!(state.one(0, acquire("one", 100)), held(1));
    let mut survivor = state.clone();
    for nth in 2..50 {
        state.one(nth * 200, acquire("two", 100));
    }

    survivor.leap();

    let after = survivor.one(200, acquire("three", 100));
    let UserOutcome::Held { token } = after else { panic!("{after:?}") };
    assert!(token > state.revision(), "{token}");
    assert_eq!(survivor.changes(2).err(), Some(Compacted { oldest: token - 1 }));
}

#[test]
fn large_changes_are_forgotten_sooner() {
    let mut state = UserState::default();
    let value: &'static [u8] = vec![0; VALUE_BYTES_MAX].leak();
    for _ in 0..200 {
        state.one(0, put("a", value));
    }

    let (events, bytes) = state.history.size();
    assert!(events < 129 && bytes <= HISTORY_BYTES_MAX, "{events}");
    assert_eq!(state.changes(1).err(), Some(Compacted { oldest: 201 - events as u64 }));
}
