//! One end of a simulated connection.

use std::{net::SocketAddr, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::time::sleep_until;

use crate::transport::{
    CloseCode, Ended, Identity,
    network::{Connection, Holder, Path, Pipe},
};

use super::wire::Wire;

#[derive(Debug)]
pub(super) struct SimulatedConnection {
    wire: Arc<Wire>,
    side: usize,
    holder: Holder,
}

impl SimulatedConnection {
    pub(super) fn new(wire: Arc<Wire>, side: usize, peer: Identity) -> Arc<Self> {
        let holder = Holder { identity: peer, not_after: None, chain: Vec::new() };
        Arc::new(Self { wire, side, holder })
    }
}

impl Drop for SimulatedConnection {
    /// As QUIC: a connection that nobody holds is closed.
    fn drop(&mut self) {
        self.wire.close(self.side, CloseCode::Stopping, "");
    }
}

impl Connection for SimulatedConnection {
    fn holder(&self) -> &Holder {
        &self.holder
    }

    fn remote(&self) -> SocketAddr {
        self.wire.ends[1 - self.side]
    }

    fn path(&self) -> Path {
        Path::default()
    }

    fn open(&self) -> BoxFuture<'_, Result<Pipe, Ended>> {
        std::future::ready(self.wire.open(self.side)).boxed()
    }

    fn accept(&self) -> BoxFuture<'_, Result<Pipe, Ended>> {
        async move {
            let mut incoming = self.wire.incoming[self.side].lock().await;
            let opened = tokio::select! {
                biased;
                ended = self.ended() => return Err(ended),
                opened = incoming.recv() => opened,
            };
            drop(incoming);
            let Some((due, pipe)) = opened else { return Err(self.ended().await) };
            sleep_until(due).await;
            Ok(pipe)
        }
        .boxed()
    }

    fn close(&self, code: CloseCode, reason: &str) {
        self.wire.close(self.side, code, reason);
    }

    fn ended(&self) -> BoxFuture<'_, Ended> {
        async move {
            let ended = self.wire.watch(self.side);
            ended.wait_for(Option::is_some).await.unwrap_or(Ended::ByUs)
        }
        .boxed()
    }

    fn has_ended(&self) -> Option<Ended> {
        self.wire.watch(self.side).get()
    }
}
