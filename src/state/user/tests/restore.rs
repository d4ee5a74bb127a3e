//! Restores: put aside, swapped in, given up.

use bytes::Bytes;

use super::*;
use crate::state::user::{
    CHUNK_BYTES_MAX, Item, Restore, RestoreId, RestorePlan, RestoreRefusal, RestoreStep, Restored,
    chained, decode_chunk,
};

const ID: RestoreId = RestoreId(7);

const WITHIN_MS: u64 = 10_000;

const LEAST_GAP: u64 = 1 << 32;

/// A cluster with something of everything, at time 1,000.
fn source() -> UserState {
    let mut state = UserState::default();
    let ops = vec![
        put("a", b"1"),
        put_for("b", b"2", Some(500)),
        increment("n", 5, Some(30_000)),
        add_score("ada", 3),
        add_score("bob", -3),
        acquire("holder", 60_000),
    ];
    state.at(1_000, ops);
    state
}

/// A backup of `source`: what is announced, and the chunks.
fn backup(source: &UserState) -> (RestorePlan, Vec<Bytes>) {
    let seed = [9; 32];
    let chunks: Vec<_> = source.chunks().collect();
    let items = chunks.iter().flat_map(|chunk| decode_chunk(chunk).unwrap());
    let keys: std::collections::BTreeSet<_> = items.map(|item| item.path().clone()).collect();
    let plan = RestorePlan {
        id: ID,
        revision: source.revision(),
        seed,
        digest: chunks.iter().fold(seed, |digest, chunk| chained(&digest, chunk)),
        chunks: u32::try_from(chunks.len()).unwrap(),
        keys: keys.len() as u64,
        replace: false,
        within_ms: WITHIN_MS,
    };
    (plan, chunks)
}

type Done = Result<Option<Restored>, RestoreRefusal>;

impl UserState {
    fn step(&mut self, now_ms: u64, step: RestoreStep) -> Done {
        let done = self.restore(Restore { now_ms, step });
        self.assert_exact();
        done
    }

    fn stage(&mut self, now_ms: u64, plan: &RestorePlan, chunks: &[Bytes]) {
        assert_eq!(self.step(now_ms, RestoreStep::Begin(plan.clone())), Ok(None));
        for (number, chunk) in (0..).zip(chunks) {
            let (id, chunk) = (plan.id, chunk.clone());
            let put = RestoreStep::Chunk { id, number, chunk };
            assert_eq!(self.step(now_ms, put), Ok(None));
        }
    }

    fn restored(&mut self, now_ms: u64, source: &Self, replace: bool) -> Restored {
        let (plan, chunks) = backup(source);
        let id = RestoreId(self.revision + 7);
        self.stage(now_ms, &RestorePlan { id, replace, ..plan }, &chunks);
        self.step(now_ms, RestoreStep::Finish(id)).unwrap().unwrap()
    }
}

fn chunk(number: u32, items: &[Item]) -> RestoreStep {
    let chunk = items.iter().flat_map(|item| postcard::to_stdvec(item).unwrap()).collect();
    RestoreStep::Chunk { id: ID, number, chunk }
}

#[test]
fn an_empty_cluster_keeps_after_a_restore_what_the_other_kept() {
    let (source, mut state) = (source(), UserState::default());

    let done = state.restored(0, &source, false);

    assert_eq!((done.keys, done.replaced, done.locks), (4, 0, 0));
    let ttls = |item: Item| match item {
        Item::Value { path, value, .. } => Item::Value { path, value, ttl_ms: None },
        Item::Counter { path, value, .. } => Item::Counter { path, value, ttl_ms: None },
        board @ Item::Members { .. } => board,
    };
    let kept = |state: &UserState| state.items().map(ttls).collect::<Vec<_>>();
    assert_eq!(kept(&state), kept(&source));
    assert_eq!(state.get(&path("lock")), None, "its holder is of another time");
}

#[test]
fn nothing_is_seen_of_a_restore_before_it_finishes() {
    let mut state = UserState::default();
    state.one(0, put("own", b"1"));
    let (plan, chunks) = backup(&source());
    let before = state.clone();

    state.stage(0, &RestorePlan { replace: true, ..plan }, &chunks);

    assert_eq!(
        (state.revision(), state.bytes(), state.value("own"), state.value("a")),
        (before.revision(), before.bytes(), Some(&b"1"[..]), None)
    );
    assert!(state.held_bytes() > state.bytes());
    state.one(0, put("own", b"2"));
    state.step(0, RestoreStep::Finish(ID)).unwrap();
    assert_eq!((state.value("own"), state.value("a")), (None, Some(&b"1"[..])));
    assert_eq!(state.held_bytes(), state.bytes());
}

#[test]
fn a_cluster_that_keeps_something_keeps_it_unless_it_may_go() {
    let mut state = UserState::default();
    let (plan, chunks) = backup(&source());
    state.stage(0, &plan, &chunks);
    state.one(0, put("own", b"1"));
    let refused = Err(RestoreRefusal::NotEmpty { keys: 1 });

    assert_eq!(state.step(0, RestoreStep::Finish(ID)), refused, "it was empty at the begin");
    assert_eq!(state.step(0, RestoreStep::Begin(plan)), refused);
    assert_eq!(state.value("own"), Some(&b"1"[..]));

    assert_eq!(state.restored(0, &source(), true).replaced, 1);
}

