//! What is shown of a node from its first moment on: that it waits, and for what; and then the node.

use std::sync::OnceLock;

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use tokio::{sync::watch, time::Instant};

use super::{core::Core, gauges, neighbours::Look, rows::millis, view::NodeView};
use crate::cluster::Waiting;
use crate::http::{
    self, BackupStream, Change, Changed, KvAnswer, KvProblem, KvRequest, Source, TokenAnswer,
    TokenAsk, Unhalted, View,
};
use crate::model::UnixMillis;
use crate::state::user::{RestoreStep, Restored};
use crate::telemetry::Metrics;
use crate::timeline::Timeline;

/// What is said to whoever asks more of a node that waits than how it is.
const NOT_YET: &str = "this node takes no part yet; `apolo status` says what it waits for";

/// What is shown from the beginning: that the node waits, and then the node.
#[derive(Debug)]
pub(super) struct Front {
    name: String,
    metrics: Option<Metrics>,
    waiting: watch::Receiver<Option<Waiting>>,
    core: watch::Receiver<Option<Core>>,
    timeline: Timeline,
    started: Instant,
    node: OnceLock<NodeView>,
}

impl Front {
    pub(super) fn new(
        name: String,
        metrics: Option<Metrics>,
        waiting: watch::Receiver<Option<Waiting>>,
        core: watch::Receiver<Option<Core>>,
    ) -> Self {
        let (timeline, started) = (Timeline::new(UnixMillis::now()), Instant::now());
        Self { name, metrics, waiting, core, timeline, started, node: OnceLock::new() }
    }

    /// What other nodes are told of this one.
    pub(super) fn look(&self) -> Look {
        self.node.get().map(NodeView::look).unwrap_or_default()
    }

    /// What happens is told here.
    pub(super) fn told(&self) -> Timeline {
        self.timeline.clone()
    }

    /// From here on the node is shown.
    pub(super) fn open(&self, node: NodeView) {
        let _opened_once = self.node.set(node);
    }
}

impl Source for Front {
    fn view(&self) -> View {
        if let Some(node) = self.node.get() {
            return node.view();
        }
        let waiting = self.waiting.borrow().clone();
        let started = waiting != Some(Waiting::Opening);
        let let_in = matches!(waiting, Some(Waiting::Discord { .. }));
        let waiting = waiting.map(|waiting| waiting.to_string());
        let core = self.core.borrow().clone();
        // Without a lease that is renewed a leader is only known to lead while it has let this node in and the others are
        // in reach.
        let led = core.as_ref().filter(|core| let_in && core.raft.reaches_quorum());
        View {
            started,
            leader: led.and_then(Core::leader_name),
            node: http::Node {
                name: self.name.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                uptime_ms: millis(self.started.elapsed()),
                ..http::Node::default()
            },
            waiting: Some(waiting.unwrap_or_else(|| "being admitted: a cluster is found, and its leader has not let this node in yet; without a leader it can not".to_owned())),
            ..core.as_ref().map(Core::pulse).unwrap_or_default()
        }
    }

    fn survey(&self) -> BoxFuture<'_, View> {
        match self.node.get() {
            Some(node) => node.survey().boxed(),
            None => ready(self.view()).boxed(),
        }
    }

    fn timeline(&self) -> Timeline {
        self.told()
    }

    fn metrics(&self) -> String {
        match self.node.get() {
            Some(node) => node.metrics(),
            None => {
                gauges::publish_waiting(&self.view());
                self.metrics.as_ref().map(Metrics::render).unwrap_or_default()
            }
        }
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Changed, String>> {
        match self.node.get() {
            Some(node) => node.change(change),
            None => not_yet(),
        }
    }

    fn tokens(&self, ask: TokenAsk) -> BoxFuture<'_, Result<TokenAnswer, String>> {
        match self.node.get() {
            Some(node) => node.tokens(ask),
            None => not_yet(),
        }
    }

    fn kv(&self, request: KvRequest) -> BoxFuture<'_, Result<KvAnswer, KvProblem>> {
        match self.node.get() {
            Some(node) => node.kv(request),
            None => unavailable(),
        }
    }

    fn backup(&self) -> BoxFuture<'_, Result<BackupStream, KvProblem>> {
        match self.node.get() {
            Some(node) => node.backup(),
            None => unavailable(),
        }
    }

    fn restore(&self, step: RestoreStep) -> BoxFuture<'_, Result<Option<Restored>, KvProblem>> {
        match self.node.get() {
            Some(node) => node.restore(step),
            None => unavailable(),
        }
    }

    fn unhalt(&self) -> BoxFuture<'_, Result<Unhalted, String>> {
        match self.node.get() {
            Some(node) => node.unhalt(),
            None => not_yet(),
        }
    }
}

fn not_yet<T: Send + 'static>() -> BoxFuture<'static, Result<T, String>> {
    ready(Err(NOT_YET.to_owned())).boxed()
}

fn unavailable<T: Send + 'static>() -> BoxFuture<'static, Result<T, KvProblem>> {
    ready(Err(KvProblem::Unavailable(NOT_YET.to_owned()))).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_has_started_once_its_store_is_open() {
        let waiting = watch::Sender::new(Some(Waiting::Opening));
        let nobody = watch::Sender::new(None);
        let front = Front::new("apolo-0".to_owned(), None, waiting.subscribe(), nobody.subscribe());
        assert!(!front.view().started);

        for next in [Some(Waiting::Looking), Some(Waiting::Discord { problem: None }), None] {
            waiting.send_replace(next);
            let view = front.view();
            assert!(view.started && view.waiting.is_some(), "{view:?}");
        }
    }
}
