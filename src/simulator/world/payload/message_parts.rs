//! What a message consists of besides its author and its place.

use super::{
    Scene,
    member::{member_members, user_field, user_members},
};
use crate::simulator::world::{
    names::{self, pick},
    profile::Facet,
    recent::Said,
    snowflake::time_of,
    write::Json,
};

/// Whom it mentions.
pub(super) fn mentions(json: &mut Json, scene: &mut Scene<'_>) {
    json.open_list("mentions");
    if scene.one_in(8) {
        let user = scene.someone();
        json.open();
        user_members(json, user);
        json.open_field("member");
        member_members(json, &scene.guild, user);
        json.close();
        json.close();
    }
    json.close_list();
    json.open_list("mention_roles");
    if scene.one_in(60) {
        let role = 1 + scene.below(scene.guild.roles() - 1);
        json.id_element(scene.guild.role(role));
    }
    json.close_list();
}

/// The fields that need the message content intent, marked as such. Bots like embeds and buttons.
pub(super) fn content(json: &mut Json, scene: &mut Scene<'_>, by_bot: bool) {
    text(json, scene);

    let start = json.next_value("attachments");
    json.open_list("attachments");
    if scene.one_in(12) {
        attachment(json, scene);
    }
    json.close_list();
    json.mark_content(start);

    let start = json.next_value("embeds");
    json.open_list("embeds");
    if by_bot || scene.one_in(14) {
        embed(json, scene);
    }
    json.close_list();
    json.mark_content(start);

    let start = json.next_value("components");
    json.open_list("components");
    if by_bot && scene.one_in(2) {
        buttons(json, scene);
    }
    json.close_list();
    json.mark_content(start);

    if scene.one_in(300) {
        poll(json, scene);
    }
}

fn text(json: &mut Json, scene: &mut Scene<'_>) {
    let dice = scene.any();
    let start = json.next_value("content");
    let first = pick(&names::PHRASES, dice >> 8);
    match dice % 8 {
        0..4 => json.string("content", first),
        4..7 => json.strings("content", &[first, " ", pick(&names::PHRASES, dice >> 16)]),
        _ => {
            let more: [&str; 8] =
                std::array::from_fn(|n| pick(&names::PHRASES, dice >> (n * 5 + 16)));
            json.strings("content", &more);
        }
    }
    json.mark_content(start);
}

fn attachment(json: &mut Json, scene: &mut Scene<'_>) {
    let (id, dice) = (scene.new_id(), scene.any());
    let channel = scene.guild.channel(1);
    json.open();
    json.id("id", id);
    json.format("filename", format_args!("image_{}.png", dice % 1_000));
    json.number("size", 20_000 + (dice >> 44) as u32);
    json.format(
        "url",
        format_args!(
            "https://cdn.discordapp.com/attachments/{channel}/{id}/image_{}.png?ex={:08x}&is={:08x}&hm={dice:016x}&",
            dice % 1_000,
            dice >> 32,
            dice >> 33,
        ),
    );
    json.format(
        "proxy_url",
        format_args!(
            "https://media.discordapp.net/attachments/{channel}/{id}/image_{}.png",
            dice % 1_000
        ),
    );
    json.number("width", 640 + (dice >> 53) as u32);
    json.number("height", 480 + (dice >> 53) as u32);
    json.constant("\"content_type\":\"image/png\",\"flags\":0,\"placeholder_version\":1");
    json.format("placeholder", format_args!("{dice:016x}"));
    json.close();
}

fn embed(json: &mut Json, scene: &mut Scene<'_>) {
    let dice = scene.any();
    json.open();
    json.constant("\"type\":\"rich\"");
    json.string("title", pick(&names::GUILDS, dice));
    json.strings(
        "description",
        &[pick(&names::PHRASES, dice >> 8), "\n", pick(&names::PHRASES, dice >> 16)],
    );
    json.constant("\"url\":\"https://example.com/a?b=1&c=%22\"");
    json.number("color", (dice >> 40) as u32);
    json.time("timestamp", scene.now);
    json.open_list("fields");
    for n in 0..dice % 4 {
        json.open();
        json.string("name", pick(&names::ROLES, dice >> (n * 4)));
        json.string("value", pick(&names::PHRASES, dice >> (n * 6)));
        json.flag("inline", n.is_multiple_of(2));
        json.close();
    }
    json.close_list();
    json.open_field("footer");
    json.string("text", pick(&names::DISPLAY_NAMES, dice >> 24));
    json.close();
    json.constant("\"content_scan_version\":2");
    json.close();
}

fn buttons(json: &mut Json, scene: &mut Scene<'_>) {
    let dice = scene.any();
    json.open();
    json.constant("\"type\":1,\"id\":1");
    json.open_list("components");
    for n in 0..1 + dice % 3 {
        json.open();
        json.constant("\"type\":2");
        json.number("id", 2 + n as u32);
        json.number("style", 1 + (dice >> n) as u32 % 4);
        json.string("label", pick(&names::ROLES, dice >> (8 + n)));
        json.format("custom_id", format_args!("page:{n}:{dice:x}"));
        json.close();
    }
    json.close_list();
    json.close();
}

fn poll(json: &mut Json, scene: &mut Scene<'_>) {
    let dice = scene.any();
    let start = json.next_value("poll");
    json.open_field("poll");
    json.open_field("question");
    json.string("text", pick(&names::PHRASES, dice));
    json.close();
    json.open_list("answers");
    for n in 1..=2 + (dice % 4) as u32 {
        json.open();
        json.number("answer_id", n);
        json.open_field("poll_media");
        json.string("text", pick(&names::CHANNELS, dice >> n));
        json.close();
        json.close();
    }
    json.close_list();
    json.time("expiry", scene.soon(super::DAY));
    json.constant("\"allow_multiselect\":false,\"layout_type\":1");
    json.constant("\"results\":{\"answer_counts\":[],\"is_finalized\":false}");
    json.close();
    json.mark_content(start);
}

/// The message that it answers, quoted as Discord does.
pub(super) fn reply(json: &mut Json, scene: &mut Scene<'_>, said: Said) {
    let (id, author) = (scene.recent_id(), scene.someone());
    json.open_field("message_reference");
    json.number("type", 0);
    json.id("message_id", id);
    json.id("channel_id", said.channel);
    json.id("guild_id", said.guild.0);
    json.close();
    json.open_field("referenced_message");
    json.constant(concat!(
        "\"type\":0,\"tts\":false,\"pinned\":false,\"mention_everyone\":false,\"flags\":0,\"mentions\":[],",
        "\"mention_roles\":[],\"attachments\":[],\"embeds\":[],\"components\":[],\"edited_timestamp\":null"
    ));
    json.id("id", id);
    json.id("channel_id", said.channel);
    json.time("timestamp", time_of(id));
    user_field(json, "author", author);
    text(json, scene);
    json.close();
}

/// An emoji of a reaction: one of the guild's, or of Unicode.
pub(super) fn emoji_field(json: &mut Json, scene: &mut Scene<'_>) {
    let emojis = scene.guild.emojis();
    let dice = scene.any();
    json.open_field("emoji");
    if emojis > 0 && scene.one_in(2) {
        let n = (dice >> 32) as u32 % emojis;
        json.id("id", scene.guild.facet_id(Facet::Emoji, n));
        json.string("name", pick(&names::EMOJIS, scene.guild.facet(Facet::Emoji, n)));
        json.flag("animated", dice.is_multiple_of(5));
    } else {
        json.null("id");
        json.string("name", pick(&names::UNICODE_EMOJIS, dice));
    }
    json.close();
}
