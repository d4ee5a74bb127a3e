//! A member of a Raft group in a process of its own: the log, its store and the transport of a node, and no Discord.
//!
//! It is this very program, started with `--member`. It answers one question a line, and ends with its input.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, Write as _},
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use apolo::{
    ClusterId, Epoch, LogIndex, NodeId, Profile, Sequence, SessionNumber, ShardId, UnixMillis,
    kv::{self, Kv},
    lease::Clock,
    raft::{self, Handle},
    state::{Command, ShardReport, encode_command},
    store,
    transport::{Authority, Credentials, Identity, Options, Transport},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::{runtime::Runtime, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::Failure;

/// Shards in the report that is proposed: an entry of a node with few shards.
const SHARDS: u32 = 8;

/// Where values are put.
const NAMESPACE: &str = "bench";

/// After a proposal that failed, as one does that finds no leader.
const AGAIN_AFTER: Duration = Duration::from_millis(5);

/// Whoever asks for a first write gets one or gives up.
const FIRST_WITHIN: Duration = Duration::from_secs(30);

/// Between two attempts at the first write. Each may hang at a leader that is dead, so they overlap.
pub(crate) const ATTEMPT_EVERY: Duration = Duration::from_millis(10);

/// Who a member is, and who the others are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Seat {
    pub(crate) node: NodeId,
    pub(crate) cluster: ClusterId,
    pub(crate) profile: Profile,
    pub(crate) authority: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) members: BTreeMap<NodeId, SocketAddr>,
}

/// What a member is asked.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// To initialise the group.
    Form,
    /// How it stands.
    Status,
    /// To propose, by so many writers at once.
    Write { writers: usize, for_ms: u64 },
    /// To propose until one proposal is committed.
    First,
    /// To put values of so many bytes, by so many writers at once.
    Put { writers: usize, bytes: usize, for_ms: u64 },
    /// To read this member's own copy of a value, by one reader.
    Read { for_ms: u64 },
}

/// What it answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    Status { leads: bool, applied: u64 },
    Wrote { micros: Vec<u32> },
    ReadSoMany(u64),
    Failed(String),
}

/// Runs until the input ends.
pub(crate) fn run(seat: &str) -> Result<(), Failure> {
    let seat: Seat = serde_json::from_str(seat)?;
    let runtime = Runtime::new()?;
    let (raft, kv) = runtime.block_on(start(&seat))?;
    for line in io::stdin().lock().lines() {
        let ask = serde_json::from_str(&line?)?;
        let answer = runtime.block_on(answer((&raft, &kv), &seat, ask));
        let answer = answer.unwrap_or_else(|failure| Answer::Failed(failure.to_string()));
        let mut out = io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&answer)?)?;
        out.flush()?;
    }
    Ok(())
}

async fn start(seat: &Seat) -> Result<(Handle, Kv), Failure> {
    let options = store::Options { node: seat.node, ..store::Options::default() };
    let store::Opened { store, identity, recovered, .. } = store::open(&seat.data, &options)?;
    let now = UnixMillis::now();
    let authority = Authority::load(&seat.authority, now)?;
    let own = Identity::server(seat.cluster, seat.node);
    let credentials = Credentials::from_authority(&authority, &own, now)?;
    let listen = Options::quic(seat.members[&seat.node], credentials, identity.boot);
    let transport = Transport::start(listen.with_profile(seat.profile))?;
    let raft = Handle::start(raft::Options {
        node: seat.node,
        store: Arc::new(store),
        recovered,
        transport: Some(transport.clone()),
        profile: seat.profile,
        standings: None,
        on_vote: None,
    })
    .await?;
    for (node, address) in seat.members.iter().filter(|(node, _)| **node != seat.node) {
        transport.peer(*node, *address);
    }
    let options = kv::Options { raft: raft.clone(), boot: identity.boot, clock: Clock::Boottime };
    let (kv, keeping) = Kv::new(options, CancellationToken::new());
    tokio::spawn(keeping);
    Ok((raft, kv))
}

