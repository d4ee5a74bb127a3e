//! The configured presence in twilight's types.

use twilight_model::gateway::{
    payload::outgoing::update_presence::UpdatePresencePayload,
    presence::{Activity, ActivityType, MinimalActivity, Status},
};

use crate::config::{ActivityKind, OnlineStatus, Presence};

/// The payload that IDENTIFY carries.
pub(super) fn payload(presence: &Presence) -> UpdatePresencePayload {
    let activities = presence.activity.iter().map(|shown| activity(shown.kind, &shown.text));
    let status = match presence.status {
        OnlineStatus::Online => Status::Online,
        OnlineStatus::Idle => Status::Idle,
        OnlineStatus::DoNotDisturb => Status::DoNotDisturb,
        OnlineStatus::Invisible => Status::Invisible,
    };
    UpdatePresencePayload { activities: activities.collect(), afk: false, since: None, status }
}

fn activity(kind: ActivityKind, text: &str) -> Activity {
    let (kind, name, state) = match kind {
        ActivityKind::Playing => (ActivityType::Playing, text, None),
        ActivityKind::Listening => (ActivityType::Listening, text, None),
        ActivityKind::Watching => (ActivityType::Watching, text, None),
        ActivityKind::Competing => (ActivityType::Competing, text, None),
        // Discord shows a custom status from `state`; `name` is required and not shown.
        ActivityKind::Custom => (ActivityType::Custom, "Custom Status", Some(text.to_owned())),
    };
    let minimal = MinimalActivity { kind, name: name.to_owned(), url: None };
    Activity { state, ..minimal.into() }
}
