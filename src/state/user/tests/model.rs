//! Random operations, beside a model that is too simple to be wrong.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What there is: kind and content as text, and when it is gone.
#[derive(Default)]
struct Model {
    now: u64,
    keys: BTreeMap<String, (Thing, Option<u64>)>,
    tokens: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq)]
enum Thing {
    Bytes(Vec<u8>),
    Counter(i64),
    Board(BTreeMap<String, i64>),
    Lock(String, u64),
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8, Option<u64>),
    IfAbsent(u8, u8),
    Delete(u8),
    Increment(u8, i64, Option<u64>),
    AddScore(u8, u8, i64),
    RemoveMember(u8, u8),
    Acquire(u8, u8, u64),
    /// With the token that was given so many acquisitions ago.
    Renew(u8, usize, u64),
    Release(u8, usize),
}

fn key(nth: u8) -> String {
    format!("k{nth}")
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..5_u8;
    let ttl = || prop::option::of(1..40_u64);
    let some = || prop_oneof![-5..5_i64, Just(i64::MAX), Just(i64::MIN)];
    prop_oneof![
        (key(), any::<u8>(), ttl()).prop_map(|(k, v, t)| Step::Put(k, v, t)),
        (key(), any::<u8>()).prop_map(|(k, v)| Step::IfAbsent(k, v)),
        key().prop_map(Step::Delete),
        (key(), some(), ttl()).prop_map(|(k, by, t)| Step::Increment(k, by, t)),
        (key(), 0..4_u8, some()).prop_map(|(k, m, by)| Step::AddScore(k, m, by)),
        (key(), 0..4_u8).prop_map(|(k, m)| Step::RemoveMember(k, m)),
        (key(), 0..3_u8, 1..40_u64).prop_map(|(k, h, t)| Step::Acquire(k, h, t)),
        (key(), 0..3_usize, 1..40_u64).prop_map(|(k, n, t)| Step::Renew(k, n, t)),
        (key(), 0..3_usize).prop_map(|(k, n)| Step::Release(k, n)),
    ]
}

impl Model {
    fn tick(&mut self, now: u64) {
        self.now = self.now.max(now);
        let now = self.now;
        self.keys.retain(|_, (_, end)| end.is_none_or(|end| end > now));
    }

    fn token(&self, ago: usize) -> u64 {
        self.tokens.iter().rev().nth(ago).copied().unwrap_or(99_999)
    }

    fn op(&self, step: &Step) -> UserOp {
        let at = |nth: &u8| path(&key(*nth));
        let member = |nth: &u8| Arc::from(format!("m{nth}"));
        match step {
            Step::Put(k, v, ttl_ms) => UserOp::Put {
                path: at(k),
                value: vec![*v; usize::from(*v)].into(),
                ttl_ms: *ttl_ms,
                condition: Condition::Always,
            },
            Step::IfAbsent(k, v) => UserOp::Put {
                path: at(k),
                value: vec![*v].into(),
                ttl_ms: None,
                condition: Condition::Absent,
            },
            Step::Delete(k) => UserOp::Delete { path: at(k), condition: Condition::Always },
            Step::Increment(k, by, ttl_ms) => {
                UserOp::Increment { path: at(k), by: *by, ttl_ms: *ttl_ms }
            }
            Step::AddScore(k, m, by) => {
                UserOp::AddScore { path: at(k), member: member(m), by: *by }
            }
            Step::RemoveMember(k, m) => UserOp::RemoveMember { path: at(k), member: member(m) },
            Step::Acquire(k, h, ttl_ms) => {
                UserOp::Acquire { path: at(k), holder: member(h), ttl_ms: *ttl_ms }
            }
            Step::Renew(k, ago, ttl_ms) => {
                UserOp::Renew { path: at(k), token: self.token(*ago), ttl_ms: *ttl_ms }
            }
            Step::Release(k, ago) => UserOp::Release { path: at(k), token: self.token(*ago) },
        }
    }

    /// Does the step; whether it is done, and not refused.
    fn act(&mut self, step: &Step, outcome: &UserOutcome) -> bool {
        let now = self.now;
        let end = |ttl: &Option<u64>| ttl.map(|ttl| now + ttl);
        let token = if let Step::Renew(_, ago, _) | Step::Release(_, ago) = step {
            self.token(*ago)
        } else {
            0
        };
        match step {
            Step::Put(k, v, ttl) => {
                let fits = matches!(self.keys.get(&key(*k)), None | Some((Thing::Bytes(_), _)));
                if fits {
                    let thing = Thing::Bytes(vec![*v; usize::from(*v)]);
                    self.keys.insert(key(*k), (thing, end(ttl)));
                }
                fits
            }
            Step::IfAbsent(k, v) => {
                let free = !self.keys.contains_key(&key(*k));
                if free {
                    self.keys.insert(key(*k), (Thing::Bytes(vec![*v]), None));
                }
                free
            }
            Step::Delete(k) => {
                self.keys.remove(&key(*k));
                true
            }
            Step::Increment(k, by, ttl) => {
                let fresh = || (Thing::Counter(0), end(ttl));
                let (thing, end) = self.keys.get(&key(*k)).cloned().unwrap_or_else(fresh);
                let Thing::Counter(value) = thing else { return false };
                let Some(sum) = value.checked_add(*by) else { return false };
                self.keys.insert(key(*k), (Thing::Counter(sum), end));
                true
            }
            Step::AddScore(k, m, by) => self.add_score(*k, *m, *by),
            Step::RemoveMember(k, m) => self.remove_member(*k, *m),
            Step::Acquire(k, h, ttl) => self.acquire(*k, *h, *ttl, outcome),
            Step::Renew(k, _, ttl) => match self.keys.get_mut(&key(*k)) {
                Some((Thing::Lock(_, its), until)) if *its == token => {
                    *until = Some(now + ttl);
                    true
                }
                _ => false,
            },
            Step::Release(k, _) => match self.keys.get(&key(*k)) {
                Some((Thing::Lock(_, its), _)) if *its == token => {
                    self.keys.remove(&key(*k));
                    true
                }
                _ => false,
            },
        }
    }

