//! One message on its way to all its receivers, until each has answered, can't, or is out of time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    future::{BoxFuture, FutureExt as _},
    stream::{FuturesUnordered, StreamExt as _},
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, watch},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

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
/// so that a thousand messages that wait cost little, and one receiver's move is followed within twice its time.
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
    fn letter(&self, receivers: Vec<Address>, left: Duration) -> Letter {
        Letter {
            id: self.id,
            kind: self.kind,
            event: self.event.as_ref().to_owned(),
            sender: self.sender.shard,
            sent_at: self.sent_at,
            left_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
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

type Turn = OwnedSemaphorePermit;

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
    /// Whom the last attempt did not reach.
    unreached: Receivers,
    /// Where a receiver was when it may have met the message.
    doubts: BTreeMap<Receiver, Place>,
    done: BTreeMap<Receiver, Result<Bytes, IpcError>>,
    /// Where messages to each receiver take turns.
    lines: Arc<Lines>,
    /// For whom it is in line.
    in_line: Receivers,
    turns: FuturesUnordered<BoxFuture<'static, (Receiver, Option<Turn>)>>,
    /// For whom it has its turn.
    has_turn: BTreeMap<Receiver, Turn>,
    /// What is on its way. One call is part of this future and no task of its own: its answer wakes whoever waits for it.
    calls: FuturesUnordered<BoxFuture<'static, ()>>,
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
            unreached: Receivers::new(),
            doubts: BTreeMap::new(),
            done: BTreeMap::new(),
            lines,
            in_line: Receivers::new(),
            turns: FuturesUnordered::new(),
            has_turn: BTreeMap::new(),
            calls: FuturesUnordered::new(),
            closed,
            alone_since: None,
        }
    }

    /// Waits for its turn at the receiver, without which a message for one alone is not sent.
    ///
    /// # Errors
    ///
    /// [`IpcError::TimedOut`].
    pub(super) async fn stand_in_line(&mut self, receiver: Receiver) -> Result<(), IpcError> {
        let turn =
            timeout_at(self.head.deadline, self.lines.of(receiver).alone.acquire_owned()).await;
        let turn = turn.map_err(|_| IpcError::TimedOut { may_have_run: false })?;
        self.has_turn.extend(turn.ok().map(|turn| (receiver, turn)));
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
            let retry = !self.waiting.is_subset(&self.in_line);
            tokio::select! {
                Some(turn) = self.turns.next() => {
                    self.take_turns(turn);
                    look = Instant::now();
                }
                Some(outcome) = outcomes.recv() => self.settle(outcome),
                Some(()) = self.calls.next() => {}
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
        self.give_up_without_a_quorum();
        let state = Arc::clone(&self.states.borrow());
        let mut letters: BTreeMap<NodeId, Vec<(Receiver, Place)>> = BTreeMap::new();
        for receiver in self.waiting.clone() {
            match self.next_stop(&state, receiver) {
                Err(error) => self.end(receiver, Err(error)),
                Ok(Some(place)) if self.has_its_turn(receiver) => {
                    self.waiting.remove(&receiver);
                    self.under_way.insert(receiver);
                    letters.entry(place.node).or_default().push((receiver, place));
                }
                Ok(Some(_)) => {}
                Ok(None) => drop(self.unreached.insert(receiver)),
            }
        }
        let is_alone = letters.len() == 1;
        for (node, receivers) in letters {
            self.send(node, receivers, told.clone(), is_alone);
        }
    }

    /// What is on its way alone is part of this future; letters to many nodes are written beside each other.
    fn begin(&self, call: impl Future<Output = ()> + Send + 'static, is_alone: bool) {
        self.calls.push(match is_alone {
            true => call.boxed(),
            false => AbortOnDropHandle::new(tokio::spawn(call)).map(drop).boxed(),
        });
    }

    /// Whether it may be sent; if not, it is in line from now on. A slow receiver of a message for many does not hold up the
    /// others.
    fn has_its_turn(&mut self, receiver: Receiver) -> bool {
        if self.has_turn.contains_key(&receiver) {
            return true;
        }
        if !self.in_line.contains(&receiver) {
            let line = self.lines.of(receiver).many;
            match Arc::clone(&line).try_acquire_owned() {
                Ok(turn) => drop(self.has_turn.insert(receiver, turn)),
                Err(_) => {
                    self.in_line.insert(receiver);
                    let turn = line.acquire_owned();
                    self.turns.push(turn.map(move |turn| (receiver, turn.ok())).boxed());
                }
            }
        }
        self.has_turn.contains_key(&receiver)
    }

    /// Its turn has come, and perhaps that of more receivers on the same node.
    fn take_turns(&mut self, first: (Receiver, Option<Turn>)) {
        let mut next = Some(first);
        while let Some((receiver, turn)) = next {
            self.in_line.remove(&receiver);
            let wanted = turn.filter(|_| self.waiting.contains(&receiver));
            self.has_turn.extend(wanted.map(|turn| (receiver, turn)));
            next = self.turns.next().now_or_never().flatten();
        }
    }

    /// Where the message goes next for this receiver: to whoever may have met it, which alone can say what became of it,
    /// although the receiver has moved on. What may run twice always goes to the receiver.
    fn next_stop(&self, state: &State, receiver: Receiver) -> Result<Option<Place>, IpcError> {
        match self.doubts.get(&receiver).filter(|_| !self.idempotent) {
            Some(met) if remains(state, *met) => Ok(Some(*met)),
            Some(_) => Err(IpcError::OwnerLost { may_have_run: true }),
            None => place(state, receiver),
        }
    }

    /// Without a quorum nobody becomes an owner: whoever is not reached for that long will not be.
    fn give_up_without_a_quorum(&mut self) {
        if self.local.residents.has_quorum() {
            self.alone_since = None;
            return;
        }
        if self.alone_since.get_or_insert_with(Instant::now).elapsed() < ALONE_FOR {
            return;
        }
        let unreached: Vec<_> = self.waiting.intersection(&self.unreached).copied().collect();
        for receiver in unreached {
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
        is_alone: bool,
    ) {
        let head = self.head.clone();
        if node == self.local.me {
            let is_alone = is_alone && receivers.len() == 1;
            for (receiver, place) in receivers {
                let (local, head, told) = (Arc::clone(&self.local), head.clone(), told.clone());
                let address = self.address(receiver, place);
                let run = async move {
                    let answer = run_here(&local, &head, address, is_alone).await;
                    let _ = told.send((receiver, place, Attempt::Answered(answer))).await;
                };
                self.begin(run, is_alone);
            }
            return;
        }
        for part in receivers.chunks(RECEIVERS_MAX) {
            let mut left: BTreeMap<_, _> = part.iter().copied().collect();
            let addresses = part.iter().map(|(receiver, place)| self.address(*receiver, *place));
            let addresses: Vec<_> = addresses.collect();
            let (transport, head, told) = (self.transport.clone(), head.clone(), told.clone());
            let carried = async move {
                let rest = match &transport {
                    Some(transport) => {
                        let letter = (&head, addresses);
                        carry(transport, node, letter, &mut left, &told).await
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
            };
            self.begin(carried, is_alone);
        }
    }

    fn address(&self, receiver: Receiver, place: Place) -> Address {
        let doubt = self.doubts.get(&receiver).filter(|doubt| **doubt == place);
        // What may run twice goes on where it was forgotten.
        let met = doubt.filter(|_| !self.idempotent).map(|doubt| doubt.boot);
        Address { receiver, tenure: place.tenure, met }
    }

    fn settle(&mut self, (receiver, place, attempt): Outcome) {
        match attempt {
            Attempt::Unsent => self.unreached.insert(receiver),
            Attempt::Answered(_) | Attempt::InDoubt => self.unreached.remove(&receiver),
        };
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
                None => {
                    self.not_met(receiver, place);
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

    /// It has met nobody at `place`, and will not once the receiver has moved on: until then a copy that is still on its
    /// way there may.
    fn not_met(&mut self, receiver: Receiver, at: Place) {
        let is_there = place(&self.states.borrow(), receiver) == Ok(Some(at));
        if !is_there && self.doubts.get(&receiver) == Some(&at) {
            self.doubts.remove(&receiver);
        }
    }

    fn again(&mut self, receiver: Receiver) {
        self.under_way.remove(&receiver);
        self.waiting.insert(receiver);
    }

    fn end(&mut self, receiver: Receiver, answer: Result<Bytes, IpcError>) {
        self.waiting.remove(&receiver);
        self.under_way.remove(&receiver);
        self.has_turn.remove(&receiver);
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
    is_alone: bool,
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
    let errand = Errand { call, address, data, deadline: head.deadline };
    let answer = local.run(errand, is_alone).await;
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
    (head, addresses): (&Letterhead, Vec<Address>),
    left: &mut BTreeMap<Receiver, Place>,
    told: &mpsc::Sender<Outcome>,
) -> Rest {
    let time_left = || head.deadline.saturating_duration_since(Instant::now());
    // Where it does not open, nothing was sent.
    let opened = transport.open(node, Protocol::Ipc, time_left().min(OPEN_WITHIN)).await;
    let Ok(mut stream) = opened else { return Rest::Unsent };
    let letter = head.letter(addresses, time_left());
    // Nobody acts on a part of a letter.
    if stream.send(&wire::encode(&letter), time_left()).await.is_err() {
        return Rest::Unsent;
    }
    let rest = loop {
        match stream.receive(time_left()).await {
            Ok(Some(frame)) => {
                let Ok(Reply { receiver, answer }) = wire::decode(&frame) else {
                    break Rest::InDoubt;
                };
                let Some(place) = left.remove(&receiver) else { break Rest::InDoubt };
                let is_last = left.is_empty();
                if is_last {
                    // All is here, and need not be remembered. Before it is told: then nobody waits for this any more.
                    stream.finish();
                }
                let attempt = Attempt::Answered(answer.map(|Data(json)| Bytes::from(json)));
                let _ = told.send((receiver, place, attempt)).await;
                if is_last {
                    return Rest::InDoubt;
                }
            }
            Ok(None) => break Rest::InDoubt,
            Err(error) => break rest_of(&error),
        }
    };
    // And not by dropping it, which says that nobody wants an answer any more: it is asked for again.
    stream.refuse(Refused::Late);
    rest
}

/// A stream that was turned away at the door, or whose letter could not be read, has met no handler.
fn rest_of(error: &StreamError) -> Rest {
    match error {
        StreamError::Refused(
            Refused::Busy | Refused::NotServed | Refused::NotAllowed | Refused::Failed,
        ) => Rest::Unsent,
        StreamError::Refused(_)
        | StreamError::Ended(_)
        | StreamError::TooLarge { .. }
        | StreamError::Truncated
        | StreamError::Late => Rest::InDoubt,
    }
}
