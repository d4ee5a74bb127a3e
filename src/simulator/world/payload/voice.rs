//! Voice: who is where, stages, the soundboard.

use super::{
    Scene,
    guild::moderator,
    member::{member_field, user_field},
};
use crate::simulator::world::{
    names::{self, pick},
    profile::{Facet, Guild, User},
    write::Json,
};

/// VOICE_STATE_UPDATE: someone joins, mutes or leaves.
pub(super) fn state_update(json: &mut Json, scene: &mut Scene<'_>) {
    let (user, look) = (scene.someone(), scene.any());
    json.id("guild_id", scene.guild.id.0);
    member_field(json, &scene.guild, user);
    let place = (!look.is_multiple_of(3)).then(|| scene.guild.voice_channel(look >> 8));
    state(json, &scene.guild, user, place, look);
}

/// A voice state as GUILD_CREATE lists it: without guild and member.
pub(super) fn listed_state(json: &mut Json, guild: &Guild, n: u32) {
    let look = guild.facet(Facet::Member, n);
    json.open();
    state(json, guild, guild.member(n), Some(guild.voice_channel(look >> 8)), look);
    json.close();
}

fn state(json: &mut Json, guild: &Guild, user: User, place: Option<u32>, look: u64) {
    json.id("user_id", user.id());
    match place {
        Some(n) => json.id("channel_id", guild.channel(n)),
        None => json.null("channel_id"),
    }
    json.format("session_id", format_args!("{:016x}{look:016x}", user.id()));
    json.flag("self_mute", look.is_multiple_of(2));
    json.flag("self_deaf", look.is_multiple_of(4));
    json.flag("self_video", look.is_multiple_of(15));
    json.constant(
        "\"deaf\":false,\"mute\":false,\"suppress\":false,\"request_to_speak_timestamp\":null",
    );
}

/// VOICE_SERVER_UPDATE: where the bot shall connect.
pub(super) fn server_update(json: &mut Json, scene: &mut Scene<'_>) {
    let token = scene.any();
    json.id("guild_id", scene.guild.id.0);
    json.format("token", format_args!("{token:016x}"));
    if token.is_multiple_of(10) {
        json.null("endpoint");
    } else {
        json.format(
            "endpoint",
            format_args!("c-fra{:02}-{token:08x}.discord.media:443", token % 20),
        );
    }
}

/// STAGE_INSTANCE_CREATE, _UPDATE and _DELETE.
pub(super) fn stage_instance(json: &mut Json, scene: &mut Scene<'_>) {
    let look = scene.any();
    json.id("id", scene.recent_id());
    json.id("guild_id", scene.guild.id.0);
    json.id("channel_id", scene.guild.channel(scene.guild.voice_channel(look)));
    json.string("topic", pick(&names::PHRASES, look >> 8));
    json.constant(
        "\"privacy_level\":2,\"discoverable_disabled\":true,\"guild_scheduled_event_id\":null",
    );
}

/// A sound as GUILD_CREATE lists it.
pub(super) fn sound_element(json: &mut Json, guild: &Guild, n: u32) {
    json.open();
    sound_fields(json, guild, guild.facet_id(Facet::Sound, n), guild.facet(Facet::Sound, n));
    json.close();
}

fn sound_fields(json: &mut Json, guild: &Guild, id: u64, look: u64) {
    json.id("sound_id", id);
    json.id("guild_id", guild.id.0);
    json.string("name", pick(&names::EMOJIS, look));
    json.string("emoji_name", pick(&names::UNICODE_EMOJIS, look >> 8));
    json.constant("\"volume\":0.75,\"emoji_id\":null,\"available\":true");
}

/// GUILD_SOUNDBOARD_SOUND_CREATE and _UPDATE.
pub(super) fn sound(json: &mut Json, scene: &mut Scene<'_>) {
    let (id, look, user) = (scene.recent_id(), scene.any(), moderator(scene));
    sound_fields(json, &scene.guild, id, look);
    user_field(json, "user", user);
}

/// GUILD_SOUNDBOARD_SOUND_DELETE.
pub(super) fn sound_delete(json: &mut Json, scene: &mut Scene<'_>) {
    json.id("sound_id", scene.recent_id());
    json.id("guild_id", scene.guild.id.0);
}

/// GUILD_SOUNDBOARD_SOUNDS_UPDATE: all of them.
pub(super) fn sounds_update(json: &mut Json, scene: &Scene<'_>) {
    json.id("guild_id", scene.guild.id.0);
    json.open_list("soundboard_sounds");
    for n in 0..scene.guild.sounds() {
        sound_element(json, &scene.guild, n);
    }
    json.close_list();
}

/// VOICE_CHANNEL_EFFECT_SEND: an emoji flies over a voice channel.
pub(super) fn effect(json: &mut Json, scene: &mut Scene<'_>) {
    let (user, look) = (scene.someone(), scene.any());
    json.id("channel_id", scene.guild.channel(scene.guild.voice_channel(look)));
    json.id("guild_id", scene.guild.id.0);
    json.id("user_id", user.id());
    json.open_field("emoji");
    json.string("name", pick(&names::UNICODE_EMOJIS, look >> 8));
    json.constant("\"id\":null,\"animated\":false");
    json.close();
    json.number("animation_type", (look >> 16) as u32 % 2);
    json.number("animation_id", (look >> 20) as u32 % 20);
}
