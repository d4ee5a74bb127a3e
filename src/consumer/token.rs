//! What a consumer shows to be let in.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use ring::rand::{SecureRandom as _, SystemRandom};
use thiserror::Error;

use crate::model::Token;

/// The generated token's file in the data directory.
pub const TOKEN_FILE: &str = "bot.token";

/// Random bytes of a generated token: nobody guesses it.
const RANDOM_BYTES: usize = 32;

/// More is not what was generated.
const FILE_BYTES_MAX: u64 = 4_096;

/// The token can't be had.
#[derive(Debug, Error)]
#[error(
    "the consumers' token in {path} can't be had: {reason}; remove the file, or set APOLO_BOT_TOKEN"
)]
pub struct TokenError {
    path: PathBuf,
    reason: io::Error,
}

/// The token in the data directory, which is generated where there is none yet, for its owner alone.
///
/// # Errors
///
/// [`TokenError`].
pub fn token(directory: &Path) -> Result<Token, TokenError> {
    let path = directory.join(TOKEN_FILE);
    read_or_generate(&path).map_err(|reason| TokenError { path, reason })
}

fn read_or_generate(path: &Path) -> io::Result<Token> {
    let mut text = String::new();
    match fs::File::open(path) {
        Ok(file) => drop(file.take(FILE_BYTES_MAX).read_to_string(&mut text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return generate(path),
        Err(error) => return Err(error),
    }
    Token::parse(&text).ok_or_else(|| io::Error::other("it holds no token"))
}

fn generate(path: &Path) -> io::Result<Token> {
    let mut bytes = [0; RANDOM_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("no randomness"))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    // Whole or not at all: a process that dies in between leaves no half of a token.
    let new = path.with_extension("token.new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    Token::parse(&text).ok_or_else(|| io::Error::other("it holds no token"))
}
