//! A list of things that go wrong, each at its time.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use thiserror::Error;
use tokio::time::{Instant, sleep_until};

use super::{
    control::{self, Settings},
    core::Core,
    inject,
    injection::Injection,
};

/// Faults and changes of settings, each at its time since the start.
///
/// In TOML (or JSON with the same names): `at_ms`, and either a fault as the control API takes it, settings as it takes
/// them, or `clear = true`.
///
/// ```
/// use apolo::simulator::Scenario;
///
/// let scenario = Scenario::parse(
///     r#"
///     [[steps]]
///     at_ms = 5000
///     kind = "reconnect"
///
///     [[steps]]
///     at_ms = 9000
///     kind = "close"
///     code = 4009
///     when = "resume"
///     shards = [3]
///     times = 1
///
///     [[steps]]
///     at_ms = 20000
///     event_rate = 5000.0
///
///     [[steps]]
///     at_ms = 30000
///     clear = true
///     "#,
/// )?;
/// assert_eq!(scenario.len(), 4);
/// # Ok::<(), apolo::simulator::ScenarioError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Scenario {
    /// In the order of their times.
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
struct Step {
    at: Duration,
    action: Action,
}

#[derive(Clone, Debug)]
enum Action {
    Inject(Injection),
    Change(Settings),
    Clear,
}

/// Why a scenario can't be played.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum ScenarioError {
    /// The text is neither TOML nor JSON with `steps`.
    #[error("no scenario: {0}")]
    Unreadable(String),
    /// More steps than any scenario has.
    #[error("{0} steps are more than {STEPS_MAX}")]
    TooLong(usize),
    /// A step makes no sense.
    #[error("line {line}, step {number}: {reason}")]
    Step {
        /// Where the step begins, counted from 1.
        line: usize,
        /// Counted from 1.
        number: usize,
        /// Why, and what would be right.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Toml {
    steps: Vec<toml::Spanned<Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Json<'a> {
    #[serde(borrow)]
    steps: Vec<&'a RawValue>,
}

/// A step as it is written, and the byte at which it begins.
type Written = (usize, Value);

impl Scenario {
    /// Reads TOML, or JSON where the text begins with a brace.
    ///
    /// # Errors
    ///
    /// [`ScenarioError`], which names the line.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let written =
            if text.trim_start().starts_with('{') { of_json(text) } else { of_toml(text) };
        let written = written.map_err(ScenarioError::Unreadable)?;
        if written.len() > STEPS_MAX {
            return Err(ScenarioError::TooLong(written.len()));
        }
        let read = |(index, (begin, step)): (usize, Written)| {
            let line = text.bytes().take(begin).filter(|byte| *byte == b'\n').count() + 1;
            let number = index + 1;
            Step::read(step).map_err(|reason| ScenarioError::Step { line, number, reason })
        };
        let mut steps: Vec<Step> =
            written.into_iter().enumerate().map(read).collect::<Result<_, _>>()?;
        steps.sort_by_key(|step| step.at);
        Ok(Self { steps })
    }

    /// How many steps it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether nothing goes wrong.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl Step {
    fn read(step: Value) -> Result<Self, String> {
        let Value::Object(mut step) = step else { return Err(NO_TIME.to_owned()) };
        let at_ms = step.remove("at_ms").and_then(|at| at.as_u64());
        let at = Duration::from_millis(at_ms.ok_or(NO_TIME)?);
        let action = if step.contains_key("kind") {
            let injection = Injection::from_json(Value::Object(step)).map_err(|e| e.to_string())?;
            injection.check().map_err(|error| error.to_string())?;
            Action::Inject(injection)
        } else if step.remove("clear") == Some(Value::Bool(true)) && step.is_empty() {
            Action::Clear
        } else {
            let settings: Settings =
                serde_json::from_value(Value::Object(step)).map_err(|error| error.to_string())?;
            if settings == Settings::default() || !settings.is_possible() {
                return Err(NOTHING.to_owned());
            }
            Action::Change(settings)
        };
        Ok(Self { at, action })
    }
}

fn of_toml(text: &str) -> Result<Vec<Written>, String> {
    let written: Toml = toml::from_str(text).map_err(|error| error.to_string())?;
    Ok(written.steps.into_iter().map(|step| (step.span().start, step.into_inner())).collect())
}

fn of_json(text: &str) -> Result<Vec<Written>, String> {
    let written: Json<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let read = |step: &RawValue| {
        // The raw text is a part of the whole, so their addresses tell where it begins.
        let begin = step.get().as_ptr().addr() - text.as_ptr().addr();
        let step = serde_json::from_str(step.get()).map_err(|error| error.to_string())?;
        Ok((begin, step))
    };
    written.steps.into_iter().map(read).collect()
}

/// Plays a scenario to its end, or until the simulator stops.
pub(super) async fn play(core: Arc<Core>, scenario: Scenario) {
    let start = Instant::now();
    for step in scenario.steps {
        tokio::select! {
            () = sleep_until(start + step.at) => {}
            () = core.stopped() => return,
        }
        match &step.action {
            Action::Inject(injection) => {
                if let Err(error) = inject::inject(&core, injection) {
                    tracing::warn!(%error, "a scenario's fault was not injected");
                }
            }
            Action::Change(settings) => control::apply(&core, *settings),
            Action::Clear => inject::clear(&core),
        }
    }
}

const NO_TIME: &str = "at_ms must be the step's time in whole milliseconds since the start";

const NOTHING: &str = "expected kind = \"...\" with what the fault needs, settings such as event_rate, or clear = true";

/// More steps than any scenario has.
const STEPS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> String {
        Scenario::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn steps_are_played_in_the_order_of_their_times() {
        let text = r#"{ "steps": [
            { "at_ms": 20, "clear": true },
            { "at_ms": 10, "kind": "garbage", "what": { "deep": { "depth": 9 } } }
        ] }"#;

        let scenario = Scenario::parse(text).unwrap();

        assert!(matches!(scenario.steps[0].action, Action::Inject(_)));
        assert!(matches!(scenario.steps[1].action, Action::Clear));
    }

    #[test]
    fn a_step_that_makes_no_sense_is_named() {
        let wrong = "[[steps]]\nat_ms = 1\nclear = true\n[[steps]]\nat_ms = 2\n";

        let nothing = reason(&format!("{wrong}kind = \"nothing\""));
        assert!(nothing.starts_with("line 4, step 2: no fault"), "{nothing}");
        assert!(nothing.contains("expected one of `reconnect`"), "{nothing}");
        assert!(reason(&format!("{wrong}kind = \"down\"\nshard = 1")).contains("`shard`"));
        assert!(reason(&format!("{wrong}rate = 5")).contains("unknown field `rate`"));
        assert!(reason(wrong).contains("clear = true"));
        assert!(reason("[[steps]]\nkind = \"down\"").contains("at_ms"));
        assert!(reason("[[steps]]\nat_ms = ").contains("line 2"));
        assert!(reason("[steps").starts_with("no scenario"));
        let json = "{ \"steps\": [\n { \"at_ms\": 1, \"clear\": true },\n { \"at_ms\": 2 }\n] }";
        assert!(reason(json).starts_with("line 3, step 2: "), "{}", reason(json));
    }
}
