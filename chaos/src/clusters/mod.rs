//! `kill -9` of nodes of a cluster under load: real processes on loopback with real QUIC, mTLS and sled, one simulator.
//! Nothing may be lost, nothing identified anew, and no two nodes may hold one shard at once.
//!
//! ```text
//!   simulator ◀──gateway── node 1..n: apolo node + victim bot ──▶ records (one file a life)
//!       │ truth                    ▲ kill -9, start again               │
//!       └────────────▶ audit ◀─────┴────────────────────────────────────┘
//! ```

mod nodes;
mod report;
mod rounds;

pub use report::{ClusterReport, Failover};
pub use rounds::{ClusterError, ClusterOptions, Whom, cluster_kills};
