//! The one port: WebSocket upgrades go to the gateway, all else to HTTP.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

use super::{
    connection,
    core::Core,
    fault::{Step, Url},
};

/// Accepts until the simulator stops.
pub(super) async fn accept(core: Arc<Core>, listener: TcpListener, router: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, or the client is gone already.
                    tracing::debug!(%error, "accept failed");
                    sleep(ACCEPT_RETRY).await;
                    continue;
                }
            },
            () = core.stopped() => return,
        };
        let Ok(permit) = room.clone().try_acquire_owned() else { continue };
        let (core, router) = (core.clone(), router.clone());
        core.clone().tasks.spawn(async move {
            serve(core, stream, router).await;
            drop(permit);
        });
    }
}

/// Ends the sessions that nobody resumes, until the simulator stops.
pub(super) async fn sweep(core: Arc<Core>) {
    loop {
        tokio::select! {
            () = sleep(SWEEP_PERIOD) => core.sweep(Instant::now()),
            () = core.stopped() => return,
        }
    }
}

async fn serve(core: Arc<Core>, stream: TcpStream, router: Router) {
    let _ = stream.set_nodelay(true);
    let head = tokio::select! {
        head = timeout(HEAD_TIMEOUT, peek(&stream)) => head.unwrap_or_default(),
        () = core.stopped() => return,
    };
    let Some((path, upgrade)) = read_head(&head) else { return };
    let is_control = path.starts_with("/simulator");
    if !is_control && core.strike(Step::Down, None, None).is_some() {
        let _ = stream.set_zero_linger();
        return;
    }
    let (place, query) = path.split_once('?').unwrap_or((&path, ""));
    if upgrade && !is_control {
        let resume = core.options.resume_path.trim_matches('/');
        let by_resume = !resume.is_empty() && place.trim_matches('/') == resume;
        let url = if by_resume { Url::Resume } else { Url::Main };
        let query = query.to_owned();
        return connection::serve(core, stream, url, query).await;
    }
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::select! {
        served = connection => if let Err(error) = served {
            tracing::debug!(%error, "HTTP connection failed");
        },
        () = core.cut.notified(), if !is_control => {}
        () = core.stopped() => {}
    }
}

/// Waits for a request's head, without taking it from the stream.
async fn peek(stream: &TcpStream) -> Vec<u8> {
    let mut buffer = vec![0; HEAD_MAX];
    loop {
        let Ok(count) = stream.peek(&mut buffer).await else { return Vec::new() };
        let head = &buffer[..count];
        if count == 0 || count == HEAD_MAX || memchr::memmem::find(head, b"\r\n\r\n").is_some() {
            return head.to_vec();
        }
        // What was peeked stays readable, so the stream can't be waited on for the rest.
        sleep(PEEK_AGAIN).await;
    }
}

/// The path with its query, and whether the request asks for WebSocket.
fn read_head(head: &[u8]) -> Option<(String, bool)> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let upgrade = lines.take_while(|line| !line.is_empty()).any(|line| {
        line.split_once(':').is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("upgrade") && value.trim().eq_ignore_ascii_case("websocket")
        })
    });
    Some((path, upgrade))
}

/// Connections at a time: above what any test opens, below what a machine has descriptors for.
const CONNECTIONS_MAX: usize = 16_384;

/// A request's head is looked for in so many bytes.
const HEAD_MAX: usize = 8 << 10;

/// A client that sends no request in this time is dropped.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait for the rest of a head that came in parts.
const PEEK_AGAIN: Duration = Duration::from_millis(5);

/// How long to wait after an accept failed.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);

/// How often sessions are looked through for those that timed out.
const SWEEP_PERIOD: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_is_told_from_a_request() {
        let upgrade = b"GET /resume/?v=10 HTTP/1.1\r\nHost: x\r\nUPGRADE: WebSocket\r\n\r\n";
        assert_eq!(read_head(upgrade), Some(("/resume/?v=10".to_owned(), true)));

        let request =
            b"GET /api/v10/gateway/bot HTTP/1.1\r\nHost: upgrade\r\n\r\nUpgrade: websocket";
        assert_eq!(read_head(request), Some(("/api/v10/gateway/bot".to_owned(), false)));

        assert_eq!(read_head(b"nonsense"), None);
    }
}
