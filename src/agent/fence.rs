//! The right to run shards, as the threads that use it see it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Goes down once and stays down: the node has lost the right to run shards. Looked at before every delivery.
///
/// A sole voter keeps the right as long as its disk answers, so in a cluster of one it is the store's first error that
/// takes the fence down.
#[derive(Clone, Debug, Default)]
pub struct Fence(Arc<AtomicBool>);

impl Fence {
    /// Takes the fence down. Nothing is delivered from here on.
    pub fn take_down(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it is down.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
