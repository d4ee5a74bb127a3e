//! Pods that a StatefulSet does not make again, with a Kubernetes of one endpoint.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use apolo::{NodeId, http::Role};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

use super::support::{Cluster, with_role};

/// `GET /apis/apps/v1/namespaces/bots/statefulsets/node` over TLS, for whoever shows the token.
struct Kubernetes {
    address: SocketAddr,
    replicas: Arc<AtomicU32>,
    /// What a pod has in `/var/run/secrets/kubernetes.io/serviceaccount`.
    rights: TempDir,
}

impl Kubernetes {
    async fn start(token: &'static str) -> Self {
        let names = ["localhost".to_owned()];
        let own = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let rights = TempDir::new().expect("a directory");
        fs::write(rights.path().join("token"), "the pod's").expect("a file");
        fs::write(rights.path().join("namespace"), "bots").expect("a file");
        fs::write(rights.path().join("ca.crt"), own.cert.pem()).expect("a file");
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .expect("a fitting key");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let replicas = Arc::new(AtomicU32::new(3));
        let (acceptor, wanted) = (TlsAcceptor::from(Arc::new(config)), Arc::clone(&replicas));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = Answer { token, replicas: wanted.load(Ordering::Relaxed) };
                let acceptor = acceptor.clone();
                tokio::spawn(async move { answer.give(acceptor.accept(stream).await?).await });
            }
        });
        Self { address, replicas, rights }
    }

    /// From here on the nodes run in pods of the StatefulSet `node`, numbered from 1 as they are.
    async fn runs(&self, cluster: &mut Cluster) {
        for nth in cluster.running() {
            cluster.stop(nth).await;
        }
        for place in &mut cluster.places {
            let api = format!("https://localhost:{}", self.address.port());
            place.config.kubernetes_api = api.parse().expect("a URL");
            place.config.service_account_dir = self.rights.path().to_owned();
        }
        cluster.start((0..cluster.places.len()).collect()).await;
        cluster.whole(cluster.places.len()).await;
    }

    fn scale(&self, replicas: u32) {
        self.replicas.store(replicas, Ordering::Relaxed);
    }
}

struct Answer {
    token: &'static str,
    replicas: u32,
}

impl Answer {
    async fn give(
        self,
        mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    ) -> std::io::Result<()> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await?);
        }
        let request = String::from_utf8_lossy(&request).to_lowercase();
        let asked =
            request.starts_with("get /apis/apps/v1/namespaces/bots/statefulsets/node http/1.1");
        let shown = request.contains(&format!("authorization: bearer {}\r\n", self.token));
        let status = match (asked, shown) {
            (false, _) => "404 Not Found",
            (true, false) => "403 Forbidden",
            (true, true) => "200 OK",
        };
        let body = format!(
            r#"{{"kind": "StatefulSet", "metadata": {{"name": "node"}}, "spec": {{"replicas": {}, "ordinals": {{"start": 1}}}}}}"#,
            self.replicas
        );
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    }
}

/// Three nodes in pods that show the token `the pod's`.
async fn on_kubernetes(shards: u32, token: &'static str) -> (Cluster, Kubernetes) {
    let mut cluster = Cluster::of(3, shards).await;
    let kubernetes = Kubernetes::start(token).await;
    kubernetes.runs(&mut cluster).await;
    (cluster, kubernetes)
}

