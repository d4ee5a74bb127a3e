//! What moderators and Discord's AutoMod do.

use super::{Scene, guild::moderator, member::user_field};
use crate::simulator::world::{
    names::{self, pick},
    profile::{Facet, User},
    write::Json,
};

/// GUILD_BAN_ADD and GUILD_BAN_REMOVE.
pub(super) fn ban(json: &mut Json, scene: &mut Scene<'_>) {
    let user = User::any(scene.any());
    json.id("guild_id", scene.guild.id.0);
    user_field(json, "user", user);
}

/// GUILD_AUDIT_LOG_ENTRY_CREATE: who did what to whom.
pub(super) fn audit_log_entry(json: &mut Json, scene: &mut Scene<'_>) {
    let (id, look, actor, target) =
        (scene.new_id(), scene.any(), moderator(scene), scene.someone());
    json.id("id", id);
    json.id("guild_id", scene.guild.id.0);
    json.id("user_id", actor.id());
    match look % 5 {
        0 => {
            json.constant("\"action_type\":22,\"changes\":[]");
            json.id("target_id", target.id());
        }
        1 => {
            json.constant("\"action_type\":24");
            json.id("target_id", target.id());
            json.open_list("changes");
            json.open();
            json.constant("\"key\":\"nick\"");
            json.string("old_value", pick(&names::DISPLAY_NAMES, look >> 8));
            json.string("new_value", pick(&names::DISPLAY_NAMES, look >> 16));
            json.close();
            json.close_list();
        }
        2 => role_change(json, scene, target, look),
        3 => {
            json.constant("\"action_type\":72,\"changes\":[]");
            json.id("target_id", target.id());
            json.open_field("options");
            json.id("channel_id", scene.guild.channel(scene.guild.text_channel(look >> 8)));
            json.format("count", format_args!("{}", 1 + (look >> 40) % 5));
            json.close();
        }
        _ => {
            json.constant("\"action_type\":11");
            json.id("target_id", scene.guild.channel(scene.guild.text_channel(look >> 8)));
            json.open_list("changes");
            json.open();
            json.constant("\"key\":\"topic\"");
            json.string("old_value", pick(&names::PHRASES, look >> 8));
            json.string("new_value", pick(&names::PHRASES, look >> 16));
            json.close();
            json.close_list();
        }
    }
    if look.is_multiple_of(7) {
        json.string("reason", pick(&names::PHRASES, look >> 24));
    }
}

fn role_change(json: &mut Json, scene: &Scene<'_>, target: User, look: u64) {
    json.constant("\"action_type\":25");
    json.id("target_id", target.id());
    json.open_list("changes");
    json.open();
    json.constant("\"key\":\"$add\"");
    json.open_list("new_value");
    json.open();
    json.id("id", scene.guild.role(1));
    json.string("name", pick(&names::ROLES, look >> 8));
    json.close();
    json.close_list();
    json.close();
    json.close_list();
}

/// AUTO_MODERATION_RULE_CREATE, _UPDATE and _DELETE.
pub(super) fn rule(json: &mut Json, scene: &mut Scene<'_>) {
    let (n, look, creator) = (scene.below(6), scene.any(), moderator(scene));
    json.id("id", scene.guild.facet_id(Facet::Rule, n));
    json.id("guild_id", scene.guild.id.0);
    json.string("name", pick(&names::PHRASES, look));
    json.id("creator_id", creator.id());
    json.constant("\"event_type\":1,\"trigger_type\":1");
    json.open_field("trigger_metadata");
    json.open_list("keyword_filter");
    for n in 0..1 + look % 4 {
        json.string_element(pick(&names::EMOJIS, look >> (n * 4)));
    }
    json.close_list();
    json.constant("\"regex_patterns\":[\"\\\\b(free|steam)\\\\s+nitro\\\\b\"],\"allow_list\":[]");
    json.close();
    json.open_list("actions");
    json.constant("{\"type\":1,\"metadata\":{\"custom_message\":\"not \\\"here\\\"\"}}");
    json.open();
    json.constant("\"type\":2");
    json.open_field("metadata");
    json.id("channel_id", scene.guild.channel(1));
    json.close();
    json.close();
    json.close_list();
    json.flag("enabled", !look.is_multiple_of(6));
    json.open_list("exempt_roles");
    json.id_element(scene.guild.role(1));
    json.close_list();
    json.constant("\"exempt_channels\":[]");
}

/// AUTO_MODERATION_ACTION_EXECUTION: a message was blocked. The content is the message's, and so privileged.
pub(super) fn execution(json: &mut Json, scene: &mut Scene<'_>) {
    let (user, look, n) = (scene.someone(), scene.any(), scene.below(6));
    json.id("guild_id", scene.guild.id.0);
    json.id("rule_id", scene.guild.facet_id(Facet::Rule, n));
    json.id("user_id", user.id());
    json.id("channel_id", scene.guild.channel(scene.guild.text_channel(look)));
    json.constant("\"action\":{\"type\":1,\"metadata\":{}},\"rule_trigger_type\":1");
    json.string("matched_keyword", pick(&names::EMOJIS, look >> 8));
    for key in ["content", "matched_content"] {
        let start = json.next_value(key);
        json.string(key, pick(&names::PHRASES, look >> 16));
        json.mark_content(start);
    }
}
