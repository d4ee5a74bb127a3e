//! Join, found or wait: what follows from everything that is heard. No clock, no randomness, no I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use crate::{
    model::{ClusterId, NodeId},
    store::{Identity, Promise, Recovered},
};

use super::{Answer, Waiting};

/// Where a node that is no member stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It belongs to no cluster and has promised nothing.
    Empty,
    /// It has promised to form a cluster.
    Promised(Promise),
    /// It belongs to a cluster and holds nothing of it: it has lost that, or is about to join. Without a name it is
    /// lost for good.
    Lost(Option<ClusterId>),
}

impl Standing {
    /// Where the directory's node stands; `None` if it has a log, and so is a member.
    #[must_use]
    pub fn of(identity: &Identity, recovered: &Recovered) -> Option<Self> {
        if !recovered.is_empty() {
            return None;
        }
        let promised = recovered.promise.clone().map(Self::Promised);
        let joining = identity.cluster.map(|cluster| Self::Lost(Some(cluster)));
        Some(promised.or(joining).unwrap_or(Self::Empty))
    }
}

/// What came back from an address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Heard {
    /// This very node is there.
    Myself,
    /// Another node is.
    Answer(Answer),
    /// Someone is there with whom there is no talking.
    Unclear(String),
}

/// Everything that a node knows of others at one moment.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// This node.
    pub me: NodeId,
    /// Its name.
    pub name: &'a str,
    /// `--expect`.
    pub expect: usize,
    /// The latest answer of each address.
    pub heard: &'a BTreeMap<SocketAddr, Heard>,
    /// The addresses that should have answered, and did not.
    pub silent: &'a BTreeSet<SocketAddr>,
    /// The names that did not resolve, and why.
    pub unresolved: &'a [(String, String)],
    /// The nodes that have asked this one lately, and their names.
    pub callers: &'a BTreeMap<NodeId, String>,
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Join.
    Join {
        /// The cluster.
        cluster: ClusterId,
        /// Members, and where they are.
        peers: Vec<(NodeId, SocketAddr)>,
    },
    /// Promise to found a cluster with these, and ask them to promise it too.
    Found {
        /// The members and their names.
        members: BTreeMap<NodeId, String>,
    },
    /// Ask the members of this node's own promise to keep it.
    Collect(Promise),
    /// Be there for the founder: the promise is made.
    Follow(Promise),
    /// Neither.
    Wait(Waiting),
}

/// What to answer to a founder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Promise it durably, or say again that it was.
    Keep,
    /// Do not, for this reason.
    Refuse(String),
}

impl View<'_> {
    fn answers(&self) -> impl Iterator<Item = (SocketAddr, &Answer)> {
        self.heard.iter().filter_map(|(address, heard)| match heard {
            Heard::Answer(answer) => Some((*address, answer)),
            Heard::Myself | Heard::Unclear(_) => None,
        })
    }

    /// The nodes that answer, this one among them. One that answers at two addresses is one.
    fn answering(&self) -> BTreeMap<NodeId, String> {
        let others = self.answers().filter_map(|(_, answer)| answer.who());
        let named = others.map(|(node, name)| (node, name.to_owned()));
        named.chain([(self.me, self.name.to_owned())]).collect()
    }

    fn known(&self) -> BTreeMap<NodeId, String> {
        let mut known = self.callers.clone();
        known.extend(self.answering());
        known
    }
}

/// The nodes that are seen: this one, those that answer and those that ask.
#[must_use]
pub fn sees(view: &View<'_>) -> BTreeSet<NodeId> {
    view.known().into_keys().collect()
}

