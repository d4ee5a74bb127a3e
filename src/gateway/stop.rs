//! The two ways to end a supervisor.

use tokio_util::sync::CancellationToken;

/// Ends a supervisor: in good order, or at once.
///
/// Both keep the session, so that it can be resumed elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    drain: CancellationToken,
    fence: CancellationToken,
}

impl Stop {
    /// A stop that nobody has asked for.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A stop that this one ends too, and that can be ended alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { drain: self.drain.child_token(), fence: self.fence.child_token() }
    }

    /// Close with 4000, wait shortly for the answer, return.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Write nothing more, read nothing more, drop the socket without a close frame. For an owner whose right to the
    /// shard has ended: even a heartbeat would be one too many.
    pub fn fence(&self) {
        self.fence.cancel();
    }

    /// Whether [`Stop::fence`] was called. Asked before every poll of the socket.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.fence.is_cancelled()
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
