//! Where members are, and were.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use crate::model::NodeId;

/// The most addresses of one node: as many as the transport dials at once.
const ADDRESSES_MAX: usize = 4;

/// The addresses of members, the latest first. A wrong one does no harm: TLS proves who is there.
#[derive(Debug, Default)]
pub(super) struct Book {
    members: BTreeMap<NodeId, Vec<SocketAddr>>,
}

impl Book {
    /// Keeps these members alone. What was known of others is forgotten.
    pub(super) fn keep(&mut self, members: &BTreeSet<NodeId>) {
        self.members.retain(|node, _| members.contains(node));
        for node in members {
            self.members.entry(*node).or_default();
        }
    }

    /// Where a member is for certain: it has been met there.
    pub(super) fn met(&mut self, node: NodeId, address: SocketAddr) {
        if let Some(addresses) = self.members.get_mut(&node) {
            addresses.retain(|known| *known != address);
            addresses.insert(0, address);
            addresses.truncate(ADDRESSES_MAX);
        }
    }

    /// Where a member is as another one says: in doubt the oldest address makes room.
    pub(super) fn told(&mut self, node: NodeId, address: SocketAddr) {
        if let Some(addresses) = self.members.get_mut(&node)
            && !addresses.contains(&address)
        {
            addresses.truncate(ADDRESSES_MAX - 1);
            addresses.push(address);
        }
    }

    pub(super) fn addresses(&self, node: NodeId) -> Vec<SocketAddr> {
        self.members.get(&node).cloned().unwrap_or_default()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = SocketAddr> {
        self.members.values().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn the_address_where_a_member_was_met_last_is_the_first() {
        let mut book = Book::default();
        book.keep(&[NodeId(1)].into());

        for port in 1..=6 {
            book.met(NodeId(1), at(port));
        }
        book.met(NodeId(1), at(4));
        book.told(NodeId(1), at(9));
        book.told(NodeId(1), at(4));

        assert_eq!(book.addresses(NodeId(1)), [at(4), at(6), at(5), at(9)]);
    }

    #[test]
    fn who_is_no_member_is_not_remembered() {
        let mut book = Book::default();
        book.keep(&[NodeId(1), NodeId(2)].into());
        book.met(NodeId(1), at(1));

        book.keep(&[NodeId(2)].into());
        book.met(NodeId(1), at(1));
        book.told(NodeId(1), at(1));

        assert_eq!(book.addresses(NodeId(1)), []);
        assert_eq!(book.all().count(), 0);
    }
}
