//! Messages and typing.

use super::{
    Scene,
    member::{is_bot, member_field, member_members, user_field},
    message_parts::{content, mentions, reply},
};
use crate::simulator::world::{
    names,
    profile::{Facet, User},
    recent::Said,
    snowflake::time_of,
    write::Json,
};

/// MESSAGE_CREATE in a guild.
pub(super) fn create(json: &mut Json, scene: &mut Scene<'_>) {
    let place = scene.text_channel();
    let said = Said {
        guild: scene.guild.id,
        channel: scene.guild.channel(place),
        id: scene.new_id(),
        author: scene.someone(),
    };
    scene.said = Some(said);
    json.constant("\"channel_type\":0");
    json.null("edited_timestamp");
    json.format("nonce", format_args!("{}", said.id + 4_194_304));
    body(json, scene, said);
}

/// MESSAGE_UPDATE in a guild: the whole message, as Discord sends it whether it was edited or a link was unfurled.
pub(super) fn update(json: &mut Json, scene: &mut Scene<'_>) {
    let said = scene.said();
    json.constant("\"channel_type\":0");
    if scene.one_in(3) {
        json.null("edited_timestamp");
    } else {
        json.time("edited_timestamp", scene.now);
    }
    body(json, scene, said);
}

fn body(json: &mut Json, scene: &mut Scene<'_>, said: Said) {
    let replies = scene.one_in(9);
    json.number("type", if replies { 19 } else { 0 });
    json.constant("\"tts\":false,\"pinned\":false,\"mention_everyone\":false,\"flags\":0");
    json.id("id", said.id);
    json.time("timestamp", time_of(said.id));
    json.id("channel_id", said.channel);
    json.id("guild_id", said.guild.0);
    user_field(json, "author", said.author);
    json.open_field("member");
    member_members(json, &scene.guild, said.author);
    json.close();
    mentions(json, scene);
    content(json, scene, is_bot(said.author));
    if replies {
        reply(json, scene, said);
    } else if scene.one_in(40) {
        let sticker = scene.any();
        json.open_list("sticker_items");
        json.open();
        json.id("id", scene.guild.facet_id(Facet::Sticker, 0));
        json.string("name", names::pick(&names::EMOJIS, sticker));
        json.constant("\"format_type\":1");
        json.close();
        json.close_list();
    }
}

/// MESSAGE_DELETE in a guild.
pub(super) fn delete(json: &mut Json, scene: &mut Scene<'_>) {
    let said = scene.said();
    json.id("id", said.id);
    json.id("channel_id", said.channel);
    json.id("guild_id", said.guild.0);
}

/// MESSAGE_DELETE_BULK: a purge of up to a hundred messages (the API's limit).
pub(super) fn delete_bulk(json: &mut Json, scene: &mut Scene<'_>) {
    let said = scene.said();
    json.open_list("ids");
    json.id_element(said.id);
    for _ in 0..1 + scene.below(99) {
        let id = scene.recent_id();
        json.id_element(id);
    }
    json.close_list();
    json.id("channel_id", said.channel);
    json.id("guild_id", said.guild.0);
}

/// TYPING_START in a guild.
pub(super) fn typing_start(json: &mut Json, scene: &mut Scene<'_>) {
    let user = scene.someone();
    let place = scene.text_channel();
    json.id("user_id", user.id());
    json.seconds("timestamp", scene.now);
    member_field(json, &scene.guild, user);
    json.id("channel_id", scene.guild.channel(place));
    json.id("guild_id", scene.guild.id.0);
}

/// MESSAGE_CREATE in a conversation with the bot.
pub(super) fn create_direct(json: &mut Json, scene: &mut Scene<'_>) {
    let id = scene.new_id();
    json.null("edited_timestamp");
    direct_body(json, scene, id);
}

/// MESSAGE_UPDATE in a conversation with the bot.
pub(super) fn update_direct(json: &mut Json, scene: &mut Scene<'_>) {
    let id = scene.recent_id();
    json.time("edited_timestamp", scene.now);
    direct_body(json, scene, id);
}

/// A message whose content every session sees, since it was written to the bot.
fn direct_body(json: &mut Json, scene: &mut Scene<'_>, id: u64) {
    let author = User::any(scene.any());
    json.constant(concat!(
        "\"channel_type\":1,\"type\":0,\"tts\":false,\"pinned\":false,\"mention_everyone\":false,",
        "\"mentions\":[],\"mention_roles\":[],\"attachments\":[],\"embeds\":[],\"components\":[],\"flags\":0"
    ));
    json.id("id", id);
    json.time("timestamp", time_of(id));
    json.id("channel_id", direct_channel(author));
    user_field(json, "author", author);
    json.string("content", names::pick(&names::PHRASES, scene.any()));
}

/// MESSAGE_DELETE in a conversation with the bot.
pub(super) fn delete_direct(json: &mut Json, scene: &mut Scene<'_>) {
    let user = User::any(scene.any());
    json.id("id", scene.recent_id());
    json.id("channel_id", direct_channel(user));
}

/// TYPING_START in a conversation with the bot.
pub(super) fn typing_start_direct(json: &mut Json, scene: &mut Scene<'_>) {
    let user = User::any(scene.any());
    json.id("user_id", user.id());
    json.seconds("timestamp", scene.now);
    json.id("channel_id", direct_channel(user));
}

/// The channel in which a user and the bot talk: opened some minutes after the user registered.
pub(super) const fn direct_channel(user: User) -> u64 {
    user.id() + (600_000 << 22)
}
