use rand::{SeedableRng as _, rngs::StdRng};
use stateright::semantics::{ConsistencyTester as _, LinearizabilityTester, SequentialSpec};

use super::{
    plain::{Plain, history},
    *,
};
use crate::linear::{Verdict, model::Key};

/// Verdicts of both kinds that a comparison must have seen to say anything.
const EACH_LEAST: usize = 500;

impl SequentialSpec for Plain {
    type Op = Ask;
    type Ret = Answer;

    fn invoke(&mut self, ask: &Ask) -> Answer {
        self.act(ask, self.last + 1)
    }

    fn is_valid_step(&mut self, ask: &Ask, answer: &Answer) -> bool {
        let revision = revision(answer).unwrap_or(self.last + 1);
        revision > self.last && self.act(ask, revision) == *answer
    }
}

/// The revision that was made.
const fn revision(answer: &Answer) -> Option<u64> {
    match answer {
        Answer::Put { revision } | Answer::Counted { revision, .. } => Some(*revision),
        Answer::Deleted { revision } => *revision,
        Answer::Row(_) | Answer::Mismatch { .. } => None,
    }
}

/// The model under another search.
#[derive(Clone, Debug, Default)]
struct Searched(Key);

impl SequentialSpec for Searched {
    type Op = Ask;
    type Ret = Option<Answer>;

    fn invoke(&mut self, ask: &Ask) -> Option<Answer> {
        if let Some(after) = self.0.after(&unknown(0, 0, ask.clone())) {
            self.0 = after;
        }
        None
    }

    fn is_valid_step(&mut self, ask: &Ask, answer: &Option<Answer>) -> bool {
        let answer = answer.clone().expect("what returns is answered");
        let after = self.0.after(&operation(0, (0, 0), ask.clone(), answer));
        let possible = after.is_some();
        self.0 = after.unwrap_or_default();
        possible
    }
}

/// What stateright says of a history.
fn elsewhere<S>(object: S, history: &History, told: impl Fn(&Answer) -> S::Ret) -> bool
where
    S: SequentialSpec<Op = Ask> + Clone,
    S::Ret: Clone + std::fmt::Debug,
{
    let mut events: Vec<(u64, usize, Result<&Ask, &Answer>)> = Vec::new();
    for operation in &history.0 {
        events.push((operation.called_ns, operation.client, Ok(&operation.ask)));
        if let End::Returned { at_ns, answer } = &operation.end {
            events.push((*at_ns, operation.client, Err(answer)));
        }
    }
    events.sort_by_key(|event| event.0);
    let mut tester = LinearizabilityTester::new(object);
    for (_, client, event) in events {
        let noted = match event {
            Ok(ask) => tester.on_invoke(client, ask.clone()),
            Err(answer) => tester.on_return(client, told(answer)),
        };
        noted.expect("a client asks one thing at a time");
    }
    tester.is_consistent()
}

/// By the definition: each order of the answered operations and of any of the unknown ones, each with any revision.
fn by_definition(key: &Plain, rest: &[&Operation], revisions: u64) -> bool {
    let answered = |it: &&&Operation| matches!(it.end, End::Returned { .. });
    let Some(first_return) = rest.iter().filter(answered).map(|it| it.returned_ns()).min() else {
        return true;
    };
    rest.iter().enumerate().any(|(nth, operation)| {
        let others: Vec<_> = [&rest[..nth], &rest[nth + 1..]].concat();
        if operation.called_ns > first_return {
            return false;
        }
        let mut next = key.clone();
        match &operation.end {
            End::Returned { answer, .. } => {
                next.is_valid_step(&operation.ask, answer)
                    && by_definition(&next, &others, revisions)
            }
            End::Unknown => (key.last + 1..=revisions).any(|revision| {
                let mut next = key.clone();
                next.act(&operation.ask, revision);
                by_definition(&next, &others, revisions)
            }),
        }
    })
}

fn verdict(history: &History) -> bool {
    match check(history, WITHIN) {
        Verdict::Linearizable => true,
        Verdict::Violation(_) => false,
        late @ Verdict::TimedOut { .. } => panic!("{late}"),
    }
}

/// Compares so many random histories of at most so many operations. Returns how many were accepted, and rejected.
fn compare(seed: u64, count: usize, most: usize, cut: bool, other: impl Fn(&History) -> bool) {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut accepted, mut rejected) = (0, 0);
    for nth in 0..count {
        let history = history(&mut random, most, cut);
        let (ours, theirs) = (verdict(&history), other(&history));
        assert_eq!(ours, theirs, "seed {seed}, history {nth}: {history:#?}");
        *(if ours { &mut accepted } else { &mut rejected }) += 1;
    }
    assert!(accepted >= EACH_LEAST && rejected >= EACH_LEAST, "{accepted} and {rejected}");
}

#[test]
fn stateright_agrees_with_another_model_where_all_was_answered() {
    for most in [4, 8, 12] {
        compare(most as u64, 2_000, most, false, |history| {
            elsewhere(Plain::default(), history, Clone::clone)
        });
    }
}

#[test]
fn stateright_agrees_where_outcomes_are_unknown() {
    for most in [4, 8, 12] {
        compare(100 + most as u64, 2_000, most, true, |history| {
            elsewhere(Searched::default(), history, |answer| Some(answer.clone()))
        });
    }
}

#[test]
fn the_definition_agrees_where_outcomes_are_unknown() {
    for most in [4, 6] {
        compare(200 + most as u64, 2_000, most, true, |history| {
            let rest: Vec<_> = history.0.iter().collect();
            // Beyond what was told, room for each that was not.
            let told = rest.iter().map(|it| greatest(it)).max().unwrap_or(0);
            by_definition(&Plain::default(), &rest, told + rest.len() as u64)
        });
    }
}

/// The greatest revision that an operation names.
fn greatest(operation: &Operation) -> u64 {
    let End::Returned { answer, .. } = &operation.end else { return 0 };
    match answer {
        Answer::Row(row) => row.as_ref().map_or(0, |row| row.modified.max(row.created)),
        Answer::Mismatch { current } => current.unwrap_or(0),
        _ => revision(answer).unwrap_or(0),
    }
}
