//! What the bot shows next to its name.

use super::Invalid;

/// The bot's status and what it is doing, as IDENTIFY sends them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Presence {
    /// The coloured dot.
    pub status: OnlineStatus,
    /// The line of text.
    pub activity: Option<Activity>,
}

/// The coloured dot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnlineStatus {
    /// Green.
    Online,
    /// Yellow.
    Idle,
    /// Red: do not disturb.
    DoNotDisturb,
    /// Shown as offline.
    Invisible,
}

/// The line of text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Activity {
    /// The word that Discord puts before the text.
    pub kind: ActivityKind,
    /// The text.
    pub text: String,
}

/// The word that Discord puts before an activity's text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ActivityKind {
    /// "Playing …"
    Playing,
    /// "Listening to …"
    Listening,
    /// "Watching …"
    Watching,
    /// "Competing in …"
    Competing,
    /// The text alone.
    Custom,
}

/// Discord's bound on an activity's name.
const TEXT_CHARS_MAX: usize = 128;

const KINDS: &[(&str, ActivityKind)] = &[
    ("playing ", ActivityKind::Playing),
    ("listening to ", ActivityKind::Listening),
    ("watching ", ActivityKind::Watching),
    ("competing in ", ActivityKind::Competing),
];

const STATUSES: &[(&str, OnlineStatus)] = &[
    ("online", OnlineStatus::Online),
    ("idle", OnlineStatus::Idle),
    ("dnd", OnlineStatus::DoNotDisturb),
    ("invisible", OnlineStatus::Invisible),
];

impl Presence {
    /// Reads `dnd`, `idle: watching the clock` or `online: any text`.
    ///
    /// # Errors
    ///
    /// [`Invalid`] for another status and for an activity that is empty or longer than 128 characters.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (word, activity) = match text.split_once(':') {
            Some((word, activity)) => (word.trim(), Some(activity.trim())),
            None => (text.trim(), None),
        };
        let Some((_, status)) = STATUSES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word))
        else {
            let invalid = Invalid::new(format!("has {word:?} where the status should be"));
            return Err(invalid.instead_closest(word, STATUSES.iter().map(|(name, _)| *name)));
        };
        Ok(Self { status: *status, activity: activity.map(Activity::parse).transpose()? })
    }
}

impl Activity {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let (kind, text) = KINDS
            .iter()
            .find_map(|(word, kind)| Some((*kind, text.strip_prefix(word)?.trim())))
            .unwrap_or((ActivityKind::Custom, text));
        match text.chars().count() {
            0 => Err(Invalid::new("has no activity after the colon")),
            1..=TEXT_CHARS_MAX => Ok(Self { kind, text: text.to_owned() }),
            _ => Err(Invalid::new("has an activity of more than 128 characters")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_alone_and_one_with_an_activity_are_understood() {
        let alone = Presence::parse("DND").unwrap();
        let watching = Presence::parse("idle: watching the clock: tick").unwrap();

        assert_eq!(alone, Presence { status: OnlineStatus::DoNotDisturb, activity: None });
        let text = "the clock: tick".to_owned();
        assert_eq!(watching.activity, Some(Activity { kind: ActivityKind::Watching, text }));
    }

    #[test]
    fn what_discord_would_refuse_is_refused_here() {
        for text in ["", "busy", "online:", &format!("online: {}", "x".repeat(129))] {
            assert!(Presence::parse(text).is_err(), "{text:?}");
        }
    }
}
