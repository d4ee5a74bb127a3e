//! One message on its way to all its receivers, until each has answered, can't, or is out of time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{Receivers, lines::Lines};
use crate::ipc::{
    error::IpcError,
    handlers::Call,
    local::{Errand, Local},
    message::{MessageId, MessageKind, Receiver, Sender},
    route::{Place, place, remains},
    wire::{self, Address, Data, Letter, RECEIVERS_MAX, Reply},
};
use crate::model::{NodeId, UnixMillis};
use crate::state::State;
use crate::transport::{Protocol, Refused, StreamError, Transport};

/// Between the first two attempts for a receiver that was not where it was looked for. It doubles up to [`PATIENCE_MAX`]:
/// so a move is followed within twice its time, and a thousand messages that wait for one cost little.
const PATIENCE_MIN: Duration = Duration::from_millis(5);

/// Between two attempts at last.
const PATIENCE_MAX: Duration = Duration::from_millis(160);

/// How long a way to a node may take to open before the receiver is looked for again: it may have moved.
const OPEN_WITHIN: Duration = Duration::from_secs(2);

/// So long may this node belong to no quorum before a receiver that is not where it should be counts as lost: an election
/// takes a second or two.
const ALONE_FOR: Duration = Duration::from_secs(5);

/// Outcomes that wait to be looked at; more wait in their streams.
const OUTCOMES_MAX: usize = 256;

/// A message without its receivers.
#[derive(Clone)]
pub(super) struct Letterhead {
    pub(super) id: MessageId,
    pub(super) kind: MessageKind,
    pub(super) event: Arc<str>,
    pub(super) sender: Sender,
    pub(super) sent_at: UnixMillis,
    pub(super) deadline: Instant,
    pub(super) data: Bytes,
}

impl Letterhead {
    fn letter(&self, receivers: Vec<Address>) -> Letter {
        Letter {
            id: self.id,
            kind: self.kind,
            event: self.event.as_ref().to_owned(),
            sender: self.sender.shard,
            sent_at: self.sent_at,
            left_ms: 0,
            receivers,
            data: Data(self.data.to_vec()),
        }
    }
}

/// What became of one attempt for one receiver.
enum Attempt {
    Answered(Result<Bytes, wire::Failure>),
    /// It has not left this node.
    Unsent,
    /// It may have arrived.
    InDoubt,
}

type Outcome = (Receiver, Place, Attempt);

pub(super) struct Delivery {
    head: Letterhead,
    local: Arc<Local>,
    states: watch::Receiver<Arc<State>>,
    transport: Option<Transport>,
    idempotent: bool,
    /// For whom it is to be sent.
    waiting: Receivers,
    /// For whom it is on its way.
    under_way: Receivers,
    /// Where a receiver was when it may have met the message.
    doubts: BTreeMap<Receiver, Place>,
    done: BTreeMap<Receiver, Result<Bytes, IpcError>>,
    /// Where each receiver takes one message of this node after the other.
    lines: Arc<Lines>,
    /// For whom it has a place there.
    in_line: BTreeMap<Receiver, OwnedSemaphorePermit>,
    calls: JoinSet<()>,
    /// The node stops.
    closed: CancellationToken,
    alone_since: Option<Instant>,
}

impl Delivery {
    pub(super) fn new(
        head: Letterhead,
        local: Arc<Local>,
        states: watch::Receiver<Arc<State>>,
        transport: Option<Transport>,
        (lines, closed): (Arc<Lines>, CancellationToken),
    ) -> Self {
        Self {
            idempotent: local.handlers.is_idempotent(&head.event),
            head,
            local,
            states,
            transport,
            waiting: Receivers::new(),
            under_way: Receivers::new(),
            doubts: BTreeMap::new(),
            done: BTreeMap::new(),
            lines,
            in_line: BTreeMap::new(),
            calls: JoinSet::new(),
            closed,
            alone_since: None,
        }
    }

    /// Waits for the receiver's line to have a place, which a message for one alone is not sent without.
    ///
    /// # Errors
    ///
    /// [`IpcError::TimedOut`].
    pub(super) async fn stand_in_line(&mut self, receiver: Receiver) -> Result<(), IpcError> {
        let place = timeout_at(self.head.deadline, self.lines.of(receiver).acquire_owned()).await;
        let place = place.map_err(|_| IpcError::TimedOut { may_have_run: false })?;
        self.in_line.extend(place.ok().map(|place| (receiver, place)));
        Ok(())
    }

