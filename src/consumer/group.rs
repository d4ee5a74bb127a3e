//! The name of a group of consumers.

use std::{fmt, sync::Arc};

use thiserror::Error;

/// The group of whoever names none, and the one that events wait for unless the operator says otherwise.
pub const GROUP_DEFAULT: &str = "bot";

/// The longest name: it is a metric's label.
const NAME_BYTES_MAX: usize = 63;

/// Consumers that share a node's events. Each group gets them all.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Group(Arc<str>);

/// A name that no group can have.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a group's name is 1 to 63 letters, digits, '-', '_' or '.'")]
pub struct GroupError;

impl Group {
    /// The group of this name.
    ///
    /// # Errors
    ///
    /// [`GroupError`].
    pub fn new(name: &str) -> Result<Self, GroupError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let fits = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed);
        if fits { Ok(Self(name.into())) } else { Err(GroupError) }
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
