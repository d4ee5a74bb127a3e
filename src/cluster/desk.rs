//! What a node that is no member answers, and the one place where it promises.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};
use tracing::{info, warn};

use crate::{
    model::{ClusterId, NodeId},
    store::{Backend, Promise, Write, WriteError},
    transport::{Peer, Protocol, Refused, Stream},
};

use super::{
    Answer, Caller, Heard, Question, Standing, Verdict, View, consider,
    decide::{Decision, decide, sees},
};

/// How long a node that has asked is counted as seen. Whoever looks asks at least every two seconds; a node that is
/// gone, or has come back under a new id, must not be in the way for long.
const CALLER_SEEN: Duration = Duration::from_secs(10);

/// The most callers that are remembered: as many as addresses that are looked at.
const CALLERS_MAX: usize = 256;

/// How long a question may take to arrive, and an answer to be taken.
const STREAM_WITHIN: Duration = Duration::from_secs(5);

/// What one look has brought.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    pub(super) heard: BTreeMap<SocketAddr, Heard>,
    pub(super) silent: BTreeSet<SocketAddr>,
    pub(super) unresolved: Vec<(String, String)>,
}

#[derive(Debug)]
pub(super) struct Desk {
    pub(super) me: NodeId,
    pub(super) name: String,
    expect: usize,
    store: Arc<dyn Backend>,
    state: Mutex<State>,
    /// Held while a promise is made or a cluster joined: a node does one of them, once.
    turn: tokio::sync::Mutex<()>,
    /// What another founder has been promised, and told so; or why that could not be made durable.
    over: watch::Sender<Option<Result<Promise, WriteError>>>,
}

#[derive(Debug)]
struct State {
    standing: Standing,
    /// None until everybody has been asked once.
    look: Option<Look>,
    callers: BTreeMap<NodeId, Called>,
}

#[derive(Debug)]
struct Called {
    name: String,
    address: SocketAddr,
    at: Instant,
}