#[test]
fn tokens_grow_over_a_restore_whichever_cluster_gave_them() {
    for ahead in [false, true] {
        let (mut source, mut state) = (source(), UserState::default());
        if ahead {
            state.restored(0, &source, false);
            state.restored(0, &source, true);
        }
        let there = source.one(1_000, acquire("holder", 1));
        let own =
            state.one(0, UserOp::Acquire { path: path("own"), holder: "x".into(), ttl_ms: 9 });
        let (UserOutcome::Held { token: there }, UserOutcome::Held { token: own }) = (there, own)
        else {
            panic!("they are free");
        };

        let done = state.restored(0, &source, true);
        let next = state.one(0, acquire("other", 1_000));

        let UserOutcome::Held { token } = next else { panic!("nobody holds it: {next:?}") };
        assert!(token > there + LEAST_GAP && token > own + LEAST_GAP, "{token} {there} {own}");
        assert!(token > done.revision);
    }
}

#[test]
fn whoever_holds_a_lock_holds_it_over_a_restore() {
    let mut state = UserState::default();
    let held = state.one(0, acquire("holder", 60_000));

    let done = state.restored(0, &source(), false);

    assert_eq!((done.locks, done.replaced), (1, 0), "a lock alone is no reason to refuse");
    assert_eq!(state.one(0, acquire("holder", 60_000)), held);
    assert!(matches!(state.one(0, acquire("other", 1)), UserOutcome::Refused(_)));
}

#[test]
fn a_time_to_live_is_never_cut_short_and_the_time_of_the_restore_at_most_longer() {
    let (source, mut state) = (source(), UserState::default());
    let (plan, chunks) = backup(&source);
    state.stage(5_000, &plan, &chunks);
    state.step(5_000 + WITHIN_MS - 1, RestoreStep::Finish(ID)).unwrap();

    let ends = state.get(&path("b")).unwrap().expires_at;

    assert_eq!(ends, Some(5_000 + WITHIN_MS + 500));
    state.at(ends.unwrap() - 1, vec![]);
    assert_eq!(state.value("b"), Some(&b"2"[..]));
    state.at(ends.unwrap(), vec![]);
    assert_eq!((state.value("b"), state.value("a")), (None, Some(&b"1"[..])));
}

#[test]
fn whoever_watches_is_told_to_begin_anew() {
    let mut state = UserState::default();
    state.one(0, put("own", b"1"));

    let done = state.restored(0, &source(), true);

    let oldest = done.revision + 1;
    assert_eq!(state.changes(2).err(), Some(Compacted { oldest }));
    assert_eq!(state.changes(oldest).unwrap().count(), 0);
    let known = state.one(0, put_if("a", b"2", None, Condition::Revision(1)));
    let mismatch = UserRefusal::Mismatch { current: Some(done.revision) };
    assert_eq!(known, UserOutcome::Refused(mismatch), "it is another history's revision");
}

#[test]
fn each_step_counts_once_however_often_it_comes() {
    let (plan, chunks) = backup(&source());
    let mut state = UserState::default();
    let put = |number| {
        let chunk = chunks[usize::try_from(number).unwrap()].clone();
        RestoreStep::Chunk { id: ID, number, chunk }
    };
    assert_eq!(chunks.len(), 1);
    for step in [RestoreStep::Begin(plan.clone()), put(0), RestoreStep::Begin(plan), put(0)] {
        assert_eq!(state.step(0, step), Ok(None));
    }

    let done = state.step(0, RestoreStep::Finish(ID));
    let after = state.clone();

    assert_eq!(state.step(0, RestoreStep::Finish(ID)), done);
    assert_eq!(state, after);
}

#[test]
fn a_restore_that_does_not_end_leaves_nothing_behind() {
    let (plan, chunks) = backup(&source());
    let other = RestorePlan { id: RestoreId(8), ..plan };
    let refused = Err(RestoreRefusal::NotUnderWay);
    let mut state = UserState::default();
    let empty = state.clone();

    state.stage(0, &plan, &chunks);
    assert_eq!(state.next_due(), Some(WITHIN_MS), "the leader has the time passed");
    state.at(WITHIN_MS, vec![]);
    assert_eq!(state.step(WITHIN_MS, RestoreStep::Finish(ID)), refused);
    state.stage(0, &plan, &chunks);
    state.stage(0, &other, &chunks);
    assert_eq!(state.step(0, RestoreStep::Finish(ID)), refused, "another has begun");
    assert_eq!(state.step(0, RestoreStep::Abandon(ID)), Ok(None), "it is not its own");
    assert_eq!(state.step(0, RestoreStep::Abandon(other.id)), Ok(None));
    assert_eq!(state.step(0, RestoreStep::Finish(other.id)), refused);
    state.stage(0, &plan, &chunks);
    state.leap();
    assert_eq!(state.step(0, RestoreStep::Finish(ID)), refused, "revisions were left out");

    assert_eq!((state.held_bytes(), state.next_due()), (0, None));
    assert_eq!(state.table, empty.table);
}

