use super::{ended, kubelet::Kubelet, outage::Outage, progress};
use apolo_chaos::clusters::{
    Account, ClusterError, ClusterOptions, Earlier, FreezeReport, LinearOptions, RollingReport,
    Shape, cluster_kills, freeze, linear, move_all, partition, power_loss, probes,
    restore_old_copy, rolling_restart, scale, storm, upgrade, wipe_majority, wipe_one,
};
use std::{env, fmt::Display, path::PathBuf, process::ExitCode, time::Duration};

/// Between the break and the healing of a partition: several leases.
const CUT_FOR: Duration = Duration::from_secs(8);

#[derive(Debug, clap::Subcommand)]
pub(super) enum Break {
    /// `kill -9` of the leader and of the owner of most shards, in turn.
    Kills {
        #[command(flatten)]
        size: Size,
        /// Kills.
        #[arg(long, default_value_t = 100)]
        rounds: usize,
    },
    /// Every node is restarted in turn.
    Rolling {
        #[command(flatten)]
        size: Size,
        /// Restarts of each node.
        #[arg(long, default_value_t = 10)]
        rounds: usize,
    },
    /// Every node is upgraded in turn, from an earlier apolo and on its data; one goes back once.
    Upgrade {
        #[command(flatten)]
        size: Size,
        /// The earlier commit's apolo-chaos; without one this one stands in for it, with APOLO_FORMAT_MAX.
        #[arg(long)]
        from: Option<PathBuf>,
    },
    /// SIGSTOP of the leader and of the owner of most shards, in turn.
    Freeze {
        #[command(flatten)]
        size: Size,
        /// Freezes.
        #[arg(long, default_value_t = 4)]
        rounds: usize,
        /// Seconds that each lasts.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// Discord is down for a while, and comes back.
    Outage(Outage),
    /// How soon /ready says what is so, with three nodes: two are killed, and one is stopped.
    Probes {
        #[command(flatten)]
        size: Size,
        /// Of both.
        #[arg(long, default_value_t = 10)]
        rounds: usize,
    },
    /// Partitions in every shape: N1 to N3 with three nodes, N1 and N4 with five. Needs root and nftables.
    Partition {
        #[command(flatten)]
        size: Size,
    },
    /// A voter's data directory is emptied.
    Wipe {
        #[command(flatten)]
        size: Size,
        /// Times.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// The data directories of a majority are emptied: nobody may lead or form anew.
    WipeMajority {
        #[command(flatten)]
        size: Size,
    },
    /// A voter's data directory is replaced by an older copy of itself.
    OldCopy {
        #[command(flatten)]
        size: Size,
    },
    /// Nodes join and leave: 3 to 5 to 1, with five nodes.
    Scale {
        #[command(flatten)]
        size: Size,
    },
    /// All nodes are killed and start at other addresses.
    Move {
        #[command(flatten)]
        size: Size,
    },
    /// What Kubernetes does to the pods of deploy/kubernetes/base, with the probes, grace and order of the manifest.
    Kubelet(Kubelet),
    /// One shard asks all others as fast as it can, from a process with half a processor. Needs root.
    Storm {
        #[command(flatten)]
        size: Size,
        /// Seconds that it lasts.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// Clients write down what the key-value store told them over kills, cuts and freezes, and each history is checked
    /// for linearizability.
    Linear(Linear),
    /// All nodes lose their power at once. Needs root and /dev/fuse.
    PowerLoss {
        #[command(flatten)]
        size: Size,
        /// Losses.
        #[arg(long, default_value_t = 10)]
        rounds: u64,
    },
}

/// How much is recorded.
#[derive(Debug, clap::Args)]
pub(super) struct Linear {
    /// Nodes.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Histories.
    #[arg(long, default_value_t = 20)]
    histories: usize,
    /// Answered operations of each, at least.
    #[arg(long, default_value_t = 2_000)]
    operations: usize,
    /// Of the faults and of what is asked.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where a history is kept that does not hold.
    #[arg(long, default_value = ".")]
    save_in: PathBuf,
    /// Read what a node has at hand, to see that the checker notices.
    #[arg(long, hide = true)]
    stale: bool,
}

/// How large the cluster is, and how busy.
#[derive(Debug, clap::Args)]
pub(super) struct Size {
    /// Nodes.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Shards.
    #[arg(long, default_value_t = 48)]
    shards: u32,
    /// Guilds.
    #[arg(long, default_value_t = 4_800)]
    guilds: u64,
    /// Events a second.
    #[arg(long, default_value_t = 5_000.0)]
    event_rate: f64,
}

impl Linear {
    fn options(&self) -> Result<LinearOptions, ClusterError> {
        Ok(LinearOptions {
            program: env::current_exe()?,
            nodes: self.nodes,
            histories: self.histories,
            operations: self.operations,
            seed: self.seed,
            stale: self.stale,
            save_in: self.save_in.clone(),
        })
    }

    async fn run(&self) -> Result<ExitCode, ClusterError> {
        let (bar, options) = (progress(self.histories as u64, "histories"), self.options()?);
        let told = |history| bar.set_position(history as u64);
        let report = linear(&options, told).await?;
        bar.finish_and_clear();
        Ok(print(&report, report.holds()))
    }
}

impl Size {
    pub(super) fn options(&self) -> Result<ClusterOptions, ClusterError> {
        Ok(ClusterOptions {
            program: env::current_exe()?,
            nodes: self.nodes,
            shards: self.shards,
            guilds: self.guilds,
            event_rate: self.event_rate,
        })
    }
}

pub(super) async fn run(what: &Break) -> ExitCode {
    broken(what).await.unwrap_or_else(|error| ended(Err(error)))
}

async fn broken(what: &Break) -> Result<ExitCode, ClusterError> {
    match what {
        Break::Kills { size, rounds } => {
            let (bar, options) = (progress(*rounds as u64, "kills"), size.options()?);
            let told = |round| bar.set_position(round as u64);
            let report = cluster_kills(&options, *rounds, told).await?;
            bar.finish_and_clear();
            Ok(print(&report, report.account.holds()))
        }
        Break::Rolling { size, rounds } => {
            let (bar, options) =
                (progress((rounds * size.nodes) as u64, "restarts"), size.options()?);
            let told = |restart| bar.set_position(restart as u64);
            let report = rolling_restart(&options, *rounds, told).await?;
            bar.finish_and_clear();
            Ok(print(&report, RollingReport::holds(&report)))
        }
        Break::Upgrade { size, from } => replace(size, from.clone()).await,
        Break::Freeze { size, rounds, seconds } => {
            let (bar, options) = (progress(*rounds as u64, "freezes"), size.options()?);
            let told = |round| bar.set_position(round as u64);
            let report = freeze(&options, *rounds, Duration::from_secs(*seconds), told).await?;
            bar.finish_and_clear();
            Ok(print(&report, FreezeReport::holds(&report)))
        }
        Break::Probes { size, rounds } => probe(size, *rounds).await,
        Break::Outage(arguments) => arguments.run().await,
        Break::Partition { size } => {
            let shapes: &[Shape] = if size.nodes < 5 { &Shape::OF_THREE } else { &Shape::OF_FIVE };
            let (bar, options) = (progress(shapes.len() as u64, "partitions"), size.options()?);
            let told = |cut| bar.set_position(cut as u64);
            let report = partition(&options, shapes, CUT_FOR, told).await?;
            bar.finish_and_clear();
            Ok(print(&report, report.account.holds()))
        }
        Break::Wipe { size, rounds } => {
            let report = wipe_one(&size.options()?, *rounds).await?;
            Ok(print(&report, report.account.holds()))
        }
        Break::WipeMajority { size } => {
            let said = wipe_majority(&size.options()?).await?;
            Ok(print(&said.join("\n"), true))
        }
        Break::OldCopy { size } => {
            let report = restore_old_copy(&size.options()?).await?;
            Ok(print(&report, report.account.holds()))
        }
        Break::Scale { size } => {
            let report = scale(&size.options()?).await?;
            Ok(print(&report, report.account.holds()))
        }
        Break::Move { size } => {
            let report = move_all(&size.options()?).await?;
            Ok(print(&report, Account::holds(&report.account)))
        }
        Break::Storm { size, seconds } => {
            let report = storm(&size.options()?, Duration::from_secs(*seconds)).await?;
            Ok(print(&report, report.holds()))
        }
        Break::Kubelet(arguments) => arguments.run().await,
        Break::Linear(arguments) => arguments.run().await,
        Break::PowerLoss { size, rounds } => {
            let report = power_loss(&size.options()?, *rounds).await?;
            Ok(print(&report, report.account.holds()))
        }
    }
}

async fn replace(size: &Size, from: Option<PathBuf>) -> Result<ExitCode, ClusterError> {
    let earlier = from.map_or(Earlier::Bounded, Earlier::Program);
    let report = upgrade(&size.options()?, earlier).await?;
    Ok(print(&report, report.holds()))
}

async fn probe(size: &Size, rounds: usize) -> Result<ExitCode, ClusterError> {
    let (bar, options) = (progress(rounds as u64, "rounds"), size.options()?);
    let report = probes(&options, rounds, |round| bar.set_position(round as u64)).await?;
    bar.finish_and_clear();
    Ok(print(&report, report.account.holds()))
}

pub(super) fn print(report: &impl Display, holds: bool) -> ExitCode {
    println!("{report}");
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