    /// Delivers to all of them. Dropped, it takes back what is under way.
    pub(super) async fn run(
        mut self,
        receivers: Receivers,
    ) -> BTreeMap<Receiver, Result<Bytes, IpcError>> {
        self.waiting = receivers;
        let (told, mut outcomes) = mpsc::channel(OUTCOMES_MAX);
        let (mut look, mut patience) = (Instant::now(), PATIENCE_MIN);
        loop {
            let now = Instant::now();
            if now >= look {
                (look, patience) = (now + patience, PATIENCE_MAX.min(2 * patience));
                self.send_what_waits(&told);
            }
            if self.waiting.is_empty() && self.under_way.is_empty() {
                return self.done;
            }
            let retry = !self.waiting.is_empty();
            tokio::select! {
                Some(outcome) = outcomes.recv() => self.settle(outcome),
                () = self.closed.cancelled() => {
                    self.give_up();
                    return self.done;
                }
                () = sleep_until(self.head.deadline) => {
                    self.give_up();
                    return self.done;
                }
                () = sleep_until(look), if retry => {}
            }
        }
    }

    /// Looks for the receivers that wait, and sends them the message: one letter to a node.
    fn send_what_waits(&mut self, told: &mpsc::Sender<Outcome>) {
        let state = Arc::clone(&self.states.borrow());
        let mut letters: BTreeMap<NodeId, Vec<(Receiver, Place)>> = BTreeMap::new();
        for receiver in self.waiting.clone() {
            match self.next_stop(&state, receiver) {
                Err(error) => self.end(receiver, Err(error)),
                Ok(Some(place)) if self.has_place_in_line(receiver) => {
                    self.waiting.remove(&receiver);
                    self.under_way.insert(receiver);
                    letters.entry(place.node).or_default().push((receiver, place));
                }
                Ok(_) => {}
            }
        }
        for (node, receivers) in letters {
            self.send(node, receivers, told.clone());
        }
        self.look_for_a_quorum();
    }

    /// Whether it may be sent: of a message for many, what a slow receiver has no place for does not hold up the rest.
    fn has_place_in_line(&mut self, receiver: Receiver) -> bool {
        if self.in_line.contains_key(&receiver) {
            return true;
        }
        let place = self.lines.of(receiver).try_acquire_owned();
        let has = place.is_ok();
        self.in_line.extend(place.ok().map(|place| (receiver, place)));
        has
    }

    /// Where the message goes next for this receiver: to whoever may have met it, while that can still say what became of
    /// it, although the receiver has moved on; otherwise to the receiver.
    fn next_stop(&self, state: &State, receiver: Receiver) -> Result<Option<Place>, IpcError> {
        match self.doubts.get(&receiver) {
            Some(place) if remains(state, *place) => Ok(Some(*place)),
            Some(_) if !self.idempotent => Err(IpcError::OwnerLost { may_have_run: true }),
            Some(_) | None => place(state, receiver),
        }
    }

    /// Without a quorum nobody becomes an owner.
    fn look_for_a_quorum(&mut self) {
        if self.waiting.is_empty() || self.local.residents.has_quorum() {
            self.alone_since = None;
            return;
        }
        let since = *self.alone_since.get_or_insert_with(Instant::now);
        if since.elapsed() < ALONE_FOR {
            return;
        }
        for receiver in std::mem::take(&mut self.waiting) {
            let error = match self.doubts.contains_key(&receiver) {
                true => IpcError::OwnerLost { may_have_run: true },
                false => IpcError::NoQuorum,
            };
            self.end(receiver, Err(error));
        }
    }

    fn send(
        &mut self,
        node: NodeId,
        receivers: Vec<(Receiver, Place)>,
        told: mpsc::Sender<Outcome>,
    ) {
        let head = self.head.clone();
        if node == self.local.me {
            for (receiver, place) in receivers {
                let (local, head, told) = (Arc::clone(&self.local), head.clone(), told.clone());
                let address = self.address(receiver, place);
                self.calls.spawn(async move {
                    let answer = run_here(&local, &head, address).await;
                    let _ = told.send((receiver, place, Attempt::Answered(answer))).await;
                });
            }
            return;
        }
        for part in receivers.chunks(RECEIVERS_MAX) {
            let mut left: BTreeMap<_, _> = part.iter().copied().collect();
            let addresses = part.iter().map(|(receiver, place)| self.address(*receiver, *place));
            let letter = head.letter(addresses.collect());
            let (transport, deadline) = (self.transport.clone(), head.deadline);
            let told = told.clone();
            self.calls.spawn(async move {
                let rest = match &transport {
                    Some(transport) => {
                        carry(transport, node, (letter, deadline), &mut left, &told).await
                    }
                    None => Rest::Unsent,
                };
                for (receiver, place) in left {
                    let attempt = match rest {
                        Rest::Unsent => Attempt::Unsent,
                        Rest::InDoubt => Attempt::InDoubt,
                    };
                    let _ = told.send((receiver, place, attempt)).await;
                }
            });
        }
    }

    fn address(&self, receiver: Receiver, place: Place) -> Address {
        let doubt = self.doubts.get(&receiver).filter(|doubt| **doubt == place);
        Address { receiver, tenure: place.tenure, met: doubt.map(|doubt| doubt.boot) }
    }

