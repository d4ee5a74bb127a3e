//! Where a value is: a namespace and a key.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    UserRefusal,
    limits::{KEY_BYTES_MAX, NAMESPACE_BYTES_MAX},
};

/// A key in its namespace. Cheap to clone. The order is that of the bytes, namespace by namespace.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Path {
    /// 1 to [`NAMESPACE_BYTES_MAX`] bytes.
    pub namespace: Arc<str>,
    /// 1 to [`KEY_BYTES_MAX`] bytes.
    pub key: Arc<str>,
}

impl Path {
    /// The key in the namespace.
    #[must_use]
    pub fn new(namespace: impl Into<Arc<str>>, key: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), key: key.into() }
    }

    /// Its length in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.namespace.len() + self.key.len()
    }

    /// Whether it is one that there can be.
    ///
    /// # Errors
    ///
    /// [`UserRefusal::Length`].
    pub fn check(&self) -> Result<(), UserRefusal> {
        length("namespace", self.namespace.len(), 1, NAMESPACE_BYTES_MAX)?;
        length("key", self.key.len(), 1, KEY_BYTES_MAX)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.key)
    }
}

pub(super) fn length(
    what: &str,
    bytes: usize,
    least: usize,
    most: usize,
) -> Result<(), UserRefusal> {
    if (least..=most).contains(&bytes) {
        Ok(())
    } else {
        Err(UserRefusal::Length { what: what.to_owned(), bytes, least, most })
    }
}
