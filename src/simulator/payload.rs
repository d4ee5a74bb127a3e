//! The gateway's own payloads; what guilds and members say comes from the world.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};

use super::session::Session;
use crate::model::{ApplicationId, GuildId};

/// Op 10.
pub(super) fn hello(interval: Duration) -> String {
    let d = json!({ "heartbeat_interval": millis(interval), "_trace": TRACE });
    json!({ "t": null, "s": null, "op": 10, "d": d }).to_string()
}

/// Op 11.
pub(super) const HEARTBEAT_ACK: &str = r#"{"t":null,"s":null,"op":11,"d":null}"#;

/// Op 7.
pub(super) const RECONNECT: &str = r#"{"t":null,"s":null,"op":7,"d":null}"#;

/// Op 1, from the server: the client must heartbeat at once.
pub(super) const HEARTBEAT: &str = r#"{"t":null,"s":null,"op":1,"d":null}"#;

/// Op 9.
pub(super) const fn invalid_session(resumable: bool) -> &'static str {
    if resumable {
        r#"{"t":null,"s":null,"op":9,"d":true}"#
    } else {
        r#"{"t":null,"s":null,"op":9,"d":false}"#
    }
}

/// Writes a dispatch's envelope around its data.
pub(super) fn dispatch(out: &mut String, name: &str, sequence: u64, data: &str) {
    out.clear();
    out.reserve(name.len() + data.len() + ENVELOPE);
    let _ = write!(out, r#"{{"t":"{name}","s":{sequence},"op":0,"d":{data}}}"#);
}

/// READY's data.
pub(super) fn ready(
    session: &Session,
    bot: ApplicationId,
    guilds: impl Iterator<Item = GuildId>,
    resume_url: &str,
) -> String {
    let guilds: Vec<Value> =
        guilds.map(|guild| json!({ "unavailable": true, "id": guild.to_string() })).collect();
    json!({
        "v": session.transport.version,
        "user": user(bot),
        "user_settings": {},
        "session_type": "normal",
        "session_id": session.id,
        "resume_gateway_url": resume_url,
        "relationships": [],
        "private_channels": [],
        "presences": [],
        "guilds": guilds,
        "guild_join_requests": [],
        "geo_ordered_rtc_regions": [],
        "shard": [session.shard, session.total],
        "application": { "id": bot.to_string(), "flags": APPLICATION_FLAGS },
        "_trace": TRACE,
    })
    .to_string()
}

/// RESUMED's data.
pub(super) fn resumed() -> String {
    json!({ "_trace": TRACE }).to_string()
}

/// The bot's user.
pub(super) fn user(bot: ApplicationId) -> Value {
    json!({
        "id": bot.to_string(),
        "username": "apolo",
        "discriminator": "0000",
        "global_name": null,
        "avatar": null,
        "bot": true,
        "verified": true,
        "mfa_enabled": true,
        "email": null,
        "flags": 0,
    })
}

/// The bot's application, as `GET /applications/@me` shows it.
pub(super) fn application(bot: ApplicationId, guilds: u64) -> Value {
    json!({
        "id": bot.to_string(),
        "name": "apolo",
        "icon": null,
        "description": "A simulated bot.",
        "summary": "",
        "type": null,
        "bot": user(bot),
        "bot_public": true,
        "bot_require_code_grant": false,
        "verify_key": "0".repeat(64),
        "flags": APPLICATION_FLAGS,
        "hook": true,
        "approximate_guild_count": guilds,
        "approximate_user_install_count": 0,
        "redirect_uris": [],
        "interactions_endpoint_url": null,
        "owner": user(bot),
        "team": null,
    })
}

/// RATE_LIMITED's data, for REQUEST_GUILD_MEMBERS.
pub(super) fn rate_limited(guild: GuildId, retry_after: Duration, nonce: Option<&str>) -> String {
    let meta = json!({ "guild_id": guild.to_string(), "nonce": nonce });
    json!({ "opcode": 8, "retry_after": retry_after.as_secs_f64(), "meta": meta }).to_string()
}

/// SOUNDBOARD_SOUNDS's data.
pub(super) fn soundboard_sounds(guild: GuildId) -> String {
    json!({ "soundboard_sounds": [], "guild_id": guild.to_string() }).to_string()
}

/// A chunk without members, for a guild that the bot was removed from meanwhile.
pub(super) fn no_members(guild: GuildId) -> String {
    let id = guild.to_string();
    json!({ "guild_id": id, "members": [], "chunk_index": 0, "chunk_count": 1 }).to_string()
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

const TRACE: [&str; 1] = ["[\"gateway-prd-simulator\",{\"micros\":0.0}]"];

/// Application flags of a bot with all privileged intents (`GATEWAY_PRESENCE`, `_GUILD_MEMBERS`, `_MESSAGE_CONTENT`).
const APPLICATION_FLAGS: u64 = 1 << 12 | 1 << 14 | 1 << 18;

/// Bytes of an envelope around name and data.
const ENVELOPE: usize = 48;
