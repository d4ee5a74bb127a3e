//! What a message between two nodes takes: a request and its answer beside Redis, NATS and bare quinn, and a broadcast to
//! a thousand shards.
//!
//! Whoever asks and whoever answers are the same two processes for all of them, which take turns; the handler returns
//! what it was sent. apolo and quinn encrypt, and know by its certificate who the other one is; Redis and NATS do
//! neither, and have a third process between the two.

mod apolo;
mod bare;
mod broadcast;
mod load;
mod nats;
mod peer;
mod peers;
mod redis;
mod stamps;
mod turns;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::{Failure, report::Report};
use load::{Load, Took};
use peer::{Answer, Ask};
use peers::{Peers, Rivals};
use turns::Turns;

pub(crate) use peer::run;

/// One turn of one contender.
const TURN: Duration = Duration::from_secs(1);

/// Before the first turn with each load: connections are made, and pages are warm.
const WARM_UP: Duration = Duration::from_millis(300);

const CONCURRENCY: [usize; 3] = [1, 64, 1_000];
const BYTES: [usize; 2] = [64, 4 * 1024];

/// Half of them on each node.
const SHARDS: u32 = 32;

/// The process that asks. The other one answers.
const ASKER: usize = 1;

/// A way from one process to another.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
enum Contender {
    /// Requests to the other node's shards, to all of them by turns.
    Apolo,
    /// Requests to one of them, which has a line of its own on either side.
    OneShard,
    Redis,
    Nats,
    Quinn,
}

impl Contender {
    const fn name(self) -> &'static str {
        match self {
            Self::Apolo => "apolo",
            Self::OneShard => "apolo, one shard",
            Self::Redis => "redis",
            Self::Nats => "nats",
            Self::Quinn => "quinn",
        }
    }
}

pub(crate) fn measure(report: &mut Report, rounds: u32) -> Result<(), Failure> {
    eprintln!("requests between two nodes, {rounds} rounds of {TURN:?} each");
    Runtime::new()?.block_on(async {
        let mut peers = Peers::start(2, SHARDS, Rivals::All).await?;
        for bytes in BYTES {
            for concurrency in CONCURRENCY {
                let load = Load { concurrency, bytes, span: TURN };
                compare(&mut peers, report, load, rounds).await?;
            }
        }
        Ok::<_, Failure>(())
    })?;
    broadcast::measure(report, rounds)
}

async fn compare(
    peers: &mut Peers,
    report: &mut Report,
    load: Load,
    rounds: u32,
) -> Result<(), Failure> {
    let mut contenders = vec![Contender::Apolo, Contender::Quinn];
    // One at a time goes to one shard anyway.
    contenders.extend((load.concurrency > 1).then_some(Contender::OneShard));
    contenders.extend(peers.redis.is_some().then_some(Contender::Redis));
    contenders.extend(peers.nats.is_some().then_some(Contender::Nats));
    for contender in &contenders {
        ask(peers, *contender, Load { span: WARM_UP, ..load }).await?;
    }
    let mut turns = Turns::new(load);
    for _ in 0..rounds {
        for contender in &contenders {
            turns.add(*contender, ask(peers, *contender, load).await?);
        }
        // Whoever comes after a noisy neighbour is somebody else each time.
        contenders.rotate_left(1);
    }
    turns.tell(report);
    Ok(())
}

async fn ask(peers: &mut Peers, contender: Contender, load: Load) -> Result<Took, Failure> {
    match peers.ask(ASKER, Ask::Load { contender, load }).await {
        Ok(Answer::Took(took)) => Ok(took),
        Ok(other) => Err(format!("a process answered {other:?}").into()),
        Err(failure) => Err(format!("{}: {failure}", contender.name()).into()),
    }
}
