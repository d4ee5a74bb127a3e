//! A barrier that takes as long as a test wants.

use std::{
    ptr,
    sync::{Condvar, Mutex},
};

/// Holds up whoever makes writes durable.
#[derive(Debug, Default)]
pub struct Hold {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    held: bool,
    waiting: bool,
}

impl Hold {
    /// One that lives as long as the process, and holds nothing up yet.
    pub fn leak() -> &'static Self {
        Box::leak(Box::default())
    }

    /// The next barrier hangs, and every later one.
    pub fn hold(&self) {
        self.state.lock().unwrap().held = true;
    }

    /// They go on.
    pub fn release(&self) {
        self.state.lock().unwrap().held = false;
        self.changed.notify_all();
    }

    /// Waits until a barrier hangs.
    pub fn until_reached(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| !state.waiting).unwrap());
    }

    pub(in crate::store) fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.waiting = state.held;
        self.changed.notify_all();
        self.changed.wait_while(state, |state| state.held).unwrap().waiting = false;
    }
}

impl PartialEq for Hold {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self, other)
    }
}

impl Eq for Hold {}