#[test]
fn what_is_not_what_was_announced_is_not_restored() {
    let (plan, chunks) = backup(&source());
    let wrong = [
        RestorePlan { digest: [0; 32], ..plan },
        RestorePlan { seed: [0; 32], ..plan },
        RestorePlan { keys: plan.keys + 1, ..plan },
        RestorePlan { chunks: 0, ..plan },
    ];
    for plan in wrong {
        let mut state = UserState::default();
        state.stage(0, &plan, &chunks);
        assert_eq!(state.step(0, RestoreStep::Finish(ID)), Err(RestoreRefusal::Differs));
        assert_eq!(state.held_bytes(), 0);
    }

    let mut state = UserState::default();
    state.stage(0, &RestorePlan { chunks: 3, ..plan }, &chunks);
    let missing = Err(RestoreRefusal::Missing { expected: 1 });
    assert_eq!(state.step(0, chunk(2, &[])), missing);
    assert_eq!(state.step(0, RestoreStep::Finish(ID)), missing);
}

#[test]
fn what_can_not_be_kept_is_not_put_aside() {
    let value =
        |bytes: usize| Item::Value { path: path("a"), value: vec![0; bytes].into(), ttl_ms: None };
    let counter = |ttl_ms| Item::Counter { path: path("n"), value: 1, ttl_ms };
    let members = |names: &[&str]| Item::Members {
        path: path("board"),
        members: names.iter().map(|name| (Arc::from(*name), 1)).collect(),
    };
    let wrong = [
        vec![value(VALUE_BYTES_MAX + 1)],
        vec![value(1), value(1)],
        vec![counter(Some(0))],
        vec![counter(Some(TTL_MS_MAX + 1))],
        vec![members(&[])],
        vec![members(&[""])],
        vec![members(&["ada", "ada"])],
        vec![members(&["ada"]), members(&["ada"])],
        vec![counter(None), Item::Members { path: path("n"), members: vec![("a".into(), 1)] }],
        vec![Item::Counter { path: path(""), value: 1, ttl_ms: None }],
        vec![],
    ];
    let (plan, _) = backup(&source());
    for items in wrong {
        let mut state = UserState::default();
        state.stage(0, &plan, &[]);

        let put = state.step(0, chunk(0, &items));

        assert!(matches!(put, Err(RestoreRefusal::Malformed(_))), "{items:?}: {put:?}");
        assert_eq!(state.step(0, RestoreStep::Finish(ID)), Err(RestoreRefusal::NotUnderWay));
    }
    let many = RestorePlan { keys: TOTAL_BYTES_MAX / ENTRY_BYTES + 1, ..plan };
    let full = Err(RestoreRefusal::Full { limit: TOTAL_BYTES_MAX });
    assert_eq!(UserState::default().step(0, RestoreStep::Begin(many)), full);
    for revision in [u64::MAX, u64::MAX / 4 + 1] {
        let begin = RestoreStep::Begin(RestorePlan { revision, ..plan });
        let put = UserState::default().step(0, begin);
        assert!(matches!(put, Err(RestoreRefusal::Malformed(_))), "{put:?}");
    }
}

#[test]
fn a_restore_keeps_within_the_limit_of_all() {
    let (plan, _) = backup(&source());
    let mut state = UserState::default();
    state.stage(0, &plan, &[]);
    let value = |nth: u32| Item::Value {
        path: path(&format!("{nth}")),
        value: vec![0; VALUE_BYTES_MAX].into(),
        ttl_ms: None,
    };

    let full = (0..2_000).map(|nth| state.step(0, chunk(nth, &[value(nth)]))).find(Result::is_err);

    assert_eq!(full, Some(Err(RestoreRefusal::Full { limit: TOTAL_BYTES_MAX })));
    assert_eq!(state.held_bytes(), 0);
}

#[test]
fn the_longest_of_everything_fits_a_chunk_and_comes_back() {
    let name = |nth: usize| -> Arc<str> { format!("{nth:0256}").into() };
    let key = "k".repeat(KEY_BYTES_MAX);
    let mut source = UserState::default();
    for nth in 0..2_000 {
        let path = Path::new("n".repeat(NAMESPACE_BYTES_MAX), &*key);
        source.one(0, UserOp::SetScore { path, member: name(nth), score: i64::MIN });
    }
    for nth in 0..3_u8 {
        let mut longest = key.clone().into_bytes();
        longest[0] = nth;
        let path = Path::new("default", String::from_utf8(longest).unwrap());
        let value = vec![nth; VALUE_BYTES_MAX].into();
        let ttl_ms = Some(TTL_MS_MAX);
        source.one(0, UserOp::Put { path, value, ttl_ms, condition: Condition::Always });
    }
    assert!(source.chunks().all(|chunk| chunk.len() <= CHUNK_BYTES_MAX));
    let mut state = UserState::default();

    state.restored(0, &source, false);

    assert!(state.items().eq(source.items()));
    let again = backup(&state);
    UserState::default().stage(0, &again.0, &again.1);
}
