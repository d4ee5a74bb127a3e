//! Users and members, and what happens to them.

use std::fmt::Write as _;

use super::{DAY, Scene};
use crate::model::UnixMillis;
use crate::simulator::world::{
    members::Chunk,
    names,
    profile::{Facet, Guild, User},
    snowflake::{WORLD_END, time_of},
    write::Json,
};

/// Opens the field, writes the user, closes it.
pub(super) fn user_field(json: &mut Json, key: &'static str, user: User) {
    json.open_field(key);
    user_members(json, user);
    json.close();
}

/// The members of a user object.
pub(super) fn user_members(json: &mut Json, user: User) {
    let look = user.trait_of(1);
    json.id("id", user.id());
    json.string("username", &user_name(user));
    if look.is_multiple_of(3) {
        json.null("global_name");
    } else {
        json.string("global_name", names::pick(&names::DISPLAY_NAMES, look >> 8));
    }
    if look.is_multiple_of(5) {
        json.null("avatar");
    } else {
        json.image("avatar", look);
    }
    if look.is_multiple_of(11) {
        json.open_field("avatar_decoration_data");
        json.format("asset", format_args!("a_{look:016x}{look:016x}"));
        json.constant("\"expires_at\":null,\"sku_id\":\"1144058844004233369\"");
        json.close();
    } else {
        json.null("avatar_decoration_data");
    }
    json.constant("\"discriminator\":\"0\"");
    json.number("public_flags", [0, 0, 64, 128, 256, 4_194_304][(look >> 16) as usize % 6]);
    json.constant(
        "\"primary_guild\":null,\"clan\":null,\"collectibles\":null,\"display_name_styles\":null",
    );
    if is_bot(user) {
        json.constant("\"bot\":true");
    }
}

/// Whether the user is a bot: few are, though they talk much.
pub(super) const fn is_bot(user: User) -> bool {
    user.trait_of(2).is_multiple_of(30)
}

/// A user's name: lower-case letters, digits, dots and underscores (Discord's rule since 2023).
pub(in crate::simulator::world) fn user_name(user: User) -> String {
    let look = user.trait_of(3);
    let word = names::pick(&names::USERS, look);
    let mut name = String::with_capacity(16);
    let written = match (look >> 32) % 3 {
        0 => write!(name, "{word}.{}", (look >> 16) % 1_000),
        1 => write!(name, "{word}{:04}", (look >> 16) % 10_000),
        _ => write!(name, "_{word}_{}", names::pick(&names::USERS, look >> 16)),
    };
    written.expect("writing to a string can't fail");
    name
}

/// When a member joined.
pub(super) fn joined_at(guild: &Guild, user: User) -> UnixMillis {
    let earliest = guild.born().max(time_of(user.id())).0;
    let life = WORLD_END.0.saturating_sub(earliest) + 1;
    UnixMillis(earliest + (guild.facet(Facet::Member, 1) ^ user.trait_of(4)) % life)
}

/// The members of a guild member object, but for `user`.
pub(super) fn member_members(json: &mut Json, guild: &Guild, user: User) {
    let look = guild.facet(Facet::Member, 2) ^ user.trait_of(5);
    role_list(json, guild, look);
    if look.is_multiple_of(9) {
        json.time("premium_since", UnixMillis(WORLD_END.0 - (look >> 30)));
    } else {
        json.null("premium_since");
    }
    if look.is_multiple_of(4) {
        json.string("nick", names::pick(&names::DISPLAY_NAMES, look >> 5));
    } else {
        json.null("nick");
    }
    json.time("joined_at", joined_at(guild, user));
    if look.is_multiple_of(40) {
        json.image("avatar", look);
    } else {
        json.null("avatar");
    }
    json.constant(concat!(
        "\"pending\":false,\"mute\":false,\"deaf\":false,\"flags\":0,\"banner\":null,",
        "\"communication_disabled_until\":null"
    ));
}

fn role_list(json: &mut Json, guild: &Guild, look: u64) {
    let roles = u64::from(guild.roles());
    json.open_list("roles");
    for n in 0..(look >> 40) % roles.min(6) {
        // Steps of distinct size from one start: no role is named twice.
        let role = 1 + ((look >> 8) + n) % (roles - 1);
        json.id_element(guild.role(u32::try_from(role).unwrap_or(1)));
    }
    json.close_list();
}

/// A whole guild member object.
pub(super) fn member_element(json: &mut Json, guild: &Guild, user: User) {
    json.open();
    user_field(json, "user", user);
    member_members(json, guild, user);
    json.close();
}

/// A field that holds a whole guild member object.
pub(super) fn member_field(json: &mut Json, guild: &Guild, user: User) {
    json.open_field("member");
    user_field(json, "user", user);
    member_members(json, guild, user);
    json.close();
}

/// GUILD_MEMBER_ADD: someone who has just come, without roles.
pub(super) fn add(json: &mut Json, scene: &mut Scene<'_>) {
    let user = scene.someone();
    json.id("guild_id", scene.guild.id.0);
    user_field(json, "user", user);
    json.time("joined_at", scene.now);
    json.constant(concat!(
        "\"roles\":[],\"premium_since\":null,\"nick\":null,\"avatar\":null,\"banner\":null,\"pending\":true,",
        "\"mute\":false,\"deaf\":false,\"flags\":0,\"communication_disabled_until\":null,",
        "\"unusual_dm_activity_until\":null"
    ));
}

