//! The bot's token, which must never be printed.

use std::fmt;

/// A Discord bot token without the `Bot ` prefix.
///
/// It has no `Display` and no serde, and its `Debug` prints `<redacted>`: the one way to the text is
/// [`Token::expose`], whose callers can be counted.
#[derive(Clone, Eq, PartialEq)]
pub struct Token(Box<str>);

impl Token {
    /// Takes a token as the operator wrote it: surrounding white space and a `Bot ` prefix are dropped.
    ///
    /// Returns `None` where nothing is left, or where what is left could not be an HTTP header's value.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bare = text.strip_prefix("Bot");
        let bare = bare.filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        let text = bare.unwrap_or(text).trim();
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        (!text.is_empty() && printable).then(|| Self(text.into()))
    }

    /// The token's text, for the `Authorization` header and the IDENTIFY payload alone.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_the_token() {
        let token = Token::parse("MTA.abc.def").unwrap();

        assert_eq!(format!("{token:?} {:?}", Some(&token)), "<redacted> Some(<redacted>)");
    }

    #[test]
    fn a_bot_prefix_and_white_space_are_dropped() {
        assert_eq!(Token::parse(" Bot abc\n").unwrap().expose(), "abc");
    }

    #[test]
    fn text_that_no_header_can_carry_is_refused() {
        for text in ["", "  ", "Bot ", "a b", "a\u{7f}", "tök"] {
            assert_eq!(Token::parse(text), None, "{text:?}");
        }
    }
}
