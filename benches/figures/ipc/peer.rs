//! One of the processes that talk to each other: a node of apolo, and its side of each other way.
//!
//! It is this very program, started with `--peer`. It does what it is asked, a question a line, and ends with its input.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, Write as _},
    net::SocketAddr,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{runtime::Runtime, sync::OnceCell};

use super::{
    Contender,
    apolo::{self, Member, Spread},
    bare::{self, Bare},
    load::{Load, Took},
    nats::Nats,
    redis::Redis,
    stamps::Sight,
};
use crate::Failure;

/// The shard that asks with Redis; the one after it answers.
const ASKS: u32 = 0;

/// What a process is there for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum Part {
    Asks,
    Answers,
}

/// Who a process is, and where the rivals are, if there are any.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Seat {
    pub(super) part: Part,
    pub(super) apolo: apolo::Place,
    pub(super) redis: Option<SocketAddr>,
    pub(super) nats: Option<SocketAddr>,
    pub(super) bare: Option<bare::Place>,
}

/// What a process is asked.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Whether all its sides have been started.
    Ready,
    Load {
        contender: Contender,
        load: Load,
    },
    Broadcast {
        first: u32,
        count: u32,
        every: Duration,
    },
    Seen,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Ready,
    Took(Took),
    Began(BTreeMap<u32, u64>),
    Seen(Sight),
    Failed(String),
}

/// Runs until the input ends.
pub(crate) fn run(seat: &str) -> Result<(), Failure> {
    let seat: Seat = serde_json::from_str(seat)?;
    // stdout is for answers.
    tracing_subscriber::fmt().with_ansi(false).with_writer(io::stderr).init();
    let runtime = Runtime::new()?;
    let peer = runtime.block_on(Peer::start(&seat))?;
    for line in io::stdin().lock().lines() {
        let ask = serde_json::from_str(&line?)?;
        let answer = runtime.block_on(peer.answer(ask));
        let answer = answer.unwrap_or_else(|failure| Answer::Failed(failure.to_string()));
        let mut out = io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&answer)?)?;
        out.flush()?;
    }
    Ok(())
}

struct Peer {
    apolo: Member,
    redis: Option<Redis>,
    nats: Option<Nats>,
    bare: Option<bare::Place>,
    /// Made when it is first used: by then the other process listens.
    connected: OnceCell<Bare>,
}

impl Peer {
    async fn start(seat: &Seat) -> Result<Self, Failure> {
        let answers = seat.part == Part::Answers;
        let redis = match seat.redis {
            Some(server) => Some(Redis::connect(server, ASKS + u32::from(answers)).await?),
            None => None,
        };
        let nats = match seat.nats {
            Some(server) => Some(Nats::connect(server).await?),
            None => None,
        };
        if answers {
            if let Some(nats) = &nats {
                nats.answer().await?;
            }
            if let Some(place) = &seat.bare {
                place.answer()?;
            }
        }
        // Last: the parent waits for shards, and then for nothing else.
        let apolo = Member::start(&seat.apolo).await?;
        Ok(Self { apolo, redis, nats, bare: seat.bare.clone(), connected: OnceCell::new() })
    }

    async fn answer(&self, ask: Ask) -> Result<Answer, Failure> {
        match ask {
            Ask::Ready => Ok(Answer::Ready),
            Ask::Load { contender, load } => self.load(contender, load).await.map(Answer::Took),
            Ask::Broadcast { first, count, every } => {
                self.apolo.broadcast(first, count, every).await.map(Answer::Began)
            }
            Ask::Seen => Ok(Answer::Seen(self.apolo.seen())),
        }
    }

    async fn load(&self, contender: Contender, load: Load) -> Result<Took, Failure> {
        match contender {
            Contender::Apolo => self.apolo.load(load, Spread::All).await,
            Contender::OneShard => self.apolo.load(load, Spread::One).await,
            Contender::Redis => load.run(self.redis.clone().ok_or("no Redis")?).await,
            Contender::Nats => load.run(self.nats.clone().ok_or("no NATS")?).await,
            Contender::Quinn => load.run(self.quinn().await?).await,
        }
    }

    async fn quinn(&self) -> Result<Bare, Failure> {
        let place = self.bare.as_ref().ok_or("no quinn")?;
        Ok(self.connected.get_or_try_init(|| place.connect()).await?.clone())
    }
}
