//! Commands and states as bytes: a version, then postcard.
//!
//! postcard writes fields by position and variants by number. So variants are added at an enum's end, and any other
//! change takes a new version whose predecessor stays readable. `tests/data/` keeps bytes of every version.

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use super::{Command, State};

/// The version of commands that is written.
const VERSION: u8 = 1;

/// The version of states that is written. Version 1 ends before the nodes that are gone and the tokens, version 2 before
/// the rosters, version 3 before what the bot keeps, version 4 before a restore of that.
const STATE_VERSION: u8 = 5;

/// Bytes that are no command or state.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum CodecError {
    /// Nothing at all.
    #[error("decode: no bytes")]
    Empty,
    /// Written by a newer apolo.
    #[error("decode: format version {0} is newer than what this apolo reads; update apolo")]
    Newer(u8),
    /// Not what the version says.
    #[error("decode: {0}")]
    Malformed(#[from] postcard::Error),
    /// More bytes than the value takes.
    #[error("decode: {0} bytes too many")]
    Trailing(usize),
}

/// A command as bytes.
#[must_use]
pub fn encode_command(command: &Command) -> Vec<u8> {
    encode(VERSION, command)
}

/// The command that `bytes` hold.
///
/// # Errors
///
/// [`CodecError`] where they hold none, or more than one.
pub fn decode_command(bytes: &[u8]) -> Result<Command, CodecError> {
    match bytes.split_first().ok_or(CodecError::Empty)? {
        (&VERSION, rest) => decode(rest),
        (newer, _) => Err(CodecError::Newer(*newer)),
    }
}

/// A state as bytes.
#[must_use]
pub fn encode_state(state: &State) -> Vec<u8> {
    encode(STATE_VERSION, state)
}

/// The state that `bytes` hold.
///
/// # Errors
///
/// [`CodecError`] where they hold none, or more than one.
pub fn decode_state(bytes: &[u8]) -> Result<State, CodecError> {
    match bytes.split_first().ok_or(CodecError::Empty)? {
        (&STATE_VERSION, rest) => decode(rest),
        // What an older version does not have is empty, which a byte 0 says.
        (4, rest) => decode(&[rest, &NO_RESTORE[..]].concat()),
        (3, rest) => decode(&[rest, &NO_USER[..]].concat()),
        (2, rest) => decode(&[rest, &[0], &NO_USER[..]].concat()),
        (1, rest) => decode(&[rest, &[0, 0, 0], &NO_USER[..]].concat()),
        (newer, _) => Err(CodecError::Newer(*newer)),
    }
}

/// A bot that keeps nothing: no revision, no time, no keys, no changes of which none is forgotten, no batches,
/// and nothing of [`NO_RESTORE`].
const NO_USER: [u8; 8] = [0; 8];

/// No restore under way, and none done.
const NO_RESTORE: [u8; 2] = [0; 2];

fn encode(version: u8, value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, vec![version])
        .expect("a Vec takes any length, and our types serialize")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, trailing) = postcard::take_from_bytes(bytes)?;
    if trailing.is_empty() { Ok(value) } else { Err(CodecError::Trailing(trailing.len())) }
}
