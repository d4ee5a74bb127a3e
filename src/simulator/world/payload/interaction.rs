//! Interactions: commands, buttons, forms.

use super::{
    Scene,
    member::{bot_user, member_members, user_field, user_members},
    message::direct_channel,
};
use crate::simulator::world::{
    names::{self, pick},
    profile::{Facet, Guild, User, channel_type},
    snowflake::time_of,
    write::Json,
};

/// What the bot and the member may do, as a set of bits.
const PERMISSIONS: &str = "2248473465835073";

/// INTERACTION_CREATE in a guild.
pub(super) fn create(json: &mut Json, scene: &mut Scene<'_>) {
    let (user, place) = (scene.someone(), scene.text_channel());
    let channel = scene.guild.channel(place);
    common(json, scene);
    json.constant("\"context\":0");
    json.id("guild_id", scene.guild.id.0);
    json.open_field("guild");
    json.id("id", scene.guild.id.0);
    json.constant("\"features\":[],\"locale\":\"en-US\"");
    json.close();
    json.string("guild_locale", pick(&names::LOCALES, scene.guild.facet(Facet::Name, 0) >> 20));
    json.id("channel_id", channel);
    json.open_field("channel");
    json.id("id", channel);
    json.id("guild_id", scene.guild.id.0);
    json.id("parent_id", scene.guild.channel(Guild::category(place)));
    json.number("type", channel_type::TEXT);
    json.string("name", pick(&names::CHANNELS, scene.guild.facet(Facet::Channel, place)));
    json.string("permissions", PERMISSIONS);
    json.constant(
        "\"flags\":0,\"nsfw\":false,\"position\":1,\"rate_limit_per_user\":0,\"topic\":null",
    );
    json.close();
    json.open_field("authorizing_integration_owners");
    json.id("0", scene.guild.id.0);
    json.close();
    json.open_field("member");
    user_field(json, "user", user);
    json.string("permissions", PERMISSIONS);
    member_members(json, &scene.guild, user);
    json.close();
    match scene.below(10) {
        0..7 => command(json, scene),
        7 => autocomplete(json, scene),
        8 => button(json, scene, channel),
        _ => form(json, scene),
    }
}

/// INTERACTION_CREATE in a conversation with the bot.
pub(super) fn create_direct(json: &mut Json, scene: &mut Scene<'_>) {
    let user = User::any(scene.any());
    common(json, scene);
    json.constant("\"context\":1");
    json.id("channel_id", direct_channel(user));
    json.open_field("channel");
    json.id("id", direct_channel(user));
    json.constant("\"type\":1,\"flags\":0,\"last_message_id\":null");
    json.close();
    user_field(json, "user", user);
    json.open_field("authorizing_integration_owners");
    json.id("1", user.id());
    json.close();
    command(json, scene);
}

fn common(json: &mut Json, scene: &mut Scene<'_>) {
    let (id, look) = (scene.new_id(), scene.any());
    json.id("id", id);
    json.id("application_id", scene.bot);
    // Discord's are some 200 characters of base 64, which begin with "interaction:" and the id.
    json.format(
        "token",
        format_args!(
            "aW50ZXJhY3Rpb246{id}{look:016x}{:016x}{:016x}{:016x}{:016x}{:016x}{:016x}{:016x}",
            look.rotate_left(7),
            look.rotate_left(13),
            look.rotate_left(23),
            look.rotate_left(31),
            look.rotate_left(41),
            look.rotate_left(47),
            look.rotate_left(59),
        ),
    );
    json.string("locale", pick(&names::LOCALES, look));
    json.string("app_permissions", PERMISSIONS);
    json.constant("\"version\":1,\"attachment_size_limit\":10485760,\"entitlements\":[],\"entitlement_sku_ids\":[]");
}

