use super::{protocol::say, subject::Subject};
use std::{
    io::{self, Write},
    path::Path,
};

/// Opens what is left of a subject in `directory` and says what it holds.
///
/// # Errors
///
/// A standard output that nobody reads; everything else is a finding.
pub fn check(subject: Subject, directory: &Path, out: &mut impl Write) -> io::Result<()> {
    let found = match subject.open(directory) {
        Ok(journal) => journal.find(),
        Err(found) => found,
    };
    say(out, &found)
}
