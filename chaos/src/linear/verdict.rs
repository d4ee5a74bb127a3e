//! What a check comes to.

use std::{fmt, time::Duration};

use super::Operation;

/// How much of the order is shown before what does not fit it.
const SHOWN: usize = 12;

/// What a check comes to.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// There is an order in which all happened.
    Linearizable,
    /// There is none.
    Violation(Box<Violation>),
    /// The search was not over in time, or had too much to remember. It is no success.
    TimedOut {
        /// At which key.
        key: String,
        /// How long all keys had.
        within: Duration,
    },
}

/// A key whose operations have no order.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub key: String,
    /// The longest order that was found: none of what is `stuck` can follow it.
    pub order: Vec<Operation>,
    /// What the key holds behind it.
    pub held: String,
    /// Of which one must come next.
    pub stuck: Vec<Operation>,
    /// How many operations of the key were answered.
    pub answered: usize,
}

impl Verdict {
    /// Whether there is an order.
    #[must_use]
    pub const fn holds(&self) -> bool {
        matches!(self, Self::Linearizable)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable => write!(f, "linearizable"),
            Self::Violation(violation) => write!(f, "NOT linearizable: {violation}"),
            Self::TimedOut { key, within } => {
                write!(f, "UNKNOWN: key {key:?} was not checked within {within:?}")
            }
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, order, held, stuck, answered } = self;
        let longest = order.len();
        writeln!(
            f,
            "key {key:?}, {answered} operations answered; the longest order has {longest}"
        )?;
        let hidden = longest.saturating_sub(SHOWN);
        if hidden > 0 {
            writeln!(f, "    … {hidden} before")?;
        }
        for operation in &order[hidden..] {
            writeln!(f, "    {operation}")?;
        }
        writeln!(f, "  then the key holds {held}, and one of these must come next:")?;
        for operation in stuck {
            writeln!(f, "    {operation}")?;
        }
        Ok(())
    }
}
