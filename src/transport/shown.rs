//! A value that tasks wait on, and are woken in the order in which they began to wait.
//!
//! tokio's `watch` wakes in a random order, which a simulation could not repeat.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct Shown<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Clone> Shown<T> {
    pub(super) fn get(&self) -> T {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the value; true from `change` wakes those who wait.
    pub(super) fn modify(&self, change: impl FnOnce(&mut T) -> bool) {
        let changed = change(&mut self.value.lock().unwrap_or_else(PoisonError::into_inner));
        if changed {
            self.changed.notify_waiters();
        }
    }

    pub(super) fn replace(&self, new: T) -> T {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *value, new);
        drop(value);
        self.changed.notify_waiters();
        old
    }

    /// The first value, from the present one on, that is `wanted`.
    pub(super) async fn wait_for(&self, wanted: impl Fn(&T) -> bool) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            let value = self.get();
            if wanted(&value) {
                return value;
            }
            changed.await;
        }
    }
}
