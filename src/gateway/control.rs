//! What the rest of the node asks of a running supervisor.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use thiserror::Error;
use tokio::sync::{Notify, mpsc};

use crate::model::{Sequence, SessionNumber};

/// The longest gateway command (Gateway docs, "Sending Events": 4096 bytes).
pub const COMMAND_BYTES_MAX: usize = 4_096;

/// Commands that may wait for the rate limit of 120 in 60 s: half a minute's worth.
pub const COMMANDS_WAITING_MAX: usize = 64;

/// Asks for a session's dispatches again.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<Slot>);

#[derive(Debug, Default)]
struct Slot {
    request: Mutex<Option<ResumeFrom>>,
    asked: Notify,
}

/// A request to go back in a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ResumeFrom {
    pub(crate) session: SessionNumber,
    pub(crate) after: Sequence,
    pub(crate) undecodable: Option<Sequence>,
}

impl Control {
    /// Drop the connection, keep the session, and RESUME behind `after`, the highest sequence that needs no second
    /// delivery. `undecodable` is the sequence that could not be read, where that is the reason; when it comes again it
    /// carries [`Oddity::Undecodable`](super::Oddity::Undecodable).
    ///
    /// Every dispatch that is already in the queue is void until [`Item::Rewound`](super::Item::Rewound), or until
    /// [`Item::SessionStarted`](super::Item::SessionStarted): a request for a session that has ended is dropped. A
    /// second request before the first was seen replaces it, at the lower of the two sequences.
    pub fn resume_from(
        &self,
        session: SessionNumber,
        after: Sequence,
        undecodable: Option<Sequence>,
    ) {
        let mut slot = self.0.request.lock().unwrap_or_else(PoisonError::into_inner);
        let after = match *slot {
            Some(earlier) if earlier.session == session => earlier.after.min(after),
            Some(_) | None => after,
        };
        *slot = Some(ResumeFrom { session, after, undecodable });
        drop(slot);
        self.0.asked.notify_one();
    }

    /// Waits for a request and takes it. Cancel safe.
    pub(crate) async fn asked(&self) -> ResumeFrom {
        loop {
            if let Some(request) = self.taken() {
                return request;
            }
            self.0.asked.notified().await;
        }
    }

    /// Takes a request, if there is one.
    pub(super) fn taken(&self) -> Option<ResumeFrom> {
        self.0.request.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Sends gateway commands on a shard's connection, within Discord's rate limit.
#[derive(Clone, Debug)]
pub struct Commands {
    sender: mpsc::Sender<String>,
    connected: Arc<AtomicBool>,
}

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum SendError {
    /// Discord would close the connection with 4002.
    #[error("a gateway command has at most 4096 bytes, this one has {0}")]
    TooLong(usize),
    /// The shard has no connection, or it is not ready.
    #[error("the shard is not connected")]
    Disconnected,
    /// Too many wait for the rate limit already.
    #[error("64 gateway commands wait for Discord's rate limit already")]
    Full,
}

impl Commands {
    /// Queues a command, which is JSON. It is sent in order, and as soon as Discord's limit of 120 in 60 s allows;
    /// where the connection ends before, after the RESUME; where the session ends before, not at all.
    ///
    /// # Errors
    ///
    /// Where it can't be sent, or not soon.
    pub fn try_send(&self, json: String) -> Result<(), SendError> {
        if json.len() > COMMAND_BYTES_MAX {
            return Err(SendError::TooLong(json.len()));
        }
        if !self.connected.load(Ordering::Relaxed) {
            return Err(SendError::Disconnected);
        }
        self.sender.try_send(json).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Disconnected,
        })
    }
}

/// The receiving end of [`Commands`].
#[derive(Debug)]
pub(super) struct Outbox {
    receiver: mpsc::Receiver<String>,
    connected: Arc<AtomicBool>,
}

impl Outbox {
    pub(super) fn new() -> (Commands, Self) {
        let (sender, receiver) = mpsc::channel(COMMANDS_WAITING_MAX);
        let connected = Arc::new(AtomicBool::new(false));
        (Commands { sender, connected: Arc::clone(&connected) }, Self { receiver, connected })
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// Waits for a command; for ever where nobody can send one. Cancel safe.
    pub(super) async fn next(&mut self) -> String {
        match self.receiver.recv().await {
            Some(command) => command,
            None => std::future::pending().await,
        }
    }

    /// Drops what waits: it was meant for a session that is gone. Returns how many that were.
    pub(super) fn clear(&mut self) -> usize {
        let mut count = 0;
        while self.receiver.try_recv().is_ok() {
            count += 1;
        }
        count
    }
}

/// Commands that go nowhere.
#[cfg(test)]
pub(crate) fn test_commands() -> Commands {
    Outbox::new().0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_refused_when_it_is_too_long_too_many_or_disconnected() {
        let (commands, mut outbox) = Outbox::new();

        assert_eq!(commands.try_send("{}".into()), Err(SendError::Disconnected));
        outbox.set_connected(true);
        let long = "x".repeat(COMMAND_BYTES_MAX + 1);
        assert_eq!(commands.try_send(long), Err(SendError::TooLong(COMMAND_BYTES_MAX + 1)));
        for _ in 0..COMMANDS_WAITING_MAX {
            commands.try_send("{}".into()).unwrap();
        }
        assert_eq!(commands.try_send("{}".into()), Err(SendError::Full));

        assert_eq!(outbox.clear(), COMMANDS_WAITING_MAX);
    }

    #[tokio::test]
    async fn two_requests_for_one_session_become_one_at_the_lower_sequence() {
        let control = Control::default();

        control.resume_from(SessionNumber(1), Sequence(5), None);
        control.resume_from(SessionNumber(1), Sequence(9), Some(Sequence(10)));

        let request = control.asked().await;
        assert_eq!((request.after, request.undecodable), (Sequence(5), Some(Sequence(10))));
        assert_eq!(control.taken(), None);
    }
}
