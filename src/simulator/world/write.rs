//! Writes JSON text, field by field.

use std::{fmt::Write as _, ops::Range};

use super::text::{push_escaped, push_hex, push_number, push_time};
use crate::model::UnixMillis;

/// JSON text in the making.
///
/// It puts the commas and the quotes; nesting is the caller's. There is no tree in between: a payload is written once,
/// front to back, into one string.
#[derive(Debug, Default)]
pub(super) struct Json {
    text: String,
    content: Vec<Range<usize>>,
}

impl Json {
    /// An empty text with room for `bytes`.
    pub(super) fn with_room(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), content: Vec::new() }
    }

    /// The finished text, and where message content stands in it.
    pub(super) fn finish(self) -> (String, Vec<Range<usize>>) {
        (self.text, self.content)
    }

    /// Where the value of a field will begin that is written next.
    pub(super) fn next_value(&self, key: &str) -> usize {
        let comma = !matches!(self.text.as_bytes().last(), None | Some(b'{'));
        self.text.len() + usize::from(comma) + key.len() + "\"\":".len()
    }

    /// Notes that the text from `start` on is message content, which not every session may see.
    pub(super) fn mark_content(&mut self, start: usize) {
        self.content.push(start..self.text.len());
    }

    /// Starts a value or a key: a comma, unless it is the first in its object or list or follows its key.
    fn separate(&mut self) -> &mut String {
        if !matches!(self.text.as_bytes().last(), None | Some(b'{' | b'[' | b':')) {
            self.text.push(',');
        }
        &mut self.text
    }

    fn key(&mut self, key: &'static str) {
        let text = self.separate();
        text.push('"');
        text.push_str(key);
        text.push_str("\":");
    }

    /// Opens an object that stands alone or in a list.
    pub(super) fn open(&mut self) {
        self.separate().push('{');
    }

    /// Opens the object of a field.
    pub(super) fn open_field(&mut self, key: &'static str) {
        self.key(key);
        self.text.push('{');
    }

    /// Closes an object.
    pub(super) fn close(&mut self) {
        self.text.push('}');
    }

    /// Opens the list of a field.
    pub(super) fn open_list(&mut self, key: &'static str) {
        self.key(key);
        self.text.push('[');
    }

    /// Closes a list.
    pub(super) fn close_list(&mut self) {
        self.text.push(']');
    }

    /// Writes constant members as they are: `"tts":false,"type":0`.
    pub(super) fn constant(&mut self, members: &'static str) {
        self.separate().push_str(members);
    }

    /// Writes a snowflake, which JSON carries as a string.
    pub(super) fn id(&mut self, key: &'static str, id: u64) {
        self.key(key);
        self.quoted(id);
    }

    /// Writes a snowflake as a list's element.
    pub(super) fn id_element(&mut self, id: u64) {
        self.separate();
        self.quoted(id);
    }

    /// Writes a string as a list's element.
    pub(super) fn string_element(&mut self, string: &str) {
        let text = self.separate();
        text.push('"');
        push_escaped(text, string);
        text.push('"');
    }

    /// Writes a number.
    pub(super) fn number(&mut self, key: &'static str, number: impl Into<i64>) {
        self.key(key);
        push_number(&mut self.text, number.into());
    }

    /// Writes a number as a list's element.
    pub(super) fn number_element(&mut self, number: u32) {
        push_number(self.separate(), number);
    }

    /// Opens the object of a field whose key is a snowflake.
    pub(super) fn open_id_field(&mut self, id: u64) {
        self.id_element(id);
        self.text.push_str(":{");
    }

    /// Writes a truth value.
    pub(super) fn flag(&mut self, key: &'static str, flag: bool) {
        self.key(key);
        self.text.push_str(if flag { "true" } else { "false" });
    }

    /// Writes a null.
    pub(super) fn null(&mut self, key: &'static str) {
        self.key(key);
        self.text.push_str("null");
    }

    /// Writes a string.
    pub(super) fn string(&mut self, key: &'static str, string: &str) {
        self.key(key);
        self.text.push('"');
        push_escaped(&mut self.text, string);
        self.text.push('"');
    }

    /// Writes a string that is put together from several.
    pub(super) fn strings(&mut self, key: &'static str, strings: &[&str]) {
        self.key(key);
        self.text.push('"');
        for string in strings {
            push_escaped(&mut self.text, string);
        }
        self.text.push('"');
    }

    /// Writes a string from format arguments, whose text must need no escape.
    pub(super) fn format(&mut self, key: &'static str, arguments: std::fmt::Arguments<'_>) {
        self.key(key);
        self.text.push('"');
        self.text.write_fmt(arguments).expect("writing to a string can't fail");
        self.text.push('"');
    }

    /// Writes an image's hash: 32 hexadecimal digits; animated ones begin with `a_`.
    pub(super) fn image(&mut self, key: &'static str, hash: u64) {
        self.key(key);
        self.text.push_str(if hash.is_multiple_of(9) { "\"a_" } else { "\"" });
        push_hex(&mut self.text, hash);
        push_hex(&mut self.text, hash.rotate_left(29) ^ 0x9e37_79b9_7f4a_7c15);
        self.text.push('"');
    }

    /// Writes a time in whole seconds since 1970.
    pub(super) fn seconds(&mut self, key: &'static str, time: UnixMillis) {
        self.number(key, i64::try_from(time.0 / 1_000).unwrap_or(i64::MAX));
    }

    /// Writes a time in milliseconds since 1970.
    pub(super) fn millis(&mut self, key: &'static str, time: UnixMillis) {
        self.number(key, i64::try_from(time.0).unwrap_or(i64::MAX));
    }

    /// Writes a time as Discord does: ISO 8601 in UTC with microseconds.
    pub(super) fn time(&mut self, key: &'static str, time: UnixMillis) {
        self.key(key);
        self.text.push('"');
        push_time(&mut self.text, time);
        self.text.push('"');
    }

    fn quoted(&mut self, id: u64) {
        self.text.push('"');
        push_number(&mut self.text, id);
        self.text.push('"');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_string_survives_the_way_through_json(string: String) {
            let mut json = Json::default();
            json.open();
            json.string("a", &string);
            json.strings("b", &[&string, &string]);
            json.close();

            let value: serde_json::Value = serde_json::from_str(&json.finish().0).unwrap();

            prop_assert_eq!(value["a"].as_str().unwrap(), &string);
            prop_assert_eq!(value["b"].as_str().unwrap(), string.repeat(2));
        }
    }

    #[test]
    fn commas_stand_between_members_and_nowhere_else() {
        let mut json = Json::default();
        json.open();
        json.id("id", 7);
        json.open_list("roles");
        json.id_element(1);
        json.id_element(2);
        json.open();
        json.close();
        json.close_list();
        json.open_field("user");
        json.flag("bot", false);
        json.null("avatar");
        json.number("flags", 64);
        json.close();
        json.constant("\"tts\":false");
        json.close();

        let text = json.finish().0;

        assert_eq!(
            text,
            r#"{"id":"7","roles":["1","2",{}],"user":{"bot":false,"avatar":null,"flags":64},"tts":false}"#
        );
    }
}
