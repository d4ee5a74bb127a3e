//! What one key does when its operations come one after another.

use std::fmt;

use super::{Answer, Ask, End, Expected, Held, Operation, Row};

/// A key between two operations. A revision that nobody was told is not guessed: it is open until an answer names it,
/// and bound from then on.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Key {
    present: Option<Present>,
    /// The least revision that the last change can have. Revisions are shared by all keys and only grow, so the next
    /// change of this one has a greater one.
    floor: u64,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Present {
    held: Held,
    created: Created,
    modified: Option<u64>,
}

/// The revision that made a key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Created {
    Told(u64),
    /// Open, within bounds. The upper one comes with the first revision behind it that was told.
    Open {
        least: u64,
        most: Option<u64>,
    },
}

impl Created {
    /// What is known of it once a change, itself or a later one, was told to be at `revision`, which had to be `floor`
    /// at least.
    const fn before(self, revision: u64, floor: u64) -> Self {
        match self {
            Self::Open { least, most: None } if least == floor => Self::Told(revision),
            // Changes that nobody was told of lie between the two: each has taken a revision.
            Self::Open { least, most: None } => {
                Self::Open { least, most: Some(revision - (floor - least)) }
            }
            known => known,
        }
    }

    fn may_be(self, revision: u64) -> bool {
        match self {
            Self::Told(created) => created == revision,
            Self::Open { least, most } => {
                least <= revision && most.is_none_or(|most| revision <= most)
            }
        }
    }
}

impl Key {
    /// The key behind an operation, if the operation may come next and be answered so. One whose outcome nobody knows
    /// is taken to change something; where it would not, it may as well never happen.
    pub(super) fn after(&self, operation: &Operation) -> Option<Self> {
        match &operation.end {
            End::Returned { answer, .. } => self.answered(&operation.ask, answer),
            End::Unknown => self.unheard(&operation.ask),
        }
    }

    /// Whether the operation can be answered as it was, here or later: revisions do not go back.
    pub(super) fn may_reach(&self, operation: &Operation) -> bool {
        let End::Returned { answer, .. } = &operation.end else { return true };
        match answer {
            Answer::Put { revision }
            | Answer::Counted { revision, .. }
            | Answer::Deleted { revision: Some(revision) } => *revision > self.floor,
            Answer::Row(Some(Row { modified: seen, .. }))
            | Answer::Mismatch { current: Some(seen) } => *seen >= self.floor,
            Answer::Row(None)
            | Answer::Deleted { revision: None }
            | Answer::Mismatch { current: None } => true,
        }
    }

    fn answered(&self, ask: &Ask, answer: &Answer) -> Option<Self> {
        match (ask, answer) {
            (Ask::Get, Answer::Row(row)) => self.shows(row.as_ref()),
            (Ask::Put { value, expected }, Answer::Put { revision }) => {
                let before = self.meets(expected)?.of_text()?;
                before.holds(Held::Text(value.clone()), Some(*revision))
            }
            (Ask::Delete { expected }, Answer::Deleted { revision }) => {
                let before = self.meets(expected)?;
                match (&before.present, revision) {
                    (Some(_), Some(revision)) => before.is_gone(Some(*revision)),
                    (None, None) => Some(before),
                    _ => None,
                }
            }
            (Ask::Increment { by }, Answer::Counted { revision, number }) => {
                let counted = self.number()?.checked_add(*by).filter(|sum| sum == number)?;
                self.holds(Held::Number(counted), Some(*revision))
            }
            (
                Ask::Put { expected, .. } | Ask::Delete { expected },
                Answer::Mismatch { current },
            ) => self.differs(expected, *current),
            _ => None,
        }
    }

    fn unheard(&self, ask: &Ask) -> Option<Self> {
        match ask {
            Ask::Get => None,
            Ask::Put { value, expected } => {
                self.meets(expected)?.of_text()?.holds(Held::Text(value.clone()), None)
            }
            Ask::Delete { expected } => {
                let before = self.meets(expected)?;
                before.present.is_some().then(|| before.is_gone(None))?
            }
            Ask::Increment { by } => {
                self.holds(Held::Number(self.number()?.checked_add(*by)?), None)
            }
        }
    }

