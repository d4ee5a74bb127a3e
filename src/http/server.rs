//! Sockets to requests, within bounds.

use std::{future::Future, io, path::Path, sync::Arc, time::Duration};

use axum::Router;
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixStream},
};
use tokio_util::{either::Either, sync::CancellationToken, task::TaskTracker};

use crate::model::Token;

use super::{
    Source,
    access::Way,
    audit::Caller,
    places::{Busy, Places},
    routes,
    socket::Socket,
};

/// Open connections on each of port and socket. For one more, an old one gives way.
const CONNECTIONS_MAX: usize = 512;

/// A caller that dawdles over its headers, or keeps an idle connection, is let go after this.
const HEADER_TIME_MAX: Duration = Duration::from_secs(5);

/// Headers fit in this; it is also what is kept of an answer that its caller doesn't read.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// More headers than any probe, scraper or browser sends.
const HEADERS_MAX: usize = 100;

/// A connection ends after this, whatever it does: a caller that doesn't read its answer must not keep it for ever.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(60);

/// What a request may still take when its connection is to end.
const GRACE: Duration = Duration::from_secs(2);

/// After a failure to accept (no more descriptors, most likely) the next attempt waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a server listens on.
#[derive(Debug)]
pub struct Options<'a> {
    /// The port, already bound ([`bind`](super::bind)).
    pub listener: TcpListener,
    /// The data directory, for its socket. The caller holds the directory's lock.
    pub data_dir: Option<&'a Path>,
    /// What a caller over TCP must show before it changes something.
    pub token: Option<Token>,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    routes: Router,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Starts to answer with what `source` says.
    ///
    /// # Errors
    ///
    /// Where the socket can't be made in the data directory.
    pub fn start(options: Options<'_>, source: Arc<dyn Source>) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let routes = routes::router(source, options.token, stop.clone());
        let server = Self { routes, stop, tasks: TaskTracker::new() };
        server.listen(Way::Tcp, Listener::Tcp(options.listener));
        if let Some(directory) = options.data_dir {
            server.serve_socket(directory)?;
        }
        Ok(server)
    }

    /// Answers on the data directory's socket too. The caller holds the directory's lock.
    ///
    /// # Errors
    ///
    /// Where the socket can't be made.
    pub fn serve_socket(&self, directory: &Path) -> io::Result<()> {
        self.listen(Way::Socket, Listener::Socket(Socket::bind(directory)?));
        Ok(())
    }

    /// Accepts no more, lets running requests finish for at most 2 s, and returns when all is closed.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn listen(&self, way: Way, listener: Listener) {
        let routes = self.routes.clone();
        let (stop, tasks) = (self.stop.clone(), self.tasks.clone());
        self.tasks.spawn(async move {
            let places = Places::new(CONNECTIONS_MAX);
            loop {
                match unless(&stop, listener.accept()).await {
                    Some(Ok((stream, caller))) => {
                        let Some(place) = unless(&stop, places.take()).await else { return };
                        let (routes, stop) = (routes.clone(), stop.clone());
                        tasks.spawn(async move {
                            let gone = place.must_go.clone();
                            let busy = place.busy.clone();
                            let serving = serve(stream, (routes, caller, busy), stop);
                            gone.run_until_cancelled(serving).await;
                            drop(place);
                        });
                    }
                    Some(Err(error)) => {
                        tracing::warn!(%error, ?way, "could not accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                    None => return,
                }
            }
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

enum Listener {
    Tcp(TcpListener),
    Socket(Socket),
}

impl Listener {
    async fn accept(&self) -> io::Result<(Either<TcpStream, UnixStream>, Caller)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Either::Left(stream), Caller::Address(Some(address))))
            }
            Self::Socket(socket) => {
                let stream = socket.listener.accept().await?.0;
                let uid = stream.peer_cred().ok().map(|peer| peer.uid());
                Ok((Either::Right(stream), Caller::User(uid)))
            }
        }
    }
}

async fn serve<S>(
    stream: S,
    (routes, caller, busy): (Router, Caller, Busy),
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(caller);
        request.extensions_mut().insert(caller.way());
        let (working, answer) = (busy.begin(), routes.call(request));
        async move {
            let answer = answer.await;
            drop(working);
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // How a connection ends is its caller's business: a probe that hangs up early is no fault of the node.
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = tokio::time::sleep(CONNECTION_TIME_MAX) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, connection).await;
}

async fn unless<F: Future>(stop: &CancellationToken, work: F) -> Option<F::Output> {
    stop.run_until_cancelled(work).await
}

#[cfg(test)]
mod tests {
    use futures_util::future::{BoxFuture, pending};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        task::JoinHandle,
        time::{Instant, timeout},
    };

    use super::*;
    use crate::http::{Change, Changed, Unhalted, View, view};

    /// Longer than any bound, on a clock that nobody waits for.
    const FOR_EVER: Duration = Duration::from_secs(3_600);

    /// A node whose cluster never agrees to anything.
    #[derive(Debug)]
    struct Stuck;

    impl Source for Stuck {
        fn view(&self) -> View {
            view::tests::view(448)
        }

        fn metrics(&self) -> String {
            String::new()
        }

        fn change(&self, _: Change) -> BoxFuture<'_, Result<Changed, String>> {
            Box::pin(pending())
        }

        fn unhalt(&self) -> BoxFuture<'_, Result<Unhalted, String>> {
            Box::pin(pending())
        }
    }

    /// A connection over a pipe, and its end.
    fn connect() -> (DuplexStream, JoinHandle<()>) {
        let (near, far) = duplex(1_024);
        let router = routes::router(Arc::new(Stuck), None, CancellationToken::new());
        let routes = (router, Caller::User(None), Busy::default());
        (near, tokio::spawn(serve(far, routes, CancellationToken::new())))
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_an_answer_is_given_up_after_10_s() {
        let (mut stream, _served) = connect();
        let began = Instant::now();

        let request = b"POST /api/v1/unhalt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        timeout(FOR_EVER, stream.read_to_string(&mut answer)).await.expect("it ends").unwrap();

        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_does_not_read_its_answer_is_let_go_after_a_minute() {
        let (mut stream, served) = connect();
        let began = Instant::now();

        stream.write_all(b"GET /api/v1/shards HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        timeout(FOR_EVER, served).await.expect("it ends").unwrap();

        assert_eq!(began.elapsed(), CONNECTION_TIME_MAX + GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_keeps_asking_is_let_go_after_a_minute() {
        let (mut stream, served) = connect();
        let began = Instant::now();

        let asking = async {
            let mut answer = [0; 1_024];
            while stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.is_ok()
                && stream.read(&mut answer).await.is_ok_and(|count| count > 0)
            {
                tokio::time::sleep(HEADER_TIME_MAX - Duration::from_secs(1)).await;
            }
        };
        timeout(FOR_EVER, asking).await.expect("it ends");
        timeout(FOR_EVER, served).await.expect("it ends").unwrap();

        assert!((60..=64).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    }
}
