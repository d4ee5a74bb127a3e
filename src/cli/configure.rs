//! From flags to a configuration.

use std::io::{self, Write};

use crate::config::{Config, Environment, Flags, load};

use super::Failure;

/// Reads everything that can be set, and tells on stderr what the operator should hear.
pub(super) fn configure<const CLIENT: bool>(flags: Flags<CLIENT>) -> Result<Config, Failure> {
    let loaded = load(&flags.sources(Environment::of_process())?)?;
    for warning in loaded.warnings.iter().filter(|_| !CLIENT) {
        warn(warning);
    }
    Ok(loaded.config)
}

/// Tells the operator what deserves a second look.
pub(super) fn warn(warning: &str) {
    let _ = writeln!(io::stderr().lock(), "warning: {warning}");
}
