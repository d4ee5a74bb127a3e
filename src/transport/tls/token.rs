//! The token that lets a node without the authority's key join: `apolo1.<id>.<secret>.<pin>`.
//!
//! The id is public; the secret is shown by the joiner once it has seen, by the pin, that it speaks with a member. Only
//! its salted hash is ever kept: 256 bits of chance need no slow hash.

use std::{fmt, str::FromStr};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use crate::model::TokenId;

/// The first part of every token of this form.
const FORM: &str = "apolo1";

/// What an authority's public key is known by: SHA-256 of its SPKI.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pin(pub [u8; 32]);

impl Pin {
    /// That of a public key in DER form.
    #[must_use]
    pub fn of(spki: &[u8]) -> Self {
        Self(sha256(&[spki]))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl FromStr for Pin {
    type Err = JoinTokenError;

    fn from_str(text: &str) -> Result<Self, JoinTokenError> {
        part(text).map(Self).ok_or(JoinTokenError::Part { part: "last", what: "key hash" })
    }
}

/// A token's secret. Its `Debug` keeps it to itself.
#[derive(Clone)]
pub struct JoinSecret([u8; 32]);

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinSecret(…)")
    }
}

impl JoinSecret {
    /// A new one, by chance.
    #[must_use]
    pub fn create() -> Self {
        Self(rand::random())
    }

    /// One that was sent.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret itself, for whoever sends it.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// What may be kept of it.
    #[must_use]
    pub fn salted(&self, salt: &[u8; 16]) -> [u8; 32] {
        sha256(&[salt, &self.0])
    }

    /// Whether this is the secret that was kept so. The time that it takes tells nothing.
    #[must_use]
    pub fn is(&self, salt: &[u8; 16], hash: &[u8; 32]) -> bool {
        self.salted(salt).ct_eq(hash).into()
    }
}

/// A whole token, as the joiner is given it.
#[derive(Clone, Debug)]
pub struct JoinToken {
    /// By which it is on record.
    pub id: TokenId,
    /// What proves that the joiner was invited.
    pub secret: JoinSecret,
    /// What proves to the joiner that it speaks with the cluster.
    pub pin: Pin,
}

impl JoinToken {
    /// The token as text, for the operator alone.
    #[must_use]
    pub fn expose(&self) -> String {
        let secret = BASE64_URL_SAFE_NO_PAD.encode(self.secret.0);
        format!("{FORM}.{}.{secret}.{}", self.id, self.pin)
    }
}

/// Why a text is no token. It repeats none of it.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum JoinTokenError {
    /// It does not begin as a token does.
    #[error("it does not begin with {FORM}.; make a token with `apolo token create`")]
    Form,
    /// It has too many parts or too few.
    #[error("a token has four parts with dots between, and this has {found}; copy all of it")]
    Parts {
        /// How many.
        found: usize,
    },
    /// A part is not what it should be.
    #[error("its {part} part is no {what}; copy all of it")]
    Part {
        /// Which one.
        part: &'static str,
        /// What it should be.
        what: &'static str,
    },
}

impl FromStr for JoinToken {
    type Err = JoinTokenError;

    fn from_str(text: &str) -> Result<Self, JoinTokenError> {
        let parts: Vec<_> = text.split('.').collect();
        if parts[0] != FORM {
            return Err(JoinTokenError::Form);
        }
        let [_, id, secret, pin] = parts[..] else {
            return Err(JoinTokenError::Parts { found: parts.len() });
        };
        let id = id.parse().map_err(|_| JoinTokenError::Part { part: "second", what: "id" })?;
        let secret = part(secret).ok_or(JoinTokenError::Part { part: "third", what: "secret" })?;
        Ok(Self { id, secret: JoinSecret(secret), pin: pin.parse()? })
    }
}

fn part(text: &str) -> Option<[u8; 32]> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// SHA-256 of the parts, one behind the other.
pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let hash = digest(&SHA256, &parts.concat());
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "apolo1.0000beef.AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE.AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI";

    #[test]
    fn a_token_reads_back_what_it_writes_and_shows_its_secret_to_nobody_else() {
        let token: JoinToken = TEXT.parse().unwrap();

        assert_eq!((token.id, token.pin), (TokenId(0xbeef), Pin([2; 32])));
        assert_eq!(token.secret.expose(), &[1; 32]);
        assert_eq!(token.expose(), TEXT);
        let shown = format!("{token:?}");
        assert!(!shown.contains("AQEB") && !shown.contains("1, 1"), "{shown}");
    }

    #[test]
    fn no_part_of_a_token_is_a_token_and_no_error_repeats_it() {
        for end in 0..TEXT.len() {
            let error = TEXT[..end].parse::<JoinToken>().unwrap_err();
            assert!(!error.to_string().contains("AQEB"), "{error}");
        }
        for wrong in [
            TEXT.replace("apolo1", "apolo2"),
            TEXT.replace("beef", "BEEF"),
            format!("{TEXT}.x"),
            format!("{TEXT} "),
            format!("{TEXT}="),
            TEXT.replace("AQEB", "AQE="),
        ] {
            assert!(wrong.parse::<JoinToken>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_known_by_its_salted_hash_alone() {
        let (secret, other) = (JoinSecret::create(), JoinSecret::create());
        let hash = secret.salted(&[7; 16]);

        assert!(secret.is(&[7; 16], &hash));
        assert!(!secret.is(&[8; 16], &hash));
        assert!(!other.is(&[7; 16], &hash));
    }
}