/// GUILD_MEMBER_REMOVE.
pub(super) fn remove(json: &mut Json, scene: &mut Scene<'_>) {
    let user = scene.someone();
    json.id("guild_id", scene.guild.id.0);
    user_field(json, "user", user);
}

/// GUILD_MEMBER_UPDATE: roles and nick of the moment.
pub(super) fn update(json: &mut Json, scene: &mut Scene<'_>) {
    let (user, look) = (scene.someone(), scene.any());
    json.id("guild_id", scene.guild.id.0);
    user_field(json, "user", user);
    json.time("joined_at", joined_at(&scene.guild, user));
    role_list(json, &scene.guild, look);
    if look.is_multiple_of(3) {
        json.string("nick", names::pick(&names::DISPLAY_NAMES, look >> 16));
    } else {
        json.null("nick");
    }
    if look.is_multiple_of(50) {
        json.time("communication_disabled_until", scene.soon(DAY));
    } else {
        json.null("communication_disabled_until");
    }
    json.constant(concat!(
        "\"premium_since\":null,\"avatar\":null,\"banner\":null,\"pending\":false,\"mute\":false,\"deaf\":false,",
        "\"flags\":0"
    ));
}

/// PRESENCE_UPDATE.
pub(super) fn presence(json: &mut Json, scene: &mut Scene<'_>) {
    let (user, look) = (scene.someone(), scene.any());
    let status = ["online", "idle", "dnd", "offline"][(look % 4) as usize];
    json.open_field("user");
    json.id("id", user.id());
    json.close();
    json.id("guild_id", scene.guild.id.0);
    json.string("status", status);
    json.open_field("client_status");
    if status != "offline" {
        json.string(if look.is_multiple_of(3) { "mobile" } else { "desktop" }, status);
    }
    json.close();
    json.open_list("activities");
    if status != "offline" && !look.is_multiple_of(5) {
        custom_status(json, scene, look);
    }
    if status != "offline" && !look.is_multiple_of(3) {
        game(json, scene, look);
    }
    json.close_list();
}

fn custom_status(json: &mut Json, scene: &mut Scene<'_>, look: u64) {
    let since = scene.lately(DAY);
    json.open();
    json.constant("\"id\":\"custom\",\"name\":\"Custom Status\",\"type\":4");
    json.string("state", names::pick(&names::PHRASES, look >> 8));
    json.open_field("emoji");
    json.string("name", names::pick(&names::UNICODE_EMOJIS, look >> 16));
    json.close();
    json.millis("created_at", since);
    json.close();
}

fn game(json: &mut Json, scene: &mut Scene<'_>, look: u64) {
    let since = scene.lately(DAY);
    json.open();
    json.format("id", format_args!("{look:016x}"));
    json.string("name", names::pick(&names::GAMES, look >> 8));
    json.constant("\"type\":0,\"flags\":0");
    json.string("state", names::pick(&names::PHRASES, look >> 16));
    json.string("details", names::pick(&names::PHRASES, look >> 24));
    json.open_field("timestamps");
    json.millis("start", since);
    json.close();
    json.id("application_id", GAMES_APPLICATION);
    json.open_field("assets");
    json.id("large_image", look >> 2);
    json.string("large_text", names::pick(&names::GAMES, look >> 8));
    json.close();
    json.millis("created_at", since);
    json.close();
}

/// The application that everyone's games belong to.
const GAMES_APPLICATION: u64 = 356_875_221_078_245_376;

/// The bot's own user: USER_UPDATE, and READY's `user`.
pub(super) fn bot_user(json: &mut Json, bot: u64) {
    bot_look(json, bot);
    json.constant("\"verified\":true,\"mfa_enabled\":true,\"email\":null,\"flags\":0");
}

fn bot_look(json: &mut Json, bot: u64) {
    json.id("id", bot);
    json.image("avatar", bot);
    json.constant("\"username\":\"apolo\",\"discriminator\":\"4207\",\"global_name\":null,\"bot\":true,\"public_flags\":65536");
}

/// The bot as a member.
pub(super) fn bot_member(json: &mut Json, guild: &Guild, bot: u64) {
    json.open();
    json.open_field("user");
    bot_look(json, bot);
    json.close();
    json.time("joined_at", guild.joined());
    json.open_list("roles");
    json.id_element(guild.role(1));
    json.close_list();
    json.constant(concat!(
        "\"premium_since\":null,\"nick\":null,\"avatar\":null,\"banner\":null,\"pending\":false,\"mute\":false,",
        "\"deaf\":false,\"flags\":0,\"communication_disabled_until\":null"
    ));
    json.close();
}

/// The chunk that a request for one user id brings.
pub(super) fn chunk_of_one(json: &mut Json, scene: &mut Scene<'_>) {
    let users = vec![scene.someone()];
    chunk(json, &scene.guild, &Chunk { users, not_found: Vec::new(), count: 1 }, 0);
}

/// GUILD_MEMBERS_CHUNK.
pub(in crate::simulator::world) fn chunk(
    json: &mut Json,
    guild: &Guild,
    chunk: &Chunk,
    index: u32,
) {
    json.id("guild_id", guild.id.0);
    json.open_list("members");
    for user in &chunk.users {
        member_element(json, guild, *user);
    }
    json.close_list();
    json.open_list("not_found");
    for id in &chunk.not_found {
        json.id_element(*id);
    }
    json.close_list();
    json.number("chunk_index", index);
    json.number("chunk_count", chunk.count);
}
