//! Discord is down, for as long as one likes: nobody answers, and no event happens meanwhile. Nodes stay alive and say
//! how they are; when Discord is back every shard resumes, or, where its sessions are gone, identifies in its turn.

mod probing;

pub use probing::Probes;

use std::{fmt, time::Duration};

use apolo::simulator::{Fault, Simulator, Truth};
use tokio::time::{Instant, sleep};

use super::{
    account::Account,
    cluster::{Cluster, ClusterError, ClusterOptions, LOAD, discord_options},
};
use probing::{all_say_up, living, probe_while_down, with_probes};

/// Replayed by the simulator, of the moment before the outage.
const REPLAYED: Duration = Duration::from_secs(10);

/// `HEALTH_CHECK_INTERVAL`, unless the shard timeout is shorter.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Sessions that last outlive the outage by this.
const SESSIONS_LAST: Duration = Duration::from_secs(600);

/// Sessions that do not are gone after this.
const SESSIONS_GONE: Duration = Duration::from_secs(1);

/// Few at a time, so that a storm would show.
const CONCURRENCY: u32 = 4;

/// From Discord's return to the last shard: the longest back-off, and all identifies in their turns.
const BACK_WITHIN: Duration = Duration::from_secs(300);

/// How long, and what for.
#[derive(Clone, Copy, Debug)]
pub struct OutageOptions {
    /// How long nobody answers.
    pub lasts: Duration,
    /// Whether Discord has forgotten every session by then.
    pub sessions_end: bool,
    /// `SHARD_TIMEOUT`: from when on a shard counts as dead.
    pub shard_timeout: Duration,
    /// Whether a node is killed in the middle of it: the others take over what can't be resumed yet.
    pub kills: bool,
}

/// What the outage came to.
#[derive(Clone, Debug)]
pub struct OutageReport {
    /// What must hold.
    pub account: Account,
    /// Of `/health` and `/ready`, as long as Discord is down.
    pub probes: Probes,
    /// Of `/ready`, between Discord's return and the last shard's connection: a node whose shards come back later than
    /// most is not ready.
    pub on_return: Probes,
    /// From the outage until every node's `/ready` said that no shard of any node is connected.
    pub told_after: Option<Duration>,
    /// From Discord's return to the last shard's connection.
    pub back_after: Duration,
    /// From that until no node's `/ready` said so any more.
    pub unsaid_after: Duration,
    /// Connections tried in the outage, a minute and shard; Discord's HTTP API is asked by some of them.
    pub attempts: f64,
    options: OutageOptions,
}

impl OutageReport {
    /// Whether every probe was true, and nobody identified who could resume, or out of turn.
    #[must_use]
    pub fn holds(&self) -> bool {
        let Account { shards, identifies, ref broken, overlaps, .. } = self.account;
        let told = self.options.lasts <= self.options.shard_timeout || self.told_after.is_some();
        let sessions = if self.options.sessions_end {
            let sound = broken.is_empty() && overlaps == 0 && self.account.audit.unmarked == 0;
            identifies == 2 * shards as u64 && sound
        } else {
            self.account.holds()
        };
        self.probes.red == 0 && told && sessions
    }
}

/// Has Discord go away and come back.
///
/// # Errors
///
/// [`ClusterError`]. What was found is no error: see [`OutageReport::holds`].
pub async fn outage(
    cluster: &ClusterOptions,
    options: OutageOptions,
    told: impl Fn(u64),
) -> Result<OutageReport, ClusterError> {
    let mut discord = discord_options(cluster, REPLAYED);
    discord.max_concurrency = CONCURRENCY;
    // As Discord keeps: when it is back events flow at once, and who comes late has missed some.
    discord.buffer = None;
    discord.session_timeout =
        if options.sessions_end { SESSIONS_GONE } else { options.lasts + SESSIONS_LAST };
    let simulator = Simulator::start(discord).await?;
    let mut running = Cluster::prepare_on(cluster, simulator)?;
    let look_every = options.shard_timeout.min(LOOK_EVERY);
    running.nodes.set("SHARD_TIMEOUT", options.shard_timeout.as_millis().to_string());
    running.nodes.set("HEALTH_CHECK_INTERVAL", look_every.as_millis().to_string());
    for nth in 0..cluster.nodes {
        running.nodes.start(nth)?;
    }
    running.up(cluster.nodes).await?;
    // Who owns every shard can't tell an outage from a fault of its own.
    running.spread().await?;
    sleep(LOAD).await;
    let before = running.simulator.truth();
    running.simulator.set_event_rate(0.0);
    running.simulator.inject(Fault::Down).map_err(std::io::Error::other)?;
    let (probes, told_after) = probe_while_down(&mut running, options, told).await?;
    let attempts = attempts(&before, &running.simulator.truth(), options.lasts, cluster.shards);
    running.simulator.clear_faults();
    running.simulator.set_event_rate(cluster.event_rate);
    let nodes = living(&running);
    let began = Instant::now();
    let connected = running.connected("every shard is back", BACK_WITHIN);
    let (connected, on_return) = with_probes(connected, &nodes).await;
    connected?;
    let back_after = began.elapsed();
    while !all_say_up(&nodes).await {
        if began.elapsed() > BACK_WITHIN {
            return Err(running.late("every node says so", BACK_WITHIN, "no".to_owned()));
        }
        sleep(Duration::from_millis(20)).await;
    }
    let unsaid_after = began.elapsed() - back_after;
    sleep(LOAD).await;
    let account = running.account().await;
    Ok(OutageReport {
        account,
        probes,
        on_return,
        told_after,
        back_after,
        unsaid_after,
        attempts,
        options,
    })
}

fn attempts(before: &Truth, after: &Truth, lasts: Duration, shards: u32) -> f64 {
    let count = |truth: &Truth| truth.faults.get("down").copied().unwrap_or_default();
    let struck = count(after).saturating_sub(count(before)) as f64;
    struck * 60.0 / lasts.as_secs_f64() / f64::from(shards)
}

impl fmt::Display for OutageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OutageOptions { lasts, shard_timeout, sessions_end, kills } = self.options;
        let sessions = if sessions_end { "gone" } else { "kept" };
        let killed = if kills { ", a node killed in the middle" } else { "" };
        writeln!(f, "Discord down for   {lasts:?}, sessions {sessions}{killed}")?;
        writeln!(f, "probes             {}", self.probes)?;
        match self.told_after {
            Some(after) => writeln!(
                f,
                "/ready says why    after {after:.1?}; {shard_timeout:?} is SHARD_TIMEOUT"
            )?,
            None => writeln!(f, "/ready says why    never; {shard_timeout:?} is SHARD_TIMEOUT")?,
        }
        writeln!(f, "connections tried  {:.1} a minute and shard", self.attempts)?;
        writeln!(f, "/ready meanwhile   {}", self.on_return)?;
        writeln!(f, "all shards back    {:.1?} after Discord", self.back_after)?;
        writeln!(f, "/ready unsays it   {:.0?} after that", self.unsaid_after)?;
        write!(f, "{}", self.account)
    }
}