    fn settle(&mut self, (receiver, place, attempt): Outcome) {
        // Ends what has finished, or it would be kept until the last answer.
        while self.calls.try_join_next().is_some() {}
        match attempt {
            Attempt::Answered(Ok(bytes)) => self.end(receiver, Ok(bytes)),
            // Nobody waits for it: it can try again until its time is over.
            Attempt::Answered(Err(wire::Failure::Overloaded))
                if self.head.kind == MessageKind::Broadcast =>
            {
                self.again(receiver);
            }
            Attempt::Answered(Err(failure)) => match failure.into_error(&self.head.event) {
                Some(error) => self.end(receiver, Err(error)),
                // It has met nobody there, so that it may go to whoever comes next.
                None => {
                    self.doubts.remove(&receiver);
                    self.again(receiver);
                }
            },
            Attempt::Unsent => self.again(receiver),
            Attempt::InDoubt => {
                self.doubts.insert(receiver, place);
                self.again(receiver);
            }
        }
    }

    fn again(&mut self, receiver: Receiver) {
        self.under_way.remove(&receiver);
        self.waiting.insert(receiver);
    }

    fn end(&mut self, receiver: Receiver, answer: Result<Bytes, IpcError>) {
        self.waiting.remove(&receiver);
        self.under_way.remove(&receiver);
        self.in_line.remove(&receiver);
        self.done.insert(receiver, answer);
    }

    fn give_up(&mut self) {
        let under_way = std::mem::take(&mut self.under_way);
        for receiver in std::mem::take(&mut self.waiting).union(&under_way) {
            let may_have_run = under_way.contains(receiver) || self.doubts.contains_key(receiver);
            self.done.insert(*receiver, Err(IpcError::TimedOut { may_have_run }));
        }
    }
}

async fn run_here(
    local: &Arc<Local>,
    head: &Letterhead,
    address: Address,
) -> Result<Bytes, wire::Failure> {
    let cancelled = CancellationToken::new();
    let call = Call {
        id: head.id,
        kind: head.kind,
        event: Arc::clone(&head.event),
        sender: head.sender,
        receiver: address.receiver,
        sent_at: head.sent_at,
        cancelled: cancelled.clone(),
    };
    let _gone = cancelled.drop_guard();
    let Some(data) = local.hold(head.data.clone()) else {
        return Err(wire::Failure::Overloaded);
    };
    let answer = local.run(Errand { call, address, data, deadline: head.deadline }).await;
    local.confirm((address.receiver, head.id));
    answer
}

/// What became of the receivers that have not answered.
#[derive(Clone, Copy)]
enum Rest {
    Unsent,
    InDoubt,
}

/// Brings the message to `node`, and tells of each reply as it comes.
async fn carry(
    transport: &Transport,
    node: NodeId,
    (mut letter, deadline): (Letter, Instant),
    left: &mut BTreeMap<Receiver, Place>,
    told: &mpsc::Sender<Outcome>,
) -> Rest {
    let time_left = || deadline.saturating_duration_since(Instant::now());
    // Where it does not open, nothing was sent.
    let opened = transport.open(node, Protocol::Ipc, time_left().min(OPEN_WITHIN)).await;
    let Ok(mut stream) = opened else { return Rest::Unsent };
    letter.left_ms = u32::try_from(time_left().as_millis()).unwrap_or(u32::MAX);
    // Nobody acts on a part of a letter.
    if stream.send(&wire::encode(&letter), time_left()).await.is_err() {
        return Rest::Unsent;
    }
    while !left.is_empty() {
        match stream.receive(time_left()).await {
            Ok(Some(frame)) => {
                let Ok(Reply { receiver, answer }) = wire::decode(&frame) else {
                    return Rest::InDoubt;
                };
                let Some(place) = left.remove(&receiver) else { return Rest::InDoubt };
                if left.is_empty() {
                    // All is here, and need not be remembered. Before it is told: then nobody waits for this any more.
                    stream.finish();
                }
                let attempt = Attempt::Answered(answer.map(|Data(json)| Bytes::from(json)));
                let _ = told.send((receiver, place, attempt)).await;
            }
            Ok(None) => return Rest::InDoubt,
            Err(error) => return rest_of(&error),
        }
    }
    Rest::InDoubt
}

/// A stream that was turned away at the door has met no handler.
fn rest_of(error: &StreamError) -> Rest {
    match error {
        StreamError::Refused(Refused::Busy | Refused::NotServed | Refused::NotAllowed) => {
            Rest::Unsent
        }
        StreamError::Refused(_)
        | StreamError::Ended(_)
        | StreamError::TooLarge { .. }
        | StreamError::Truncated
        | StreamError::Late => Rest::InDoubt,
    }
}
