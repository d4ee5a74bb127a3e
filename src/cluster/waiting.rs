//! What a node that is no member yet waits for, in words for its operator.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display},
    net::SocketAddr,
};

use crate::model::{ClusterId, NodeId};

/// The most things that one line names.
const NAMED_MAX: usize = 8;

/// Why a node neither joins nor founds a cluster yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Waiting {
    /// The data directory is not open yet.
    Opening,
    /// Nothing has been looked at yet.
    Looking,
    /// Not everybody who might be a member has answered.
    Silent {
        /// Who has not.
        addresses: BTreeSet<SocketAddr>,
        /// The names that did not resolve, and why.
        unresolved: Vec<(String, String)>,
        /// The nodes that are seen, with itself.
        seen: usize,
        /// The nodes that are expected.
        expect: usize,
    },
    /// Everybody has answered, and they are too few.
    Few {
        /// The nodes that are seen.
        seen: Vec<String>,
        /// The nodes that are expected.
        expect: usize,
    },
    /// There are more nodes than expected.
    Many {
        /// The nodes that are seen.
        seen: Vec<String>,
        /// The nodes that are expected.
        expect: usize,
    },
    /// Nodes that ask this one are at none of the addresses that it can reach.
    Unreached {
        /// Who.
        names: Vec<String>,
    },
    /// Somebody answers what makes no sense here.
    Unclear {
        /// Where.
        address: SocketAddr,
        /// What.
        reason: String,
    },
    /// Two nodes have one name.
    OneName {
        /// The name.
        name: String,
        /// Its nodes.
        nodes: BTreeSet<NodeId>,
    },
    /// Another node expects another number.
    OtherExpect {
        /// The other node.
        name: String,
        /// What it expects.
        theirs: u64,
        /// What this node expects.
        expect: usize,
    },
    /// Another node sees other nodes.
    OtherView {
        /// The other node.
        name: String,
    },
    /// All agree: the founder is about to ask.
    Founder {
        /// Its name.
        name: String,
    },
    /// Others form a cluster.
    BeingFormed {
        /// The cluster.
        cluster: ClusterId,
        /// Who has promised it.
        name: String,
        /// The only one who may form it.
        founder: NodeId,
    },
    /// A node belongs to a cluster of which no member answers.
    Marked {
        /// The node.
        name: String,
        /// The cluster, if it is known.
        cluster: Option<ClusterId>,
    },
    /// Members of more than one cluster answer.
    Clusters {
        /// Each cluster, and one of its members that answer.
        clusters: BTreeMap<ClusterId, String>,
    },
    /// This node belongs to a cluster, and members of another one answer.
    OtherCluster {
        /// This node's cluster.
        cluster: ClusterId,
        /// The other one.
        found: ClusterId,
    },
    /// This node belongs to a cluster, and no member of it answers.
    OwnCluster {
        /// The cluster.
        cluster: ClusterId,
        /// Who does not answer.
        silent: BTreeSet<SocketAddr>,
    },
    /// This node lost a cluster, and it can't be read which.
    OwnLoss,
    /// This node founds a cluster, and not all have promised.
    Promises {
        /// The cluster.
        cluster: ClusterId,
        /// Who has not, and what it says.
        missing: BTreeMap<String, String>,
    },
    /// This node is a member, and too few voters reach each other to commit that it is here.
    NoQuorum,
    /// This node is a member, and asks Discord who the bot is and how many shards it has.
    Discord {
        /// Why it has no answer with which it can go on.
        problem: Option<String>,
    },
    /// No member has let this node in yet, which has a token.
    Invited {
        /// Who was asked, and what came of it.
        reasons: BTreeMap<String, String>,
    },
    /// This node has founded a cluster, and remembers nothing of it.
    Forgotten {
        /// The cluster.
        cluster: ClusterId,
    },
}

