//! Threads.

use super::{Scene, member::member_field};
use crate::model::UnixMillis;
use crate::simulator::world::{
    names::{self, pick},
    profile::{Facet, Guild},
    snowflake::time_of,
    write::Json,
};

/// Discord counts members and messages of a thread up to this.
const COUNTED: u32 = 50;

/// A thread as GUILD_CREATE lists it.
pub(super) fn element(json: &mut Json, guild: &Guild, n: u32) {
    json.open();
    fields(json, guild, guild.facet_id(Facet::Thread, n), guild.facet(Facet::Thread, n), None);
    json.close();
}

/// THREAD_CREATE.
pub(super) fn create(json: &mut Json, scene: &mut Scene<'_>) {
    let (id, look) = (scene.new_id(), scene.any());
    json.constant("\"newly_created\":true");
    fields(json, &scene.guild, id, look, None);
}

/// THREAD_UPDATE: most are archived for want of messages.
pub(super) fn update(json: &mut Json, scene: &mut Scene<'_>) {
    let (id, look) = (open_thread(scene), scene.any());
    fields(json, &scene.guild, id, look, Some(scene.now));
}

/// THREAD_DELETE of one that was created a little while ago.
pub(super) fn delete(json: &mut Json, scene: &mut Scene<'_>) {
    let look = scene.any();
    json.id("id", scene.recent_id());
    json.id("guild_id", scene.guild.id.0);
    json.id("parent_id", scene.guild.channel(scene.guild.text_channel(look)));
    json.constant("\"type\":11");
}

/// THREAD_LIST_SYNC: the bot has got access to a channel, and these are the threads in it.
pub(super) fn list_sync(json: &mut Json, scene: &mut Scene<'_>) {
    let place = scene.text_channel();
    json.id("guild_id", scene.guild.id.0);
    json.open_list("channel_ids");
    json.id_element(scene.guild.channel(place));
    json.close_list();
    json.open_list("threads");
    for n in 0..scene.guild.threads().min(5) {
        element(json, &scene.guild, n);
    }
    json.close_list();
    json.open_list("members");
    for n in 0..scene.guild.threads().min(5) {
        json.open();
        membership(json, scene.guild.facet_id(Facet::Thread, n), scene.bot, scene.now);
        json.close();
    }
    json.close_list();
}

/// THREAD_MEMBER_UPDATE: of the bot itself.
pub(super) fn member_update(json: &mut Json, scene: &mut Scene<'_>) {
    let thread = open_thread(scene);
    json.id("guild_id", scene.guild.id.0);
    membership(json, thread, scene.bot, scene.now);
}

/// THREAD_MEMBERS_UPDATE: someone came, and perhaps someone went.
pub(super) fn members_update(json: &mut Json, scene: &mut Scene<'_>) {
    let (thread, user) = (open_thread(scene), scene.someone());
    json.id("id", thread);
    json.id("guild_id", scene.guild.id.0);
    json.number("member_count", 1 + scene.below(COUNTED - 1));
    json.open_list("added_members");
    json.open();
    membership(json, thread, user.id(), scene.now);
    member_field(json, &scene.guild, user);
    json.null("presence");
    json.close();
    json.close_list();
    json.open_list("removed_member_ids");
    if scene.one_in(4) {
        json.id_element(scene.someone().id());
    }
    json.close_list();
}

fn membership(json: &mut Json, thread: u64, user: u64, joined: UnixMillis) {
    json.id("id", thread);
    json.id("user_id", user);
    json.time("join_timestamp", joined);
    json.constant("\"flags\":1,\"muted\":false,\"mute_config\":null");
}

fn open_thread(scene: &mut Scene<'_>) -> u64 {
    match scene.guild.threads() {
        0 => scene.recent_id(),
        threads => {
            let n = scene.below(threads);
            scene.guild.facet_id(Facet::Thread, n)
        }
    }
}

fn fields(json: &mut Json, guild: &Guild, id: u64, look: u64, archived: Option<UnixMillis>) {
    json.id("id", id);
    json.constant("\"type\":11,\"flags\":0,\"rate_limit_per_user\":0");
    json.id("guild_id", guild.id.0);
    json.id("parent_id", guild.channel(guild.text_channel(look)));
    json.id("owner_id", guild.any_member(look).id());
    json.string("name", pick(&names::PHRASES, look >> 8));
    json.id("last_message_id", id + (1 << 30));
    json.number("message_count", (look >> 16) as u32 % COUNTED);
    json.number("total_message_sent", (look >> 16) as u32 % COUNTED);
    json.number("member_count", 1 + (look >> 24) as u32 % (COUNTED - 1));
    json.open_field("thread_metadata");
    json.flag("archived", archived.is_some());
    json.time("archive_timestamp", archived.unwrap_or_else(|| time_of(id)));
    json.time("create_timestamp", time_of(id));
    json.constant("\"auto_archive_duration\":4320,\"locked\":false");
    json.close();
}
