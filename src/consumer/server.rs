//! The consumers' port.

use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

pub use super::handshake::PATH;
use super::{
    Consumers,
    calls::Calls,
    connection::{self, Connection},
    handshake, traffic,
};
use crate::agent::Board;
use crate::http::Source;
use crate::ipc::{Handlers, Ipc};
use crate::model::Token;
use crate::state::State;

/// Consumers at once. One more is turned away, and tries again.
const CONSUMERS_MAX: usize = 256;

/// Connections that are no WebSocket yet.
const KNOCKING_MAX: usize = 64;

/// A caller that dawdles over its headers is let go after this.
const HEADER_TIME_MAX: Duration = Duration::from_secs(5);

/// More headers than any client sends.
const HEADERS_MAX: usize = 100;

/// Headers fit in this.
const BUFFER_BYTES_MAX: usize = 16 * 1024;

/// After a failure to accept (no more descriptors, most likely) the next attempt waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What consumers reach through a node that is a member of a cluster.
pub(crate) struct Hub {
    pub(crate) consumers: Consumers,
    pub(crate) ipc: Ipc,
    pub(crate) board: Board,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) states: watch::Receiver<Arc<State>>,
    pub(crate) handlers: Handlers,
    pub(crate) token: Token,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

/// The port, from the node's start on. Consumers are let in once the node is a member.
#[derive(Debug)]
pub struct Server {
    door: Arc<Door>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Door {
    inside: OnceLock<(Hub, Arc<Calls>)>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Listens, and turns everybody away for the time being.
    #[must_use]
    pub fn start(listener: TcpListener) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let door = Arc::new(Door {
            inside: OnceLock::new(),
            places: Arc::new(Semaphore::new(CONSUMERS_MAX)),
            stop: stop.clone(),
            tasks: tasks.clone(),
        });
        let (listening, stopped) = (Arc::clone(&door), stop.clone());
        tasks.spawn(async move {
            stopped.run_until_cancelled(listen(listener, listening)).await;
        });
        Self { door, stop, tasks }
    }

    /// Lets consumers in.
    pub(crate) fn open(&self, hub: Hub) {
        let calls = Arc::new(Calls::new(hub.consumers.clone(), hub.handlers.clone()));
        let _ = self.door.inside.set((hub, calls));
    }

    /// Takes no more consumers, says goodbye to those that are there, and returns when all have gone.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn listen(listener: TcpListener, door: Arc<Door>) {
    let knocking = Arc::new(Semaphore::new(KNOCKING_MAX));
    while let Ok(place) = Arc::clone(&knocking).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let door = Arc::clone(&door);
                door.tasks.clone().spawn(async move {
                    let stop = door.stop.clone();
                    stop.run_until_cancelled(knock(stream, door, place)).await;
                });
            }
            Err(error) => {
                warn!(%error, "could not accept a consumer");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn knock(stream: TcpStream, door: Arc<Door>, _place: OwnedSemaphorePermit) {
    // Frames are small, and answers are waited for.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let answer = admit(&door, request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // How it ends is the caller's business.
    let _ = served.await;
}

fn admit(door: &Arc<Door>, mut request: Request<Incoming>) -> Response<String> {
    let Some((hub, _)) = door.inside.get() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "this node takes no part yet");
    };
    let accept = match handshake::check(&request, &hub.token) {
        Ok(accept) => accept,
        Err(refused) => return refuse(refused.status, refused.why),
    };
    let Ok(place) = Arc::clone(&door.places).try_acquire_owned() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "256 consumers are connected already");
    };
    let (upgrade, inside) = (hyper::upgrade::on(&mut request), Arc::clone(door));
    door.tasks.spawn(async move {
        let Some((hub, calls)) = inside.inside.get() else { return };
        if let Ok(upgraded) = upgrade.await {
            let socket = connection::socket(TokioIo::new(upgraded));
            Connection::new(hub, calls).run(socket, &inside.stop).await;
        }
        drop(place);
    });
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    let accept = accept.parse().expect("base64 is a header's value");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

fn refuse(status: StatusCode, why: &'static str) -> Response<String> {
    traffic::refused(match status {
        StatusCode::UNAUTHORIZED => "token",
        StatusCode::SERVICE_UNAVAILABLE => "not_now",
        _ => "request",
    });
    let mut response = Response::new(serde_json::json!({ "error": why }).to_string());
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
