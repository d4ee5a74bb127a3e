//! From `kill -9` of the leader to the first write that is committed through the survivors: apolo beside etcd, three
//! processes each, killed in turn.
//!
//! Both survivors are asked to write every 10 ms from the kill on, and the first write that is committed counts.

use std::{future::Future, time::Duration};

use apolo::Profile;
use tokio::{runtime::Runtime, time::sleep};

use crate::{
    Failure,
    etcd::{self, Etcd},
    group::Group,
    member::command_bytes,
    report::Report,
};

/// Kills of each in a round.
const KILLS: u32 = 2;

/// A member that has been started again is given so long: a voter keeps silent for its longest election timeout.
const CALM: Duration = Duration::from_millis(700);

/// And up to this much more, so that the kills do not fall in step with the heartbeats.
const CALM_MORE_MS: u64 = 200;

/// What is compared.
const PAIRS: [(Profile, &str, &[&str]); 2] = [
    (Profile::Lan, "defaults, 100/1000 ms", &[]),
    (
        Profile::Fast,
        "100/500 ms, pre-vote",
        &["--heartbeat-interval", "100", "--election-timeout", "500", "--pre-vote"],
    ),
];

pub(crate) fn measure(report: &mut Report, rounds: u32) -> Result<(), Failure> {
    let kills = KILLS * rounds;
    eprintln!("kills of the leader, {kills} of each");
    let beside = etcd::version();
    if let Err(why) = &beside {
        eprintln!("  etcd is left out: {why}");
    }
    for (profile, tuning, words) in PAIRS {
        let mut samples = Samples::default();
        Runtime::new()?.block_on(async {
            let mut apolo = Group::start(profile).await?;
            let mut etcd = match &beside {
                Ok(_) => Some(Etcd::start(words).await?),
                Err(_) => None,
            };
            for _ in 0..kills {
                samples.apolo.push(kill_apolo(&mut apolo).await?);
                if let Some(etcd) = &mut etcd {
                    samples.etcd.push(kill_etcd(etcd).await?);
                }
            }
            Ok::<_, Failure>(())
        })?;
        samples.tell(report, profile, tuning);
    }
    Ok(())
}

async fn kill_apolo(group: &mut Group) -> Result<f64, Failure> {
    group.settled().await?;
    calm().await;
    let leader = group.settled().await?;
    let took = group.kill(leader).await?;
    group.restart(leader)?;
    Ok(took.as_secs_f64())
}

async fn kill_etcd(etcd: &mut Etcd) -> Result<f64, Failure> {
    etcd.settled().await?;
    calm().await;
    let leader = etcd.settled().await?;
    let took = etcd.kill(leader, command_bytes()).await?;
    etcd.restart(leader)?;
    Ok(took.as_secs_f64())
}

fn calm() -> impl Future<Output = ()> {
    sleep(CALM + Duration::from_millis(rand::random_range(0..CALM_MORE_MS)))
}

/// Seconds from each kill to the first write.
#[derive(Default)]
struct Samples {
    apolo: Vec<f64>,
    etcd: Vec<f64>,
}

impl Samples {
    fn tell(self, report: &mut Report, profile: Profile, tuning: &str) {
        let name = "leader killed to first write";
        if !self.etcd.is_empty() {
            let ratios = self.apolo.iter().zip(&self.etcd).map(|(apolo, etcd)| apolo / etcd);
            let ratios = ratios.collect();
            report.add(format!("{name}, etcd {tuning}"), "s", None, self.etcd);
            report.add(format!("{name}, apolo {profile} to that"), "ratio", None, ratios);
        }
        report.add(format!("{name}, apolo {profile}"), "s", None, self.apolo);
    }
}