fn ids(cluster: &Cluster) -> Vec<Option<NodeId>> {
    cluster.places.iter().map(|place| place.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_are_scaled_away_leave_and_come_back_as_new_nodes() {
    let (mut cluster, kubernetes) = on_kubernetes(6, "the pod's").await;
    let before = ids(&cluster);

    kubernetes.scale(1);
    cluster.ask_to_stop(&[1, 2]);
    for nth in [1, 2] {
        cluster.ended(nth).await.expect("it ends with status 0");
    }

    let view = cluster.whole(1).await;
    assert_eq!(view.nodes.len(), 1, "nobody is remembered as lost: {:?}", view.nodes);
    assert_eq!(with_role(&view, Role::Leader), ["node-1"]);
    kubernetes.scale(3);
    cluster.start(vec![1, 2]).await;
    let view = cluster.whole(3).await;
    assert_eq!(view.nodes.len(), 3, "{:?}", view.nodes);
    assert_eq!(cluster.places[0].id, before[0]);
    assert!(cluster.places[1].id != before[1] && cluster.places[2].id != before[2]);
    let truth = cluster.discord.truth();
    assert_eq!((truth.identifies_accepted, truth.resumes_refused), (6, 0));
    assert!(truth.broken.is_empty(), "{:?}", truth.broken);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_killed_while_it_leaves_comes_back_as_a_new_node_too() {
    let (mut cluster, kubernetes) = on_kubernetes(3, "the pod's").await;
    let before = ids(&cluster);
    kubernetes.scale(2);
    cluster.stop(2).await;
    cluster.whole(2).await;
    // What its disk held before it heard the answer.
    let directory = cluster.places[2].config.data_dir.clone();
    fs::rename(directory.join("left"), directory.join("leaving")).expect("its farewell");

    kubernetes.scale(3);
    cluster.start(vec![2]).await;

    let view = cluster.whole(3).await;
    assert_eq!(view.nodes.len(), 3, "{:?}", view.nodes);
    assert_ne!(ids(&cluster)[2], before[2]);
    assert!(!directory.join("leaving").exists());
}

/// As a node of the same cluster writes it before it asks to be let go: the version, the cluster, the node, the time.
fn farewell_of(other: &[u8], node: NodeId) -> Vec<u8> {
    let (head, _) = other.split_at(19);
    assert_eq!(head[..3], [2, 1, 16], "a farewell of one that may return, with a cluster");
    let mut bytes = [head, &[1]].concat();
    let mut rest = node.0;
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.extend([rest as u8, 9]);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pod_meant_to_do_is_forgotten_once_it_runs_as_a_member() {
    let (mut cluster, kubernetes) = on_kubernetes(3, "the pod's").await;
    let before = ids(&cluster);
    let directories = [1, 2].map(|nth: usize| cluster.places[nth].config.data_dir.clone());
    kubernetes.scale(2);
    cluster.stop(2).await;
    kubernetes.scale(3);
    cluster.stop(1).await;
    let farewell = fs::read(directories[1].join("left")).expect("the other's farewell");
    let own = farewell_of(&farewell, before[1].expect("it had an id"));
    fs::write(directories[0].join("leaving"), own).expect("a file");

    cluster.start(vec![1, 2]).await;

    cluster.whole(3).await;
    assert_eq!(ids(&cluster)[..2], before[..2]);
    assert!(!directories[0].join("leaving").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_may_not_ask_stays_a_member_and_is_the_same_when_it_is_back() {
    let (mut cluster, kubernetes) = on_kubernetes(3, "another's").await;
    let before = ids(&cluster);

    kubernetes.scale(2);
    cluster.stop(2).await;
    let view = cluster.whole(2).await;
    assert_eq!(view.nodes.len(), 3, "it stays a member: {:?}", view.nodes);

    cluster.start(vec![2]).await;
    cluster.whole(3).await;
    assert_eq!(ids(&cluster), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_made_again_is_the_same_member() {
    let (mut cluster, kubernetes) = on_kubernetes(3, "the pod's").await;
    let before = ids(&cluster);

    kubernetes.scale(2);
    cluster.stop(1).await;
    cluster.start(vec![1]).await;

    cluster.whole(3).await;
    assert_eq!(ids(&cluster), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_that_is_scaled_to_0_stops_as_a_whole() {
    let (mut cluster, kubernetes) = on_kubernetes(3, "the pod's").await;
    let before = ids(&cluster);

    kubernetes.scale(0);
    for (nth, ended) in cluster.stop_all().await {
        ended.unwrap_or_else(|error| panic!("node {nth}: {error}"));
    }
    kubernetes.scale(3);
    cluster.start(vec![0, 1, 2]).await;

    cluster.whole(3).await;
    assert_eq!(ids(&cluster), before);
    let truth = cluster.discord.truth();
    assert_eq!((truth.identifies_accepted, truth.resumes_refused), (3, 0));
}
