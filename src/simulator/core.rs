//! What every connection, request and generator shares.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    armed::Armed,
    fault::{Fault, Step, Url},
    identify::Ledger,
    log::Log,
    options::Options,
    payload::millis,
    rules::{Rule, Violation},
    session::Session,
    shard::{self, Shard, ShardState},
    truth::{ConnectionEnd, ConnectionTruth, SessionEnd, Truth},
    wire::Valve,
    world::{ShardWorld, WorldOptions},
    writer::Order,
};
use crate::model::{GuildId, ShardId, ShardTotal, UnixMillis};

/// The simulator's shared state. Locks are held for lookups and arithmetic only, never over an await; where two are
/// needed, a shard's comes before any other.
#[derive(Debug)]
pub(super) struct Core {
    pub options: Options,
    pub addr: SocketAddr,
    pub recommended_shards: AtomicU32,
    pub ledger: Mutex<Ledger>,
    pub armed: Mutex<Armed>,
    pub log: Mutex<Log>,
    /// When all members of a guild were asked for last.
    pub members_asked: Mutex<BTreeMap<GuildId, Instant>>,
    pub tasks: TaskTracker,
    /// Wakes the HTTP connections that the fault `down` cuts.
    pub cut: Notify,
    started: Instant,
    started_at: UnixMillis,
    shards: Mutex<BTreeMap<(ShardTotal, ShardId), Arc<Shard>>>,
    /// Where each session is.
    sessions: Mutex<BTreeMap<String, Arc<Shard>>>,
    connections: Mutex<BTreeMap<u64, Open>>,
    connections_opened: AtomicU64,
    /// Events a second over the whole bot.
    rate: watch::Sender<f64>,
    stop: CancellationToken,
}

/// A connection that is open.
#[derive(Debug)]
struct Open {
    truth: ConnectionTruth,
    orders: mpsc::Sender<Order>,
    valve: Arc<Valve>,
    kill: CancellationToken,
}

/// What a fault or a takeover needs of an open connection.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    pub url: Url,
    pub shard: Option<u32>,
    pub session: Option<String>,
    pub orders: mpsc::Sender<Order>,
    pub valve: Arc<Valve>,
    pub kill: CancellationToken,
}

impl Core {
    pub(super) fn new(options: Options, addr: SocketAddr) -> Self {
        let ledger = Ledger::new(
            options.session_start_total,
            options.session_start_remaining,
            options.max_concurrency,
        );
        Self {
            addr,
            recommended_shards: AtomicU32::new(options.recommended_shards.get()),
            ledger: Mutex::new(ledger),
            armed: Mutex::default(),
            log: Mutex::default(),
            members_asked: Mutex::default(),
            tasks: TaskTracker::new(),
            cut: Notify::new(),
            started: Instant::now(),
            started_at: UnixMillis::now(),
            shards: Mutex::default(),
            sessions: Mutex::default(),
            connections: Mutex::default(),
            connections_opened: AtomicU64::new(0),
            rate: watch::Sender::new(options.event_rate),
            stop: CancellationToken::new(),
            options,
        }
    }

    /// Milliseconds since the start.
    pub(super) fn now_ms(&self) -> u64 {
        millis(self.started.elapsed())
    }

