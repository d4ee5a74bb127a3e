//! A dispatch before it has a sequence.

use std::{borrow::Cow, ops::Range};

use twilight_model::gateway::Intents;

use super::{kind::EventKind, write::Json};

/// A dispatch: Discord's name of the event and its data.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// What it is.
    pub kind: EventKind,
    /// Discord's name of it, the envelope's `t`.
    pub name: &'static str,
    /// The JSON text of the envelope's `d`.
    pub data: String,
    /// Where message content stands in `data`, in ascending order: what the message content intent covers.
    content: Vec<Range<usize>>,
}

impl Event {
    pub(super) fn new(kind: EventKind, json: Json) -> Self {
        let (data, content) = json.finish();
        Self { kind, name: kind.name(), data, content }
    }

    /// What a session with these intents gets to see of it: nothing, if no intent carries the kind; the message
    /// without its content, attachments and embeds, if `MESSAGE_CONTENT` is missing.
    #[must_use]
    pub fn data_for(&self, intents: u64) -> Option<Cow<'_, str>> {
        if !self.kind.reaches(intents) {
            return None;
        }
        if intents & Intents::MESSAGE_CONTENT.bits() != 0 || self.content.is_empty() {
            return Some(Cow::Borrowed(&self.data));
        }
        Some(Cow::Owned(self.without_content()))
    }

    fn without_content(&self) -> String {
        let mut text = String::with_capacity(self.data.len());
        let mut kept = 0;
        for range in &self.content {
            text.push_str(&self.data[kept..range.start]);
            text.push_str(match self.data.as_bytes()[range.start] {
                b'"' => "\"\"",
                b'[' => "[]",
                _ => "null",
            });
            kept = range.end;
        }
        text.push_str(&self.data[kept..]);
        text
    }
}
