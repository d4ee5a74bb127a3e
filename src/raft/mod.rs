//! The replicated log: openraft between the state and the store.
//!
//! ```text
//!   propose(Command) ──► openraft ──► store (durable) ──► commit ──► State::apply ──► states() (a watch)
//!                                                                        └──► Outcome, to whoever proposed
//! ```
//!
//! It promises that a command whose outcome was returned survives every crash of a minority of the voters, that its
//! effect is visible in [`Handle::states`] when the outcome is, and that [`Leadership::Leading`] is said only once the
//! leader has applied an entry of its own term. It does not decide what is proposed, and it does not know the words of
//! [`Command`](crate::state::Command).
//!
//! A node that does not lead has the leader propose. Members are changed by whoever leads, one change at a time.

mod codec;
mod config;
mod error;
mod forwarding;
mod handle;
mod leadership;
mod log;
mod logical;
mod machine;
mod members;
mod membership;
mod network;
mod propose;
mod reach;
mod reading;
mod recover;
mod standing;
mod start;
#[cfg(test)]
pub(crate) mod tests;
mod types;

pub use error::{FormError, ProposeError, StartError};
pub use handle::{Acknowledged, Handle};
pub use leadership::{Leadership, RaftFailure};
pub use members::{ChangeError, Members};
pub use recover::{RecoverError, Recovery};
pub use standing::Standings;
pub use start::{OnVote, Options};
