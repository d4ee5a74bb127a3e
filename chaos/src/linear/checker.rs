//! The search for an order: Wing and Gong's, with Lowe's memory of what was tried.
//!
//! Depth first. Next comes one of the operations that no other one precedes: those that were called before the first
//! return among the rest. What was done already and what the key holds then say all about what can follow, so a pair
//! that was met before is not entered again.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{End, History, Operation, Verdict, Violation, model::Key};

/// Between two looks at the clock, in steps: a millisecond or less.
const LOOK_EVERY: u64 = 1_024;

/// What is remembered of one key's search, at most: some hundred megabytes.
const MET_MAX: usize = 2_000_000;

/// Looks for an order of each key's operations, all of them within so long.
#[must_use]
pub fn check(history: &History, within: Duration) -> Verdict {
    let deadline = Instant::now() + within;
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in &history.0 {
        keys.entry(&operation.key).or_default().push(operation);
    }
    for (key, operations) in keys {
        match Search::new(operations).run(deadline) {
            Found::Order => {}
            Found::None(violation) => return Verdict::Violation(violation),
            Found::Late => return Verdict::TimedOut { key: key.to_owned(), within },
        }
    }
    Verdict::Linearizable
}

enum Found {
    Order,
    None(Box<Violation>),
    Late,
}

/// One key's.
struct Search<'a> {
    /// By their call.
    operations: Vec<&'a Operation>,
    answered: usize,
    done: Done,
    key: Key,
    path: Vec<Step>,
    met: HashSet<(Done, Key)>,
    deepest: Option<Deepest>,
}

/// The operations that have happened: a bit each.
#[derive(Clone, Eq, Hash, PartialEq)]
struct Done(Box<[u64]>);

/// A choice that was made.
struct Step {
    chosen: usize,
    before: Key,
    /// What else could have come next, the best last.
    others: Vec<usize>,
}

/// The longest order that led nowhere.
struct Deepest {
    answered: usize,
    order: Vec<usize>,
    key: Key,
    stuck: Vec<usize>,
}

impl<'a> Search<'a> {
    fn new(mut operations: Vec<&'a Operation>) -> Self {
        operations.sort_by_key(|operation| (operation.called_ns, operation.returned_ns()));
        let answered = operations.iter().filter(|it| it.is_answered()).count();
        Self {
            done: Done(vec![0; operations.len().div_ceil(64)].into()),
            key: Key::default(),
            path: Vec::new(),
            met: HashSet::new(),
            deepest: None,
            operations,
            answered,
        }
    }

    fn run(mut self, deadline: Instant) -> Found {
        let (mut answered, mut steps) = (0, 0_u64);
        let mut open = self.next();
        while answered < self.answered {
            steps += 1;
            let late = steps.is_multiple_of(LOOK_EVERY) && Instant::now() > deadline;
            if late || self.met.len() > MET_MAX {
                return Found::Late;
            }
            let Some(chosen) = open.pop() else {
                self.keep(answered);
                let Some(step) = self.path.pop() else { return Found::None(self.violation()) };
                self.done.flip(step.chosen);
                answered -= usize::from(self.operations[step.chosen].is_answered());
                (self.key, open) = (step.before, step.others);
                continue;
            };
            let Some(after) = self.key.after(self.operations[chosen]) else { continue };
            self.done.flip(chosen);
            if !self.met.insert((self.done.clone(), after.clone())) {
                self.done.flip(chosen);
                continue;
            }
            answered += usize::from(self.operations[chosen].is_answered());
            let before = std::mem::replace(&mut self.key, after);
            self.path.push(Step { chosen, before, others: open });
            open = self.next();
            if !self.leaves_room(&open) {
                open.clear();
            }
        }
        Found::Order
    }

    /// Whether what was answered can still come. Without this look ahead, changes that nobody heard of would be tried in
    /// every number and order behind each other.
    fn leaves_room(&self, next: &[usize]) -> bool {
        next.iter().all(|nth| self.key.may_reach(self.operations[*nth]))
    }

    /// What may come next, the best last: first what was answered, by its return, since each must come some time. What
    /// may never have happened is only tried where nothing else fits.
    fn next(&self) -> Vec<usize> {
        let (mut next, mut first_return) = (Vec::new(), u64::MAX);
        for (nth, operation) in self.operations.iter().enumerate().skip(self.done.leading()) {
            if operation.called_ns > first_return {
                break;
            }
            if !self.done.has(nth) {
                first_return = first_return.min(operation.returned_ns());
                next.push(nth);
            }
        }
        next.retain(|nth| self.operations[*nth].called_ns <= first_return);
        next.sort_by_key(|nth| std::cmp::Reverse(self.operations[*nth].returned_ns()));
        next
    }

    /// Keeps the order that leads nowhere, if it is the longest.
    fn keep(&mut self, answered: usize) {
        if self.deepest.as_ref().is_none_or(|deepest| answered > deepest.answered) {
            let order = self.path.iter().map(|step| step.chosen).collect();
            let (key, stuck) = (self.key.clone(), self.next());
            self.deepest = Some(Deepest { answered, order, key, stuck });
        }
    }

    fn violation(self) -> Box<Violation> {
        let all = |indices: &[usize]| -> Vec<Operation> {
            indices.iter().map(|it| self.operations[*it].clone()).collect()
        };
        let deepest = self.deepest.expect("a search ends without an order where one led nowhere");
        Box::new(Violation {
            key: self.operations[0].key.clone(),
            order: all(&deepest.order),
            held: deepest.key.to_string(),
            stuck: all(&deepest.stuck),
            answered: self.answered,
        })
    }
}

impl Operation {
    const fn is_answered(&self) -> bool {
        matches!(self.end, End::Returned { .. })
    }
}

impl Done {
    fn has(&self, nth: usize) -> bool {
        self.0[nth / 64] >> (nth % 64) & 1 == 1
    }

    fn flip(&mut self, nth: usize) {
        self.0[nth / 64] ^= 1 << (nth % 64);
    }

    /// Before this one all have happened.
    fn leading(&self) -> usize {
        let full = self.0.iter().take_while(|word| **word == u64::MAX).count();
        full * 64 + self.0.get(full).map_or(0, |word| word.trailing_ones() as usize)
    }
}