    fn add_score(&mut self, k: u8, m: u8, by: i64) -> bool {
        let fresh = || (Thing::Board(BTreeMap::new()), None);
        let (thing, _) = self.keys.get(&key(k)).cloned().unwrap_or_else(fresh);
        let Thing::Board(mut board) = thing else { return false };
        let before = board.get(&format!("m{m}")).copied().unwrap_or(0);
        let Some(sum) = before.checked_add(by) else { return false };
        board.insert(format!("m{m}"), sum);
        self.keys.insert(key(k), (Thing::Board(board), None));
        true
    }

    fn remove_member(&mut self, k: u8, m: u8) -> bool {
        match self.keys.get_mut(&key(k)) {
            None => true,
            Some((Thing::Board(board), _)) => {
                board.remove(&format!("m{m}"));
                if board.is_empty() {
                    self.keys.remove(&key(k));
                }
                true
            }
            Some(_) => false,
        }
    }

    fn acquire(&mut self, k: u8, h: u8, ttl: u64, outcome: &UserOutcome) -> bool {
        let holder = format!("m{h}");
        let end = Some(self.now + ttl);
        match (self.keys.get_mut(&key(k)), outcome) {
            (None, UserOutcome::Held { token }) => {
                let last = self.tokens.iter().max().copied().unwrap_or(0);
                assert!(*token > last, "token {token} after {last}");
                self.tokens.push(*token);
                self.keys.insert(key(k), (Thing::Lock(holder, *token), end));
                true
            }
            (None, _) => true,
            (Some((Thing::Lock(its, held), until)), _) if *its == holder => {
                assert_eq!(*outcome, UserOutcome::Held { token: *held });
                *until = end;
                true
            }
            (Some(_), _) => false,
        }
    }
}

/// What the state shows, as the model would.
fn shown(state: &UserState) -> BTreeMap<String, (Thing, Option<u64>)> {
    let thing = |entry: &Entry| match &entry.value {
        Value::Bytes(bytes) => Thing::Bytes(bytes.to_vec()),
        Value::Counter(value) => Thing::Counter(*value),
        Value::Board(board) => {
            Thing::Board(board.ranked().map(|(name, score)| (name.to_string(), score)).collect())
        }
        Value::Lock { holder } => Thing::Lock(holder.to_string(), entry.created),
    };
    let found = state.scan("default", "", None);
    found.map(|(at, entry)| (at.key.to_string(), (thing(entry), entry.expires_at))).collect()
}

proptest! {
    #[test]
    fn the_state_does_what_the_model_does_and_counts_exactly(
        batches in prop::collection::vec((0..30_u64, prop::collection::vec(step(), 0..6)), 0..60),
    ) {
        let (mut state, mut model, mut now) = (UserState::default(), Model::default(), 0);
        for (later, steps) in batches {
            now += later;
            model.tick(now);
            state.at(now, vec![]);
            for step in steps {
                let before = state.revision();
                let outcome = state.one(now, model.op(&step));
                let done = model.act(&step, &outcome);
                let refused = matches!(outcome, UserOutcome::Refused(_));
                prop_assert_eq!(done, !refused, "{:?}: {:?}", step, outcome);
                if refused {
                    prop_assert_eq!(state.revision(), before);
                }
            }
            prop_assert_eq!(shown(&state), model.keys.clone());
        }
        let bytes = postcard::to_stdvec(&state).unwrap();
        prop_assert_eq!(postcard::from_bytes::<UserState>(&bytes).unwrap(), state);
    }

    #[test]
    fn whoever_follows_the_changes_knows_the_values(
        batches in prop::collection::vec((0..30_u64, prop::collection::vec(step(), 0..6)), 0..60),
    ) {
        let (mut state, mut now) = (UserState::default(), 0);
        let mut known: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut next = 1;
        for (later, steps) in batches {
            now += later;
            let model = Model::default();
            state.at(now, steps.iter().map(|step| model.op(step)).collect());
            for (revision, event) in state.changes(next).unwrap() {
                prop_assert_eq!(revision, next);
                next += 1;
                match &event.change {
                    UserChange::Put(value) => {
                        known.insert(event.path.key.to_string(), value.to_vec());
                    }
                    UserChange::Deleted | UserChange::Expired => {
                        known.remove(&*event.path.key);
                    }
                    UserChange::Count(_)
                    | UserChange::Score(..)
                    | UserChange::Acquired(_)
                    | UserChange::Released => {}
                }
            }
            let values = shown(&state).into_iter().filter_map(|(key, (thing, _))| {
                if let Thing::Bytes(bytes) = thing { Some((key, bytes)) } else { None }
            });
            prop_assert_eq!(values.collect::<BTreeMap<_, _>>(), known.clone());
        }
    }
}
