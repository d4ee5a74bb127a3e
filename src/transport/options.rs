//! What a transport is started with.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use crate::model::{BootEpoch, Profile};

use super::{
    Counters, Credentials, Identity, Local, SimulatedSocket, StartError, endpoint::QuicNetwork,
    limits, network::Network,
};

/// The spans of a transport; the defaults are for nodes in one region.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Timings {
    /// Silence after which a connection is over. Both sides' lower one counts.
    pub idle: Duration,
    /// A quiet connection is kept alive this often: well below `idle`.
    pub keep_alive: Duration,
    /// How long an address has to answer.
    pub connect: Duration,
    /// From the first packet to the end of the hello.
    pub handshake: Duration,
    /// The first wait after a failed attempt; it doubles each time.
    pub backoff_min: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
    /// The age at which a connection is replaced by a new one.
    pub age_max: Duration,
    /// Replacements for a common reason are spread over this.
    pub refresh_spread: Duration,
    /// How long a replaced connection stays quiet before it is closed.
    pub retire_quiet: Duration,
    /// How long it may stay at all.
    pub retire_max: Duration,
}

impl Timings {
    /// The spans of a profile: between regions a handshake takes several times as long.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        match profile {
            Profile::Lan | Profile::Fast => Self::default(),
            Profile::Wan => Self {
                idle: 3 * limits::IDLE,
                keep_alive: 3 * limits::KEEP_ALIVE,
                connect: 4 * limits::CONNECT,
                ..Self::default()
            },
        }
    }
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            idle: limits::IDLE,
            keep_alive: limits::KEEP_ALIVE,
            connect: limits::CONNECT,
            handshake: limits::HANDSHAKE,
            backoff_min: limits::BACKOFF_MIN,
            backoff_max: limits::BACKOFF_MAX,
            age_max: limits::AGE_MAX,
            refresh_spread: limits::REFRESH_SPREAD,
            retire_quiet: limits::RETIRE_QUIET,
            retire_max: limits::RETIRE_MAX,
        }
    }
}

/// What a transport is started with.
pub struct Options {
    pub(super) medium: Medium,
    pub(super) boot: BootEpoch,
    /// What this node contributes to its hellos.
    pub local: Arc<dyn Local>,
    /// This node's build, for people who look for a version among many.
    pub build: String,
    /// By which spans the cluster goes. A node that goes by others is turned away.
    pub profile: Profile,
    /// The spans.
    pub timings: Timings,
    /// Makes jitter repeatable.
    pub seed: Option<u64>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("medium", &self.medium)
            .field("boot", &self.boot)
            .field("timings", &self.timings)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// QUIC on the UDP port of `address`, as the node that `credentials` name.
    #[must_use]
    pub fn quic(address: SocketAddr, credentials: Arc<Credentials>, boot: BootEpoch) -> Self {
        let medium = Medium::Quic { address, credentials, segmentation_offload: true };
        Self::new(medium, boot)
    }

    /// A place in a simulated network.
    #[must_use]
    pub fn simulated(socket: SimulatedSocket, boot: BootEpoch) -> Self {
        Self::new(Medium::Simulated(socket), boot)
    }

    fn new(medium: Medium, boot: BootEpoch) -> Self {
        Self {
            medium,
            boot,
            local: Arc::new(()),
            build: concat!("apolo ", env!("CARGO_PKG_VERSION")).to_owned(),
            profile: Profile::default(),
            timings: Timings::default(),
            seed: None,
        }
    }

    /// With what this node contributes to its hellos.
    #[must_use]
    pub fn with_local(mut self, local: Arc<dyn Local>) -> Self {
        self.local = local;
        self
    }

    /// Goes by the spans of `profile`, and speaks with whoever does too.
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self.timings = Timings::of(profile);
        self
    }

    /// Whether several packets are handed to the kernel at once (`APOLO_QUIC_GSO`). Some network drivers fail on it
    /// with EIO or EINVAL.
    #[must_use]
    pub fn with_segmentation_offload(mut self, on: bool) -> Self {
        if let Medium::Quic { segmentation_offload, .. } = &mut self.medium {
            *segmentation_offload = on;
        }
        self
    }
}

#[derive(Debug)]
pub(super) enum Medium {
    Quic { address: SocketAddr, credentials: Arc<Credentials>, segmentation_offload: bool },
    Simulated(SimulatedSocket),
}

pub(super) struct Opened {
    pub(super) identity: Identity,
    pub(super) network: Arc<dyn Network>,
    pub(super) credentials: Option<Arc<Credentials>>,
}

impl Medium {
    pub(super) fn open(
        self,
        counters: &Arc<Counters>,
        timings: &Timings,
    ) -> Result<Opened, StartError> {
        match self {
            Self::Quic { address, credentials, segmentation_offload } => {
                let network = QuicNetwork::start(
                    address,
                    &credentials,
                    counters,
                    timings,
                    segmentation_offload,
                )?;
                Ok(Opened {
                    identity: *credentials.identity(),
                    network: Arc::new(network),
                    credentials: Some(credentials),
                })
            }
            Self::Simulated(socket) => Ok(Opened {
                identity: *socket.identity(),
                network: Arc::new(socket.with_idle(timings.idle)),
                credentials: None,
            }),
        }
    }
}