    /// Completes when the simulator stops.
    pub(super) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Stops everything.
    pub(super) fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
    }

    /// The URL of `GET /gateway/bot`.
    pub(super) fn gateway_url(&self) -> String {
        format!("ws://{}", self.addr)
    }

    /// READY's `resume_gateway_url`.
    pub(super) fn resume_url(&self) -> String {
        format!("ws://{}{}", self.addr, self.options.resume_path)
    }

    /// Whether this is the bot's token.
    pub(super) fn knows(&self, token: &str) -> bool {
        let token = token.strip_prefix("Bot ").unwrap_or(token);
        let right = self.options.token.as_ref().is_none_or(|right| right.expose() == token);
        right && !token.is_empty() && !lock(&self.ledger).token_reset()
    }

    /// A client broke a rule.
    pub(super) fn broke(&self, rule: Rule, detail: &str) {
        lock(&self.log).broke(rule, detail, self.now_ms());
    }

    /// A client broke a rule.
    pub(super) fn violated(&self, violation: &Violation) {
        lock(&self.log).violated(violation, self.now_ms());
    }

    /// The fault that strikes at this step, if one does.
    pub(super) fn strike(&self, step: Step, shard: Option<u32>, url: Option<Url>) -> Option<Fault> {
        lock(&self.armed).strike(step, shard, url, Instant::now())
    }

    /// Tells generators of a change of their rate.
    pub(super) fn rates(&self) -> watch::Receiver<f64> {
        self.rate.subscribe()
    }

    /// Sets the rate of the whole bot; `None` wakes the generators to look for bursts.
    pub(super) fn set_rate(&self, rate: Option<f64>) {
        self.rate.send_modify(|current| *current = rate.unwrap_or(*current).max(0.0));
    }

    /// The rate of the whole bot.
    pub(super) fn rate(&self) -> f64 {
        *self.rate.borrow()
    }

    /// A shard's rate, and when it ends, if it does.
    pub(super) fn rate_of(&self, shard: &Shard, now: Instant) -> (f64, Option<Instant>) {
        let burst = lock(&self.armed).burst(shard.id.0, now);
        burst.unwrap_or_else(|| (self.rate() / f64::from(shard.total.get()), None))
    }

    /// The names of the dispatches that are withheld from a shard.
    pub(super) fn withheld(&self, shard: &Shard, now: Instant) -> BTreeSet<String> {
        lock(&self.armed).withheld(shard.id.0, now)
    }

    /// The shard, made where nobody asked for it before. `None` where [`SHARDS_OPEN_MAX`] others are in use.
    pub(super) fn shard(&self, id: ShardId, total: ShardTotal) -> Option<Arc<Shard>> {
        {
            let mut shards = lock(&self.shards);
            if let Some(shard) = shards.get(&(total, id)) {
                return Some(shard.clone());
            }
            if shards.len() >= SHARDS_OPEN_MAX {
                // Sessions, generators and whoever is about to begin one hold their shard; the map alone holds the rest.
                shards.retain(|_, shard| Arc::strong_count(shard) > 1);
            }
            if shards.len() >= SHARDS_OPEN_MAX {
                return None;
            }
        }
        // Drawing thousands of guilds takes its time, so it happens outside of the lock.
        let options = WorldOptions { seed: self.options.seed, guilds: self.options.guilds, total };
        let shard = Arc::new(Shard::new(id, total, ShardWorld::new(&options, id)));
        Some(lock(&self.shards).entry((total, id)).or_insert(shard).clone())
    }

    /// Where a session is.
    pub(super) fn session_shard(&self, session: &str) -> Option<Arc<Shard>> {
        lock(&self.sessions).get(session).cloned()
    }

    /// A session began: others can find it, and its shard's events flow.
    pub(super) fn session_began(self: &Arc<Self>, session: &str, shard: &Arc<Shard>) {
        lock(&self.sessions).insert(session.to_owned(), shard.clone());
        let mut state = shard.lock();
        if !state.generating {
            state.generating = true;
            self.tasks.spawn(shard::generate(self.clone(), shard.clone()));
        }
    }

    /// A session ends: a RESUME no longer finds it.
    pub(super) fn end_session(&self, state: &mut ShardState, session: &str, end: SessionEnd) {
        if let Some(index) = state.sessions.iter().position(|member| member.session.id == session) {
            let member = state.sessions.swap_remove(index);
            self.log_end(&member.session, end);
            member.wake.notify_one();
        }
    }

    /// Ends a session, wherever it is.
    pub(super) fn end_session_by_id(&self, session: &str, end: SessionEnd) {
        if let Some(shard) = self.session_shard(session) {
            self.end_session(&mut shard.lock(), session, end);
        }
    }

    fn log_end(&self, session: &Session, end: SessionEnd) {
        lock(&self.sessions).remove(&session.id);
        let mut truth = session.truth();
        truth.connected = false;
        truth.end = Some(end);
        truth.ended_ms = Some(self.now_ms());
        lock(&self.log).session_ended(truth);
    }

    /// Ends the sessions that nobody resumed in time.
    pub(super) fn sweep(&self, now: Instant) {
        let timeout = self.options.session_timeout;
        for shard in self.all_shards() {
            let state = &mut *shard.lock();
            let late =
                |session: &Session| session.away_since().is_some_and(|at| now >= at + timeout);
            let late: Vec<String> = state
                .sessions
                .iter()
                .filter(|member| late(&member.session))
                .map(|member| member.session.id.clone())
                .collect();
            for session in late {
                self.end_session(state, &session, SessionEnd::TimedOut);
            }
        }
    }

    /// Every shard that anybody asked for.
    pub(super) fn all_shards(&self) -> Vec<Arc<Shard>> {
        lock(&self.shards).values().cloned().collect()
    }

    /// A connection was accepted.
    pub(super) fn open(
        &self,
        url: Url,
        orders: mpsc::Sender<Order>,
        valve: Arc<Valve>,
        kill: CancellationToken,
    ) -> u64 {
        let id = self.connections_opened.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.log).connections_opened = id;
        let truth = ConnectionTruth {
            id,
            url,
            shard: None,
            session: None,
            opened_ms: self.now_ms(),
            established_ms: None,
            last_received_ms: None,
            received: 0,
            received_bytes: 0,
            closed_ms: None,
            end: None,
        };
        lock(&self.connections).insert(id, Open { truth, orders, valve, kill });
        id
    }

    /// Notes something about an open connection.
    pub(super) fn note(&self, connection: u64, change: impl FnOnce(&mut ConnectionTruth)) {
        if let Some(open) = lock(&self.connections).get_mut(&connection) {
            change(&mut open.truth);
        }
    }

    /// A connection ended. Its session waits for a RESUME, unless the client ended it (close code 1000 or 1001).
    pub(super) fn closed(&self, connection: u64, end: ConnectionEnd) {
        let Some(open) = lock(&self.connections).remove(&connection) else { return };
        let mut truth = open.truth;
        truth.received_bytes = open.valve.received();
        truth.closed_ms = Some(self.now_ms());
        truth.end = Some(end);
        if let Some(session) = truth.session.as_deref()
            && let Some(shard) = self.session_shard(session)
        {
            let state = &mut *shard.lock();
            let own = state.session(session).filter(|own| own.connection() == Some(connection));
            if let Some(own) = own {
                own.leave(Instant::now());
                if matches!(end, ConnectionEnd::Client { code: Some(1000 | 1001) }) {
                    self.end_session(state, session, SessionEnd::ClosedByClient);
                }
            }
        }
        lock(&self.log).connection_ended(truth);
    }

    /// The open connections.
    pub(super) fn reach(&self) -> Vec<Reach> {
        lock(&self.connections).values().map(Open::reach).collect()
    }

    /// One open connection.
    pub(super) fn reach_one(&self, connection: u64) -> Option<Reach> {
        lock(&self.connections).get(&connection).map(Open::reach)
    }

    /// These connections can't follow: they are cut, as Discord drops a client that does not read.
    pub(super) fn overrun(&self, connections: &[u64]) {
        for reach in connections.iter().filter_map(|id| self.reach_one(*id)) {
            reach.cut(false);
        }
    }

    /// What really happened so far.
    pub(super) fn truth(&self) -> Truth {
        let shards = self.all_shards();
        let sessions = shards.iter().flat_map(|shard| shard.lock().truths()).collect();
        let connections = lock(&self.connections).values().map(Open::truth).collect();
        let mut truth = lock(&self.log).truth(sessions, connections);
        truth.started_at = self.started_at;
        truth.at_ms = self.now_ms();
        truth.token_reset = lock(&self.ledger).token_reset();
        truth.faults = lock(&self.armed).struck();
        truth.shards = shards.iter().map(|shard| shard.truth()).collect();
        truth
    }
}