/// Decides. [The rule](super) has no other home than this file.
#[must_use]
pub fn decide(standing: &Standing, view: &View<'_>) -> Decision {
    match standing {
        Standing::Empty => match joined(view) {
            Some(decision) => decision,
            None => match unanimous(view, None) {
                Ok(members) if lowest(&members) == Some(view.me) => Decision::Found { members },
                Ok(members) => {
                    let name = members.into_values().min().unwrap_or_default();
                    Decision::Wait(Waiting::Founder { name })
                }
                Err(waiting) => Decision::Wait(waiting),
            },
        },
        Standing::Promised(promise) if promise.founder != view.me => {
            Decision::Follow(promise.clone())
        }
        Standing::Promised(promise) => {
            let (cluster, found) = (promise.cluster, clusters(view));
            match found.keys().find(|found| **found != cluster) {
                Some(found) => Decision::Wait(Waiting::OtherCluster { cluster, found: *found }),
                None if found.contains_key(&cluster) => {
                    Decision::Wait(Waiting::Forgotten { cluster })
                }
                None => Decision::Collect(promise.clone()),
            }
        }
        Standing::Lost(Some(cluster)) => match clusters(view) {
            found if found.contains_key(cluster) => join(view, *cluster),
            found => Decision::Wait(match found.keys().next() {
                Some(found) => Waiting::OtherCluster { cluster: *cluster, found: *found },
                None => Waiting::OwnCluster { cluster: *cluster, silent: view.silent.clone() },
            }),
        },
        Standing::Lost(None) => Decision::Wait(Waiting::OwnLoss),
    }
}

/// Decides what a founder is answered that asks for a promise. Who asks is known to be `founder`.
#[must_use]
pub fn consider(
    standing: &Standing,
    view: &View<'_>,
    founder: NodeId,
    promise: &Promise,
) -> Verdict {
    let refuse = |reason: String| Verdict::Refuse(reason);
    match standing {
        Standing::Promised(own) if own == promise => return Verdict::Keep,
        Standing::Promised(own) => {
            return refuse(format!(
                "it has promised to form cluster {} with node {}",
                own.cluster, own.founder
            ));
        }
        Standing::Lost(Some(cluster)) => return refuse(format!("it belongs to cluster {cluster}")),
        Standing::Lost(None) => return refuse("it has lost a cluster".to_owned()),
        Standing::Empty => {}
    }
    if promise.founder != founder {
        return refuse("only the founder may ask for a promise".to_owned());
    }
    if let Some(cluster) = clusters(view).keys().next() {
        return refuse(format!("it sees a member of cluster {cluster}"));
    }
    match unanimous(view, Some((promise.cluster, promise.founder))) {
        Err(waiting) => refuse(waiting.to_string()),
        Ok(members) if members != promise.members => refuse("it sees other nodes".to_owned()),
        Ok(members) if lowest(&members) != Some(founder) => {
            refuse("the founder's name is not the lowest".to_owned())
        }
        Ok(_) => Verdict::Keep,
    }
}

/// What an empty node does where there are members.
fn joined(view: &View<'_>) -> Option<Decision> {
    let clusters = clusters(view);
    if clusters.len() > 1 {
        return Some(Decision::Wait(Waiting::Clusters { clusters }));
    }
    clusters.into_keys().next().map(|cluster| join(view, cluster))
}

/// The clusters whose members answer, and one member of each.
fn clusters(view: &View<'_>) -> BTreeMap<ClusterId, String> {
    let of = |answer: &Answer| match answer {
        Answer::Member { cluster, name, .. } => Some((*cluster, name.clone())),
        Answer::Empty { .. }
        | Answer::Promised { .. }
        | Answer::Lost { .. }
        | Answer::Kept
        | Answer::Refused { .. } => None,
    };
    view.answers().filter_map(|(_, answer)| of(answer)).collect()
}

/// Members that answer come before those that they tell of.
fn join(view: &View<'_>, wanted: ClusterId) -> Decision {
    let (mut first, mut told) = (BTreeMap::new(), BTreeMap::new());
    for (address, answer) in view.answers() {
        if let Answer::Member { node, cluster, peers, .. } = answer
            && *cluster == wanted
        {
            first.entry(*node).or_insert(address);
            told.extend(peers.iter().map(|peer| (peer.node, peer.address)));
        }
    }
    told.retain(|node, _| !first.contains_key(node) && *node != view.me);
    Decision::Join { cluster: wanted, peers: first.into_iter().chain(told).collect() }
}

