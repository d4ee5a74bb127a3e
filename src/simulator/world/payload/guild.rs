//! Guilds: GUILD_CREATE, and what changes in a guild as a whole.

use super::{
    Scene, channel,
    member::{bot_member, member_element, user_field},
    scheduled, thread, voice,
};
use crate::simulator::world::{
    names::{self, pick},
    profile::{Facet, Guild, User},
    write::Json,
};

/// From here on Discord calls a guild large (the default of IDENTIFY's `large_threshold`).
const LARGE: u32 = 50;

/// From this size on the guild is a community: rules, announcements, a discovery page.
const COMMUNITY: u32 = 500;

/// GUILD_CREATE of a guild that is up.
///
/// Its members are those that Discord sends to a bot without the presence intent: the bot, and who is in voice.
pub(in crate::simulator::world) fn create(json: &mut Json, guild: &Guild, bot: u64) {
    base(json, guild);
    json.time("joined_at", guild.joined());
    json.flag("large", guild.members > LARGE);
    json.constant("\"unavailable\":false,\"presences\":[],\"stage_instances\":[]");
    json.number("member_count", guild.members);
    json.open_list("channels");
    for n in 0..guild.channels() {
        channel::element(json, guild, n);
    }
    json.close_list();
    json.open_list("threads");
    for n in 0..guild.threads() {
        thread::element(json, guild, n);
    }
    json.close_list();
    json.open_list("members");
    bot_member(json, guild, bot);
    for n in 0..guild.in_voice() {
        member_element(json, guild, guild.member(n));
    }
    json.close_list();
    json.open_list("voice_states");
    for n in 0..guild.in_voice() {
        voice::listed_state(json, guild, n);
    }
    json.close_list();
    json.open_list("guild_scheduled_events");
    for n in 0..guild.scheduled_events() {
        scheduled::element(json, guild, n);
    }
    json.close_list();
    json.open_list("soundboard_sounds");
    for n in 0..guild.sounds() {
        voice::sound_element(json, guild, n);
    }
    json.close_list();
}

/// The guild itself: GUILD_UPDATE, and the better part of GUILD_CREATE.
pub(super) fn base(json: &mut Json, guild: &Guild) {
    let look = guild.facet(Facet::Name, 0);
    let community = guild.members >= COMMUNITY;
    json.id("id", guild.id.0);
    name(json, guild);
    if look.is_multiple_of(6) {
        json.null("icon");
    } else {
        json.image("icon", guild.facet(Facet::Icon, 0));
    }
    json.id("owner_id", guild.member(0).id());
    json.string("preferred_locale", pick(&names::LOCALES, look >> 20));
    json.constant(concat!(
        "\"afk_channel_id\":null,\"afk_timeout\":300,\"application_id\":null,\"banner\":null,",
        "\"default_message_notifications\":1,\"discovery_splash\":null,\"explicit_content_filter\":2,",
        "\"hub_type\":null,\"incidents_data\":null,\"inventory_settings\":null,\"latest_onboarding_question_id\":null,",
        "\"max_members\":25000000,\"max_presences\":null,\"max_stage_video_channel_users\":50,",
        "\"max_video_channel_users\":25,\"mfa_level\":0,\"nsfw\":false,\"nsfw_level\":0,",
        "\"premium_progress_bar_enabled\":true,\"safety_alerts_channel_id\":null,\"splash\":null,",
        "\"system_channel_flags\":0,\"vanity_url_code\":null,\"verification_level\":1,",
        "\"widget_channel_id\":null,\"widget_enabled\":false,\"region\":\"deprecated\""
    ));
    json.number("premium_subscription_count", guild.members.ilog2());
    json.number("premium_tier", (guild.members.ilog2() / 6).min(3));
    json.id("system_channel_id", guild.channel(1));
    if community {
        json.constant("\"features\":[\"COMMUNITY\",\"NEWS\",\"INVITE_SPLASH\",\"SOUNDBOARD\",\"AUTO_MODERATION\"]");
        json.string("description", pick(&names::PHRASES, look >> 8));
        json.id("rules_channel_id", guild.channel(2));
        json.id("public_updates_channel_id", guild.channel(3));
    } else {
        json.constant("\"features\":[],\"description\":null,\"rules_channel_id\":null,\"public_updates_channel_id\":null");
    }
    json.open_list("roles");
    for n in 0..guild.roles() {
        json.open();
        role_fields(json, guild.role(n), n, guild.facet(Facet::Role, n));
        json.close();
    }
    json.close_list();
    emojis(json, guild);
    stickers(json, guild);
}

