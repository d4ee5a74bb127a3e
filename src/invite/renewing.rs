//! Keeps the leaf of a node without the authority's key young, and its authorities those of the cluster.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustls::pki_types::CertificateDer;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::wire::{self, Ask, Reply, Signed};
use crate::model::{NodeId, UnixMillis};
use crate::transport::{AuthorityError, Credentials, Kept, Protocol, SigningRequest, Transport};

/// How often a member that holds the key is asked for the authorities.
const CHECK_EVERY: Duration = Duration::from_secs(30);

/// How long a member has to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How a node that was given its leaf renews it.
#[derive(Debug)]
pub struct Renewing {
    /// The way to the others.
    pub transport: Transport,
    /// What is shown and trusted.
    pub credentials: Arc<Credentials>,
    /// What was given.
    pub kept: Kept,
    /// Where it is kept.
    pub directory: PathBuf,
    /// How often others are asked.
    pub check_every: Duration,
}

impl Renewing {
    /// Asks as often as usual.
    #[must_use]
    pub const fn new(
        transport: Transport,
        credentials: Arc<Credentials>,
        kept: Kept,
        directory: PathBuf,
    ) -> Self {
        Self { transport, credentials, kept, directory, check_every: CHECK_EVERY }
    }

    /// Renews the leaf when two thirds of its life are over, and when another authority signs; trusts new authorities
    /// at once, by the word of one that is trusted already. What can't be used changes nothing.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut asked_last = None;
        let mut complained = None;
        while stop.run_until_cancelled(sleep(self.check_every)).await.is_some() {
            let round = self.round(&mut asked_last);
            match stop.run_until_cancelled(round).await {
                None => return,
                Some(Ok(())) => complained = None,
                Some(Err(error)) => {
                    if complained.as_ref() != Some(&error) {
                        warn!(error, "the leaf was not looked after; the present one stays in use");
                        complained = Some(error);
                    }
                }
            }
        }
    }

    async fn round(&mut self, asked_last: &mut Option<NodeId>) -> Result<(), String> {
        let mut peers: Vec<_> =
            self.transport.connected().into_iter().map(|peer| peer.node).collect();
        peers.sort_by_key(|peer| Some(*peer) != *asked_last);
        for peer in peers {
            if let Some(Reply::Authorities(bundle)) = self.ask(peer, &Ask::Authorities).await {
                *asked_last = Some(peer);
                let now = UnixMillis::now();
                let checked = bundle.check(self.kept.authorities(), now);
                let (authorities, signer) = checked.map_err(|error| format!("{peer}: {error}"))?;
                // A new leaf brings the authorities along: they may not include the present one's any more.
                let done = if self.is_due(now) || self.kept.issuer() != Some(&signer) {
                    self.renew(peer).await
                } else {
                    self.trust(authorities)
                };
                return done.map_err(|error| format!("{peer}: {error}"));
            }
        }
        Err("no member that is connected holds the authority's key".to_owned())
    }

    async fn ask(&self, peer: NodeId, ask: &Ask) -> Option<Reply> {
        let request = wire::encode(ask);
        let asked = self.transport.request(peer, Protocol::Sign, &request, ANSWER_WITHIN).await;
        match wire::decode(&asked.ok()?) {
            Ok(reply) => Some(reply),
            Err(error) => {
                warn!(node = %peer, %error, "an answer about leaves is not understood");
                None
            }
        }
    }

    fn is_due(&self, now: UnixMillis) -> bool {
        let (not_before, not_after) = self.credentials.validity();
        now >= not_before.plus(not_after.since(not_before) * 2 / 3)
    }

    /// Durable first: what is trusted must be trusted after a restart.
    fn trust(&mut self, authorities: Vec<CertificateDer<'static>>) -> Result<(), AuthorityError> {
        if authorities == self.kept.authorities() {
            return Ok(());
        }
        let kept = self.kept.trusting(authorities)?;
        kept.save(&self.directory)?;
        kept.trust(&self.credentials)?;
        info!(authorities = kept.authorities().len(), "the cluster's authorities have changed");
        self.kept = kept;
        Ok(())
    }

    async fn renew(&mut self, peer: NodeId) -> Result<(), AuthorityError> {
        let request = SigningRequest::new(self.credentials.identity())?;
        let ask = Ask::Leaf { request: request.der().to_vec() };
        match self.ask(peer, &ask).await {
            Some(Reply::Leaf(signed)) => self.accept(request, signed),
            Some(Reply::Refused { reason }) => {
                warn!(node = %peer, reason, "the leaf was not renewed");
                Ok(())
            }
            Some(Reply::Authorities(_) | Reply::NoKey) | None => Ok(()),
        }
    }

    fn accept(&mut self, request: SigningRequest, signed: Signed) -> Result<(), AuthorityError> {
        let now = UnixMillis::now();
        let (authorities, _) = signed.authorities.check(self.kept.authorities(), now)?;
        let chain = signed.chain.into_iter().map(CertificateDer::from).collect();
        let kept = Kept::new(request.accept(chain), authorities)?;
        if kept.identity() != self.credentials.identity() {
            let (found, own) = (*kept.identity(), *self.credentials.identity());
            return Err(AuthorityError::LeafForeign { found, own });
        }
        // That the key is the leaf's. Then durable first, so that a restart shows what peers were shown.
        kept.credentials()?;
        kept.save(&self.directory)?;
        kept.install(&self.credentials)?;
        metrics::counter!("apolo_transport_renewals_total").increment(1);
        info!(identity = %kept.identity(), "leaf renewed by a member");
        self.kept = kept;
        Ok(())
    }
}
