//! Where values come from.

use std::{collections::BTreeMap, env, ffi::OsString, fmt, path::PathBuf};

/// Where a value came from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// A flag, by its name without `--`.
    Flag(&'static str),
    /// An environment variable.
    Environment(String),
    /// A line of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// A file that an environment variable named, as mounted secrets are.
    SecretFile {
        /// The variable.
        variable: String,
        /// The file.
        path: PathBuf,
    },
    /// The name of this machine.
    Host,
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(key) => write!(f, "from the flag --{key}"),
            Self::Environment(variable) => write!(f, "from the environment variable {variable}"),
            Self::File { path, line } => write!(f, "from {}, line {line}", path.display()),
            Self::SecretFile { variable, path } => {
                write!(f, "from the file {} that {variable} names", path.display())
            }
            Self::Host => f.write_str("the host's name"),
            Self::Default => f.write_str("the default"),
        }
    }
}

/// What [`load`](super::load) reads, as values: a test hands over its own.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The flags that were given, by key.
    pub flags: BTreeMap<&'static str, String>,
    /// The environment.
    pub environment: Environment,
    /// `--config`.
    pub file: Option<PathBuf>,
}

/// Environment variables. A variable that is set to nothing counts as not set, since that is what Compose and
/// Kubernetes make of one that was left out.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, OsString>,
}

impl Environment {
    /// This process's environment. No other code of the crate reads it.
    #[must_use]
    pub fn of_process() -> Self {
        let named = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        Self { variables: env::vars_os().filter_map(named).collect() }
    }

    /// The variable's value, where it is set to something.
    ///
    /// # Errors
    ///
    /// The value itself where it is not UTF-8.
    pub(super) fn value(&self, name: &str) -> Result<Option<&str>, &OsString> {
        match self.variables.get(name) {
            Some(value) if !value.is_empty() => value.to_str().map(Some).ok_or(value),
            _ => Ok(None),
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name.as_str())
    }
}

impl<N: Into<String>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let owned = |(name, value): (N, V)| (name.into(), value.into());
        Self { variables: variables.into_iter().map(owned).collect() }
    }
}

/// Names alone: values are other people's secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}
