//! What a kubelet does for one pod: starts its container, probes it, stops it when a probe fails, starts it again when
//! it ended, and in the end lets it go. It pulls no image and attaches no disk, so it is quicker than a real one.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::Child,
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{
    backoff::Backoff,
    manifest::ProbeSpec,
    pod::{Pod, Site},
    probe::{Kind, Probes},
};
use crate::clusters::nodes::request;

/// A real one looks so often which of its containers have ended.
const RELIST_EVERY: Duration = Duration::from_secs(1);

/// How things stand with a pod.
#[derive(Clone, Debug, Default)]
pub(super) struct Status {
    /// Of its container, while that runs.
    pub(super) process: Option<u32>,
    /// Since when it has been ready, without a break.
    pub(super) ready_since: Option<Instant>,
    pub(super) starts: u32,
    /// How often SIGTERM and the grace period did not do.
    pub(super) killed: u32,
    /// How often a probe had the container stopped.
    pub(super) probed_out: u32,
    /// The longest time from SIGTERM to the end.
    pub(super) stopped_in: Duration,
    /// It is let go.
    pub(super) gone: bool,
}

/// One pod's.
pub(super) struct Kubelet {
    pub(super) pod: Pod,
    pub(super) site: Arc<Site>,
    pub(super) status: watch::Sender<Status>,
    /// With how much grace the pod is to go.
    pub(super) delete: watch::Receiver<Option<Duration>>,
}

/// Why a life is to end.
enum Why {
    Ended,
    Delete(Duration),
    Failed(Duration),
}

impl Kubelet {
    /// Runs the pod until it is deleted.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let mut backoff = Backoff::default();
        while self.delete.borrow().is_none() {
            self.live().await?;
            let again = backoff.start_after(Instant::now()) + RELIST_EVERY;
            tokio::select! {
                () = sleep_until(again) => {}
                _ = deletion(&mut self.delete) => {}
            }
        }
        self.site.withdraw(&self.pod);
        self.status.send_modify(|status| status.gone = true);
        Ok(())
    }

    /// One life of the container.
    async fn live(&mut self) -> io::Result<()> {
        let mut child = self.site.start(&self.pod)?;
        self.status.send_modify(|status| {
            status.process = child.id();
            status.starts += 1;
        });
        let why = self.probed(&mut child).await;
        self.status.send_modify(|status| status.ready_since = None);
        match why {
            Why::Ended => {}
            Why::Delete(grace) => self.stop(&mut child, grace).await?,
            Why::Failed(grace) => {
                self.status.send_modify(|status| status.probed_out += 1);
                self.stop(&mut child, grace).await?;
            }
        }
        self.status.send_modify(|status| status.process = None);
        Ok(())
    }

    /// Probes a container for as long as it is to run.
    async fn probed(&mut self, child: &mut Child) -> Why {
        let mut probes = Probes::new(self.site.manifest.container(), Instant::now());
        // Those under way end with this.
        let mut asked = JoinSet::new();
        loop {
            let due = probes.due();
            tokio::select! {
                _ = child.wait() => return Why::Ended,
                grace = deletion(&mut self.delete) => return Why::Delete(grace),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    for (kind, spec) in probes.ask(Instant::now()) {
                        asked.spawn(probe(self.pod.http, kind, spec));
                    }
                }
                Some(Ok((kind, success))) = asked.join_next() => {
                    probes.heard(kind, success);
                    self.say_ready(probes.ready());
                    if let Some(kind) = probes.failed() {
                        return Why::Failed(self.grace_after(kind));
                    }
                }
            }
        }
    }

    fn grace_after(&self, kind: Kind) -> Duration {
        let container = self.site.manifest.container();
        let probe = match kind {
            Kind::Startup => &container.startup_probe,
            Kind::Readiness | Kind::Liveness => &container.liveness_probe,
        };
        let own = probe.termination_grace_period_seconds.map(Duration::from_secs);
        own.unwrap_or_else(|| self.site.manifest.grace())
    }

    fn say_ready(&self, ready: bool) {
        self.status.send_if_modified(|status| {
            let changed = status.ready_since.is_some() != ready;
            if changed {
                status.ready_since = ready.then(Instant::now);
            }
            changed
        });
    }

    /// SIGTERM, and SIGKILL where the grace is over before the process is.
    async fn stop(&self, child: &mut Child, grace: Duration) -> io::Result<()> {
        let began = Instant::now();
        if let Some(id) = child.id().filter(|_| !grace.is_zero()) {
            kill(Pid::from_raw(i32::try_from(id).map_err(io::Error::other)?), Signal::SIGTERM)?;
        }
        if let Ok(ended) = timeout(grace, child.wait()).await {
            ended?;
        } else {
            self.status.send_modify(|status| status.killed += 1);
            child.kill().await?;
        }
        let took = began.elapsed();
        self.status.send_modify(|status| status.stopped_in = status.stopped_in.max(took));
        Ok(())
    }
}

/// With how much grace the pod is to go, once it is to. A controller that is gone deletes nothing.
async fn deletion(delete: &mut watch::Receiver<Option<Duration>>) -> Duration {
    let told = delete.wait_for(Option::is_some).await.map(|grace| *grace);
    match told {
        Ok(Some(grace)) => grace,
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

/// Asks as a kubelet does: any status from 200 to 399 in time is a success.
async fn probe(address: SocketAddr, kind: Kind, spec: ProbeSpec) -> (Kind, bool) {
    let text = format!(
        "GET {} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: kube-probe\r\nConnection: close\r\n\r\n",
        spec.http_get.path
    );
    let within = Duration::from_secs(spec.timeout_seconds);
    let answer = timeout(within, request(address, &text)).await.ok().flatten();
    (kind, answer.is_some_and(|answer| succeeded(&answer)))
}

fn succeeded(answer: &[u8]) -> bool {
    let status = answer.get(9..12).and_then(|status| std::str::from_utf8(status).ok());
    let status: Option<u16> = status.and_then(|status| status.parse().ok());
    status.is_some_and(|status| (200..400).contains(&status))
}
