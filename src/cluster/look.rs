//! Asks whoever is at some addresses, all at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    stream::{StreamExt as _, iter},
};
use tokio::time::timeout;

use crate::{
    model::NodeId,
    transport::{CloseCode, Ended, Identity, Meeting, Refusal, Role, Transport, TransportError},
};

use super::{Answer, Caller, Candidates, Question};

/// How long an address has for everything: a handshake and an answer take some milliseconds, and a promise the disk's
/// time besides.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The most addresses that are asked at once. Each costs a handshake.
const ASKED_MAX: usize = 32;

/// What became of a question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Reply {
    /// Nothing came.
    Silent,
    /// This very node is there.
    Myself,
    /// A member of another cluster is there. TLS lets the two say no more.
    Foreign,
    /// Someone is there with whom there is no talking.
    Unclear(String),
    /// An answer, and by whom.
    Answer(NodeId, Answer),
}

/// Asks all `addresses`.
pub(super) async fn ask_all(
    transport: &Transport,
    addresses: BTreeSet<SocketAddr>,
    question: &Question,
) -> BTreeMap<SocketAddr, Reply> {
    let question = question.encode();
    let mut asked = Vec::with_capacity(addresses.len());
    for address in addresses {
        asked.push(ask(transport, address, &question).map(move |reply| (address, reply)).boxed());
    }
    iter(asked).buffer_unordered(ASKED_MAX).collect().await
}

/// The members that answer at `candidates`, or that those name, as the members of the caller's own cluster.
pub async fn members(
    transport: &Transport,
    candidates: &Candidates,
    name: &str,
) -> Vec<(NodeId, SocketAddr)> {
    let own = *transport.identity();
    let from = Caller { node: own.node, name: name.to_owned(), boot: transport.boot() };
    let question = Question::WhoAreYou { from, sees: BTreeSet::from([own.node]) };
    let addresses = candidates.resolve().await.addresses;
    let mut found = Vec::new();
    for (address, reply) in ask_all(transport, addresses, &question).await {
        if let Reply::Answer(node, Answer::Member { cluster, peers, .. }) = reply
            && cluster == own.cluster
        {
            found.push((node, address));
            found.extend(peers.into_iter().map(|peer| (peer.node, peer.address)));
        }
    }
    found
}

/// Asks one address.
pub(super) async fn ask(transport: &Transport, address: SocketAddr, question: &[u8]) -> Reply {
    let asked = async {
        let meeting = match transport.meet(address, ANSWER_WITHIN).await {
            Ok(meeting) => meeting,
            Err(ended) => return unmet(&ended),
        };
        match meeting.ask(question, ANSWER_WITHIN).await {
            Ok(bytes) => match Answer::decode(&bytes) {
                Ok(answer) => check(&meeting, answer),
                Err(error) => Reply::Unclear(error.to_string()),
            },
            Err(error @ TransportError::Refused { .. }) => Reply::Unclear(error.to_string()),
            Err(_) => Reply::Silent,
        }
    };
    timeout(ANSWER_WITHIN, asked).await.unwrap_or(Reply::Silent)
}

fn unmet(ended: &Ended) -> Reply {
    match ended {
        Ended::ByPeer { .. } if ended.is(CloseCode::Myself) => Reply::Myself,
        Ended::ByPeer { .. } if ended.is(CloseCode::Stopping) => Reply::Silent,
        Ended::Handshake { reason } if reason.contains(&Refusal::OtherCluster.to_string()) => {
            Reply::Foreign
        }
        Ended::ByPeer { .. } | Ended::Handshake { .. } => Reply::Unclear(ended.to_string()),
        Ended::ByUs | Ended::Silent | Ended::Failed { .. } => Reply::Silent,
    }
}

/// An answer counts only where the certificate says the same: whose it is, and of which cluster.
fn check(meeting: &Meeting, answer: Answer) -> Reply {
    let node = meeting.peer().node;
    let says_another = answer.who().is_some_and(|(says, _)| says != node);
    if says_another || !fits(&meeting.identity(), &answer) {
        return Reply::Unclear(format!("node {node} answers what its certificate does not say"));
    }
    Reply::Answer(node, answer)
}

fn fits(proven: &Identity, answer: &Answer) -> bool {
    let is_member = proven.role == Role::Server;
    match answer {
        Answer::Empty { .. } | Answer::Lost { .. } => !is_member,
        Answer::Member { cluster, .. } => is_member && *cluster == proven.cluster,
        Answer::Promised { cluster, .. } => !is_member || *cluster == proven.cluster,
        Answer::Kept | Answer::Refused { .. } => true,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::ClusterId;

    #[test]
    fn only_a_members_certificate_makes_a_member() {
        let cluster = |id| ClusterId(Uuid::from_u128(id));
        let (node, name) = (NodeId(1), "a".to_owned());
        let member =
            Answer::Member { node, name: name.clone(), cluster: cluster(7), peers: vec![] };
        let empty = Answer::Empty { node, name, expect: 3, sees: BTreeSet::new() };

        assert!(fits(&Identity::server(cluster(7), node), &member));
        assert!(!fits(&Identity::server(cluster(8), node), &member));
        assert!(!fits(&Identity::joiner(node), &member));
        assert!(fits(&Identity::joiner(node), &empty));
        assert!(!fits(&Identity::server(cluster(7), node), &empty));
    }

    #[test]
    fn a_node_that_stops_is_silent_and_one_that_refuses_is_not() {
        let closed = |code: CloseCode| Ended::ByPeer { code: code as u64, reason: String::new() };

        assert_eq!(unmet(&closed(CloseCode::Myself)), Reply::Myself);
        assert_eq!(unmet(&closed(CloseCode::Stopping)), Reply::Silent);
        assert!(matches!(unmet(&closed(CloseCode::NotAdmitted)), Reply::Unclear(_)));
        assert_eq!(unmet(&Ended::Silent), Reply::Silent);
    }
}
