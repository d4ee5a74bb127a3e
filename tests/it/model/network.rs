//! What is on its way between nodes: late, out of order, twice or never, and no longer than a lease.

use super::{
    log::{Boot, Entry, Index, NodeId, Term, Word},
    machine::{Protocol, State},
    node::Lease,
    time::{Age, older},
};

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Message {
    /// A node asks for a lease. `age` counts from here on.
    Renew { node: NodeId, boot: Boot, leader: NodeId, age: Age },
    /// A leader's answer.
    Grant { node: NodeId, boot: Boot, index: Index, age: Age },
    /// A leader asks a node to take over.
    Transfer { to: NodeId, term: Term },
    /// An owner gives a shard up.
    Release(Word),
    /// An owner says how far it is.
    Report(Word),
    /// READY came.
    StartSession(Word),
}

/// Messages in flight, in order so that equal sets are equal.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Network {
    messages: Vec<Message>,
}

impl Network {
    pub(super) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Takes in a message, unless there is no room: then it is lost.
    pub(super) fn send(&mut self, message: Message, model: &Protocol) {
        if self.messages.len() < model.bounds.messages && !self.messages.contains(&message) {
            self.messages.push(message);
            self.messages.sort_unstable();
        }
    }

    pub(super) fn lose(&mut self, message: Message) {
        self.messages.retain(|other| *other != message);
    }

    pub(super) fn lose_all(&mut self) {
        self.messages.clear();
    }

    /// Forgets the renewals of a node, asked or answered.
    pub(super) fn void_renewals(&mut self, of: NodeId) {
        self.messages.retain(|message| match *message {
            Message::Renew { node, .. } | Message::Grant { node, .. } => node != of,
            Message::Transfer { .. }
            | Message::Release(_)
            | Message::Report(_)
            | Message::StartSession(_) => true,
        });
    }

    /// Renewals grow old, and useless in the end. Other messages may come at any time.
    pub(super) fn tick(&mut self, model: &Protocol) {
        let ttl = model.timing.ttl;
        for message in &mut self.messages {
            if let Message::Renew { age, .. } | Message::Grant { age, .. } = message {
                older(age, ttl);
            }
        }
        let late = model.late_grants_matter();
        self.messages.retain(|message| match message {
            Message::Renew { age, .. } | Message::Grant { age, .. } => *age < ttl || late,
            Message::Transfer { .. }
            | Message::Release(_)
            | Message::Report(_)
            | Message::StartSession(_) => true,
        });
        self.messages.sort_unstable();
        self.messages.dedup();
    }
}

impl State {
    /// `at` takes in a message. What asks for an entry may come again; the rest is taken once.
    pub(super) fn deliver(&mut self, message: Message, at: NodeId, model: &Protocol) -> bool {
        match message {
            Message::Renew { node, boot, leader, age } => {
                self.network.lose(message);
                at == leader && self.take_renewal(node, boot, leader, age, model)
            }
            Message::Grant { node, boot, index, age } => {
                self.network.lose(message);
                at == node && self.take_grant(node, boot, Lease { age, index }, model)
            }
            Message::Transfer { to, term } => {
                self.network.lose(message);
                self.node(to).term == term && self.take_transfer(to, at, model)
            }
            Message::Release(word) => {
                let to = at;
                self.rightful_leader()
                    .is_some_and(|leader| self.append(leader, Entry::Release { word, to }))
            }
            Message::Report(word) => {
                at == self.leader_or(at) && self.append(at, Entry::Report(word))
            }
            Message::StartSession(word) => {
                at == self.leader_or(at) && self.append(at, Entry::StartSession(word))
            }
        }
    }

    fn leader_or(&self, at: NodeId) -> NodeId {
        self.rightful_leader().unwrap_or(at)
    }

    pub(super) fn drop_message(&mut self, message: Message) -> bool {
        self.network.lose(message);
        !matches!(message, Message::Renew { .. } | Message::Grant { .. })
    }
}
