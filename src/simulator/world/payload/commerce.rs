//! What people buy from the bot. It belongs to no guild's shard: all of it goes to shard 0.

use super::{DAY, Scene};
use crate::model::UnixMillis;
use crate::simulator::world::{profile::User, write::Json};

/// How long a period of a subscription is.
const PERIOD: u64 = 30 * DAY;

/// ENTITLEMENT_CREATE without an end; ENTITLEMENT_UPDATE and _DELETE with one, which tell whether it was deleted.
pub(super) fn entitlement(json: &mut Json, scene: &mut Scene<'_>, deleted: Option<bool>) {
    let user = User::any(scene.any());
    let id = scene.recent_id();
    json.id("id", id);
    json.id("sku_id", sku(scene.bot));
    json.id("application_id", scene.bot);
    json.id("user_id", user.id());
    json.flag("deleted", deleted == Some(true));
    json.constant("\"type\":8,\"consumed\":false,\"gift_code_flags\":0,\"promotion_id\":null");
    json.time("starts_at", scene.now);
    match deleted {
        None => json.null("ends_at"),
        Some(_) => json.time("ends_at", scene.soon(PERIOD)),
    }
}

/// SUBSCRIPTION_CREATE and _UPDATE, or _DELETE once it has ended.
pub(super) fn subscription(json: &mut Json, scene: &mut Scene<'_>, ended: bool) {
    let user = User::any(scene.any());
    let start = scene.lately(PERIOD);
    json.id("id", scene.recent_id());
    json.id("user_id", user.id());
    json.open_list("sku_ids");
    json.id_element(sku(scene.bot));
    json.close_list();
    json.open_list("entitlement_ids");
    json.id_element(scene.recent_id());
    json.close_list();
    json.constant("\"renewal_sku_ids\":null,\"country\":\"US\"");
    json.time("current_period_start", start);
    json.time("current_period_end", UnixMillis(start.0 + PERIOD));
    json.number("status", if ended { 2 } else { 0 });
    if ended {
        json.time("canceled_at", scene.now);
    } else {
        json.null("canceled_at");
    }
}

/// What is sold: one thing, made a day after the bot.
const fn sku(bot: u64) -> u64 {
    bot + (DAY << 22)
}