    fn shows(&self, row: Option<&Row>) -> Option<Self> {
        match (&self.present, row) {
            (None, None) => Some(self.clone()),
            (Some(present), Some(row)) if present.held == row.held => {
                let mut bound = self.bound(row.modified)?;
                let created = &mut bound.present.as_mut()?.created;
                let fits = created.may_be(row.created);
                *created = Created::Told(row.created);
                fits.then_some(bound)
            }
            _ => None,
        }
    }

    /// The same, where the expectation is met.
    fn meets(&self, expected: &Expected) -> Option<Self> {
        match (expected, &self.present) {
            (Expected::Anything, _) | (Expected::Absent, None) => Some(self.clone()),
            (Expected::Revision(revision), Some(_)) => self.bound(*revision),
            (Expected::Value(value), Some(present)) => {
                (present.held == Held::Text(value.clone())).then(|| self.clone())
            }
            _ => None,
        }
    }

    /// The same, where the expectation is not met and the key was changed last at `current`.
    fn differs(&self, expected: &Expected, current: Option<u64>) -> Option<Self> {
        let Some(current) = current else {
            let wants_one = matches!(expected, Expected::Revision(_) | Expected::Value(_));
            return (wants_one && self.present.is_none()).then(|| self.clone());
        };
        let bound = self.bound(current)?;
        let differs = match expected {
            Expected::Anything => false,
            Expected::Absent => true,
            Expected::Revision(revision) => *revision != current,
            Expected::Value(_) => self.meets(expected).is_none(),
        };
        differs.then_some(bound)
    }

    /// The same, with its last change at a revision.
    fn bound(&self, revision: u64) -> Option<Self> {
        let present = self.present.as_ref()?;
        let fits = match present.modified {
            Some(modified) => modified == revision,
            None => revision >= self.floor,
        };
        fits.then(|| {
            let created = present.created.before(revision, self.floor);
            let present = Present { created, modified: Some(revision), ..present.clone() };
            Self { present: Some(present), floor: revision }
        })
    }

    /// The same, unless it holds a counter.
    fn of_text(self) -> Option<Self> {
        let text = self.present.as_ref().is_none_or(|it| matches!(it.held, Held::Text(_)));
        text.then_some(self)
    }

    fn number(&self) -> Option<i64> {
        match self.present.as_ref().map(|present| &present.held) {
            None => Some(0),
            Some(Held::Number(number)) => Some(*number),
            Some(Held::Text(_)) => None,
        }
    }

    /// A change to something.
    fn holds(&self, held: Held, revision: Option<u64>) -> Option<Self> {
        let floor = self.next_floor(revision)?;
        let new = Created::Open { least: self.floor + 1, most: None };
        let mut created = self.present.as_ref().map_or(new, |present| present.created);
        if let Some(revision) = revision {
            created = created.before(revision, self.floor + 1);
        }
        Some(Self { present: Some(Present { held, created, modified: revision }), floor })
    }

    /// A change to nothing.
    fn is_gone(&self, revision: Option<u64>) -> Option<Self> {
        Some(Self { present: None, floor: self.next_floor(revision)? })
    }

    fn next_floor(&self, revision: Option<u64>) -> Option<u64> {
        let least = self.floor + 1;
        (revision.unwrap_or(least) >= least).then(|| revision.unwrap_or(least))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told =
            |revision: Option<u64>| revision.map_or_else(|| "?".to_owned(), |it| it.to_string());
        match &self.present {
            None => write!(f, "nothing, at revision {} or above", self.floor),
            Some(Present { held, created, modified }) => {
                let created = match created {
                    Created::Told(revision) => Some(*revision),
                    Created::Open { .. } => None,
                };
                write!(f, "{held:?}, created {}, modified {}", told(created), told(*modified))?;
                write!(f, " ({} or above)", self.floor)
            }
        }
    }
}
