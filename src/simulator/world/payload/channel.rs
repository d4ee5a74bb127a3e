//! Channels.

use super::{Scene, guild::moderator};
use crate::simulator::world::{
    names::{self, pick},
    profile::{Facet, Guild, channel_type},
    write::Json,
};

/// A channel as GUILD_CREATE lists it.
pub(super) fn element(json: &mut Json, guild: &Guild, n: u32) {
    json.open();
    fields(json, guild, n, guild.facet(Facet::Channel, n));
    json.close();
}

/// CHANNEL_UPDATE: someone changed a name, a topic or permissions.
pub(super) fn update(json: &mut Json, scene: &mut Scene<'_>) {
    let (n, look) = (scene.below(scene.guild.channels()), scene.any());
    json.id("guild_id", scene.guild.id.0);
    fields(json, &scene.guild, n, look);
}

fn fields(json: &mut Json, guild: &Guild, n: u32, look: u64) {
    let kind = Guild::channel_type(n);
    json.id("id", guild.channel(n));
    json.number("type", kind);
    json.number("position", n);
    json.constant("\"flags\":0");
    if kind == channel_type::CATEGORY {
        json.null("parent_id");
        json.string("name", pick(&names::GUILDS, look));
    } else {
        json.id("parent_id", guild.channel(Guild::category(n)));
        json.number("rate_limit_per_user", [0, 0, 0, 5][(look >> 7) as usize % 4]);
        json.flag("nsfw", look.is_multiple_of(20));
    }
    overwrites(json, guild, look);
    match kind {
        channel_type::CATEGORY => {}
        channel_type::VOICE | channel_type::STAGE => {
            json.string("name", pick(&names::VOICE, look));
            json.constant("\"bitrate\":64000,\"rtc_region\":null,\"last_message_id\":null");
            json.number("user_limit", (look >> 9) as u32 % 20);
        }
        channel_type::FORUM => {
            json.string("name", pick(&names::CHANNELS, look));
            json.constant(concat!(
                "\"available_tags\":[],\"default_reaction_emoji\":{\"emoji_id\":null,\"emoji_name\":\"👍\"},",
                "\"default_forum_layout\":1,\"default_sort_order\":null,\"default_auto_archive_duration\":4320,",
                "\"template\":\"\",\"topic\":null"
            ));
        }
        _ => {
            json.string("name", pick(&names::CHANNELS, look));
            if look.is_multiple_of(3) {
                json.string("topic", pick(&names::PHRASES, look >> 12));
            } else {
                json.null("topic");
            }
            json.id("last_message_id", guild.facet_id(Facet::Channel, n | LAST_MESSAGE));
        }
    }
}

/// Tells a channel's last message from the channel among the numbers of a facet.
const LAST_MESSAGE: u32 = 1 << 31;

fn overwrites(json: &mut Json, guild: &Guild, look: u64) {
    json.open_list("permission_overwrites");
    for n in 0..(look >> 5) as u32 % 3 {
        json.open();
        json.id("id", guild.role(n));
        json.constant("\"type\":0");
        json.format("allow", format_args!("{}", (look >> (12 + n)) & 0xffff));
        json.format("deny", format_args!("{}", (look >> (32 + n)) & 0x0400));
        json.close();
    }
    json.close_list();
}

/// CHANNEL_CREATE and CHANNEL_DELETE: a ticket, opened and closed by some bot. The guild's own channels stay.
pub(super) fn come_and_go(json: &mut Json, scene: &mut Scene<'_>) {
    let number = scene.below(10_000);
    let opener = scene.someone();
    json.id("id", scene.recent_id());
    json.id("guild_id", scene.guild.id.0);
    json.format("name", format_args!("ticket-{number:04}"));
    json.id("parent_id", scene.guild.channel(0));
    json.open_list("permission_overwrites");
    json.open();
    json.id("id", scene.guild.id.0);
    json.constant("\"type\":0,\"allow\":\"0\",\"deny\":\"1024\"");
    json.close();
    json.open();
    json.id("id", opener.id());
    json.constant("\"type\":1,\"allow\":\"117760\",\"deny\":\"0\"");
    json.close();
    json.close_list();
    json.number("position", scene.guild.channels());
    json.constant("\"type\":0,\"flags\":0,\"topic\":null,\"nsfw\":false,\"rate_limit_per_user\":0,\"last_message_id\":null");
}

/// CHANNEL_PINS_UPDATE.
pub(super) fn pins_update(json: &mut Json, scene: &mut Scene<'_>) {
    let place = scene.text_channel();
    json.id("guild_id", scene.guild.id.0);
    json.id("channel_id", scene.guild.channel(place));
    if scene.one_in(5) {
        json.null("last_pin_timestamp");
    } else {
        json.time("last_pin_timestamp", scene.now);
    }
}

/// WEBHOOKS_UPDATE.
pub(super) fn webhooks_update(json: &mut Json, scene: &mut Scene<'_>) {
    let place = scene.text_channel();
    json.id("guild_id", scene.guild.id.0);
    json.id("channel_id", scene.guild.channel(place));
    json.id("user_id", moderator(scene).id());
}