impl Open {
    fn reach(&self) -> Reach {
        Reach {
            url: self.truth.url,
            shard: self.truth.shard.map(|(id, _)| id),
            session: self.truth.session.clone(),
            orders: self.orders.clone(),
            valve: self.valve.clone(),
            kill: self.kill.clone(),
        }
    }

    fn truth(&self) -> ConnectionTruth {
        ConnectionTruth { received_bytes: self.valve.received(), ..self.truth.clone() }
    }
}

/// Locks. What a panicking holder left is still whole: every change is one assignment.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shards that have sessions at a time: several times what any bot here has, at two totals. A client that asks for more
/// is told 4010. Shards without a session keep their guilds until the room is needed.
const SHARDS_OPEN_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_in_use_are_bounded_and_deserted_ones_make_room() {
        let options = Options { guilds: 0, ..Options::default() };
        let core = Core::new(options, SocketAddr::from(([127, 0, 0, 1], 0)));
        let total = ShardTotal::new(65_536).unwrap();
        let many: Vec<_> = (0..4_096).map(|id| core.shard(ShardId(id), total).unwrap()).collect();

        let beyond = core.shard(ShardId(4_096), total);
        let known = core.shard(ShardId(7), total);
        drop(many);
        let later = core.shard(ShardId(4_096), total);

        assert!(beyond.is_none() && known.is_some() && later.is_some());
        assert_eq!(core.all_shards().len(), 2);
    }
}
