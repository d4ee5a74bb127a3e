//! What a durable write of a value takes: apolo's key-value beside etcd, three processes each, and beside one Redis that
//! answers once the write is on its disk. In short turns, on the same disk.
//!
//! apolo's writers are in the leader's process, where a bot's are; the others' are clients over loopback. Redis has one
//! copy, and the others wait for the disks of two of three.

use std::time::Duration;

use apolo::Profile;
use redis::{Client, aio::MultiplexedConnection};
use tempfile::TempDir;
use tokio::{runtime::Runtime, task::JoinSet, time::Instant};

use crate::{
    Failure,
    commits::{TURN, Turns, WARM_UP, WRITERS},
    etcd::{self, Etcd},
    group::Group,
    member::{Answer, Ask},
    report::Report,
    server::Server,
};

/// Of each value.
const BYTES: usize = 128;

pub(crate) fn measure(report: &mut Report, rounds: u32) -> Result<(), Failure> {
    eprintln!("puts of {BYTES} bytes, {rounds} rounds of {TURN:?} each");
    Runtime::new()?.block_on(async {
        let mut all = Contenders::start().await?;
        for writers in WRITERS {
            all.compare(report, writers, rounds).await?;
        }
        all.read(report, rounds).await
    })
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Contender {
    Apolo,
    Etcd,
    Redis,
}

struct Contenders {
    apolo: Group,
    etcd: Option<Etcd>,
    redis: Option<(Server, MultiplexedConnection)>,
    /// Gone with all of them.
    _directory: TempDir,
}

impl Contenders {
    async fn start() -> Result<Self, Failure> {
        let directory = TempDir::new()?;
        let etcd = match etcd::version() {
            Ok(_) => Some(Etcd::start(&[]).await?),
            Err(why) => {
                eprintln!("  etcd is left out: {why}");
                None
            }
        };
        let redis = match Server::durable_redis(directory.path()).await? {
            Some(server) => {
                let client = Client::open(format!("redis://{}", server.address))?;
                Some((server, client.get_multiplexed_async_connection().await?))
            }
            None => None,
        };
        let apolo = Group::start(Profile::Lan).await?;
        Ok(Self { apolo, etcd, redis, _directory: directory })
    }

    async fn compare(
        &mut self,
        report: &mut Report,
        writers: usize,
        rounds: u32,
    ) -> Result<(), Failure> {
        let mut order = vec![Contender::Apolo];
        order.extend(self.etcd.is_some().then_some(Contender::Etcd));
        order.extend(self.redis.is_some().then_some(Contender::Redis));
        let mut turns: Vec<_> = order.iter().map(|it| (*it, Turns::default())).collect();
        for contender in &order {
            self.put(*contender, writers, WARM_UP).await?;
        }
        for _ in 0..rounds {
            for contender in &order {
                let micros = self.put(*contender, writers, TURN).await?;
                let own = turns.iter_mut().find(|(it, _)| it == contender);
                own.ok_or("nobody of that name")?.1.add(&micros);
            }
            order.rotate_left(1);
        }
        let name = format!("puts, {writers} writer{}", if writers == 1 { "" } else { "s" });
        let own = turns[0].1.rates.clone();
        for (contender, turns) in turns {
            let who = format!("{contender:?}").to_lowercase();
            if contender != Contender::Apolo {
                let ratios = own.iter().zip(&turns.rates).map(|(own, other)| own / other);
                let what = format!("{name}, rate of apolo to {who}");
                report.add(what, "ratio", None, ratios.collect());
            }
            turns.tell(report, &format!("{name}, {who}"));
        }
        Ok(())
    }

    async fn put(
        &mut self,
        contender: Contender,
        writers: usize,
        span: Duration,
    ) -> Result<Vec<u32>, Failure> {
        match (contender, &self.etcd, &self.redis) {
            (Contender::Etcd, Some(etcd), _) => {
                let leader = etcd.settled().await?;
                etcd.write(leader, writers, BYTES, span).await
            }
            (Contender::Redis, _, Some((_, connection))) => set(connection, writers, span).await,
            _ => {
                let leader = self.apolo.settled().await?;
                let for_ms = u64::try_from(span.as_millis())?;
                let ask = Ask::Put { writers, bytes: BYTES, for_ms };
                match self.apolo.ask(leader, ask).await? {
                    Answer::Wrote { micros } => Ok(micros),
                    other => Err(format!("a member answered {other:?}").into()),
                }
            }
        }
    }

    /// How often a value is read from the member's own copy.
    async fn read(&mut self, report: &mut Report, rounds: u32) -> Result<(), Failure> {
        let leader = self.apolo.settled().await?;
        let mut rates = Vec::new();
        for _ in 0..rounds {
            let ask = Ask::Read { for_ms: u64::try_from(TURN.as_millis())? };
            let Answer::ReadSoMany(count) = self.apolo.ask(leader, ask).await? else {
                return Err("a member did not say how often it has read".into());
            };
            rates.push(count as f64 / TURN.as_secs_f64());
        }
        report.add("local reads, 1 reader, apolo, rate", "1/s", None, rates);
        Ok(())
    }
}

/// Writers that each set one value after the other. They share a connection, as the driver's documentation advises.
async fn set(
    connection: &MultiplexedConnection,
    writers: usize,
    span: Duration,
) -> Result<Vec<u32>, Failure> {
    let until = Instant::now() + span;
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let mut connection = connection.clone();
        tasks.spawn(async move {
            let (mut micros, value) = (Vec::new(), "A".repeat(BYTES));
            while Instant::now() < until {
                let began = Instant::now();
                let mut set = redis::cmd("SET");
                set.arg(format!("{writer:08}")).arg(&value);
                set.query_async::<()>(&mut connection).await?;
                micros.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            Ok::<_, redis::RedisError>(micros)
        });
    }
    let mut all = Vec::new();
    while let Some(micros) = tasks.join_next().await {
        all.extend(micros??);
    }
    Ok(all)
}
