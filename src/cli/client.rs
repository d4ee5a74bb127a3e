//! Asks a running node: through its data directory's socket, or at an endpoint.

use std::{
    error::Error,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use reqwest::{Method, RequestBuilder, Response, StatusCode, header::CONTENT_TYPE};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, time::timeout};
use url::Url;

use crate::config::Config;
use crate::http::{Changed, SOCKET_FILE, SocketPath, Unhalted, View};
use crate::model::Token;

use super::failure::{Again, Failure};

/// A node answers at once or not at all; a change may wait 10 s for a quorum.
const TIME_MAX: Duration = Duration::from_secs(15);

/// As long as a node gives any connection. A backup comes in one answer.
const DOWNLOAD_TIME_MAX: Duration = Duration::from_secs(60);

/// What a container's health check waits for.
const PROBE_TIME_MAX: Duration = Duration::from_secs(2);

/// More than the table of the largest bot.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A node to ask.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<Token>,
    /// Who is asked, for errors.
    whom: String,
    /// Keeps the socket's path valid.
    _socket: Option<SocketPath>,
}

#[derive(Deserialize)]
struct Problem {
    error: String,
}

/// Whether somebody listens at the directory's socket. The file alone proves nothing: a process that was killed leaves it.
async fn has_listener(data_dir: &Path) -> bool {
    let Ok(socket) = SocketPath::of(data_dir) else { return false };
    // Where nobody takes the connection in time the node hangs, which is for the probe to find out.
    match timeout(PROBE_TIME_MAX, UnixStream::connect(socket.path())).await {
        Ok(connected) => connected.is_ok(),
        Err(_elapsed) => true,
    }
}

impl Client {
    /// The node that `config` names.
    pub(super) fn new(config: &Config) -> Result<Self, Failure> {
        // No proxy and no redirect: the token goes to the named node and nowhere else.
        let builder = reqwest::Client::builder()
            .timeout(TIME_MAX)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        let (builder, base, whom, socket) = match &config.endpoint {
            Some(url) => (builder, url.clone(), url.to_string(), None),
            None => {
                let whom = config.data_dir.join(SOCKET_FILE).display().to_string();
                if !config.data_dir.join(SOCKET_FILE).exists() {
                    return Err(no_node(config, &whom));
                }
                let socket = SocketPath::of(&config.data_dir)
                    .map_err(|error| Failure::failed(format!("can't open {whom}: {error}")))?;
                let builder = builder.unix_socket(socket.path().to_owned());
                let base = Url::parse("http://apolo").expect("a constant that parses");
                (builder, base, whom, Some(socket))
            }
        };
        let http = builder
            .build()
            .map_err(|error| Failure::failed(format!("can't make an HTTP client: {error}")))?;
        Ok(Self { http, base, token: config.api_token.clone(), whom, _socket: socket })
    }

    /// The node that `config` names; or, where nobody listens at its socket since it opens its data directory still,
    /// whoever has its HTTP port on this machine. For probes, which need no right.
    pub(super) async fn for_probes(config: &Config) -> Result<Self, Failure> {
        if config.endpoint.is_some() || has_listener(&config.data_dir).await {
            return Self::new(config);
        }
        let host = match config.http_addr.ip() {
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        let address = SocketAddr::new(host, config.http_addr.port());
        let endpoint = Url::parse(&format!("http://{address}")).ok();
        Self::new(&Config { endpoint, api_token: None, ..config.clone() })
    }

    /// How things stand, as the node sees them.
    pub(super) async fn view(&self) -> Result<View, Failure> {
        self.get("status").await
    }

    /// Asks for a change of the cluster, by its path behind `/api/v1/`.
    pub(super) async fn change(&self, path: &[&str]) -> Result<Changed, Failure> {
        self.post(&path.join("/"), &()).await
    }

    /// Asks for what is at a path behind `/api/v1/`.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(Method::GET, path, None).await
    }