/// The guild's name, as in every payload that names it.
pub(super) fn name(json: &mut Json, guild: &Guild) {
    let look = guild.facet(Facet::Name, 0);
    if look.is_multiple_of(4) {
        json.strings(
            "name",
            &[pick(&names::USERS, look >> 16), "'s ", pick(&names::GUILDS, look >> 8)],
        );
    } else {
        json.string("name", pick(&names::GUILDS, look >> 8));
    }
}

fn role_fields(json: &mut Json, id: u64, n: u32, look: u64) {
    let color = i64::from(look as u32 & 0x00ff_ffff);
    json.id("id", id);
    json.string("name", if n == 0 { "@everyone" } else { pick(&names::ROLES, look >> 32) });
    json.number("color", color);
    json.open_field("colors");
    json.number("primary_color", color);
    json.constant("\"secondary_color\":null,\"tertiary_color\":null");
    json.close();
    json.format("permissions", format_args!("{}", look & 0x0003_ffff_ffff_ffff));
    json.number("position", n);
    json.flag("hoist", look.is_multiple_of(3));
    json.flag("mentionable", look.is_multiple_of(5));
    json.flag("managed", n == 1);
    json.constant("\"icon\":null,\"unicode_emoji\":null,\"flags\":0,\"description\":null");
}

fn emojis(json: &mut Json, guild: &Guild) {
    json.open_list("emojis");
    for n in 0..guild.emojis() {
        let look = guild.facet(Facet::Emoji, n);
        json.open();
        json.id("id", guild.facet_id(Facet::Emoji, n));
        json.string("name", pick(&names::EMOJIS, look));
        json.constant("\"roles\":[],\"require_colons\":true,\"managed\":false,\"available\":true");
        json.flag("animated", look.is_multiple_of(5));
        json.close();
    }
    json.close_list();
}

fn stickers(json: &mut Json, guild: &Guild) {
    json.open_list("stickers");
    for n in 0..guild.stickers() {
        let look = guild.facet(Facet::Sticker, n);
        json.open();
        json.id("id", guild.facet_id(Facet::Sticker, n));
        json.id("guild_id", guild.id.0);
        json.string("name", pick(&names::EMOJIS, look));
        json.string("tags", pick(&names::UNICODE_EMOJIS, look));
        json.constant(
            "\"description\":null,\"type\":2,\"format_type\":1,\"available\":true,\"asset\":\"\"",
        );
        user_field(json, "user", guild.any_member(look));
        json.close();
    }
    json.close_list();
}

/// GUILD_EMOJIS_UPDATE: all of them.
pub(super) fn emojis_update(json: &mut Json, scene: &Scene<'_>) {
    json.id("guild_id", scene.guild.id.0);
    emojis(json, &scene.guild);
}

/// GUILD_STICKERS_UPDATE: all of them.
pub(super) fn stickers_update(json: &mut Json, scene: &Scene<'_>) {
    json.id("guild_id", scene.guild.id.0);
    stickers(json, &scene.guild);
}

/// GUILD_ROLE_CREATE.
pub(super) fn role_create(json: &mut Json, scene: &mut Scene<'_>) {
    let (id, look) = (scene.new_id(), scene.any());
    role(json, scene, id, 2, look);
}

/// GUILD_ROLE_UPDATE of a role that the guild has, `@everyone` included.
pub(super) fn role_update(json: &mut Json, scene: &mut Scene<'_>) {
    let (n, look) = (scene.below(scene.guild.roles()), scene.any());
    role(json, scene, scene.guild.role(n), n, look);
}

fn role(json: &mut Json, scene: &Scene<'_>, id: u64, n: u32, look: u64) {
    json.id("guild_id", scene.guild.id.0);
    json.open_field("role");
    role_fields(json, id, n, look);
    json.close();
}

/// GUILD_ROLE_DELETE of one that was created a little while ago: the guild's own roles stay.
pub(super) fn role_delete(json: &mut Json, scene: &mut Scene<'_>) {
    json.id("guild_id", scene.guild.id.0);
    json.id("role_id", scene.recent_id());
}

/// Someone who may do what moderators do.
pub(super) fn moderator(scene: &mut Scene<'_>) -> User {
    let n = scene.below(5.min(scene.guild.members.max(1)));
    scene.guild.member(n)
}
