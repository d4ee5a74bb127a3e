//! The name of a dispatch, without an allocation for the names that are known.

use std::fmt;

use twilight_model::gateway::event::EventType;

/// Discord's name of an event, such as `MESSAGE_CREATE`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EventName(Name);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Name {
    Known(EventType),
    Other(Box<str>),
}

impl EventName {
    /// Takes a name as it stands in a payload's `t`. Only one that twilight does not know costs an allocation.
    #[must_use]
    pub fn new(name: &str) -> Self {
        match EventType::try_from(name) {
            Ok(kind) if kind.name() == Some(name) => Self(Name::Known(kind)),
            Ok(_) | Err(_) => Self(Name::Other(name.into())),
        }
    }

    /// The name as Discord writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::Known(kind) => kind.name().unwrap_or_default(),
            Name::Other(name) => name,
        }
    }

    /// twilight's type for it, where it has one.
    #[must_use]
    pub const fn kind(&self) -> Option<EventType> {
        match self.0 {
            Name::Known(kind) => Some(kind),
            Name::Other(_) => None,
        }
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_name_has_a_kind_and_every_name_keeps_its_text() {
        let known = EventName::new("MESSAGE_CREATE");
        let other = EventName::new("SOMETHING_NEW");

        assert_eq!(
            (known.as_str(), known.kind()),
            ("MESSAGE_CREATE", Some(EventType::MessageCreate))
        );
        assert_eq!((other.as_str(), other.kind()), ("SOMETHING_NEW", None));
    }
}
