//! A bot's shards on one simulator, each with a reader that keeps an account.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use apolo::{
    ShardId, ShardTotal, Token,
    gateway::{
        Backoff, Exit, FeedLimits, Handles, Hosts, Intents, Options, Permit, PermitError, Permits,
        Phase, Profile, Rest, RestLimits, Status, Stop, Supervisor,
    },
    simulator::{Injection, Options as SimulatorOptions, Rule, SessionTruth, Simulator, Truth},
};
use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use url::Url;

use super::account::Account;

/// Every wait of a test ends here.
const DEADLINE: Duration = Duration::from_secs(60);

/// How often a condition is looked at that nothing announces.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Events of a shard after a fault that show that its stream goes on: more than could be under way.
const EVENTS_AFTER: u64 = 20;

/// The back-off of these tests: the shape of the default, some times faster.
pub(super) const BACKOFF: Backoff = Backoff {
    fast: (Duration::from_millis(50), Duration::from_millis(100)),
    base: Duration::from_millis(200),
    cap: Duration::from_secs(2),
    healthy_after: Duration::from_millis(500),
    invalid_session: (Duration::from_millis(100), Duration::from_millis(200)),
    behind_identify: Duration::from_secs(600),
};

/// A bot's shards.
pub(super) struct Fleet {
    pub(super) simulator: Simulator,
    pub(super) total: ShardTotal,
    pub(super) shards: Vec<Shard>,
    pub(super) stop: Stop,
}

/// One of them.
pub(super) struct Shard {
    pub(super) account: Arc<Mutex<Account>>,
    pub(super) status: watch::Receiver<Status>,
    pub(super) task: JoinHandle<Exit>,
}

/// Fast heartbeats, a steady stream, and enough buckets for all shards to start at once.
pub(super) fn simulator() -> SimulatorOptions {
    SimulatorOptions {
        guilds: 40,
        event_rate: 200.0,
        max_concurrency: 16,
        heartbeat_interval: Duration::from_millis(500),
        ..SimulatorOptions::default()
    }
}

impl Fleet {
    /// Starts this many shards, and waits for all of them.
    pub(super) async fn start(total: u32) -> Self {
        let fleet = Self::launch(simulator(), total, None, |_| {}, Duration::ZERO).await;
        fleet.all_connected().await;
        fleet
    }

