//! The last messages, so that edits, deletions and reactions have something to be about.

use rand::RngExt as _;

use super::{profile::User, snowflake::Random};
use crate::model::GuildId;

/// Messages that a shard remembers: enough for variety, about 3 KB.
const KEPT: usize = 64;

/// A message that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    pub(super) guild: GuildId,
    pub(super) channel: u64,
    pub(super) id: u64,
    pub(super) author: User,
}

/// The last [`KEPT`] messages of a shard.
#[derive(Debug, Default)]
pub(super) struct Recent {
    messages: Vec<Said>,
    oldest: usize,
}

impl Recent {
    pub(super) fn remember(&mut self, said: Said) {
        if self.messages.len() < KEPT {
            self.messages.push(said);
        } else {
            self.messages[self.oldest] = said;
            self.oldest = (self.oldest + 1) % KEPT;
        }
    }

    /// One of them.
    pub(super) fn any(&self, random: &mut Random) -> Option<Said> {
        (!self.messages.is_empty())
            .then(|| self.messages[random.random_range(0..self.messages.len())])
    }

    /// Forgets a message, once it is deleted.
    pub(super) fn forget(&mut self, id: u64) {
        if let Some(place) = self.messages.iter().position(|said| said.id == id) {
            self.messages.swap_remove(place);
            self.oldest = 0;
        }
    }
}
