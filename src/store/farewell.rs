//! What a node that has left its cluster leaves behind: a file that keeps its directory from being used again.
//!
//! Its log may say that it is a member still, since the entry that removed it need not have reached it.

use std::{
    fmt, fs,
    io::{self, ErrorKind},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::model::{ClusterId, NodeId, UnixMillis};

use super::sync;

/// The file's name.
pub(super) const FILE: &str = "left";

/// The same of a node that has asked to be let go and may be killed before it hears the answer.
pub(super) const INTENDED: &str = "leaving";

/// All files that are written here.
pub(super) const FILES: [&str; 4] = [FILE, "left.new", INTENDED, "leaving.new"];

/// The file's format.
const VERSION: u8 = 1;

/// The format of a farewell of a node that may come back as another one: older versions read it as one that may not.
const VERSION_RETURNS: u8 = 2;

/// Who has left which cluster, and when.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Farewell {
    /// The cluster.
    pub cluster: Option<ClusterId>,
    /// The node that it was. It never comes back.
    pub node: Option<NodeId>,
    /// When.
    pub at: UnixMillis,
    /// Whether the directory may be emptied and used by a new node of that cluster: nobody has to look at it first.
    #[serde(skip)]
    pub returns: bool,
}

impl fmt::Display for Farewell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.node, self.cluster) {
            (Some(node), Some(cluster)) => write!(f, "node {node} left cluster {cluster}"),
            _ => f.write_str("its node left its cluster"),
        }
    }
}

/// Notes that the directory's node has left, and returns once that is durable.
///
/// # Errors
///
/// What the system says.
pub fn say_farewell(directory: &Path, farewell: &Farewell) -> io::Result<()> {
    sync::replace(&directory.join(FILE), &[&encode(farewell)])
}

/// Notes that the directory's node is about to leave, and returns once that is durable. As long as the others know the
/// node it means nothing.
///
/// # Errors
///
/// What the system says.
pub fn intend_farewell(directory: &Path, farewell: &Farewell) -> io::Result<()> {
    sync::replace(&directory.join(INTENDED), &[&encode(farewell)])
}

/// The node that meant to leave has: its farewell counts from now on.
///
/// # Errors
///
/// What the system says; also where it did not mean to.
pub fn confirm_farewell(directory: &Path) -> io::Result<()> {
    fs::rename(directory.join(INTENDED), directory.join(FILE))?;
    sync::directory(directory)
}

/// Whether this node meant to leave this cluster when its process ended.
///
/// # Errors
///
/// What the system says.
pub fn meant_to_leave(directory: &Path, cluster: ClusterId, node: NodeId) -> io::Result<bool> {
    let meant = read(&directory.join(INTENDED))?;
    Ok(meant.is_some_and(|it| (it.cluster, it.node) == (Some(cluster), Some(node))))
}

/// The node meant to leave, and stays.
///
/// # Errors
///
/// What the system says.
pub fn withdraw_farewell(directory: &Path) -> io::Result<()> {
    sync::remove(&directory.join(INTENDED))
}

/// Whether the node of this directory has left. It is not opened for that.
#[must_use]
pub fn has_left(directory: &Path) -> bool {
    directory.join(FILE).exists()
}

/// Nothing is in the directory any more, so it may be used again.
pub(super) fn take_back(directory: &Path) -> io::Result<()> {
    sync::remove(&directory.join(FILE))
}

/// What was noted. A file that does not read says as much as one that does: the node has left.
pub(super) fn load(directory: &Path) -> io::Result<Option<Farewell>> {
    read(&directory.join(FILE))
}

fn read(path: &Path) -> io::Result<Option<Farewell>> {
    let unreadable = || Farewell { cluster: None, node: None, at: UnixMillis(0), returns: false };
    match fs::read(path) {
        Ok(bytes) => Ok(Some(decode(&bytes).unwrap_or_else(unreadable))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn encode(farewell: &Farewell) -> Vec<u8> {
    let version = if farewell.returns { VERSION_RETURNS } else { VERSION };
    postcard::to_extend(farewell, vec![version]).expect("our types serialize")
}

fn decode(bytes: &[u8]) -> Option<Farewell> {
    let (version, farewell) = bytes.split_first()?;
    let returns = *version == VERSION_RETURNS;
    if *version != VERSION && !returns {
        return None;
    }
    let farewell: Farewell = postcard::from_bytes(farewell).ok()?;
    Some(Farewell { returns, ..farewell })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_was_noted_is_read_again_and_nonsense_counts_as_having_left() {
        let directory = tempfile::tempdir().unwrap();
        let cluster = Some(ClusterId(Uuid::from_u128(7)));
        let farewell =
            Farewell { cluster, node: Some(NodeId(300)), at: UnixMillis(9), returns: true };
        assert_eq!(load(directory.path()).unwrap(), None);

        assert!(!has_left(directory.path()));
        say_farewell(directory.path(), &farewell).unwrap();
        assert!(has_left(directory.path()));
        assert_eq!(load(directory.path()).unwrap(), Some(farewell));

        fs::write(directory.path().join(FILE), [9]).unwrap();
        assert_eq!(load(directory.path()).unwrap().map(|found| found.node), Some(None));
    }

    #[test]
    fn what_a_node_means_to_do_counts_once_it_is_confirmed() {
        let directory = tempfile::tempdir().unwrap();
        let (cluster, node) = (ClusterId(Uuid::from_u128(7)), NodeId(300));
        let farewell =
            Farewell { cluster: Some(cluster), node: Some(node), at: UnixMillis(9), returns: true };
        let means_to = |cluster, node| meant_to_leave(directory.path(), cluster, node).unwrap();
        intend_farewell(directory.path(), &farewell).unwrap();
        assert!(!has_left(directory.path()) && means_to(cluster, node));
        assert!(!means_to(cluster, NodeId(301)), "it was another one's intent");
        assert!(!means_to(ClusterId(Uuid::from_u128(8)), node));
        withdraw_farewell(directory.path()).unwrap();
        assert!(!means_to(cluster, node) && confirm_farewell(directory.path()).is_err());

        intend_farewell(directory.path(), &farewell).unwrap();
        confirm_farewell(directory.path()).unwrap();

        assert_eq!(load(directory.path()).unwrap(), Some(farewell));
        assert!(!means_to(cluster, node));
    }

    #[test]
    fn bytes_of_both_versions_stay_as_they_are() {
        let farewell =
            Farewell { cluster: None, node: Some(NodeId(300)), at: UnixMillis(9), returns: false };

        assert_eq!(encode(&farewell), [1, 0, 1, 0xac, 2, 9]);
        assert_eq!(encode(&Farewell { returns: true, ..farewell }), [2, 0, 1, 0xac, 2, 9]);
    }
}
