//! A gateway that sends a recording, as fast as its client takes it.

use std::{
    net::SocketAddr,
    sync::Arc,
    thread::{self, JoinHandle},
};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::{oneshot, watch},
};
use tokio_websockets::{Message, ServerBuilder};

use crate::{Failure, recording::Recording};

/// A running gateway, on a thread of its own.
#[derive(Debug)]
pub(crate) struct Replay {
    addr: SocketAddr,
    gate: watch::Sender<bool>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Replay {
    /// Every connection gets HELLO and the warm-up, and once the gate is open all the rest.
    pub(crate) fn start(recording: Arc<Recording>) -> Result<Self, Failure> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let (gate, opened) = watch::channel(false);
        let (stop, stopped) = oneshot::channel();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("replay".to_owned()).spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener of this runtime");
                tokio::select! {
                    () = accept(listener, recording, opened) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { addr, gate, stop: Some(stop), thread: Some(thread) })
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.addr)
    }

    /// Lets the events flow.
    pub(crate) fn open(&self) {
        self.gate.send_replace(true);
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, recording: Arc<Recording>, opened: watch::Receiver<bool>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (recording, opened) = (Arc::clone(&recording), opened.clone());
        tokio::spawn(async move {
            if let Err(failure) = serve(stream, &recording, opened).await {
                eprintln!("figures: the replay broke: {failure}");
            }
        });
    }
}

async fn serve(
    stream: TcpStream,
    recording: &Recording,
    mut opened: watch::Receiver<bool>,
) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let (_, mut socket) = ServerBuilder::new().accept(stream).await?;
    socket.send(Message::binary(recording.shards[0].hello.clone())).await?;
    let shard = loop {
        let Some(message) = socket.next().await else { return Ok(()) };
        let message = message?;
        let Some(text) = message.as_text() else { continue };
        let payload: Value = serde_json::from_str(text)?;
        if payload["op"] == 2 {
            break payload["d"]["shard"][0].as_u64().ok_or("an IDENTIFY without a shard")?;
        }
    };
    let shard = &recording.shards[usize::try_from(shard)?];
    for event in &shard.warm_up {
        socket.feed(Message::binary(event.clone())).await?;
    }
    socket.flush().await?;
    opened.wait_for(|opened| *opened).await?;
    for event in &shard.events {
        socket.feed(Message::binary(event.clone())).await?;
    }
    socket.flush().await?;
    // Heartbeats are not answered: a run is over before the second is due.
    while let Some(Ok(_)) = socket.next().await {}
    Ok(())
}