    /// What a probe (`health`, `ready`) says, whether it is content or not.
    pub(super) async fn probe<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let url = format!("{}/{path}", self.base.as_str().trim_end_matches('/'));
        let response = self.http.get(url).timeout(PROBE_TIME_MAX).send().await;
        let response = response.map_err(|error| self.unreached(&error))?;
        let body = self.read(response, BODY_BYTES_MAX, |_| {}).await?;
        serde_json::from_slice(&body)
            .map_err(|_| Failure::failed(format!("{} answers not as a node does", self.whom)))
    }

    /// Sends `body` to a path behind `/api/v1/`.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Failure::failed(format!("can't write JSON: {error}")))?;
        self.ask(Method::POST, path, Some(("application/json", body))).await
    }

    /// Sends bytes to a path behind `/api/v1/`.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, Failure> {
        self.ask(Method::POST, path, Some(("application/octet-stream", body))).await
    }

    /// What is at a path behind `/api/v1/`, at most so many bytes. Tells how many there are already.
    pub(super) async fn download(
        &self,
        path: &str,
        most: usize,
        seen: impl Fn(u64),
    ) -> Result<Vec<u8>, Failure> {
        let request = self.request(Method::GET, path, None).timeout(DOWNLOAD_TIME_MAX);
        let response = request.send().await.map_err(|error| self.unreached(&error))?;
        let status = response.status();
        if !status.is_success() {
            let body = self.read(response, BODY_BYTES_MAX, |_| {}).await?;
            return Err(self.refused(status, &body));
        }
        self.read(response, most, seen).await
    }

    /// Lifts a halt.
    pub(super) async fn unhalt(&self) -> Result<Unhalted, Failure> {
        self.post("unhalt", &()).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Vec<u8>)>,
    ) -> Result<T, Failure> {
        let request = self.request(method, path, body);
        let response = request.send().await.map_err(|error| self.unreached(&error))?;
        let status = response.status();
        let body = self.read(response, BODY_BYTES_MAX, |_| {}).await?;
        if !status.is_success() {
            return Err(self.refused(status, &body));
        }
        serde_json::from_slice(&body).map_err(|error| {
            Failure::failed(format!("{} answered what this version can't read: {error}", self.whom))
                .help("Use the CLI of the node's own version, and check that the address is a node's.")
        })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Vec<u8>)>,
    ) -> RequestBuilder {
        let url = format!("{}/api/v1/{path}", self.base.as_str().trim_end_matches('/'));
        let mut request = self.http.request(method, url);
        if let Some((kind, body)) = body {
            request = request.header(CONTENT_TYPE, kind).body(body);
        }
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    async fn read(
        &self,
        mut response: Response,
        most: usize,
        seen: impl Fn(u64),
    ) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreached(&error))? {
            if body.len() + chunk.len() > most {
                return Err(Failure::failed(format!("{} answers without end", self.whom)));
            }
            body.extend_from_slice(&chunk);
            seen(body.len() as u64);
        }
        Ok(body)
    }

    fn unreached(&self, error: &reqwest::Error) -> Failure {
        let message = format!("{} does not answer: {}", self.whom, root(error));
        let failure = Failure::failed(message).with_again(Again::Soon);
        match io_kind(error) {
            Some(io::ErrorKind::ConnectionRefused) => failure.help("The node is not running."),
            Some(io::ErrorKind::PermissionDenied) => {
                failure.help("The socket is its owner's alone: use the node's user.")
            }
            _ => failure,
        }
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Failure {
        let failure = match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => Failure::failed(format!("{} refused: {}", self.whom, problem.error)),
            Err(_) => {
                Failure::failed(format!("{} answered {status}, not as a node does", self.whom))
            }
        };
        failure.with_again(match status {
            StatusCode::CONFLICT => Again::AfterChange,
            status if status.is_server_error() => Again::Soon,
            _ => Again::Same,
        })
    }
}

fn no_node(config: &Config, whom: &str) -> Failure {
    let origin = config.origin("data-dir");
    Failure::failed(format!("no node runs on {}: there is no {whom}", config.data_dir.display()))
        .help(format!(
            "The data directory is {origin}. Name the node's own with --data-dir, or its address with --endpoint."
        ))
}

/// The innermost cause, which says most and holds no URL.
fn root(error: &dyn Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let mut inner = Some(error);
    while let Some(error) = inner {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && io.raw_os_error().is_some()
        {
            return Some(io.kind());
        }
        inner = error.source();
    }
    None
}
