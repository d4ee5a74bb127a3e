//! One shard: its world, and the sessions that see it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::Instant};

use super::{
    core::Core,
    pace::Pace,
    payload,
    session::{Body, Entry, Session},
    truth::{SessionTruth, ShardTruth},
    world::{Event, ShardWorld},
};
use crate::model::{ShardId, ShardTotal, UnixMillis};

/// One shard of one total.
#[derive(Debug)]
pub(super) struct Shard {
    pub id: ShardId,
    pub total: ShardTotal,
    state: Mutex<ShardState>,
}

/// What the shard's generator and its connections share.
#[derive(Debug)]
pub(super) struct ShardState {
    pub world: ShardWorld,
    /// Several where several clients identified as the same shard: Discord lets them.
    pub sessions: Vec<Member>,
    /// A generator runs while there are sessions.
    pub generating: bool,
}

/// A session and whoever writes to its connection.
#[derive(Debug)]
pub(super) struct Member {
    pub session: Session,
    pub wake: Arc<Notify>,
}

/// A dispatch that is ready for the wire.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub sequence: u64,
    pub name: &'static str,
    pub data: Arc<str>,
}

impl Shard {
    pub(super) fn new(id: ShardId, total: ShardTotal, world: ShardWorld) -> Self {
        let state = ShardState { world, sessions: Vec::new(), generating: false };
        Self { id, total, state: Mutex::new(state) }
    }

    /// The shard's state. Nothing that holds it waits for anything.
    pub(super) fn lock(&self) -> MutexGuard<'_, ShardState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next dispatches for this connection's session; `None` where the session is no longer the connection's.
    pub(super) fn pull(&self, session: &str, connection: u64, max: usize) -> Option<Vec<Written>> {
        let state = &mut *self.lock();
        let member = state.sessions.iter_mut().find(|member| {
            member.session.id == session && member.session.connection() == Some(connection)
        })?;
        let batch = member.session.pull(max);
        let world = &state.world;
        Some(batch.into_iter().map(|entry| write(entry, world)).collect())
    }

    /// How many guilds and members there are.
    pub(super) fn truth(&self) -> ShardTruth {
        let ShardState { world, .. } = &*self.lock();
        let count = |guilds| u32::try_from(guilds).unwrap_or(u32::MAX);
        ShardTruth {
            shard: self.id.0,
            total: self.total.get(),
            guilds: count(world.guild_count()),
            unavailable: count(world.unavailable_count()),
            members: world.member_count(),
        }
    }

    /// The newest dispatch that the session's connection was given.
    pub(super) fn newest_sent(&self, session: &str) -> Option<Written> {
        let state = &mut *self.lock();
        let entry = state.session(session)?.newest_sent()?;
        Some(write(entry, &state.world))
    }
}

impl ShardState {
    pub(super) fn session(&mut self, id: &str) -> Option<&mut Session> {
        self.member(id).map(|member| &mut member.session)
    }

    pub(super) fn member(&mut self, id: &str) -> Option<&mut Member> {
        self.sessions.iter_mut().find(|member| member.session.id == id)
    }

    /// Appends a dispatch to one session and wakes its writer.
    pub(super) fn push_to(&mut self, id: &str, name: &'static str, data: &str) {
        if let Some(member) = self.member(id) {
            member.session.push(Body::Text { name, data: data.into() });
            member.wake.notify_one();
        }
    }

    /// Lets `count` events happen, and gives them to every session whose intents carry them, unless they are withheld.
    /// Returns the connections that can't follow any more.
    fn happen(&mut self, count: u64, now: UnixMillis, withheld: &BTreeSet<String>) -> Vec<u64> {
        let intents = self.sessions.iter().fold(0, |all, member| all | member.session.intents);
        for _ in 0..count {
            let event = self.world.next_event_for(intents, now);
            if !withheld.contains(event.name) {
                self.spread(&event);
            }
        }
        for member in &self.sessions {
            member.wake.notify_one();
        }
        let overrun = self.sessions.iter().filter(|member| member.session.is_overrun());
        overrun.filter_map(|member| member.session.connection()).collect()
    }

    fn spread(&mut self, event: &Event) {
        let mut shared: Option<(u64, Arc<str>)> = None;
        for Member { session, .. } in &mut self.sessions {
            let data = match &shared {
                Some((intents, data)) if *intents == session.intents => data.clone(),
                _ => match event.data_for(session.intents) {
                    Some(data) => Arc::from(data),
                    None => continue,
                },
            };
            shared = Some((session.intents, data.clone()));
            session.push(Body::Text { name: event.name, data });
        }
    }
}

fn write(entry: Entry, world: &ShardWorld) -> Written {
    let (name, data) = match entry.body {
        Body::Text { name, data } => (name, data),
        Body::Guild(guild) => ("GUILD_CREATE", Arc::from(world.guild_create_of(&guild).data)),
        Body::Members(query, index) => {
            let event = world.members_chunk(&query, index);
            let data = event.map_or_else(|| payload::no_members(query.guild), |event| event.data);
            ("GUILD_MEMBERS_CHUNK", Arc::from(data))
        }
    };
    Written { sequence: entry.sequence, name, data }
}

/// Lets events happen on a shard for as long as it has sessions. The caller has set `generating`.
pub(super) async fn generate(core: Arc<Core>, shard: Arc<Shard>) {
    let mut rates = core.rates();
    let mut pace = Pace::new(0.0, Instant::now());
    let mut rate = 0.0;
    loop {
        let now = Instant::now();
        let (wanted, until) = core.rate_of(&shard, now);
        if (wanted - rate).abs() > f64::EPSILON {
            pace.set_rate(wanted, now);
            rate = wanted;
        }
        let withheld = core.withheld(&shard, now);
        let mut due = pace.due(now);
        while due > 0 {
            let count = due.min(CHUNK);
            let overrun = shard.lock().happen(count, UnixMillis::now(), &withheld);
            core.overrun(&overrun);
            due -= count;
            tokio::task::yield_now().await;
        }
        if shard.lock().stop_if_deserted() {
            return;
        }
        let next = pace.next(now).min(now + LOOK).min(until.unwrap_or(now + LOOK));
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            changed = rates.changed() => if changed.is_err() { return },
            () = core.stopped() => return,
        }
    }
}

impl ShardState {
    /// What is known of the sessions.
    pub(super) fn truths(&self) -> Vec<SessionTruth> {
        self.sessions.iter().map(|member| member.session.truth()).collect()
    }

    fn stop_if_deserted(&mut self) -> bool {
        self.generating = !self.sessions.is_empty();
        !self.generating
    }
}

/// Events that happen under one lock: short enough that no writer waits long for it.
const CHUNK: u64 = 128;

/// A generator looks this often whether its sessions are gone.
const LOOK: std::time::Duration = std::time::Duration::from_secs(5);
