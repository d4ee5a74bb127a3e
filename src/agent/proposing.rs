//! One proposal at a time.

use std::future::Future;

use futures_util::future::pending;
use tokio::task::JoinHandle;

/// A proposal that may be under way: what comes up meanwhile shares the next entry.
#[derive(Debug, Default)]
pub(super) struct Proposing(Option<JoinHandle<()>>);

impl Proposing {
    pub(super) const fn is_under_way(&self) -> bool {
        self.0.is_some()
    }

    /// Begins one. The one before must have [`settled`](Self::settled).
    pub(super) fn begin(&mut self, proposal: impl Future<Output = ()> + Send + 'static) {
        assert!(!self.is_under_way(), "one proposal at a time");
        self.0 = Some(tokio::spawn(proposal));
    }

    /// Waits for the end of the proposal that is under way; for ever, where there is none.
    pub(super) async fn settled(&mut self) {
        match &mut self.0 {
            Some(proposing) => {
                let _ = proposing.await;
                self.0 = None;
            }
            None => pending().await,
        }
    }
}
