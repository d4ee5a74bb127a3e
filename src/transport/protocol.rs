//! What a stream is for, and who may open it.

use std::fmt;

use super::{Role, limits};

/// The first byte of the hello's stream. No protocol has this number.
pub(super) const HELLO: u8 = 0;

/// What a stream is for: its first byte. Grows at the end, and a number is never used again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Protocol {
    /// Raft's votes and appends.
    Raft = 1,
    /// Renewals of node leases.
    Lease = 2,
    /// Permits to identify.
    Permit = 3,
    /// Forming and joining a cluster.
    Join = 4,
    /// The bot's requests between nodes.
    Ipc = 5,
    /// Raft's snapshots.
    Snapshot = 6,
    /// Commands for the leader to propose.
    Propose = 7,
    /// What an operator asks of the leader.
    Wish = 8,
    /// Leaves for members that hold no authority's key.
    Sign = 9,
    /// How a node's process and its shards are, and orders for them.
    Neighbour = 10,
}

/// Streams of one class share its places, and can't take another's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Class {
    Control,
    Messages,
    Bulk,
}

impl Protocol {
    /// Every protocol, in the order of its number.
    pub const ALL: [Self; 10] = [
        Self::Raft,
        Self::Lease,
        Self::Permit,
        Self::Join,
        Self::Ipc,
        Self::Snapshot,
        Self::Propose,
        Self::Wish,
        Self::Sign,
        Self::Neighbour,
    ];

    /// The label in metrics and log lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raft => "raft",
            Self::Lease => "lease",
            Self::Permit => "permit",
            Self::Join => "join",
            Self::Ipc => "ipc",
            Self::Snapshot => "snapshot",
            Self::Propose => "propose",
            Self::Wish => "wish",
            Self::Sign => "sign",
            Self::Neighbour => "neighbour",
        }
    }

    /// The largest frame, in bytes.
    #[must_use]
    pub const fn frame_max(self) -> usize {
        match self {
            Self::Snapshot => limits::SNAPSHOT_FRAME_MAX,
            Self::Sign => limits::SIGN_FRAME_MAX,
            Self::Raft
            | Self::Lease
            | Self::Permit
            | Self::Join
            | Self::Ipc
            | Self::Propose
            | Self::Wish
            | Self::Neighbour => limits::FRAME_MAX,
        }
    }

    /// Among the streams of a connection, the higher one's bytes leave first.
    pub(super) const fn priority(self) -> i32 {
        match self {
            Self::Raft => 10,
            Self::Lease | Self::Permit | Self::Propose => 9,
            Self::Join | Self::Wish | Self::Sign => 5,
            Self::Ipc => 0,
            Self::Neighbour => -5,
            Self::Snapshot => -10,
        }
    }

    pub(super) const fn class(self) -> Class {
        match self {
            Self::Raft
            | Self::Lease
            | Self::Permit
            | Self::Join
            | Self::Propose
            | Self::Wish
            | Self::Sign => Class::Control,
            Self::Ipc => Class::Messages,
            Self::Snapshot | Self::Neighbour => Class::Bulk,
        }
    }

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| *protocol as u8 == byte)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a peer in `role` may open a stream of `protocol`. What is not listed is refused.
#[must_use]
pub const fn allowed(role: Role, protocol: Protocol) -> bool {
    matches!(
        (role, protocol),
        (
            Role::Server,
            Protocol::Raft
                | Protocol::Lease
                | Protocol::Permit
                | Protocol::Join
                | Protocol::Ipc
                | Protocol::Snapshot
                | Protocol::Propose
                | Protocol::Wish
                | Protocol::Sign
                | Protocol::Neighbour
        ) | (Role::Joiner, Protocol::Join)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table, written out: a new role or protocol has to be thought about here.
    const TABLE: [(Role, Protocol, bool); 20] = [
        (Role::Server, Protocol::Raft, true),
        (Role::Server, Protocol::Lease, true),
        (Role::Server, Protocol::Permit, true),
        (Role::Server, Protocol::Join, true),
        (Role::Server, Protocol::Ipc, true),
        (Role::Server, Protocol::Snapshot, true),
        (Role::Server, Protocol::Propose, true),
        (Role::Server, Protocol::Wish, true),
        (Role::Server, Protocol::Sign, true),
        (Role::Server, Protocol::Neighbour, true),
        (Role::Joiner, Protocol::Raft, false),
        (Role::Joiner, Protocol::Lease, false),
        (Role::Joiner, Protocol::Permit, false),
        (Role::Joiner, Protocol::Join, true),
        (Role::Joiner, Protocol::Ipc, false),
        (Role::Joiner, Protocol::Snapshot, false),
        (Role::Joiner, Protocol::Propose, false),
        (Role::Joiner, Protocol::Wish, false),
        (Role::Joiner, Protocol::Sign, false),
        (Role::Joiner, Protocol::Neighbour, false),
    ];

    #[test]
    fn a_role_may_open_exactly_what_the_table_says() {
        for role in Role::ALL {
            for protocol in Protocol::ALL {
                let row = TABLE.iter().find(|row| (row.0, row.1) == (role, protocol));

                assert_eq!(
                    Some(allowed(role, protocol)),
                    row.map(|row| row.2),
                    "{role:?} {protocol}"
                );
            }
        }
        assert_eq!(TABLE.len(), Role::ALL.len() * Protocol::ALL.len());
    }

    #[test]
    fn a_byte_is_one_protocol_or_none() {
        for byte in 0..=u8::MAX {
            let protocol = Protocol::from_byte(byte);
            assert_eq!(protocol.map(|protocol| protocol as u8), protocol.map(|_| byte));
        }
        assert_eq!(Protocol::from_byte(HELLO), None);
        assert_eq!(Protocol::ALL.map(|protocol| protocol as u8), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }
}
