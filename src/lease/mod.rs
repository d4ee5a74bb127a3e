//! Leases: a node's time-bound right to run shards.
//!
//! ```text
//!  node: Renewal, 4 a second ──QUIC──▶ leader: Tenure::grant ──▶ Answer::Granted{term, index}
//!        Right::grant once that index is applied ◀──────────────────┘
//!        Right ──▶ Fence, one for each shard that runs; looked at before each delivery and each poll
//! ```
//!
//! It promises that a fence that came down stays down, that a lease counts from the moment its renewal was sent, on a
//! clock that goes on while the machine sleeps, and that a leader declares a node lost only when no lease of it can be
//! in force. Renewals never enter the log. `tests/it/model` explores the protocol.
//!
//! It does not send anything (the agent does) nor take shards from anybody (`control` does).

mod clock;
mod permit;
mod right;
mod tenure;
mod timing;
mod wire;

pub use clock::{Clock, Moment, Translation};
pub use permit::{PermitAnswer, PermitAsk, PermitGrant};
pub use right::{Fence, Right};
pub use tenure::{Known, NoGrant, Quorum, Tenure};
pub use timing::Timing;
pub use wire::{Answer, Refusal, Renewal, WireError, decode, encode};
