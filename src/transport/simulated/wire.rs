//! What the two ends of a simulated connection share.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use crate::transport::{CloseCode, Ended, network::Pipe, shown::Shown};

use super::{
    SimulatedNetwork,
    pipe::{Channel, ends},
};

/// A stream on its way to the other end.
pub(super) type Opened = (Instant, Pipe);

#[derive(Debug)]
pub(super) struct Wire {
    network: SimulatedNetwork,
    pub(super) ends: [SocketAddr; 2],
    ended: [Arc<Shown<Option<Ended>>>; 2],
    opened: [mpsc::UnboundedSender<Opened>; 2],
    pub(super) incoming: [tokio::sync::Mutex<mpsc::UnboundedReceiver<Opened>>; 2],
    channels: Mutex<Vec<Weak<Channel>>>,
}

impl Wire {
    pub(super) fn start(
        network: &SimulatedNetwork,
        ends: [SocketAddr; 2],
        idle: [Duration; 2],
    ) -> Arc<Self> {
        let (to_first, at_first) = mpsc::unbounded_channel();
        let (to_second, at_second) = mpsc::unbounded_channel();
        let wire = Arc::new(Self {
            network: network.clone(),
            ends,
            ended: Default::default(),
            opened: [to_first, to_second],
            incoming: [tokio::sync::Mutex::new(at_first), tokio::sync::Mutex::new(at_second)],
            channels: Mutex::default(),
        });
        network.add(&wire);
        let idle = idle[0].min(idle[1]);
        for side in 0..2 {
            let (watched, ended) = (Arc::downgrade(&wire), wire.watch(side));
            tokio::spawn(notice_silence(watched, network.clone(), side, ended, idle));
        }
        wire
    }

    pub(super) fn touches(&self, address: SocketAddr) -> bool {
        self.ends.contains(&address)
    }

    pub(super) fn is_between(&self, one: SocketAddr, other: SocketAddr) -> bool {
        self.ends == [one, other] || self.ends == [other, one]
    }

    pub(super) fn side_of(&self, address: SocketAddr) -> usize {
        usize::from(self.ends[0] != address)
    }

    pub(super) fn watch(&self, side: usize) -> Arc<Shown<Option<Ended>>> {
        self.ended[side].clone()
    }

    pub(super) fn end_at(&self, address: SocketAddr, ended: &Ended) {
        self.end(self.side_of(address), ended);
    }

    pub(super) fn end_both(&self, ended: &Ended) {
        self.end(0, ended);
        self.end(1, ended);
    }

    /// The first end counts.
    fn end(&self, side: usize, ended: &Ended) {
        self.ended[side].modify(|present| {
            let first = present.is_none();
            if first {
                *present = Some(ended.clone());
            }
            first
        });
        self.wake();
    }

    /// Ends one side, and the other when the word has arrived, if it does.
    pub(super) fn close(self: &Arc<Self>, side: usize, code: CloseCode, reason: &str) {
        if self.ended[side].get().is_some() {
            return;
        }
        self.end(side, &Ended::ByUs);
        let ended = Ended::ByPeer { code: code as u64, reason: reason.to_owned() };
        let (wire, from, to) = (self.clone(), self.ends[side], self.ends[1 - side]);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            sleep(wire.network.transit(from, to)).await;
            if !wire.network.is_blocked(from, to) {
                wire.end(1 - side, &ended);
            }
        });
    }

    /// A stream that `side` opens.
    pub(super) fn open(&self, side: usize) -> Result<Pipe, Ended> {
        if let Some(ended) = self.ended[side].get() {
            return Err(ended);
        }
        let [near, far] = [self.ends[side], self.ends[1 - side]];
        let (there, back) = (self.channel(near, far, side), self.channel(far, near, 1 - side));
        let ((send_near, receive_far), (send_far, receive_near)) = (ends(there), ends(back));
        let due = Instant::now() + self.network.transit(near, far);
        // Nobody at the other end is as silent as a dead peer.
        let _ = self.opened[1 - side].send((due, (Box::new(send_far), Box::new(receive_far))));
        Ok((Box::new(send_near), Box::new(receive_near)))
    }

    fn channel(&self, from: SocketAddr, to: SocketAddr, side: usize) -> Arc<Channel> {
        let ended = [self.watch(side), self.watch(1 - side)];
        let channel = Channel::new(self.network.clone(), from, to, ended);
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.retain(|channel| channel.strong_count() > 0);
        channels.push(Arc::downgrade(&channel));
        channel
    }

    /// Whoever waits on a stream looks again.
    pub(super) fn wake(&self) {
        let channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for channel in channels.iter().filter_map(Weak::upgrade) {
            channel.wake();
        }
    }
}

/// Ends a side when it has heard nothing for `idle`: while the other side lives and the way from it is open,
/// keep-alives are heard.
async fn notice_silence(
    wire: Weak<Wire>,
    network: SimulatedNetwork,
    side: usize,
    ended: Arc<Shown<Option<Ended>>>,
    idle: Duration,
) {
    let changes = network.changes();
    let Some(other) = wire.upgrade().map(|wire| wire.watch(1 - side)) else { return };
    let mut since: Option<Instant> = None;
    loop {
        let seen = changes.get();
        let gone = other.get().is_some();
        let silent = {
            let Some(wire) = wire.upgrade() else { return };
            gone || network.is_blocked(wire.ends[1 - side], wire.ends[side])
        };
        since = silent.then(|| since.unwrap_or_else(Instant::now));
        let noticed = since.unwrap_or_else(Instant::now) + idle;
        tokio::select! {
            biased;
            _ = ended.wait_for(Option::is_some) => return,
            _ = changes.wait_for(|count| *count != seen) => {}
            _ = other.wait_for(Option::is_some), if !gone => {}
            () = sleep_until(noticed), if silent => {
                if let Some(wire) = wire.upgrade() {
                    wire.end(side, &Ended::Silent);
                }
                return;
            }
        }
    }
}