impl Desk {
    pub(super) fn new(
        me: NodeId,
        name: String,
        expect: usize,
        standing: Standing,
        store: Arc<dyn Backend>,
    ) -> Arc<Self> {
        let state = State { standing, look: None, callers: BTreeMap::new() };
        Arc::new(Self {
            me,
            name,
            expect,
            store,
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::default(),
            over: watch::Sender::new(None),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.callers.retain(|_, called| called.at.elapsed() < CALLER_SEEN);
        state
    }

    /// Waits until another founder has been promised, and told so.
    ///
    /// # Errors
    ///
    /// The promise could not be made durable.
    pub(super) async fn over(&self) -> Result<Promise, WriteError> {
        let mut over = self.over.subscribe();
        let found = over.wait_for(Option::is_some).await;
        found.ok().and_then(|over| over.clone()).unwrap_or(Err(WriteError::Closed))
    }

    /// The addresses of those who have asked.
    pub(super) fn callers(&self) -> BTreeSet<SocketAddr> {
        self.state().callers.values().map(|called| called.address).collect()
    }

    /// The question that this node asks.
    pub(super) fn question(&self, boot: crate::model::BootEpoch) -> Question {
        let sees = self.viewed(&self.state(), |_, view| sees(view));
        let from = Caller { node: self.me, name: self.name.clone(), boot };
        Question::WhoAreYou { from, sees }
    }

    /// Takes what a look has brought, and decides.
    pub(super) fn decide(&self, look: Look) -> Decision {
        let mut state = self.state();
        state.look = Some(look);
        self.viewed(&state, decide)
    }

    fn viewed<T>(&self, state: &State, judge: impl FnOnce(&Standing, &View<'_>) -> T) -> T {
        let nothing = Look::default();
        let look = state.look.as_ref().unwrap_or(&nothing);
        let called = state.callers.iter();
        let callers = called.map(|(node, called)| (*node, called.name.clone())).collect();
        let view = View {
            me: self.me,
            name: &self.name,
            expect: self.expect,
            heard: &look.heard,
            silent: &look.silent,
            unresolved: &look.unresolved,
            callers: &callers,
        };
        judge(&state.standing, &view)
    }

    /// Makes this node's own promise to found. False if it has promised another meanwhile.
    pub(super) async fn found(&self, promise: Promise) -> Result<bool, WriteError> {
        let _turn = self.turn.lock().await;
        if self.state().standing != Standing::Empty {
            return Ok(false);
        }
        self.promise(promise).await?;
        Ok(true)
    }

    /// Commits this node to joining `cluster`, for as long as it runs. False if it has promised another meanwhile.
    pub(super) async fn join(&self, cluster: ClusterId) -> bool {
        let _turn = self.turn.lock().await;
        let mut state = self.state();
        match &state.standing {
            Standing::Promised(_) => false,
            Standing::Empty | Standing::Lost(_) => {
                state.standing = Standing::Lost(Some(cluster));
                true
            }
        }
    }

    /// Durable first, then known, then told.
    async fn promise(&self, promise: Promise) -> Result<(), WriteError> {
        let (done, written) = oneshot::channel();
        let write = Write::Promise(promise.clone());
        self.store.submit(write, Box::new(move |result| drop(done.send(result))));
        written.await.unwrap_or(Err(WriteError::Closed))?;
        let (cluster, founder) = (promise.cluster, promise.founder);
        info!(%cluster, %founder, members = promise.members.len(), "promised to form a cluster");
        self.state().standing = Standing::Promised(promise);
        Ok(())
    }

    /// Serves one stream of the join protocol.
    pub(super) async fn serve(self: Arc<Self>, peer: Peer, _: Protocol, mut stream: Stream) {
        let Ok(Some(request)) = stream.receive(STREAM_WITHIN).await else { return };
        let (answer, kept) = match self.answer(&peer, &request).await {
            Ok(answered) => answered,
            Err(refused) => return stream.refuse(refused),
        };
        let sent = stream.send(&answer.encode(), STREAM_WITHIN).await;
        stream.finish();
        if let Some(promise) = kept.filter(|_| sent.is_ok()) {
            self.over.send_replace(Some(Ok(promise)));
        }
    }

    async fn answer(
        &self,
        peer: &Peer,
        request: &Bytes,
    ) -> Result<(Answer, Option<Promise>), Refused> {
        match Question::decode(request) {
            Ok(Question::WhoAreYou { from, .. }) if from.node == peer.node => {
                Ok((self.introduce(peer, from), None))
            }
            Ok(Question::Promise(promise)) if promise.founder == peer.node => {
                Ok(self.keep(peer, promise).await)
            }
            Ok(_) => {
                warn!(node = %peer.node, address = %peer.address, "it asks in another node's name");
                Err(Refused::NotAllowed)
            }
            Err(error) => Ok((Answer::refused(error.to_string()), None)),
        }
    }

    fn introduce(&self, peer: &Peer, from: Caller) -> Answer {
        let mut state = self.state();
        if state.callers.len() < CALLERS_MAX || state.callers.contains_key(&from.node) {
            let called = Called { name: from.name, address: peer.address, at: Instant::now() };
            state.callers.insert(from.node, called);
        }
        let (node, name) = (self.me, self.name.clone());
        let sees = self.viewed(&state, |_, view| sees(view));
        match &state.standing {
            Standing::Empty => {
                let expect = u64::try_from(self.expect).unwrap_or(u64::MAX);
                Answer::Empty { node, name, expect, sees }
            }
            Standing::Promised(Promise { cluster, founder, .. }) => {
                Answer::Promised { node, name, cluster: *cluster, founder: *founder, sees }
            }
            Standing::Lost(cluster) => Answer::Lost { node, name, cluster: *cluster },
        }
    }

    /// Answers a founder, and says what was kept.
    async fn keep(&self, peer: &Peer, promise: Promise) -> (Answer, Option<Promise>) {
        let _turn = self.turn.lock().await;
        let (verdict, made) = {
            let state = self.state();
            let made = matches!(state.standing, Standing::Promised(_));
            let unsure = state.look.is_none() && !made;
            let judged = |standing: &Standing, view: &View<'_>| {
                consider(standing, view, peer.node, &promise)
            };
            if unsure {
                (Verdict::Refuse("it has not looked around yet".to_owned()), made)
            } else {
                (self.viewed(&state, judged), made)
            }
        };
        if let Verdict::Refuse(reason) = verdict {
            return (Answer::refused(reason), None);
        }
        if !made && let Err(error) = self.promise(promise.clone()).await {
            let reason = error.to_string();
            if !matches!(error, WriteError::OtherCluster(_)) {
                self.over.send_replace(Some(Err(error)));
            }
            return (Answer::refused(reason), None);
        }
        (Answer::Kept, Some(promise))
    }
}
