//! Invites, integrations, and what concerns the session itself.

use super::{
    DAY, Scene,
    guild::moderator,
    member::{bot_user, user_field},
};
use crate::model::{GuildId, ShardId, ShardTotal, UnixMillis};
use crate::simulator::world::{
    names::{self, pick},
    profile::Facet,
    write::Json,
};

/// INVITE_CREATE.
pub(super) fn invite_create(json: &mut Json, scene: &mut Scene<'_>) {
    let (inviter, look) = (scene.someone(), scene.any());
    invite_place(json, scene);
    json.time("created_at", scene.now);
    json.time("expires_at", UnixMillis(scene.now.0 + 7 * DAY));
    user_field(json, "inviter", inviter);
    json.number("max_uses", [0, 1, 5, 100][look as usize % 4]);
    json.constant("\"max_age\":604800,\"temporary\":false,\"uses\":0,\"type\":0");
}

/// INVITE_DELETE.
pub(super) fn invite_delete(json: &mut Json, scene: &mut Scene<'_>) {
    invite_place(json, scene);
}

fn invite_place(json: &mut Json, scene: &mut Scene<'_>) {
    let (place, code) = (scene.text_channel(), scene.any());
    json.id("channel_id", scene.guild.channel(place));
    json.id("guild_id", scene.guild.id.0);
    json.format("code", format_args!("{:08x}", code >> 32));
}

/// INTEGRATION_CREATE and INTEGRATION_UPDATE: another bot.
pub(super) fn integration(json: &mut Json, scene: &mut Scene<'_>) {
    let (n, look, user) = (scene.below(6), scene.any(), moderator(scene));
    let application = scene.guild.facet_id(Facet::Integration, n);
    json.id("id", application + 1);
    json.id("guild_id", scene.guild.id.0);
    json.string("name", pick(&names::GUILDS, look));
    json.constant(
        "\"type\":\"discord\",\"enabled\":true,\"scopes\":[\"bot\",\"applications.commands\"]",
    );
    json.open_field("account");
    json.id("id", application);
    json.string("name", pick(&names::GUILDS, look));
    json.close();
    json.open_field("application");
    json.id("id", application);
    json.string("name", pick(&names::GUILDS, look));
    json.string("description", pick(&names::PHRASES, look >> 8));
    json.null("icon");
    json.close();
    user_field(json, "user", user);
}

/// INTEGRATION_DELETE.
pub(super) fn integration_delete(json: &mut Json, scene: &mut Scene<'_>) {
    let n = scene.below(6);
    let application = scene.guild.facet_id(Facet::Integration, n);
    json.id("id", application + 1);
    json.id("guild_id", scene.guild.id.0);
    json.id("application_id", application);
}

/// RATE_LIMITED: the members of a guild were asked for twice within 30 s.
pub(super) fn rate_limited(json: &mut Json, scene: &Scene<'_>) {
    json.constant("\"opcode\":8,\"retry_after\":27.5");
    json.open_field("meta");
    json.id("guild_id", scene.guild.id.0);
    json.constant("\"nonce\":\"1\"");
    json.close();
}

/// READY as a session on a bot with one guild and one shard gets it.
pub(super) fn ready_of_one_guild(json: &mut Json, scene: &mut Scene<'_>) {
    let (guild, session) = (scene.guild.id, scene.any());
    let shard = (ShardId(0), ShardTotal::ONE);
    let url = "wss://gateway-us-east1-b.discord.gg";
    ready(json, scene.bot, shard, [guild], (&format!("{session:016x}{session:016x}"), url));
}

/// READY.
pub(in crate::simulator::world) fn ready(
    json: &mut Json,
    bot: u64,
    (shard, total): (ShardId, ShardTotal),
    guilds: impl IntoIterator<Item = GuildId>,
    (session_id, resume_gateway_url): (&str, &str),
) {
    json.constant(concat!(
        "\"v\":10,\"user_settings\":{},\"session_type\":\"normal\",\"relationships\":[],\"private_channels\":[],",
        "\"presences\":[],\"guild_join_requests\":[],\"geo_ordered_rtc_regions\":[\"rotterdam\",\"milan\"],",
        "\"auth\":{},\"_trace\":[\"[\\\"gateway-prd-us-east1-b\\\",{\\\"micros\\\":91532}]\"]"
    ));
    json.open_field("user");
    bot_user(json, bot);
    json.close();
    json.open_field("application");
    json.id("id", bot);
    json.constant("\"flags\":565248");
    json.close();
    json.open_list("shard");
    json.number_element(shard.0);
    json.number_element(total.get());
    json.close_list();
    json.string("session_id", session_id);
    json.string("resume_gateway_url", resume_gateway_url);
    json.open_list("guilds");
    for guild in guilds {
        json.open();
        json.id("id", guild.0);
        json.constant("\"unavailable\":true");
        json.close();
    }
    json.close_list();
}

/// RESUMED.
pub(super) fn resumed(json: &mut Json) {
    json.constant("\"_trace\":[\"[\\\"gateway-prd-us-east1-b\\\",{\\\"micros\\\":2113}]\"]");
}