async fn answer((raft, kv): (&Handle, &Kv), seat: &Seat, ask: Ask) -> Result<Answer, Failure> {
    match ask {
        Ask::Form => {
            raft.form(seat.members.keys().copied()).await?;
            raft.propose(Command::Form { cluster: seat.cluster }).await?;
            Ok(Answer::Done)
        }
        Ask::Status => {
            let applied = raft.states().borrow().applied().0;
            Ok(Answer::Status { leads: raft.is_leader(), applied })
        }
        Ask::Write { writers, for_ms } => {
            let micros = write(raft, writers, Duration::from_millis(for_ms)).await?;
            Ok(Answer::Wrote { micros })
        }
        Ask::First => first(raft).await,
        Ask::Put { writers, bytes, for_ms } => {
            let micros = put(kv, (writers, bytes), Duration::from_millis(for_ms)).await?;
            Ok(Answer::Wrote { micros })
        }
        Ask::Read { for_ms } => read(kv, Duration::from_millis(for_ms)).await,
    }
}

/// Writers that each propose one command after the other.
async fn write(raft: &Handle, writers: usize, span: Duration) -> Result<Vec<u32>, Failure> {
    let until = Instant::now() + span;
    let count = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..writers {
        let (raft, count) = (raft.clone(), Arc::clone(&count));
        tasks.spawn(async move {
            let mut micros = Vec::new();
            while Instant::now() < until {
                let command = command(count.fetch_add(1, Ordering::Relaxed));
                let began = Instant::now();
                raft.propose(command).await?;
                micros.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            Ok::<_, raft::ProposeError>(micros)
        });
    }
    let mut all = Vec::new();
    while let Some(micros) = tasks.join_next().await {
        all.extend(micros??);
    }
    Ok(all)
}

/// Writers that each put one value after the other.
async fn put(
    kv: &Kv,
    (writers, bytes): (usize, usize),
    span: Duration,
) -> Result<Vec<u32>, Failure> {
    let until = Instant::now() + span;
    let value = Bytes::from(vec![b'A'; bytes]);
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let (values, value) = (kv.namespace(NAMESPACE), value.clone());
        tasks.spawn(async move {
            let (mut micros, key) = (Vec::new(), format!("{writer:08}"));
            while Instant::now() < until {
                let began = Instant::now();
                values.put(&key, value.clone()).await?;
                micros.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            Ok::<_, kv::KvError>(micros)
        });
    }
    let mut all = Vec::new();
    while let Some(micros) = tasks.join_next().await {
        all.extend(micros??);
    }
    Ok(all)
}

async fn read(kv: &Kv, span: Duration) -> Result<Answer, Failure> {
    let (values, until) = (kv.namespace(NAMESPACE).local(), Instant::now() + span);
    let mut count = 0;
    while Instant::now() < until {
        values.get("00000000").await?.ok_or("the value is gone")?;
        count += 1;
    }
    Ok(Answer::ReadSoMany(count))
}

async fn first(raft: &Handle) -> Result<Answer, Failure> {
    let attempts = async {
        let mut attempts = JoinSet::new();
        loop {
            let raft = raft.clone();
            attempts.spawn(async move {
                while raft.propose(command(0)).await.is_err() {
                    sleep(AGAIN_AFTER).await;
                }
            });
            tokio::select! {
                Some(_) = attempts.join_next() => return Answer::Done,
                () = sleep(ATTEMPT_EVERY) => {}
            }
        }
    };
    Ok(tokio::time::timeout(FIRST_WITHIN, attempts).await?)
}

/// A report of shards that this group does not know: it is committed and applied like any other, and changes nothing.
fn command(nth: u64) -> Command {
    let epoch = Epoch { generation: 1, index: LogIndex(1_000) };
    let report = |shard| {
        ShardReport::new(ShardId(shard), epoch).at(SessionNumber(1), Sequence(1_000_000 + nth))
    };
    Command::Report((0..SHARDS).map(report).collect())
}

/// How long the command is that is proposed, in bytes.
pub(crate) fn command_bytes() -> usize {
    encode_command(&command(0)).len()
}
