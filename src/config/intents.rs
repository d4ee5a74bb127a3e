//! Gateway intents by name.

use std::fmt;

use super::{Invalid, error::closest};

/// One of Discord's gateway intents.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NamedIntent {
    /// Discord's name of it.
    pub name: &'static str,
    /// Its bit's place.
    pub bit: u8,
    /// Whether it must be enabled in the developer portal first.
    pub privileged: bool,
}

const fn open(name: &'static str, bit: u8) -> NamedIntent {
    NamedIntent { name, bit, privileged: false }
}

const fn privileged(name: &'static str, bit: u8) -> NamedIntent {
    NamedIntent { name, bit, privileged: true }
}

/// Every intent (Gateway docs, "List of Intents" and "Privileged Intents").
pub const INTENTS: &[NamedIntent] = &[
    open("GUILDS", 0),
    privileged("GUILD_MEMBERS", 1),
    open("GUILD_MODERATION", 2),
    open("GUILD_EMOJIS_AND_STICKERS", 3),
    open("GUILD_INTEGRATIONS", 4),
    open("GUILD_WEBHOOKS", 5),
    open("GUILD_INVITES", 6),
    open("GUILD_VOICE_STATES", 7),
    privileged("GUILD_PRESENCES", 8),
    open("GUILD_MESSAGES", 9),
    open("GUILD_MESSAGE_REACTIONS", 10),
    open("GUILD_MESSAGE_TYPING", 11),
    open("DIRECT_MESSAGES", 12),
    open("DIRECT_MESSAGE_REACTIONS", 13),
    open("DIRECT_MESSAGE_TYPING", 14),
    privileged("MESSAGE_CONTENT", 15),
    open("GUILD_SCHEDULED_EVENTS", 16),
    open("AUTO_MODERATION_CONFIGURATION", 20),
    open("AUTO_MODERATION_EXECUTION", 21),
    open("GUILD_MESSAGE_POLLS", 24),
    open("DIRECT_MESSAGE_POLLS", 25),
];

/// Names that Discord gave up, and one that its page has beside the one that twilight uses.
const ALIASES: &[(&str, &str)] =
    &[("GUILD_BANS", "GUILD_MODERATION"), ("GUILD_EXPRESSIONS", "GUILD_EMOJIS_AND_STICKERS")];

/// The set of intents that a session is opened with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Intents(u64);

impl Intents {
    /// Every intent.
    pub const ALL: Self = Self(bits(true));
    /// Every intent that needs no leave in the developer portal.
    pub const UNPRIVILEGED: Self = Self(bits(false));

    /// Reads names with commas, `ALL`, `UNPRIVILEGED`, `NONE` or the number.
    ///
    /// # Errors
    ///
    /// [`Invalid`] for a name that no intent has and for a number with bits that no intent has.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if let Ok(number) = text.trim().parse::<u64>() {
            let unknown = number & !Self::ALL.0;
            return if unknown == 0 {
                Ok(Self(number))
            } else {
                Err(Invalid::new(format!("has the bits {unknown:#x}, which are no intents")))
            };
        }
        let mut set = 0;
        for word in text.split([',', '|']).map(str::trim).filter(|word| !word.is_empty()) {
            set |= Self::word(word)?.0;
        }
        if set == 0 && !text.trim().eq_ignore_ascii_case("NONE") {
            return Err(Invalid::new("names no intent"));
        }
        Ok(Self(set))
    }

    fn word(word: &str) -> Result<Self, Invalid> {
        let upper = word.to_ascii_uppercase().replace('-', "_");
        let named = ALIASES.iter().find(|(old, _)| *old == upper).map_or(&*upper, |(_, new)| new);
        match named {
            "ALL" => Ok(Self::ALL),
            "UNPRIVILEGED" => Ok(Self::UNPRIVILEGED),
            "NONE" => Ok(Self(0)),
            _ => match INTENTS.iter().find(|intent| intent.name == named) {
                Some(intent) => Ok(Self(1 << intent.bit)),
                None => {
                    let names = INTENTS.iter().map(|intent| intent.name);
                    let meant = closest(&upper, names.chain(["ALL", "UNPRIVILEGED"]));
                    let invalid = Invalid::new(format!("has {word:?}, which is no intent"));
                    Err(Invalid { instead: meant.map(str::to_owned), ..invalid })
                }
            },
        }
    }

    /// The number that IDENTIFY carries.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The intents that are in the set, in the order of their bits.
    pub fn named(self) -> impl Iterator<Item = &'static NamedIntent> {
        INTENTS.iter().filter(move |intent| self.0 & (1 << intent.bit) != 0)
    }

    /// The names of those that Discord refuses with 4014 unless they are enabled in the developer portal.
    pub fn privileged(self) -> impl Iterator<Item = &'static str> {
        self.named().filter(|intent| intent.privileged).map(|intent| intent.name)
    }
}

impl fmt::Display for Intents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ALL => f.write_str("ALL"),
            Self::UNPRIVILEGED => f.write_str("UNPRIVILEGED"),
            Self(0) => f.write_str("NONE"),
            _ => f.write_str(&self.named().map(|intent| intent.name).collect::<Vec<_>>().join(",")),
        }
    }
}

const fn bits(with_privileged: bool) -> u64 {
    let mut set = 0;
    let mut nth = 0;
    while nth < INTENTS.len() {
        if with_privileged || !INTENTS[nth].privileged {
            set |= 1 << INTENTS[nth].bit;
        }
        nth += 1;
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_sets_are_understood() {
        assert_eq!(Intents::parse("GUILDS, guild_messages").unwrap().bits(), 1 | 1 << 9);
        assert_eq!(Intents::parse("513").unwrap().bits(), 513);
        assert_eq!(
            Intents::parse("unprivileged,MESSAGE_CONTENT")
                .unwrap()
                .privileged()
                .collect::<Vec<_>>(),
            ["MESSAGE_CONTENT"]
        );
        assert_eq!(Intents::parse("GUILD_BANS").unwrap().bits(), 1 << 2);
        assert_eq!(Intents::parse("0").unwrap().bits(), 0);
    }

    #[test]
    fn a_wrong_name_names_the_right_one() {
        let invalid = Intents::parse("GUILDS,GUILD_MESAGES").unwrap_err();

        assert_eq!(invalid.instead.as_deref(), Some("GUILD_MESSAGES"));
    }

    #[test]
    fn bits_that_are_no_intents_are_refused() {
        for text in ["131072", "-1", "", ",", "1.5", "99999999999999999999"] {
            assert!(Intents::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_reads_back_the_same() {
        for text in ["ALL", "UNPRIVILEGED", "NONE", "GUILDS,MESSAGE_CONTENT"] {
            assert_eq!(Intents::parse(text).unwrap().to_string(), text);
        }
    }
}