/// A slash command with options, one of them a user who comes along resolved.
fn command(json: &mut Json, scene: &mut Scene<'_>) {
    let (look, target) = (scene.any(), scene.someone());
    json.constant("\"type\":2");
    json.open_field("data");
    command_name(json, scene, look);
    json.constant("\"type\":1");
    json.open_list("options");
    json.open();
    json.constant("\"name\":\"query\",\"type\":3");
    json.string("value", pick(&names::PHRASES, look >> 16));
    json.close();
    json.open();
    json.constant("\"name\":\"count\",\"type\":4");
    json.number("value", (look >> 48) as u32);
    json.close();
    if look.is_multiple_of(3) {
        json.open();
        json.constant("\"name\":\"user\",\"type\":6");
        json.id("value", target.id());
        json.close();
    }
    json.close_list();
    if look.is_multiple_of(3) {
        json.open_field("resolved");
        json.open_field("users");
        json.open_id_field(target.id());
        user_members(json, target);
        json.close();
        json.close();
        json.close();
    }
    json.close();
}

fn autocomplete(json: &mut Json, scene: &mut Scene<'_>) {
    let look = scene.any();
    json.constant("\"type\":4");
    json.open_field("data");
    command_name(json, scene, look);
    json.constant("\"type\":1");
    json.open_list("options");
    json.open();
    json.constant("\"name\":\"query\",\"type\":3,\"focused\":true");
    json.string("value", pick(&names::USERS, look >> 16));
    json.close();
    json.close_list();
    json.close();
}

fn command_name(json: &mut Json, scene: &Scene<'_>, look: u64) {
    let n = (look % names::COMMANDS.len() as u64) as u32;
    // A command is the application's, not the guild's: the same everywhere.
    json.id("id", scene.bot + (u64::from(n + 1) << 34));
    json.string("name", pick(&names::COMMANDS, look));
}

fn button(json: &mut Json, scene: &mut Scene<'_>, channel: u64) {
    let (look, message) = (scene.any(), scene.recent_id());
    json.constant("\"type\":3");
    json.open_field("data");
    json.constant("\"component_type\":2,\"id\":2");
    json.format("custom_id", format_args!("page:{}:{look:x}", look % 9));
    json.close();
    json.open_field("message");
    json.id("id", message);
    json.id("channel_id", channel);
    json.time("timestamp", time_of(message));
    json.open_field("author");
    bot_user(json, scene.bot);
    json.close();
    json.string("content", pick(&names::PHRASES, look >> 8));
    json.constant(concat!(
        "\"type\":0,\"tts\":false,\"pinned\":false,\"mention_everyone\":false,\"flags\":0,\"mentions\":[],",
        "\"mention_roles\":[],\"attachments\":[],\"embeds\":[],\"edited_timestamp\":null,\"components\":[{\"type\":1,",
        "\"id\":1,\"components\":[{\"type\":2,\"id\":2,\"style\":1,\"label\":\"→\",\"custom_id\":\"page\"}]}]"
    ));
    json.close();
}

fn form(json: &mut Json, scene: &mut Scene<'_>) {
    let look = scene.any();
    json.constant("\"type\":5");
    json.open_field("data");
    json.format("custom_id", format_args!("feedback:{look:x}"));
    json.open_list("components");
    json.open();
    json.constant("\"type\":1,\"id\":1");
    json.open_list("components");
    json.open();
    json.constant("\"type\":4,\"id\":2,\"custom_id\":\"text\"");
    json.strings("value", &[pick(&names::PHRASES, look), "\n", pick(&names::PHRASES, look >> 8)]);
    json.close();
    json.close_list();
    json.close();
    json.close_list();
    json.close();
}

/// APPLICATION_COMMAND_PERMISSIONS_UPDATE.
pub(super) fn permissions(json: &mut Json, scene: &mut Scene<'_>) {
    let look = scene.any();
    let user = scene.someone();
    json.id("id", scene.bot + ((1 + look % 12) << 34));
    json.id("application_id", scene.bot);
    json.id("guild_id", scene.guild.id.0);
    json.open_list("permissions");
    json.open();
    json.id("id", scene.guild.role(1));
    json.constant("\"type\":1,\"permission\":true");
    json.close();
    json.open();
    json.id("id", user.id());
    json.constant("\"type\":2,\"permission\":false");
    json.close();
    json.close_list();
}
