//! How a command fails.

use std::{fmt, process::ExitCode};

use miette::{MietteDiagnostic, Report};

use crate::config::{ConfigError, ConfigErrors};

/// The exit status for what could not have been meant: sysexits' `EX_USAGE`.
pub(super) const USAGE: u8 = 64;

/// The exit status for what was meant but didn't work.
const FAILED: u8 = 1;

/// Why a command failed, for the operator.
#[derive(Debug)]
pub(super) struct Failure {
    status: u8,
    reports: Vec<MietteDiagnostic>,
    again: Again,
}

/// What asking a node once more would come to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Again {
    /// The same, as far as is known.
    #[default]
    Same,
    /// Something else once the cluster's state is another.
    AfterChange,
    /// Something else soon: nobody has answered.
    Soon,
}

impl Failure {
    /// It was meant, but didn't work.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self { status: FAILED, reports: vec![MietteDiagnostic::new(message)], again: Again::Same }
    }

    /// It could not have been meant.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { status: USAGE, reports: vec![MietteDiagnostic::new(message)], again: Again::Same }
    }

    /// What the operator can do.
    pub(super) fn help(mut self, advice: impl Into<String>) -> Self {
        if let Some(last) = self.reports.pop() {
            self.reports.push(last.with_help(advice));
        }
        self
    }

    pub(super) const fn with_again(mut self, again: Again) -> Self {
        self.again = again;
        self
    }

    pub(super) const fn again(&self) -> Again {
        self.again
    }

    /// What went wrong, in one line.
    pub(super) fn message(&self) -> String {
        let messages: Vec<_> = self.reports.iter().map(ToString::to_string).collect();
        messages.join("; ")
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.status)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let failure = Self::usage(error.to_string());
        match error.advice() {
            Some(advice) => failure.help(advice),
            None => failure,
        }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        let reports = errors.0.into_iter().flat_map(|error| Self::from(error).reports).collect();
        Self { status: USAGE, reports, again: Again::Same }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for report in &self.reports {
            // `Debug` is how miette draws a report.
            write!(f, "{:?}", Report::from(report.clone()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Environment, Sources, load};

    use super::*;

    #[test]
    fn every_wrong_setting_is_shown_with_its_advice() {
        let variables = [("APOLO_HTTP_ADDR", "3000"), ("SHARD_TIMEOUT", "soon")];
        let environment: Environment = variables.into_iter().collect();
        let errors = load(&Sources { environment, ..Sources::default() }).unwrap_err();

        let failure = Failure::from(errors);

        let shown = failure.to_string();
        assert!(shown.contains("APOLO_HTTP_ADDR") && shown.contains("SHARD_TIMEOUT"), "{shown}");
        assert_eq!(shown.matches("Expected").count(), 2, "{shown}");
        assert_eq!(failure.status, USAGE);
    }
}