/// The members of the cluster that may be formed, if everybody agrees on them.
///
/// `promised` is a cluster and its founder whose promises count as being empty.
fn unanimous(
    view: &View<'_>,
    promised: Option<(ClusterId, NodeId)>,
) -> Result<BTreeMap<NodeId, String>, Waiting> {
    nobody_objects(view, promised)?;
    let (answering, known, expect) = (view.answering(), view.known(), view.expect);
    let names = |of: &BTreeMap<NodeId, String>| of.values().cloned().collect();
    if known.len() > expect {
        return Err(Waiting::Many { seen: names(&known), expect });
    }
    if !view.silent.is_empty() || !view.unresolved.is_empty() {
        let (addresses, unresolved) = (view.silent.clone(), view.unresolved.to_vec());
        return Err(Waiting::Silent { addresses, unresolved, seen: answering.len(), expect });
    }
    let callers = view.callers.iter().filter(|(node, _)| !answering.contains_key(node));
    let unreached: Vec<_> = callers.map(|(_, name)| name.clone()).collect();
    if !unreached.is_empty() {
        return Err(Waiting::Unreached { names: unreached });
    }
    if answering.len() < expect {
        return Err(Waiting::Few { seen: names(&answering), expect });
    }
    let mut named: BTreeMap<&str, BTreeSet<NodeId>> = BTreeMap::new();
    for (node, name) in &answering {
        named.entry(name).or_default().insert(*node);
    }
    if let Some((name, nodes)) = named.into_iter().find(|(_, nodes)| nodes.len() > 1) {
        return Err(Waiting::OneName { name: name.to_owned(), nodes });
    }
    all_see(view, &answering)?;
    Ok(answering)
}

/// Whether all who answer are empty, or have promised what is being formed.
fn nobody_objects(view: &View<'_>, promised: Option<(ClusterId, NodeId)>) -> Result<(), Waiting> {
    for (address, heard) in view.heard {
        let answer = match heard {
            Heard::Myself => continue,
            Heard::Answer(answer) => answer,
            Heard::Unclear(reason) => {
                return Err(Waiting::Unclear { address: *address, reason: reason.clone() });
            }
        };
        match answer {
            Answer::Empty { .. } => {}
            Answer::Promised { cluster, founder, .. } if promised == Some((*cluster, *founder)) => {
            }
            Answer::Promised { cluster, founder, name, .. } => {
                let (cluster, founder, name) = (*cluster, *founder, name.clone());
                return Err(Waiting::BeingFormed { cluster, name, founder });
            }
            Answer::Lost { name, cluster, .. } => {
                return Err(Waiting::Marked { name: name.clone(), cluster: *cluster });
            }
            Answer::Member { name, cluster, .. } => {
                return Err(Waiting::Marked { name: name.clone(), cluster: Some(*cluster) });
            }
            Answer::Kept | Answer::Refused { .. } => {
                let reason = "an answer to no question".to_owned();
                return Err(Waiting::Unclear { address: *address, reason });
            }
        }
    }
    Ok(())
}

/// Whether all who answer see and expect the same.
fn all_see(view: &View<'_>, members: &BTreeMap<NodeId, String>) -> Result<(), Waiting> {
    for (_, answer) in view.answers() {
        let (Answer::Empty { name, sees, .. } | Answer::Promised { name, sees, .. }) = answer
        else {
            continue;
        };
        if let Answer::Empty { expect, .. } = answer
            && u64::try_from(view.expect) != Ok(*expect)
        {
            let (name, theirs, expect) = (name.clone(), *expect, view.expect);
            return Err(Waiting::OtherExpect { name, theirs, expect });
        }
        if !sees.iter().eq(members.keys()) {
            return Err(Waiting::OtherView { name: name.clone() });
        }
    }
    Ok(())
}

/// Who founds: the node of the lowest name.
fn lowest(members: &BTreeMap<NodeId, String>) -> Option<NodeId> {
    members.iter().min_by_key(|(_, name)| *name).map(|(node, _)| *node)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;
