//! Scheduled events.

use super::{DAY, Scene, member::user_field};
use crate::model::UnixMillis;
use crate::simulator::world::{
    names::{self, pick},
    profile::{Facet, Guild, User},
    snowflake::WORLD_END,
    write::Json,
};

/// A scheduled event as GUILD_CREATE lists it.
pub(super) fn element(json: &mut Json, guild: &Guild, n: u32) {
    let look = guild.facet(Facet::Scheduled, n);
    let start = UnixMillis(WORLD_END.0 + look % (300 * DAY));
    json.open();
    fields(json, guild, guild.facet_id(Facet::Scheduled, n), look, start);
    json.close();
}

/// GUILD_SCHEDULED_EVENT_CREATE, _UPDATE and _DELETE.
pub(super) fn event(json: &mut Json, scene: &mut Scene<'_>) {
    let (id, look, start) = (scene.recent_id(), scene.any(), scene.soon(30 * DAY));
    fields(json, &scene.guild, id, look, start);
    user_field(json, "creator", creator(&scene.guild, look));
}

fn fields(json: &mut Json, guild: &Guild, id: u64, look: u64, start: UnixMillis) {
    json.id("id", id);
    json.id("guild_id", guild.id.0);
    json.string("name", pick(&names::GUILDS, look));
    json.string("description", pick(&names::PHRASES, look >> 8));
    json.id("creator_id", creator(guild, look).id());
    json.time("scheduled_start_time", start);
    json.time("scheduled_end_time", UnixMillis(start.0 + 7_200_000));
    json.constant("\"privacy_level\":2,\"status\":1,\"entity_id\":null,\"image\":null,\"recurrence_rule\":null");
    json.number("user_count", (look >> 40) as u32 % guild.members.max(1));
    if look.is_multiple_of(2) {
        json.constant("\"entity_type\":2,\"entity_metadata\":null");
        json.id("channel_id", guild.channel(guild.voice_channel(look >> 16)));
    } else {
        json.constant("\"entity_type\":3,\"channel_id\":null");
        json.open_field("entity_metadata");
        json.string("location", pick(&names::GUILDS, look >> 20));
        json.close();
    }
}

const fn creator(guild: &Guild, look: u64) -> User {
    guild.any_member(look % 20)
}

/// GUILD_SCHEDULED_EVENT_USER_ADD and _REMOVE.
pub(super) fn event_user(json: &mut Json, scene: &mut Scene<'_>) {
    let id = match scene.guild.scheduled_events() {
        0 => scene.recent_id(),
        events => {
            let n = scene.below(events);
            scene.guild.facet_id(Facet::Scheduled, n)
        }
    };
    json.id("guild_scheduled_event_id", id);
    json.id("guild_id", scene.guild.id.0);
    json.id("user_id", scene.someone().id());
}
