//! The one question to Kubernetes' API: `GET /apis/apps/v1/namespaces/NAMESPACE/statefulsets/NAME`.

use std::{
    fs,
    io::{self, ErrorKind},
    path::PathBuf,
    time::Duration,
};

use reqwest::{Certificate, Client, Response, redirect::Policy};
use thiserror::Error;

use super::{Pod, StatefulSet};

/// How long an answer may take. What is left of a pod's grace is needed to hand its shards off.
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// A StatefulSet with all its annotations takes some kilobytes.
const BODY_MAX: usize = 1_024 * 1_024;

/// Why Kubernetes did not say whether the pod comes back.
#[derive(Debug, Error)]
pub enum Problem {
    /// A file of the pod's rights.
    #[error("{path} can't be read: {source}", path = path.display())]
    Rights {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// `ca.crt` holds no certificate.
    #[error("{path} holds no certificate", path = path.display())]
    Authority {
        /// Where.
        path: PathBuf,
    },
    /// No answer.
    #[error(
        "{url} does not answer: {reason}; see that the NetworkPolicy lets the pod reach the API server"
    )]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The rights do not suffice.
    #[error(
        "{url} answers {status}; the pod's ServiceAccount needs the right to get this StatefulSet (deploy/kubernetes/components/scale-in-order)"
    )]
    Forbidden {
        /// What was asked.
        url: String,
        /// With which HTTP status: 401 or 403.
        status: u16,
    },
    /// Another answer than the StatefulSet.
    #[error("{url} answers {status}")]
    Refused {
        /// What was asked.
        url: String,
        /// With which HTTP status.
        status: u16,
    },
    /// The token would go over the network in clear.
    #[error("{url} is not https; only on this machine that is good enough")]
    Clear {
        /// What was to be asked.
        url: String,
    },
    /// It is none that this version reads.
    #[error("{url} answers something else than a StatefulSet of apps/v1")]
    Malformed {
        /// What was asked.
        url: String,
    },
}

/// The pod's StatefulSet, where the pod has rights at all.
pub(super) async fn stateful_set(pod: &Pod) -> Result<Option<StatefulSet>, Problem> {
    let Some(token) = read(pod, "token")? else { return Ok(None) };
    let namespace = read(pod, "namespace")?.unwrap_or_else(|| "default".to_owned());
    let url = format!(
        "{}/apis/apps/v1/namespaces/{}/statefulsets/{}",
        pod.api.as_str().trim_end_matches('/'),
        namespace.trim(),
        pod.set,
    );
    let unreachable =
        |error: reqwest::Error| Problem::Unreachable { url: url.clone(), reason: chain(&error) };
    let loopback = matches!(pod.api.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    if pod.api.scheme() != "https" && !loopback {
        return Err(Problem::Clear { url });
    }
    let client = client(pod)?;
    let mut answer =
        client.get(&url).bearer_auth(token.trim()).send().await.map_err(unreachable)?;
    match answer.status().as_u16() {
        200 => {}
        // It was deleted, with all its pods: they stop as a whole.
        404 => return Ok(None),
        status @ (401 | 403) => return Err(Problem::Forbidden { url, status }),
        status => return Err(Problem::Refused { url, status }),
    }
    let body = body(&mut answer).await.map_err(unreachable)?;
    serde_json::from_slice(&body).map(Some).map_err(|_| Problem::Malformed { url })
}

fn client(pod: &Pod) -> Result<Client, Problem> {
    let path = pod.rights.join("ca.crt");
    let authority = || Problem::Authority { path: path.clone() };
    // No proxy and no redirect: the token goes to the API server and nowhere else.
    let mut client = Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .tls_built_in_root_certs(false)
        .timeout(ASK_WITHIN);
    if let Some(pem) = read(pod, "ca.crt")? {
        let bundle = Certificate::from_pem_bundle(pem.as_bytes()).map_err(|_| authority())?;
        if bundle.is_empty() {
            return Err(authority());
        }
        client = bundle.into_iter().fold(client, |client, one| client.add_root_certificate(one));
    }
    client.build().map_err(|_| authority())
}

/// What follows [`BODY_MAX`] is left out, and then it is not JSON.
async fn body(answer: &mut Response) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > BODY_MAX {
            break;
        }
    }
    Ok(body)
}

fn read(pod: &Pod, name: &str) -> Result<Option<String>, Problem> {
    let path = pod.rights.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Problem::Rights { path, source }),
    }
}

/// What the library says, and what that comes from: "error sending request" alone says nothing.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let last = causes.last();
    last.map_or_else(|| error.to_string(), ToString::to_string)
}
