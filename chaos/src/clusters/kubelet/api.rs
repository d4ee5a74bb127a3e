//! The API server, of which a pod that may read its StatefulSet asks one thing. Without TLS, which a test of apolo has.

use std::{
    fs,
    io::{self, ErrorKind},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// How long a request may take to come.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);

const REQUEST_MAX: u64 = 16 * 1024;

/// Where pods ask, and what with.
#[derive(Debug)]
pub(super) struct Api {
    address: SocketAddr,
    rights: PathBuf,
    replicas: Arc<AtomicU32>,
}

impl Api {
    /// Serves the StatefulSet of this name, for as long as the runtime lives.
    pub(super) async fn start(directory: &Path, name: &str) -> io::Result<Self> {
        let rights = directory.join("serviceaccount");
        fs::create_dir(&rights)?;
        fs::write(rights.join("token"), "chaos")?;
        fs::write(rights.join("namespace"), "chaos")?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let replicas = Arc::new(AtomicU32::new(0));
        let path = format!("/apis/apps/v1/namespaces/chaos/statefulsets/{name}");
        let wanted = Arc::clone(&replicas);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (path, replicas) = (path.clone(), wanted.load(Ordering::Relaxed));
                tokio::spawn(timeout(REQUEST_WITHIN, answer(stream, path, replicas)));
            }
        });
        Ok(Self { address, rights, replicas })
    }

    /// From here on so many pods are wanted.
    pub(super) fn scale(&self, replicas: u32) {
        self.replicas.store(replicas, Ordering::Relaxed);
    }

    /// What a pod is told beside its manifest.
    pub(super) fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("APOLO_KUBERNETES_API", format!("http://{}", self.address)),
            ("APOLO_SERVICE_ACCOUNT_DIR", self.rights.display().to_string()),
        ]
    }
}

async fn answer(stream: TcpStream, path: String, replicas: u32) -> io::Result<()> {
    let mut stream = stream.take(REQUEST_MAX);
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    let known = request.starts_with(format!("GET {path} ").as_bytes());
    let status = if known { "200 OK" } else { "404 Not Found" };
    let body = format!(r#"{{"metadata": {{}}, "spec": {{"replicas": {replicas}}}}}"#);
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let mut stream = stream.into_inner();
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    stream.shutdown().await
}
