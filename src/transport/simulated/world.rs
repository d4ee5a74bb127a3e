//! Who is where in the simulated network, and what lies between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::mpsc;

use crate::transport::{Ended, Identity, network::Arrival, shown::Shown};

use super::{SimulatedSocket, wire::Wire};

/// How packets fare from one node to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weather {
    /// What every packet takes.
    pub delay: Duration,
    /// What it takes besides, at most.
    pub jitter: Duration,
    /// The part of packets that is lost, from 0 to 1. Each loss costs a repetition's wait.
    pub loss: f64,
}

impl Default for Weather {
    /// A quiet local network.
    fn default() -> Self {
        Self { delay: Duration::from_micros(200), jitter: Duration::from_micros(100), loss: 0.0 }
    }
}

/// The first wait before a lost packet is sent again, where the round trip is shorter.
const REPEAT_MIN: Duration = Duration::from_millis(10);

/// Losses in a row after which a packet gets through all the same: what is lost for good is a partition.
const LOSSES_MAX: u32 = 8;

/// A network in memory. Clones are the same network.
#[derive(Clone, Debug)]
pub struct SimulatedNetwork {
    world: Arc<Mutex<World>>,
    changed: Arc<Shown<u64>>,
}

#[derive(Debug)]
struct World {
    seed: u64,
    /// One for each way, so that what happens elsewhere does not change it.
    random: BTreeMap<(SocketAddr, SocketAddr), StdRng>,
    inboxes: BTreeMap<SocketAddr, Inbox>,
    weather: BTreeMap<(SocketAddr, SocketAddr), Weather>,
    weather_elsewhere: Weather,
    blocked: BTreeSet<(SocketAddr, SocketAddr)>,
    wires: Vec<Weak<Wire>>,
}

#[derive(Clone, Debug)]
pub(super) struct Inbox {
    pub(super) identity: Identity,
    pub(super) arrivals: mpsc::Sender<Arrival>,
    pub(super) half_open: Arc<tokio::sync::Semaphore>,
    pub(super) idle: Duration,
}

impl SimulatedNetwork {
    /// A network whose every delay and loss follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let world = World {
            seed,
            random: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            weather: BTreeMap::new(),
            weather_elsewhere: Weather::default(),
            blocked: BTreeSet::new(),
            wires: Vec::new(),
        };
        Self { world: Arc::new(Mutex::new(world)), changed: Arc::default() }
    }

    /// A place in it at `address`, as `identity`: for [`Options::simulated`](crate::transport::Options::simulated).
    #[must_use]
    pub fn join(&self, address: SocketAddr, identity: Identity) -> SimulatedSocket {
        SimulatedSocket::new(self.clone(), address, identity)
    }

    /// The weather wherever nothing else was set.
    pub fn set_weather_everywhere(&self, weather: Weather) {
        self.world().weather_elsewhere = weather;
    }

    /// The weather from one address to another; the way back has its own.
    pub fn set_weather(&self, from: SocketAddr, to: SocketAddr, weather: Weather) {
        self.world().weather.insert((from, to), weather);
    }

    /// Lets nothing through from one address to the other. What is sent waits, as QUIC repeats it.
    pub fn block(&self, from: SocketAddr, to: SocketAddr) {
        self.world().blocked.insert((from, to));
        self.tell();
    }

    /// Lets nothing through in either direction.
    pub fn partition(&self, one: SocketAddr, other: SocketAddr) {
        self.world().blocked.extend([(one, other), (other, one)]);
        self.tell();
    }

    /// Lets everything through again between the two.
    pub fn heal(&self, one: SocketAddr, other: SocketAddr) {
        let mut world = self.world();
        world.blocked.remove(&(one, other));
        world.blocked.remove(&(other, one));
        drop(world);
        self.tell();
    }

    /// Lets everything through again, everywhere.
    pub fn heal_all(&self) {
        self.world().blocked.clear();
        self.tell();
    }

    /// Breaks the connections between two addresses at once, for both. New ones can be made.
    pub fn cut(&self, one: SocketAddr, other: SocketAddr) {
        for wire in self.wires_of(one) {
            if wire.is_between(one, other) {
                wire.end_both(&Ended::Failed { reason: "cut".to_owned() });
            }
        }
        self.tell();
    }

    /// Takes a node away without a word, as SIGKILL does. Another may join at its address.
    pub fn kill(&self, address: SocketAddr) {
        self.world().inboxes.remove(&address);
        for wire in self.wires_of(address) {
            wire.end_at(address, &Ended::Failed { reason: "killed".to_owned() });
        }
        self.tell();
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wires_of(&self, address: SocketAddr) -> Vec<Arc<Wire>> {
        let mut world = self.world();
        world.wires.retain(|wire| wire.strong_count() > 0);
        let wires = world.wires.iter().filter_map(Weak::upgrade);
        wires.filter(|wire| wire.touches(address)).collect()
    }

    /// Something has changed: whoever waits for it looks again.
    fn tell(&self) {
        self.changed.modify(|count| {
            *count += 1;
            true
        });
        let wires: Vec<_> = self.world().wires.iter().filter_map(Weak::upgrade).collect();
        for wire in wires {
            wire.wake();
        }
    }

    pub(super) fn changes(&self) -> Arc<Shown<u64>> {
        self.changed.clone()
    }

    pub(super) fn open(&self, address: SocketAddr, inbox: Inbox) {
        self.world().inboxes.insert(address, inbox);
    }

    /// Takes the inbox away, unless someone else has the address by now.
    pub(super) fn leave(&self, address: SocketAddr, arrivals: &mpsc::Sender<Arrival>) {
        let mut world = self.world();
        if world.inboxes.get(&address).is_some_and(|inbox| inbox.arrivals.same_channel(arrivals)) {
            world.inboxes.remove(&address);
        }
    }

    pub(super) fn inbox(&self, address: SocketAddr) -> Option<Inbox> {
        self.world().inboxes.get(&address).cloned()
    }

    pub(super) fn add(&self, wire: &Arc<Wire>) {
        self.world().wires.push(Arc::downgrade(wire));
    }

    pub(super) fn close_all(&self, address: SocketAddr, close: impl Fn(&Arc<Wire>)) {
        self.wires_of(address).iter().for_each(close);
    }

    pub(super) fn is_blocked(&self, from: SocketAddr, to: SocketAddr) -> bool {
        self.world().blocked.contains(&(from, to))
    }

    /// How long the next packet takes.
    pub(super) fn transit(&self, from: SocketAddr, to: SocketAddr) -> Duration {
        let mut world = self.world();
        let weather = world.weather.get(&(from, to)).copied().unwrap_or(world.weather_elsewhere);
        let seed = world.seed;
        let random = world.random.entry((from, to)).or_insert_with(|| way_random(seed, from, to));
        let mut took = weather.delay + weather.jitter.mul_f64(random.random_range(0.0..=1.0));
        let mut wait = (weather.delay * 2).max(REPEAT_MIN);
        for _ in 0..LOSSES_MAX {
            if !random.random_bool(weather.loss.clamp(0.0, 1.0)) {
                break;
            }
            took += wait;
            wait *= 2;
        }
        took
    }
}

fn way_random(seed: u64, from: SocketAddr, to: SocketAddr) -> StdRng {
    // FNV-1a: the same in every build, which std's hasher does not promise.
    let text = format!("{seed} {from} {to}");
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    StdRng::seed_from_u64(hash)
}
