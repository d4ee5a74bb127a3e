//! The answer to REQUEST_GUILD_MEMBERS.

use super::{
    payload::member::user_name,
    profile::{Guild, User},
};
use crate::model::GuildId;

/// What REQUEST_GUILD_MEMBERS asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MembersQuery {
    /// The guild.
    pub guild: GuildId,
    /// Only members whose user name begins so. Empty for all.
    pub prefix: String,
    /// At most so many members. 0 for all.
    pub limit: u32,
    /// Only these users; prefix and limit don't matter then. Empty for all.
    pub users: Vec<u64>,
    /// Comes back with every chunk.
    pub nonce: Option<String>,
}

/// What one chunk holds.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) users: Vec<User>,
    pub(super) not_found: Vec<u64>,
    /// How many chunks the answer has.
    pub(super) count: u32,
}

/// Members in one chunk (Gateway docs, "Guild Members Chunk").
const CHUNK: u32 = 1_000;

/// Users that one request may ask for, or find by a prefix (Gateway docs, "Request Guild Members").
const ASKED_FOR_MAX: usize = 100;

/// Members among whom a prefix is looked for: a bound on what one request costs.
const SEARCHED_MAX: u32 = 20_000;

/// The chunk with this index, of those that answer the query.
pub(super) fn chunk(guild: &Guild, query: &MembersQuery, index: u32) -> Option<Chunk> {
    let chunk = if !query.users.is_empty() {
        by_id(guild, &query.users)
    } else if query.prefix.is_empty() {
        page(guild, query.limit, index)
    } else {
        by_prefix(guild, &query.prefix, query.limit)
    };
    (index < chunk.count).then_some(chunk)
}

fn by_id(guild: &Guild, ids: &[u64]) -> Chunk {
    let mut chunk = Chunk { users: Vec::new(), not_found: Vec::new(), count: 1 };
    for id in ids.iter().take(ASKED_FOR_MAX) {
        match guild.find_member(*id) {
            Some(user) => chunk.users.push(user),
            None => chunk.not_found.push(*id),
        }
    }
    chunk
}

fn by_prefix(guild: &Guild, prefix: &str, limit: u32) -> Chunk {
    let limit = if limit == 0 { ASKED_FOR_MAX } else { ASKED_FOR_MAX.min(limit as usize) };
    let users = (0..guild.members.min(SEARCHED_MAX))
        .map(|n| guild.member(n))
        .filter(|user| user_name(*user).starts_with(prefix))
        .take(limit)
        .collect();
    Chunk { users, not_found: Vec::new(), count: 1 }
}

fn page(guild: &Guild, limit: u32, index: u32) -> Chunk {
    let wanted = if limit == 0 { guild.members } else { guild.members.min(limit) };
    let first = index.saturating_mul(CHUNK);
    let users = (first..first.saturating_add(CHUNK).min(wanted)).map(|n| guild.member(n)).collect();
    Chunk { users, not_found: Vec::new(), count: wanted.div_ceil(CHUNK).max(1) }
}
