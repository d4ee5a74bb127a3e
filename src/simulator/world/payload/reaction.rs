//! Reactions and votes.

use super::{Scene, member::member_field, message::direct_channel, message_parts::emoji_field};
use crate::simulator::world::{profile::User, recent::Said, write::Json};

/// MESSAGE_REACTION_ADD in a guild.
pub(super) fn add(json: &mut Json, scene: &mut Scene<'_>) {
    let (said, user) = (scene.said(), scene.someone());
    place(json, said);
    json.id("user_id", user.id());
    member_field(json, &scene.guild, user);
    json.id("message_author_id", said.author.id());
    emoji_field(json, scene);
    if scene.one_in(30) {
        json.constant("\"type\":1,\"burst\":true,\"burst_colors\":[\"#DCA34F\",\"#5B1E0D\"]");
    } else {
        json.constant("\"type\":0,\"burst\":false");
    }
}

/// MESSAGE_REACTION_REMOVE in a guild.
pub(super) fn remove(json: &mut Json, scene: &mut Scene<'_>) {
    let (said, user) = (scene.said(), scene.someone());
    place(json, said);
    json.id("user_id", user.id());
    emoji_field(json, scene);
    json.constant("\"type\":0,\"burst\":false");
}

/// MESSAGE_REACTION_REMOVE_ALL.
pub(super) fn remove_all(json: &mut Json, scene: &mut Scene<'_>) {
    let said = scene.said();
    place(json, said);
}

/// MESSAGE_REACTION_REMOVE_EMOJI.
pub(super) fn remove_emoji(json: &mut Json, scene: &mut Scene<'_>) {
    let said = scene.said();
    place(json, said);
    emoji_field(json, scene);
}

/// MESSAGE_POLL_VOTE_ADD and _REMOVE in a guild.
pub(super) fn vote(json: &mut Json, scene: &mut Scene<'_>) {
    let said = scene.said();
    place(json, said);
    json.id("user_id", scene.someone().id());
    json.number("answer_id", 1 + scene.below(4));
}

fn place(json: &mut Json, said: Said) {
    json.id("message_id", said.id);
    json.id("channel_id", said.channel);
    json.id("guild_id", said.guild.0);
}

/// MESSAGE_REACTION_ADD in a conversation with the bot, to one of its messages.
pub(super) fn add_direct(json: &mut Json, scene: &mut Scene<'_>) {
    remove_direct(json, scene);
    json.id("message_author_id", scene.bot);
}

/// MESSAGE_REACTION_REMOVE in a conversation with the bot.
pub(super) fn remove_direct(json: &mut Json, scene: &mut Scene<'_>) {
    direct_place(json, scene);
    json.constant("\"emoji\":{\"id\":null,\"name\":\"👍\"},\"type\":0,\"burst\":false");
}

/// MESSAGE_POLL_VOTE_ADD and _REMOVE in a conversation with the bot.
pub(super) fn vote_direct(json: &mut Json, scene: &mut Scene<'_>) {
    direct_place(json, scene);
    json.number("answer_id", 1 + scene.below(4));
}

fn direct_place(json: &mut Json, scene: &mut Scene<'_>) {
    let user = User::any(scene.any());
    json.id("user_id", user.id());
    json.id("message_id", scene.recent_id());
    json.id("channel_id", direct_channel(user));
}