impl Display for Waiting {
    #[expect(clippy::too_many_lines, reason = "one sentence for each reason")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opening => f.write_str("opening and checking the data directory"),
            Self::Looking => f.write_str("looking for peers"),
            Self::Silent { addresses, unresolved, seen, expect } => {
                write!(f, "{seen} of {expect} nodes are seen, and no answer comes from ")?;
                let names = unresolved.iter().map(|(name, why)| format!("{name} ({why})"));
                let silent = addresses.iter().map(ToString::to_string);
                f.write_str(&list(silent.chain(names)))?;
                f.write_str(": a silent one may be a member of a cluster")
            }
            Self::Few { seen, expect } => write!(
                f,
                "{} of {expect} nodes are seen ({}); start the others, or name them with --peers or --discover",
                seen.len(),
                list(seen)
            ),
            Self::Many { seen, expect } => write!(
                f,
                "{} nodes are seen ({}), and --expect says {expect}: no cluster is formed; \
                 stop what is too much, or raise --expect on all of them",
                seen.len(),
                list(seen)
            ),
            Self::Unreached { names } => {
                write!(f, "{} can reach this node, and it can't reach them", list(names))
            }
            Self::Unclear { address, reason } => {
                write!(f, "{address} can't be understood: {reason}")
            }
            Self::OneName { name, nodes } => write!(
                f,
                "{} nodes have the name {name} ({}); give each a --name of its own",
                nodes.len(),
                list(nodes)
            ),
            Self::OtherExpect { name, theirs, expect } => write!(
                f,
                "{name} expects {theirs} nodes, and this one {expect}; give all the same --expect"
            ),
            Self::OtherView { name } => write!(
                f,
                "{name} sees other nodes than this one; give all the same --peers and --discover"
            ),
            Self::Founder { name } => write!(f, "all agree; {name} founds the cluster"),
            Self::BeingFormed { cluster, name, founder } => write!(
                f,
                "{name} has promised to form cluster {cluster} with node {founder}; if that node is gone for good, \
                 delete the data directories of all who have promised: nothing was formed yet"
            ),
            Self::Marked { name, cluster: Some(cluster) } => write!(
                f,
                "{name} belongs to cluster {cluster}, of which no member answers: no other is formed beside it"
            ),
            Self::Marked { name, cluster: None } => write!(
                f,
                "{name} has lost a cluster, and can't say which: no other is formed beside it"
            ),
            Self::Clusters { clusters } => {
                let named = clusters.iter().map(|(cluster, name)| format!("{cluster} ({name})"));
                write!(
                    f,
                    "members of {} clusters answer, {}: name the peers of one",
                    clusters.len(),
                    list(named)
                )
            }
            Self::OtherCluster { cluster, found } => write!(
                f,
                "this node belongs to cluster {cluster}, and members of cluster {found} answer; \
                 name its own peers, or start with a new --data-dir"
            ),
            Self::OwnCluster { cluster, silent } => {
                write!(f, "no member of this node's cluster {cluster} answers")?;
                if silent.is_empty() { Ok(()) } else { write!(f, "; silent: {}", list(silent)) }
            }
            Self::OwnLoss => f.write_str(
                "this node lost a cluster, and can't say which: it neither joins nor forms one; \
                 start with a new --data-dir",
            ),
            Self::Promises { cluster, missing } => {
                let missing = missing.iter().map(|(name, says)| format!("{name} ({says})"));
                write!(
                    f,
                    "this node founds cluster {cluster} and waits for the promises of {}; if one of them has lost its \
                     data directory, delete those of all: nothing was formed yet",
                    list(missing)
                )
            }
            Self::NoQuorum => f.write_str(
                "its cluster has no quorum: fewer voters than that reach each other, so no shard runs; start the \
                 others, or, if they are gone for good, see `apolo recover --help`",
            ),
            Self::Discord { problem: None } => {
                f.write_str("a member of its cluster; asking Discord who the bot is and how many shards it has")
            }
            Self::Discord { problem: Some(problem) } => {
                write!(f, "a member of its cluster, and no shard starts yet: {problem}; Discord is asked again")
            }
            Self::Invited { reasons } if reasons.is_empty() => {
                f.write_str("there is nobody to show the token to: no peer is known yet")
            }
            Self::Invited { reasons } => {
                let reasons = reasons.iter().map(|(address, says)| format!("{address} ({says})"));
                write!(f, "the token has not been taken yet by {}", list(reasons))
            }
            Self::Forgotten { cluster } => write!(
                f,
                "cluster {cluster} has been formed by this node, whose data directory holds nothing of it: it was \
                 restored from an old copy; delete it, and the node joins under a new id"
            ),
        }
    }
}

fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    let named = items[..items.len().min(NAMED_MAX)].join(", ");
    match items.len().checked_sub(NAMED_MAX) {
        Some(more @ 1..) => format!("{named} and {more} more"),
        _ => named,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_peer_is_named_and_a_long_list_ends() {
        let addresses = (1..=10_u8).map(|a| SocketAddr::from(([10, 0, 0, a], 7400))).collect();
        let unresolved = vec![("node-1:7400".to_owned(), "no such name".to_owned())];

        let said = Waiting::Silent { addresses, unresolved, seen: 1, expect: 12 }.to_string();

        assert!(
            said.starts_with("1 of 12 nodes are seen, and no answer comes from 10.0.0.1:7400, ")
        );
        assert!(said.contains("10.0.0.8:7400 and 3 more: "), "{said}");
    }
}
