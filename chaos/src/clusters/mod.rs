//! Breaks of a cluster under load: real processes on loopback with real QUIC, mTLS and sled, one simulator. Nothing may
//! be lost, nothing identified anew, and no two nodes may hold one shard at once.
//!
//! ```text
//!   simulator ◀──gateway── node 1..n: apolo node + victim bot ──▶ records (one file a life)
//!       │ truth                    ▲ kill, stop, freeze, cut off, wipe    │
//!       └────────────▶ account ◀───┴──────────────────────────────────────┘
//! ```

mod account;
mod cluster;
mod firewall;
mod freeze;
mod kills;
mod kubelet;
mod linear;
mod memory;
mod nodes;
mod outage;
mod partition;
mod probes;
mod processor;
mod rolling;
mod scale;
mod spans;
mod storm;
mod upgrade;

pub use account::{Account, Totals};
pub use cluster::{ClusterError, ClusterOptions};
pub use firewall::can_partition;
pub use freeze::{FreezeReport, freeze};
pub use kills::{KillsReport, cluster_kills};
pub use kubelet::{KubeletOptions, KubeletReport, Manifest, ManifestError, Scenario, kubelet};
pub use linear::{LinearOptions, LinearReport, Recorded, linear};
pub use memory::{MemoryReport, move_all, power_loss, restore_old_copy, wipe_majority, wipe_one};
pub use outage::{OutageOptions, OutageReport, Probes, outage};
pub use partition::{Cut, PartitionReport, Shape, partition};
pub use probes::{ProbesReport, probes};
pub use rolling::{RollingReport, rolling_restart};
pub use scale::scale;
pub use spans::Spans;
pub use storm::{StormReport, can_cap, storm};
pub use upgrade::{Earlier, UpgradeReport, upgrade};
