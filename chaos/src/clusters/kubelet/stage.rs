//! Pods, their controller and their Discord, and what can be waited for.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use apolo::{http::View, simulator::Simulator};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{KubeletOptions, api::Api, pod::Site, runner::Status, statefulset::StatefulSet};
use crate::clusters::{
    account::Account,
    cluster::{ClusterError, agree, discord, established, settle, summary},
    nodes::{last_lines, view},
};

/// Of one step: a liveness probe that fails for 30 s, a grace of 60 s, or five pods of which each is stopped, started, and
/// ready for 10 s.
const WITHIN: Duration = Duration::from_secs(150);

/// A real controller hears of changes; this one looks.
const SYNC_EVERY: Duration = Duration::from_millis(50);

/// When everything stops and starts, sessions wait for longer than in any other scenario. Discord's wait for minutes.
const REPLAYED: Duration = Duration::from_secs(60);

pub(super) struct Stage {
    pub(super) set: StatefulSet,
    pub(super) simulator: Simulator,
    site: Arc<Site>,
    shards: usize,
    /// Gone with the last use of the pods.
    _directory: TempDir,
}

impl Stage {
    /// Starts all, and returns when all is well.
    pub(super) async fn start(options: &KubeletOptions) -> Result<Self, ClusterError> {
        let directory = TempDir::new()?;
        let simulator = discord(&options.cluster, REPLAYED).await?;
        let (manifest, program) = (options.manifest.clone(), &options.cluster.program);
        let mut site = Site::new(manifest, program, directory.path(), simulator.api_url())?;
        site.one_volume_for_two = options.one_volume_for_two;
        if options.scale_in_order {
            site.api_server = Some(Api::start(directory.path(), site.manifest.name()).await?);
        }
        let site = Arc::new(site);
        let mut stage = Self {
            set: StatefulSet::new(Arc::clone(&site)),
            simulator,
            site,
            shards: options.cluster.shards as usize,
            _directory: directory,
        };
        stage.ready("the first start").await?;
        Ok(stage)
    }

    /// The controller has nothing more to do; every node sees every other, one leader and a lease of its own, and every
    /// shard is up.
    pub(super) async fn well(&mut self, what: &str) -> Result<View, ClusterError> {
        self.whole(what, StatefulSet::settled).await
    }

    /// The same, though a pod may not have been ready for long enough for the controller to go on.
    pub(super) async fn ready(&mut self, what: &str) -> Result<View, ClusterError> {
        self.whole(what, StatefulSet::ready).await
    }

    async fn whole(
        &mut self,
        what: &str,
        pods: impl Fn(&StatefulSet) -> bool,
    ) -> Result<View, ClusterError> {
        let began = Instant::now();
        let mut seen = "the pods are not settled".to_owned();
        while began.elapsed() < WITHIN {
            self.set.sync()?;
            if pods(&self.set) {
                let mut views = Vec::new();
                for address in self.addresses() {
                    views.extend(view(address).await);
                }
                let up = established(&self.simulator.truth());
                if up >= self.shards && agree(&views, self.set.wanted.replicas as usize) {
                    return Ok(views.swap_remove(0));
                }
                seen = format!("{up} shards up; {}", summary(&views));
            }
            sleep(SYNC_EVERY).await;
        }
        Err(self.late(what, seen))
    }

    /// A pod has come so far.
    pub(super) async fn until(
        &mut self,
        what: &str,
        ordinal: u32,
        done: impl Fn(&Status) -> bool,
    ) -> Result<(), ClusterError> {
        let began = Instant::now();
        while began.elapsed() < WITHIN {
            self.set.sync()?;
            if done(&self.set.status(ordinal)) {
                return Ok(());
            }
            sleep(SYNC_EVERY).await;
        }
        Err(self.late(what, "it is not so".to_owned()))
    }

    /// Lets time pass, with a controller that looks.
    pub(super) async fn pass(&mut self, span: Duration) -> io::Result<()> {
        let began = Instant::now();
        while began.elapsed() < span {
            self.set.sync()?;
            sleep(SYNC_EVERY).await;
        }
        Ok(())
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.set.pods().map(|pod| pod.http).collect()
    }

    /// The pod of whoever leads.
    pub(super) fn leader(&self, view: &View) -> u32 {
        let leads = self.set.pods().find(|pod| Some(&pod.name) == view.leader.as_ref());
        leads.map_or(0, |pod| pod.ordinal)
    }

    pub(super) fn late(&self, what: &str, seen: String) -> ClusterError {
        ClusterError::Late {
            what: what.to_owned(),
            within: WITHIN,
            seen: format!("{seen}; {}", self.set.summary()),
            log: last_lines(&self.site.logs()),
        }
    }

    pub(super) async fn account(&self) -> Account {
        let living = self.addresses();
        settle(&self.simulator, self.shards, || self.site.lives(), &living).await
    }
}
