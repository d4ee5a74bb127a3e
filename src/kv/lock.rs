//! Locks: one holder in the cluster at a time, and a token that grows.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Kv, KvError, Namespace, UserRefusal,
    batcher::{Taken, Write},
    namespace::millis,
};
use crate::lease::Moment;
use crate::state::user::{Path, UserOp, UserOutcome};

/// The shortest time to live of a lock: it is renewed three times within it, each a round of the cluster. One that is
/// to outlive an election in which its renewals wait takes 10 s.
pub const LOCK_TTL_MIN: Duration = Duration::from_secs(1);

/// So many times is a lock renewed within its time to live.
const RENEWALS: u32 = 3;

/// The holder counts this part less than the leader, for clocks that do not run equally fast.
const MARGIN: u32 = 16;

/// Between two renewals where one has failed.
const RETRY: Duration = Duration::from_millis(100);

/// Without a change the lock is tried anew this often: one that is renewed no more shows as a change, too.
const TRY_EVERY: Duration = Duration::from_secs(5);

/// A lock that this bot holds, on this node. It renews itself, and is given back when it is dropped.
///
/// A process that was frozen can't know in time that it holds the lock no more, so whatever is written on its account
/// should carry the [`token`](Self::token) and be refused where a greater one was seen.
#[derive(Debug)]
pub struct Lock {
    kv: Kv,
    path: Path,
    token: u64,
    until: Arc<Mutex<Moment>>,
    lost: CancellationToken,
    /// What renews it ends with it.
    _renewing: DropGuard,
    released: bool,
}

impl Namespace {
    /// Takes a lock, if nobody holds it; for a job that one node is to do, its name is the job's. It is free again when
    /// it was not renewed for `ttl` by the leader's clock, at least [`LOCK_TTL_MIN`].
    ///
    /// # Errors
    ///
    /// [`KvError`]; [`UserRefusal::Taken`] where another holds it. After [`KvError::InDoubt`] it may be taken for `ttl`,
    /// and nobody's. Who stops waiting holds none.
    pub async fn lock(&self, name: &str, ttl: Duration) -> Result<Lock, KvError> {
        if ttl < LOCK_TTL_MIN {
            return Err(KvError::Refused(UserRefusal::Ttl(millis(ttl))));
        }
        let (kv, path) = (self.kv.clone(), self.path(name));
        let holder = format!("{}-{:016x}", kv.node, rand::random::<u64>()).into();
        // Counted from here, as the leader counts from later.
        let until = end(kv.clock.now(), ttl);
        let acquire = UserOp::Acquire { path: path.clone(), holder, ttl_ms: millis(ttl) };
        match kv.submit(acquire).await? {
            UserOutcome::Held { token } => Ok(Lock::held(kv, path, token, until, ttl)),
            other => unreachable!("{other:?} does not answer it"),
        }
    }

    /// Takes a lock as soon as nobody holds it. It waits for as long as the future is kept.
    ///
    /// # Errors
    ///
    /// [`KvError`].
    pub async fn lock_when_free(&self, name: &str, ttl: Duration) -> Result<Lock, KvError> {
        loop {
            let mut changes = self.watch(name);
            match self.lock(name, ttl).await {
                Err(KvError::Refused(UserRefusal::Taken { .. })) => {}
                Err(error) if error.is_retryable() => sleep(RETRY).await,
                done => return done,
            }
            // Another's change may be the one that was waited for: who is too late waits again.
            let _ = timeout(TRY_EVERY, changes.next()).await;
        }
    }
}

impl Lock {
    fn held(kv: Kv, path: Path, token: u64, until: Moment, ttl: Duration) -> Self {
        let until = Arc::new(Mutex::new(until));
        let (lost, stop) = (CancellationToken::new(), CancellationToken::new());
        let renewing =
            Renewing { kv: kv.clone(), path: path.clone(), token, ttl, until: Arc::clone(&until) };
        let (told, stopped) = (lost.clone(), stop.clone());
        tokio::spawn(async move {
            if stopped.run_until_cancelled(renewing.run()).await.is_some() {
                told.cancel();
            }
        });
        Self { kv, path, token, until, lost, _renewing: stop.drop_guard(), released: false }
    }

    /// The acquisition's number: greater than that of any before it.
    #[must_use]
    pub const fn token(&self) -> u64 {
        self.token
    }

    /// Whether it is held, by this machine's clock, which goes on in a suspend. Nobody else holds it then.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.lost.is_cancelled() && self.kv.clock.now() < *lock(&self.until)
    }

    /// Is cancelled when the lock is lost: it could not be renewed in time, or somebody deleted it.
    #[must_use]
    pub const fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Gives it back, and returns once others can take it.
    ///
    /// # Errors
    ///
    /// [`KvError`]. It ends by itself then.
    pub async fn release(mut self) -> Result<(), KvError> {
        let release = UserOp::Release { path: self.path.clone(), token: self.token };
        let released = self.kv.submit(release).await;
        // Only now: whoever stops waiting for it drops the lock.
        self.released = true;
        match released {
            // Whether this has released it or its end has come: it is not held.
            Ok(_) | Err(KvError::Refused(UserRefusal::NotHeld { .. })) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.released {
            let op = UserOp::Release { path: self.path.clone(), token: self.token };
            // Where the queue is full it ends by itself.
            let _ = self.kv.writes.try_send(Write { op, taken: Taken::default(), reply: None });
        }
    }
}

struct Renewing {
    kv: Kv,
    path: Path,
    token: u64,
    ttl: Duration,
    until: Arc<Mutex<Moment>>,
}

impl Renewing {
    /// Until it is lost.
    async fn run(self) {
        let mut pause = self.ttl / RENEWALS;
        loop {
            let left = lock(&self.until).since(self.kv.clock.now());
            if left.is_zero() {
                return;
            }
            sleep(pause.min(left)).await;
            let (path, token) = (self.path.clone(), self.token);
            let sent = self.kv.clock.now();
            let left = lock(&self.until).since(sent);
            let renew = UserOp::Renew { path, token, ttl_ms: millis(self.ttl) };
            pause = match timeout(left, self.kv.submit(renew)).await {
                Ok(Ok(_)) => {
                    *lock(&self.until) = end(sent, self.ttl);
                    self.ttl / RENEWALS
                }
                Ok(Err(KvError::Refused(_) | KvError::Stopped)) => return,
                Ok(Err(_)) | Err(_) => RETRY,
            };
        }
    }
}

/// Until when a holder counts on it that asked at `sent`.
fn end(sent: Moment, ttl: Duration) -> Moment {
    sent + (ttl - ttl / MARGIN)
}

fn lock(until: &Mutex<Moment>) -> std::sync::MutexGuard<'_, Moment> {
    until.lock().unwrap_or_else(PoisonError::into_inner)
}
