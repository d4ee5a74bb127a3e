use super::clusters::print;
use apolo_chaos::clusters::{
    ClusterError, ClusterOptions, KubeletOptions, Manifest, Scenario, kubelet,
};
use clap::ValueEnum as _;
use std::{env, io, process::ExitCode};

/// What is done to the pods, and with which manifest.
#[derive(Debug, clap::Args)]
pub(super) struct Kubelet {
    /// What happens; everything unless it is named.
    #[arg(long)]
    scenario: Vec<Scenario>,
    /// Shards.
    #[arg(long, default_value_t = 48)]
    shards: u32,
    /// Guilds.
    #[arg(long, default_value_t = 4_800)]
    guilds: u64,
    /// Events a second.
    #[arg(long, default_value_t = 5_000.0)]
    event_rate: f64,
    /// Another value in the ConfigMap.
    #[arg(long, value_name = "SETTING=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Another terminationGracePeriodSeconds.
    #[arg(long, value_name = "SECONDS")]
    grace: Option<u64>,
    /// Another podManagementPolicy: OrderedReady.
    #[arg(long)]
    in_order: bool,
    /// Pods may read their StatefulSet, and leave the cluster where they are scaled away.
    #[arg(long)]
    scale_in_order: bool,
    /// Two pods mount one volume, to see that it is noticed.
    #[arg(long, hide = true)]
    one_volume_for_two: bool,
}

impl Kubelet {
    fn options(&self) -> Result<KubeletOptions, ClusterError> {
        let mut manifest = Manifest::base().map_err(io::Error::other)?;
        for (key, value) in &self.set {
            manifest.set(key.clone(), value.clone());
        }
        if let Some(seconds) = self.grace {
            manifest.set_grace(seconds);
        }
        if self.in_order {
            manifest.start_in_order();
        }
        let cluster = ClusterOptions {
            program: env::current_exe()?,
            nodes: manifest.replicas() as usize,
            shards: self.shards,
            guilds: self.guilds,
            event_rate: self.event_rate,
        };
        let (one_volume_for_two, scale_in_order) = (self.one_volume_for_two, self.scale_in_order);
        Ok(KubeletOptions { cluster, manifest, one_volume_for_two, scale_in_order })
    }

    /// Each scenario's report as soon as it is there.
    pub(super) async fn run(&self) -> Result<ExitCode, ClusterError> {
        let options = self.options()?;
        let named = &self.scenario[..];
        let scenarios = if named.is_empty() { Scenario::value_variants() } else { named };
        let mut code = ExitCode::SUCCESS;
        for scenario in scenarios {
            let report = kubelet(&options, *scenario).await?;
            if print(&report, report.holds()) != ExitCode::SUCCESS {
                code = ExitCode::FAILURE;
            }
        }
        Ok(code)
    }
}

fn setting(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("there is no =")?;
    Ok((key.to_owned(), value.to_owned()))
}
