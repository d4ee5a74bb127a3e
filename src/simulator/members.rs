//! Answers to REQUEST_GUILD_MEMBERS and REQUEST_SOUNDBOARD_SOUNDS.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use tokio::time::Instant;

use super::{
    connection::Line, core::lock, payload, rules::Rule, session::Body, shard::Shard,
    world::MembersQuery,
};
use crate::model::GuildId;

/// Sends the chunks, or `RATE_LIMITED` for a second request for all members of a guild within 30 s.
pub(super) fn answer(line: &Line, query: MembersQuery) {
    let Some((shard, session)) = own(line) else { return };
    let all = query.users.is_empty() && query.prefix.is_empty() && query.limit == 0;
    if all && let Some(wait) = too_soon(line, query.guild) {
        let detail = format!("guild {}: {wait:?} too soon", query.guild);
        line.core.broke(Rule::RequestMembers, &detail);
        let data = payload::rate_limited(query.guild, wait, query.nonce.as_deref());
        shard.lock().push_to(&session, "RATE_LIMITED", &data);
        return;
    }
    let state = &mut *shard.lock();
    let Some(first) = state.world.members_chunk(&query, 0) else { return };
    let Ok(Chunks { chunk_count }) = serde_json::from_str(&first.data) else { return };
    if let Some(member) = state.member(&session) {
        let query = Arc::new(query);
        // Chunks are written when they are sent: a guild of a million members has a thousand.
        for index in 0..chunk_count {
            member.session.push(Body::Members(query.clone(), index));
        }
        member.wake.notify_one();
    }
}

/// Sends SOUNDBOARD_SOUNDS for each guild.
pub(super) fn sounds(line: &Line, guilds: &[GuildId]) {
    let Some((shard, session)) = own(line) else { return };
    let mut state = shard.lock();
    for guild in guilds {
        state.push_to(&session, "SOUNDBOARD_SOUNDS", &payload::soundboard_sounds(*guild));
    }
}

/// The connection's session.
fn own(line: &Line) -> Option<(Arc<Shard>, String)> {
    let session = line.core.reach_one(line.id)?.session?;
    let shard = line.core.session_shard(&session)?;
    let has_it = shard.lock().session(&session)?.connection() == Some(line.id);
    has_it.then_some((shard, session))
}

/// How long this request came too soon, if it did.
fn too_soon(line: &Line, guild: GuildId) -> Option<Duration> {
    let now = Instant::now();
    let mut asked = lock(&line.core.members_asked);
    asked.retain(|_, at| now < *at + PERIOD);
    if let Some(at) = asked.get(&guild) {
        return Some(*at + PERIOD - now);
    }
    asked.insert(guild, now);
    None
}

#[derive(Deserialize)]
struct Chunks {
    chunk_count: u32,
}

/// All members of a guild can be asked for once in this time (Gateway docs, "Request Guild Members").
const PERIOD: Duration = Duration::from_secs(30);
