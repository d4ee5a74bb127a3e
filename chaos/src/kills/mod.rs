//! `kill -9` under load: a real child process runs a bot against the simulator and is killed in the middle, again and
//! again. Nothing may be lost, nothing identified anew, and what comes twice must say so.
//!
//! ```text
//!   simulator ◀──gateway── child: apolo node + victim bot ──▶ records (one file a life)
//!       │ truth                    ▲ kill -9, start again          │
//!       └────────────▶ audit ◀─────┴───────────────────────────────┘
//! ```

mod audit;
mod record;
mod rounds;
pub(crate) mod storm;
mod victim;

pub(crate) use audit::audit;
pub use audit::{Audit, Life};
pub use record::{Record, Records};
pub use rounds::{KillError, KillOptions, KillReport, kills};
pub use victim::{VictimError, VictimOptions, victim};
