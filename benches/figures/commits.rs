//! What a commit takes: a Raft group of apolo beside etcd, three processes each, on the same disk, in short turns.
//!
//! apolo's writers are in the leader's process, where the product's are; etcd's are clients over its JSON gateway, which
//! costs etcd an HTTP request and the decoding of JSON each. Between members apolo speaks QUIC with mutual TLS, etcd
//! plain HTTP. Both wait for the disks of a quorum.

use std::time::Duration;

use apolo::Profile;
use tokio::runtime::Runtime;

use crate::{
    Failure,
    etcd::{self, Etcd},
    group::Group,
    member::{Answer, Ask, command_bytes},
    report::Report,
};

/// One turn of one of the two.
pub(crate) const TURN: Duration = Duration::from_millis(1_500);

/// Before the first turn of each number of writers: connections are made, and pages are warm.
pub(crate) const WARM_UP: Duration = Duration::from_millis(300);

pub(crate) const WRITERS: [usize; 3] = [1, 64, 256];

pub(crate) fn measure(report: &mut Report, rounds: u32) -> Result<(), Failure> {
    eprintln!("commits of {} bytes, {rounds} rounds of {TURN:?} each", command_bytes());
    Runtime::new()?.block_on(async {
        let mut pair = Pair::start().await?;
        for writers in WRITERS {
            pair.compare(report, At::Leader, writers, rounds).await?;
        }
        pair.compare(report, At::Follower, 1, rounds).await
    })
}

/// Where the writers are.
#[derive(Clone, Copy, Debug)]
enum At {
    Leader,
    Follower,
}

struct Pair {
    apolo: Group,
    etcd: Option<Etcd>,
}

impl Pair {
    async fn start() -> Result<Self, Failure> {
        let apolo = Group::start(Profile::Lan).await?;
        let etcd = match etcd::version() {
            Ok(version) => {
                eprintln!("  {version}, through its JSON gateway over HTTP/1.1");
                Some(Etcd::start(&[]).await?)
            }
            Err(why) => {
                eprintln!("  etcd is left out: {why}");
                None
            }
        };
        Ok(Self { apolo, etcd })
    }

    async fn compare(
        &mut self,
        report: &mut Report,
        at: At,
        writers: usize,
        rounds: u32,
    ) -> Result<(), Failure> {
        let (mut apolo, mut etcd) = (Turns::default(), Turns::default());
        self.apolo(at, writers, WARM_UP).await?;
        self.etcd(at, writers, WARM_UP).await?;
        for round in 0..rounds {
            // Whoever goes second may find the disk busier: they take turns.
            if round % 2 == 0 {
                apolo.add(&self.apolo(at, writers, TURN).await?);
            }
            if let Some(took) = self.etcd(at, writers, TURN).await? {
                etcd.add(&took);
            }
            if round % 2 == 1 {
                apolo.add(&self.apolo(at, writers, TURN).await?);
            }
        }
        let name = match (at, writers) {
            (At::Leader, 1) => "commits, 1 writer".to_owned(),
            (At::Leader, _) => format!("commits, {writers} writers"),
            (At::Follower, _) => "commits, 1 writer at a follower".to_owned(),
        };
        if !etcd.rates.is_empty() {
            let ratios = apolo.rates.iter().zip(&etcd.rates).map(|(apolo, etcd)| apolo / etcd);
            let ratios = ratios.collect();
            etcd.tell(report, &format!("{name}, etcd"));
            report.add(format!("{name}, rate of apolo to etcd"), "ratio", None, ratios);
        }
        apolo.tell(report, &format!("{name}, apolo"));
        Ok(())
    }

    async fn apolo(&mut self, at: At, writers: usize, span: Duration) -> Result<Vec<u32>, Failure> {
        let member = at.member(self.apolo.settled().await?);
        let for_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        match self.apolo.ask(member, Ask::Write { writers, for_ms }).await? {
            Answer::Wrote { micros } => Ok(micros),
            other => Err(format!("a member answered {other:?}").into()),
        }
    }

    async fn etcd(
        &self,
        at: At,
        writers: usize,
        span: Duration,
    ) -> Result<Option<Vec<u32>>, Failure> {
        let Some(etcd) = &self.etcd else { return Ok(None) };
        let member = at.member(etcd.settled().await?);
        etcd.write(member, writers, command_bytes(), span).await.map(Some)
    }
}

impl At {
    const fn member(self, leader: usize) -> usize {
        match self {
            Self::Leader => leader,
            Self::Follower => (leader + 1) % 3,
        }
    }
}

/// What several turns came to.
#[derive(Default)]
pub(crate) struct Turns {
    pub(crate) rates: Vec<f64>,
    ms: Vec<f64>,
}

impl Turns {
    pub(crate) fn add(&mut self, micros: &[u32]) {
        self.rates.push(micros.len() as f64 / TURN.as_secs_f64());
        self.ms.extend(micros.iter().map(|micros| f64::from(*micros) / 1e3));
    }

    pub(crate) fn tell(self, report: &mut Report, name: &str) {
        report.add(format!("{name}, rate"), "1/s", None, self.rates);
        report.add(format!("{name}, latency"), "ms", None, self.ms);
    }
}