    /// Starts shards whose readers take `pause` over each item, with a fault armed before the first connects, and waits
    /// for nothing.
    pub(super) async fn launch(
        options: SimulatorOptions,
        total: u32,
        armed: Option<Injection>,
        adjust: impl Fn(&mut Options),
        pause: Duration,
    ) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let simulator = Simulator::start(options).await.unwrap();
        if let Some(armed) = armed {
            simulator.inject(armed).unwrap();
        }
        let token = Token::parse("secret").unwrap();
        let api = Url::parse(&simulator.api_url()).unwrap();
        let rest = Rest::new(&api, token.clone(), RestLimits::default()).unwrap();
        let info = rest.gateway().await.unwrap();
        let hosts = Hosts::of_api(&api).with_gateway(&info.url).unwrap();
        let profile = Profile::new(&token, Intents::all());
        let ledger = Arc::new(Ledger::new(info.session_start_limit.max_concurrency));
        let total = ShardTotal::new(total).unwrap();
        let stop = Stop::new();
        let mut fleet = Self { simulator, total, shards: Vec::new(), stop };
        for shard in total.shards() {
            let mut options = Options::new(shard, total, profile.clone(), info.url.clone());
            options.hosts = hosts.clone();
            options.backoff = BACKOFF;
            options.timers.hello = Duration::from_millis(500);
            options.timers.resumed = Duration::from_millis(500);
            adjust(&mut options);
            fleet.add(options, Arc::clone(&ledger), pause);
        }
        fleet
    }

    fn add(&mut self, options: Options, ledger: Arc<Ledger>, pause: Duration) {
        let (supervisor, handles) = Supervisor::new(options, ledger).unwrap();
        let Handles { mut feed, status, .. } = handles;
        let account = Arc::new(Mutex::new(Account::default()));
        let kept = Arc::clone(&account);
        tokio::spawn(async move {
            while let Some(item) = feed.recv().await {
                kept.lock().unwrap().note(item);
                if !pause.is_zero() {
                    sleep(pause).await;
                }
            }
        });
        let task = tokio::spawn(supervisor.run(self.stop.clone()));
        self.shards.push(Shard { account, status, task });
    }

    pub(super) fn truth(&self) -> Truth {
        self.simulator.truth()
    }

    /// Waits for a condition.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waited = within(async {
            while !holds(self) {
                sleep(LOOK_EVERY).await;
            }
        });
        if waited.await.is_err() {
            let phases: Vec<_> = self.shards.iter().map(|it| it.status.borrow().clone()).collect();
            panic!("waited too long for {what}: {phases:?} {:?}", self.truth().broken);
        }
    }

    pub(super) async fn all_connected(&self) {
        self.until("all shards", Self::is_connected).await;
    }

    fn is_connected(&self) -> bool {
        self.shards.iter().all(|shard| shard.status.borrow().phase == Phase::Connected)
    }

    /// Injects a fault and waits until it has struck, all shards are connected again, and the stream goes on.
    pub(super) async fn survives(&self, injection: impl Into<Injection>) {
        let injection = injection.into();
        let name = format!("{:?}", injection.fault);
        let struck = self.struck();
        self.simulator.inject(injection).unwrap();
        self.until(&format!("{name} to strike"), |fleet| fleet.struck() > struck).await;
        self.recovers(&name).await;
        self.simulator.clear_faults();
    }

    /// Waits until every shard is connected, has everything that Discord had when this was called, and events that came
    /// to be after it.
    pub(super) async fn recovers(&self, after: &str) {
        self.has_all(after, EVENTS_AFTER).await;
    }

    /// Waits until every shard is connected, has everything that Discord had when this was called, and `more`.
    async fn has_all(&self, after: &str, more: u64) {
        let truth = self.truth();
        self.until(&format!("the recovery from {after}"), |fleet| {
            let came = |session: &SessionTruth| {
                let account = fleet.shards[session.shard as usize].account.lock().unwrap();
                account.sessions.get(&session.id).is_some_and(|it| it.last >= session.last + more)
            };
            fleet.is_connected()
                && fleet.truth().connected(fleet.total.get()) == fleet.shards.len()
                && truth.sessions.iter().all(|session| session.end.is_some() || came(session))
        })
        .await;
    }

    pub(super) fn struck(&self) -> u64 {
        self.truth().faults.values().sum()
    }

    /// Stops the stream, waits for its end, and compares every account with the truth: nothing lost but what was
    /// reported, no rule broken, no attempt before its time.
    pub(super) async fn settle(&self) -> Truth {
        self.settle_but(&[]).await
    }

    /// The same, but for rules that a fault makes the simulator believe broken.
    pub(super) async fn settle_but(&self, forgiven: &[Rule]) -> Truth {
        self.simulator.set_event_rate(0.0);
        self.has_all("the end of the stream", 0).await;
        let truth = self.truth();
        for session in &truth.sessions {
            let account = self.shards[session.shard as usize].account.lock().unwrap();
            let last = match session.end {
                None => session.last,
                Some(_) => account.sessions.get(&session.id).map_or(0, |it| it.last),
            };
            let mut missing = account.missing(&session.id, last);
            missing.retain(|it| !session.skipped.iter().any(|range| range.contains(it)));
            assert!(missing.is_empty(), "shard {}: {missing:?} of {last}", session.shard);
        }
        let broken = truth.broken.iter().find(|(rule, _)| !forgiven.contains(rule));
        assert_eq!(broken, None);
        assert!(!truth.token_reset);
        self.attempts_are_spaced(&truth);
        truth
    }

    /// Whether connections were opened no faster than the back-off allows.
    fn attempts_are_spaced(&self, truth: &Truth) {
        let fast = u64::try_from(BACKOFF.fast.0.as_millis()).unwrap();
        for shard in self.total.shards() {
            for pair in truth.attempts(shard.0).windows(2) {
                assert!(pair[1] - pair[0] >= fast - 1, "shard {shard}: {pair:?}");
            }
        }
        let attempts: u64 = self.shards.iter().map(|shard| shard.status.borrow().connects).sum();
        assert!(truth.connections_opened <= attempts, "{} > {attempts}", truth.connections_opened);
    }

    /// Sequences that the queues called missing.
    pub(super) fn reported(&self) -> usize {
        self.sum(|account| account.sessions.values().map(|it| it.reported.len()).sum())
    }

    pub(super) fn sum(&self, of: impl Fn(&Account) -> usize) -> usize {
        self.shards.iter().map(|shard| of(&shard.account.lock().unwrap())).sum()
    }
}

pub(super) async fn within<T>(
    future: impl Future<Output = T>,
) -> Result<T, tokio::time::error::Elapsed> {
    timeout(DEADLINE, future).await
}

/// The smallest ledger that keeps Discord's rule: one identify per bucket in 5 s.
#[derive(Debug)]
struct Ledger {
    buckets: u32,
    free: Arc<tokio::sync::Mutex<BTreeMap<u32, Instant>>>,
}

impl Ledger {
    fn new(buckets: u32) -> Self {
        Self { buckets, free: Arc::default() }
    }
}

impl Permits for Ledger {
    fn acquire(&self, shard: ShardId) -> BoxFuture<'static, Result<Permit, PermitError>> {
        let (free, bucket) = (Arc::clone(&self.free), shard.0 % self.buckets);
        async move {
            loop {
                let mut buckets = free.lock().await;
                let now = Instant::now();
                let at = buckets.get(&bucket).copied().unwrap_or(now);
                if at <= now {
                    let expires = now + Duration::from_millis(500);
                    buckets.insert(bucket, expires + Duration::from_secs(7));
                    return Ok(Permit { expires, sent: None, answered: None });
                }
                drop(buckets);
                tokio::time::sleep_until(at).await;
            }
        }
        .boxed()
    }
}

/// Feed limits that a slow reader reaches soon.
pub(super) const SMALL_FEED: FeedLimits = FeedLimits { items: 32, bytes: 1_000_000 };
