//! Requests that go on while certificates change.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use apolo::{
    model::NodeId,
    transport::{Protocol, Transport},
};
use tokio::task::JoinHandle;

use super::{PATIENCE, until};

/// Requests in both directions without a pause, until it is told to end.
pub(crate) struct Load {
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn between(one: (&Transport, u64), other: (&Transport, u64)) -> Self {
        let (answered, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let tasks = [(one.0, other.1), (other.0, one.1)].map(|(from, to)| {
            let (from, answered, stop) = (from.clone(), answered.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(SeqCst) {
                    let asked = from.request(NodeId(to), Protocol::Ipc, b"load", PATIENCE).await;
                    assert_eq!(asked.expect("no request is lost"), "load");
                    answered.fetch_add(1, SeqCst);
                }
            })
        });
        Self { answered, stop, tasks: tasks.into() }
    }

    /// Some more are answered.
    pub(crate) async fn goes_on(&self) {
        let before = self.answered.load(SeqCst);
        until("requests go on", || {
            assert!(!self.tasks.iter().any(JoinHandle::is_finished), "a request was lost");
            self.answered.load(SeqCst) >= before + 20
        })
        .await;
    }

    pub(crate) async fn end(self) {
        self.goes_on().await;
        self.stop.store(true, SeqCst);
        for task in self.tasks {
            task.await.expect("no request is lost");
        }
    }
}
