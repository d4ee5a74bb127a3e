//! The way of an operator's wish to the leader's loop, wherever that is.

use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};
use tracing::warn;

use crate::model::NodeId;
use crate::raft::{Handle, Leadership};
use crate::transport::{self, Peer, Protocol, Refused, Transport};

use super::wish::{Fulfilled, Wish, WishAnswer, WishRefusal};

/// How long a wish may take: less than whoever asks over HTTP waits.
const WITHIN: Duration = Duration::from_secs(9);

/// For so long is a leader looked for.
const FIND_WITHIN: Duration = Duration::from_secs(3);

/// Between two looks for it.
const FIND_EVERY: Duration = Duration::from_millis(50);

/// Operators are few; whoever comes when so many wait is told to come again.
const WAITING_MAX: usize = 8;

/// A wish, and who waits for it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) wish: Wish,
    pub(super) reply: oneshot::Sender<WishAnswer>,
}

/// Where operators ask.
#[derive(Clone, Debug)]
pub struct Wishes {
    raft: Handle,
    transport: Option<Transport>,
    asks: mpsc::Sender<Asked>,
}

/// Why there is no answer, or not the wished one.
#[derive(Clone, Debug, Error)]
pub enum WishError {
    /// The leader says no.
    #[error("{0}")]
    Refused(WishRefusal),
    /// There is none.
    #[error(
        "no node leads: too few voters reach each other; `apolo status` shows who is there. Start the others; if they are gone for good, `apolo recover --help` says what is left to do"
    )]
    NoLeader,
    /// It leads, and this node can't reach it.
    #[error("node {leader} leads and does not answer ({why}); ask it itself, with --endpoint")]
    Unreached {
        /// Which.
        leader: NodeId,
        /// In words.
        why: String,
    },
}

impl Wishes {
    pub(super) fn new(raft: Handle, transport: Option<Transport>) -> (Self, mpsc::Receiver<Asked>) {
        let (asks, inbox) = mpsc::channel(WAITING_MAX);
        (Self { raft, transport, asks }, inbox)
    }

    /// Serves the wishes that operators bring to other nodes.
    pub(super) fn serve(&self, transport: &Transport) {
        // Without the transport, which would keep itself alive.
        let wishes = Self { transport: None, ..self.clone() };
        transport.register(
            Protocol::Wish,
            transport::answer(move |peer: Peer, request: Bytes| {
                let wishes = wishes.clone();
                async move {
                    let wish = Wish::decode(&request).map_err(|error| {
                        warn!(node = %peer.node, %error, "a wish can't be read");
                        Refused::Failed
                    })?;
                    Ok(wishes.ask_here(wish).await.encode().into())
                }
            }),
        );
    }

    /// Asks the leader, here or elsewhere.
    ///
    /// # Errors
    ///
    /// [`WishError`].
    pub async fn ask(&self, wish: Wish) -> Result<Fulfilled, WishError> {
        let deadline = Instant::now() + FIND_WITHIN;
        let mut error = WishError::NoLeader;
        loop {
            let answer = match *self.raft.leadership().borrow() {
                Leadership::Leading { .. } => Ok((self.raft.id(), None)),
                Leadership::Following { leader: Some(leader) } => Ok((leader, Some(leader))),
                Leadership::Following { leader: None } => Err(WishError::NoLeader),
            };
            let answer = match answer {
                Ok((_, None)) => Ok(self.ask_here(wish).await),
                Ok((_, Some(leader))) => self.forward(leader, wish).await,
                Err(none) => Err(none),
            };
            match answer {
                Ok(WishAnswer::Done(done)) => return Ok(done),
                Ok(WishAnswer::Refused(refusal)) => return Err(WishError::Refused(refusal)),
                Ok(WishAnswer::NotLeader { .. }) => {}
                Err(unheard) => error = unheard,
            }
            if Instant::now() >= deadline {
                return Err(error);
            }
            sleep(FIND_EVERY).await;
        }
    }

    async fn ask_here(&self, wish: Wish) -> WishAnswer {
        let leader = match *self.raft.leadership().borrow() {
            Leadership::Leading { .. } => None,
            Leadership::Following { leader } => Some(leader),
        };
        if let Some(leader) = leader {
            return WishAnswer::NotLeader { leader };
        }
        let (reply, answer) = oneshot::channel();
        if self.asks.try_send(Asked { wish, reply }).is_err() {
            let why = "the leader is busy with other requests".to_owned();
            return WishAnswer::Refused(WishRefusal::Failed(why));
        }
        match timeout(WITHIN, answer).await {
            Ok(Ok(answer)) => answer,
            // The loop has ended: this node stops.
            Ok(Err(_)) => WishAnswer::NotLeader { leader: None },
            Err(_) => WishAnswer::Refused(WishRefusal::Failed("it takes too long".to_owned())),
        }
    }

    async fn forward(&self, leader: NodeId, wish: Wish) -> Result<WishAnswer, WishError> {
        let unreached = |why: String| WishError::Unreached { leader, why };
        let Some(transport) = &self.transport else {
            return Err(unreached("this node has no way to it".to_owned()));
        };
        let asked = transport.request(leader, Protocol::Wish, &wish.encode(), WITHIN).await;
        let answer = asked.map_err(|error| unreached(error.to_string()))?;
        WishAnswer::decode(&answer).map_err(|error| unreached(error.to_string()))
    }
}
