//! The two ways to end a supervisor.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio_util::sync::CancellationToken;

/// Ends a supervisor: in good order, or at once.
///
/// Both keep the session, so that it can be resumed elsewhere.
#[derive(Clone, Default)]
pub struct Stop {
    drain: CancellationToken,
    fence: CancellationToken,
    fenced: Arc<Fenced>,
    /// Whether the right to the shard has ended, though nobody has said so yet.
    ended: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop")
            .field("drain", &self.drain.is_cancelled())
            .field("fence", &self.is_fenced())
            .finish_non_exhaustive()
    }
}

/// Whether the fence is up: asked for with every event, and a token's answer costs a lock.
#[derive(Debug, Default)]
struct Fenced {
    here: AtomicBool,
    above: Option<Arc<Self>>,
}

impl Stop {
    /// A stop that nobody has asked for.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A stop that counts as fenced as soon as `ended` says so: asked before every poll, it makes sure that a process
    /// that was frozen sends nothing when it wakes.
    pub fn guarded(ended: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { ended: Some(Arc::new(ended)), ..Self::default() }
    }

    /// A stop that this one ends too, and that can be ended alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            drain: self.drain.child_token(),
            fence: self.fence.child_token(),
            fenced: Arc::new(Fenced {
                here: AtomicBool::new(false),
                above: Some(Arc::clone(&self.fenced)),
            }),
            ended: self.ended.clone(),
        }
    }

    /// Close with 4000, wait shortly for the answer, return.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Write nothing more, read nothing more, drop the socket without a close frame. For an owner whose right to the
    /// shard has ended: even a heartbeat would be one too many.
    pub fn fence(&self) {
        self.fenced.here.store(true, Ordering::Release);
        self.fence.cancel();
    }

    /// Whether [`Stop::fence`] was called, or is about to be. Asked before every poll of the socket.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.fenced.is_up() || self.ended.as_ref().is_some_and(|ended| ended())
    }

    /// Waits for [`Stop::drain`].
    pub(super) async fn drained(&self) {
        self.drain.cancelled().await;
    }

    /// Waits for [`Stop::fence`].
    pub(super) async fn fenced(&self) {
        self.fence.cancelled().await;
    }
}

impl Fenced {
    fn is_up(&self) -> bool {
        self.here.load(Ordering::Acquire) || self.above.as_ref().is_some_and(|above| above.is_up())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_holds_for_what_stands_below_it_and_for_nothing_above() {
        let above = Stop::new();
        let (one, other) = (above.child(), above.child());

        one.fence();
        assert_eq!([&above, &one, &other].map(Stop::is_fenced), [false, true, false]);
        above.fence();

        assert_eq!([&above, &one, &other].map(Stop::is_fenced), [true; 3]);
    }
}
