//! The lease, epoch, handoff and checkpoint protocol as a model that a checker explores: three nodes, two shards, and
//! every order in which messages, pauses, restarts, elections and transfers can come.
//!
//! It promises four things: no two nodes deliver for one shard at once; no older checkpoint wins; no unhandled event is
//! skipped; every shard is owned again. And it promises that each [`Rule`] is needed: with the rule taken out, the
//! checker finds how one of the four breaks. `tests` names both; `in_wider_bounds` explores more, by hand.
//!
//! # Reading it
//!
//! `rule` has the protocol's sentences, `time` its times, `machine` the list of all that can happen. `raft`, `lease`,
//! `handoff` and `discord` say what follows from each, `node` says when a node may deliver. The log holds facts, as in
//! `apolo`: see `log`.
//!
//! # Time
//!
//! Time is ages in ticks. `Timing::TIGHT` maps the real times so that their order stays and the sum on which a leader's
//! own shards rest (0.5 s + 0.6 s >= 1 s) has nothing to spare:
//!
//! | | real | ticks |
//! |---|---|---|
//! | a leader renews others for, after a round | 0.4 s | 1 |
//! | a voter refuses votes for, after a word of the leader | 0.5 s | 1 |
//! | a new leader waits for the dead leader's shards | 0.6 s | 1 |
//! | a leader owns for, after a round | 1 s | 2 |
//! | TTL of a node lease | 2 s | 3, or 4 where two elections must fit |
//!
//! A tick may pass at any moment, and any number of steps may happen within one. A node that does nothing while time
//! passes is paused, stopped or cut off: there is no other pause, and the lease is looked at in the step that delivers.
//!
//! # What is bounded
//!
//! Terms, log entries, messages in flight, restarts, handoffs, transfers, events, dropped sessions, and in most
//! scenarios the length of the path: see `scenario`. Some scenarios begin some steps into a run.
//!
//! # What is abstract, and what the model can't find because of it
//!
//! - All clocks run at one rate, so the margin is nothing. Drift, and a clock that stops in a suspend, are not found.
//! - Checking the lease and delivering is one step. What happens to an event that was let through just before the lease
//!   ended is not found; nor what a handler does after it.
//! - Raft is right: terms, votes and commits are single steps of two nodes out of three, a committed entry is in the
//!   log of every later leader, and any node may learn of it at any time. An uncommitted entry may survive its leader.
//!   Changes of the membership, learners, snapshots, lost disks and a sole voter are not there.
//! - A leader that was superseded takes no new release or report.
//! - Placement is any node. The mass-failure brake, cool-downs and the identify ledger are not there.
//! - Whether a move carries the node's pending checkpoints is not asked: without them Discord only replays more.
//! - "Owned again" is not a temporal property. From each state one fair run without faults is followed, with all nodes
//!   and with each one dead: see `settle` for why `eventually` will not do. Another fair order of the same steps might
//!   not settle.

mod discord;
mod handoff;
mod lease;
mod log;
mod machine;
mod network;
mod node;
mod properties;
mod raft;
mod rule;
mod scenario;
mod settle;
mod tests;
mod time;

use rule::{Rule, Rules};

const NODES: usize = 3;
const SHARDS: usize = 2;
