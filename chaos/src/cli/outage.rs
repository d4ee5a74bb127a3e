use super::{
    clusters::{Size, print},
    progress,
};
use apolo_chaos::clusters::{ClusterError, OutageOptions, outage};
use std::{process::ExitCode, time::Duration};

/// How long Discord is down.
#[derive(Debug, clap::Args)]
pub(super) struct Outage {
    #[command(flatten)]
    size: Size,
    /// Seconds.
    #[arg(long, default_value_t = 3_600)]
    seconds: u64,
    /// Discord has forgotten every session by then.
    #[arg(long)]
    sessions_end: bool,
    /// A node is killed in the middle of it.
    #[arg(long)]
    kill: bool,
    /// Seconds after which a shard counts as dead (SHARD_TIMEOUT).
    #[arg(long, default_value_t = 180)]
    shard_timeout: u64,
}

impl Outage {
    pub(super) async fn run(&self) -> Result<ExitCode, ClusterError> {
        let bar = progress(self.seconds, "seconds");
        let options = OutageOptions {
            lasts: Duration::from_secs(self.seconds),
            sessions_end: self.sessions_end,
            shard_timeout: Duration::from_secs(self.shard_timeout),
            kills: self.kill,
        };
        let told = |second| bar.set_position(second);
        let report = outage(&self.size.options()?, options, told).await?;
        bar.finish_and_clear();
        Ok(print(&report, report.holds()))
    }
}
