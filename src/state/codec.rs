//! Commands and states as bytes: a version, then postcard.
//!
//! postcard writes fields by position and variants by number. So variants are added at an enum's end, and any other
//! change takes a new version whose predecessor stays readable. `tests/data/` keeps bytes of every version.

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use super::{Command, State};
use crate::model::Format;

/// The version of most commands.
const VERSION: u8 = 1;

/// The version of commands that no apolo reads which reads [`Format::MIN`] alone: it must stop at one, not skip it.
const VERSION_OF_FORMATS: u8 = 2;

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
    let of_formats = matches!(command, Command::RaiseFormat(_));
    encode(if of_formats { VERSION_OF_FORMATS } else { VERSION }, command)
}

/// The command that `bytes` hold.
///
/// # Errors
///
/// [`CodecError`] where they hold none, or more than one.
pub fn decode_command(bytes: &[u8]) -> Result<Command, CodecError> {
    match bytes.split_first().ok_or(CodecError::Empty)? {
        (&(VERSION | VERSION_OF_FORMATS), rest) => {
            let command = decode(rest)?;
            if let Command::RaiseFormat(format) = command
                && format > Format::MAX
            {
                return Err(CodecError::Newer(format.0));
            }
            Ok(command)
        }
        (newer, _) => Err(CodecError::Newer(*newer)),
    }
}

/// A state as bytes, in the form that its cluster writes: its version is the format's number. Version 1 ends before the
/// nodes that are gone and the tokens, version 2 before the rosters, version 3 before what the bot keeps, version 4
/// before a restore of that, version 5 before the format.
#[must_use]
pub fn encode_state(state: &State) -> Vec<u8> {
    let mut bytes = encode(state.format().0, state);
    if state.format() == Format::MIN {
        bytes.pop();
    }
    bytes
}

/// The state that `bytes` hold.
///
/// # Errors
///
/// [`CodecError`] where they hold none, or more than one.
pub fn decode_state(bytes: &[u8]) -> Result<State, CodecError> {
    match bytes.split_first().ok_or(CodecError::Empty)? {
        (6, rest) => decode(rest),
        (5, rest) => decode(&[rest, &FORMAT_5[..]].concat()),
        // What an older version does not have is empty, which a byte 0 says.
        (4, rest) => decode(&[rest, &NO_RESTORE[..], &FORMAT_5].concat()),
        (3, rest) => decode(&[rest, &NO_USER[..], &FORMAT_5].concat()),
        (2, rest) => decode(&[rest, &[0], &NO_USER[..], &FORMAT_5].concat()),
        (1, rest) => decode(&[rest, &[0, 0, 0], &NO_USER[..], &FORMAT_5].concat()),
        (newer, _) => Err(CodecError::Newer(*newer)),
    }
}

/// A bot that keeps nothing: no revision, no time, no keys, no changes of which none is forgotten, no batches,
/// and nothing of [`NO_RESTORE`].
const NO_USER: [u8; 8] = [0; 8];

/// No restore under way, and none done.
const NO_RESTORE: [u8; 2] = [0; 2];

/// The format of a state that does not name one.
const FORMAT_5: [u8; 1] = [Format::MIN.0];

fn encode(version: u8, value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, vec![version])
        .expect("a Vec takes any length, and our types serialize")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, trailing) = postcard::take_from_bytes(bytes)?;
    if trailing.is_empty() { Ok(value) } else { Err(CodecError::Trailing(trailing.len())) }
}
