//! HTTP for people, probes and Prometheus: `/health`, `/ready`, `/startup`, `/metrics` and `/api/v1`.
//!
//! It promises that whatever a caller does, others are still answered: headers, bodies, connections and the time that
//! each may take are bounded. It lets nobody change anything but the owner of the data directory, through its socket,
//! and whoever shows the API's token.
//!
//! What it shows it gets as plain data, a [`View`] and a [`Timeline`]; it knows neither the shards nor the log. Every
//! change that is asked for leaves a record (`audit`).
//!
//! ```text
//!  kubelet, Prometheus ──TCP──▶ ┐
//!  the page, its streams ──────▶ ├─▶ routes ──▶ Source::view, survey, timeline, metrics, change
//!  apolo status ──apolo.sock──▶ ┘
//! ```

mod access;
mod audit;
mod backup;
mod bind;
mod dashboard;
mod kv;
mod looks;
mod notes;
mod openapi;
mod picture;
mod places;
mod ready;
mod routes;
mod server;
mod socket;
mod streams;
#[cfg(test)]
mod tests;
mod tokens;
mod view;

pub use backup::BackupStream;
pub use bind::{BindError, Port, bind, bind_free};
pub use kv::{
    Expected, KvAnswer, KvAsk, KvChange, KvChanges, KvDone, KvProblem, KvRequest, KvRow, KvScore,
    KvText, ScoreChange,
};
pub use looks::ShardHistory;
pub use ready::{Condition, Readiness, readiness};
pub use server::{Options, Server};
pub use socket::{SOCKET_FILE, SocketPath};
pub use tokens::{TokenAnswer, TokenAsk, TokenCreated, TokenRequest, TokenRow};
pub use view::{
    ConsumerGroup, Consumers, Excess, Halt, HealthBody, Kept, Node, NodeRow, NodeSaid, Phase, Role,
    ShardRow, Target, Unhalted, View,
};

use std::fmt;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::model::{ShardId, UnixMillis};
use crate::state::user::{RestoreStep, Restored};
use crate::timeline::Timeline;

/// What an operator asks of the cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// A node is to be empty, or to take its part again.
    Drain {
        /// The node's name or id.
        node: String,
        /// Whether it is to be empty.
        wanted: bool,
    },
    /// A shard is to run elsewhere.
    Move {
        /// The shard.
        shard: ShardId,
        /// The node's name or id.
        to: String,
    },
    /// Another node is to lead.
    TransferLeader {
        /// The node's name or id; the one that has caught up furthest where there is none.
        to: Option<String>,
    },
    /// Shards are to drop their connections and their handlers, and to resume.
    Respawn {
        /// The shard; all of them where there is none.
        shard: Option<ShardId>,
    },
    /// A node is dead for good.
    Remove {
        /// The node's name or id.
        node: String,
    },
    /// The node that is asked is to leave the cluster.
    Leave,
}

/// What came of it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// In words.
    pub done: String,
}

/// Whoever knows what is to be shown, and can do what is asked for.
pub trait Source: Send + Sync + fmt::Debug + 'static {
    /// How things stand. It must not wait.
    fn view(&self) -> View;

    /// How things stand, and what the other nodes say of their own shards. It may wait for them a little.
    fn survey(&self) -> BoxFuture<'_, View> {
        Box::pin(async { self.view() })
    }

    /// What happened since the process has started.
    fn timeline(&self) -> Timeline {
        Timeline::new(UnixMillis(0))
    }

    /// The metrics in Prometheus' text form.
    fn metrics(&self) -> String;

    /// Does what an operator asks of the cluster. The answer, and an error, is a sentence for the operator.
    fn change(&self, change: Change) -> BoxFuture<'_, Result<Changed, String>>;

    /// Makes, lists and revokes tokens to join with. An error is a sentence for the operator.
    fn tokens(&self, ask: TokenAsk) -> BoxFuture<'_, Result<TokenAnswer, String>> {
        let _ = ask;
        Box::pin(async { Err("this node knows no tokens".to_owned()) })
    }

    /// Reads or changes what the bot keeps.
    fn kv(&self, request: KvRequest) -> BoxFuture<'_, Result<KvAnswer, KvProblem>> {
        let _ = request;
        Box::pin(async { Err(KvProblem::Unavailable("this node keeps nothing".to_owned())) })
    }

    /// All that the bot keeps, at one moment, as a file's bytes.
    fn backup(&self) -> BoxFuture<'_, Result<BackupStream, KvProblem>> {
        Box::pin(async { Err(KvProblem::Unavailable("this node keeps nothing".to_owned())) })
    }

    /// Does a step of a restore.
    fn restore(&self, step: RestoreStep) -> BoxFuture<'_, Result<Option<Restored>, KvProblem>> {
        let _ = step;
        Box::pin(async { Err(KvProblem::Unavailable("this node keeps nothing".to_owned())) })
    }

    /// Lets identifies go on after a fatal close code. An error is a sentence for the operator.
    fn unhalt(&self) -> BoxFuture<'_, Result<Unhalted, String>>;
}
