//! Whether what clients were told by the key-value store can have happened one operation after another.
//!
//! ```text
//!   clients ──▶ history: what was asked and answered, from when to when ──▶ checker, key by key ──▶ Verdict
//!                  │ JSON, a line each                                         ▲ model of one key
//! ```
//!
//! It promises to reject every history that has no order of its operations in which each takes effect once, between its
//! call and its return, and is answered as the model says; and to accept every one that has. It never guesses: a
//! search that takes too long is a verdict of its own. Keys are independent of each other in the model, so a history is
//! linearizable where each key's part is (Herlihy and Wing); what holds between keys beyond that is not looked at.
//!
//! It starts no process and asks nobody: `clusters` records the histories.

mod checker;
mod history;
mod model;
#[cfg(test)]
mod tests;
mod verdict;

pub use checker::check;
pub use history::{Answer, Ask, End, Expected, Held, History, HistoryError, Operation, Row};
pub use verdict::{Verdict, Violation};
