//! Log lines, metrics, and the last words of a panic.
//!
//! It starts what `tracing` and `metrics` write into; what is written is everybody else's business.

use std::{backtrace::Backtrace, fmt, panic, thread};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::config::{Config, LogFormat};
use crate::model::panic_text;

/// Crates whose INFO tells of their own insides: one level less, unless the operator names them.
const QUIET: &[(&str, &str)] = &[
    ("openraft", "warn"),
    // Ten lines a second for each member that is not there; `transport` says once that it is not.
    ("openraft::core::heartbeat", "error"),
    ("openraft::replication", "error"),
    ("openraft::engine::handler::replication_handler", "error"),
    ("sled", "warn"),
];

/// Seconds, from a heartbeat on the same machine to a handler that has all but stopped.
const SECONDS: &[f64] = &[
    0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0,
];

/// Logs or metrics were started before: a process has one of each.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("{0} were started before in this process")]
pub struct AlreadyStarted(&'static str);

/// Sends this process's log lines to `writer`, and a panic's last words too.
///
/// # Errors
///
/// [`AlreadyStarted`].
pub fn start_logs<W>(config: &Config, writer: W) -> Result<(), AlreadyStarted>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing::subscriber::set_global_default(subscriber(config, writer))
        .map_err(|_| AlreadyStarted("logs"))?;
    log_panics();
    Ok(())
}

/// What turns events into lines, as `config` wants them.
pub fn subscriber<W>(config: &Config, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().parse_lossy(directives(&config.log_level));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match config.log_format {
        LogFormat::Text => Box::new(lines.with_ansi(false).finish()),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).finish()),
    }
}

fn directives(level: &str) -> String {
    let mut directives: Vec<String> = QUIET
        .iter()
        .filter(|(target, _)| !level.contains(target.split("::").next().unwrap_or(target)))
        .filter(|_| !matches!(level.trim(), "off" | "error"))
        .map(|(target, level)| format!("{target}={level}"))
        .collect();
    directives.push(level.to_owned());
    directives.join(",")
}

/// Makes a panic one log line with its place, which a collector can find, instead of several on stderr. Where the
/// operator has turned logs off, the previous hook still speaks: a panic is never silent.
fn log_panics() {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !tracing::enabled!(tracing::Level::ERROR) {
            return previous(panic);
        }
        let thread = thread::current();
        tracing::error!(
            thread = thread.name().unwrap_or("unnamed"),
            place = panic.location().map(tracing::field::display),
            backtrace = %Backtrace::capture(),
            "panicked: {}",
            panic_text(panic.payload()),
        );
    }));
}

/// What this process counts, in Prometheus' text form.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    /// Memory, processor time and descriptors of this process.
    process: metrics_process::Collector,
}

impl Metrics {
    /// Takes in all that the process counts from here on. What was counted before is lost.
    ///
    /// # Errors
    ///
    /// [`AlreadyStarted`].
    pub fn start() -> Result<Self, AlreadyStarted> {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
            .expect("the buckets are not empty")
            .build_recorder();
        let metrics =
            Self { handle: recorder.handle(), process: metrics_process::Collector::default() };
        metrics::set_global_recorder(recorder).map_err(|_| AlreadyStarted("metrics"))?;
        metrics.process.describe();
        // An alert on the increase of what is not there yet misses the first.
        metrics::counter!("apolo_sessions_lost_total").increment(0);
        metrics::counter!("apolo_nodes_lost_total").increment(0);
        metrics::counter!("apolo_shards_silent_total").increment(0);
        metrics::counter!("apolo_shards_dead_total").increment(0);
        Ok(metrics)
    }

    /// All metrics, as `/metrics` shows them.
    #[must_use]
    pub fn render(&self) -> String {
        self.process.collect();
        self.handle.render()
    }

    /// Folds the samples that have gathered since the last call. To be called every few seconds: between two calls
    /// they take memory.
    pub fn fold(&self) {
        self.handle.run_upkeep();
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(config: &Config, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        tracing::subscriber::with_default(subscriber(config, move || writer.clone()), log);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_is_one_object_a_line_with_its_fields_on_top() {
        let config = Config { log_format: LogFormat::Json, ..Config::default() };

        let text = written(&config, || tracing::info!(shard = 7, "resumed"));

        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!((&line["message"], &line["shard"]), (&"resumed".into(), &7.into()));
    }

    #[test]
    fn lines_below_the_level_and_a_librarys_insides_are_left_out() {
        let text = written(&Config::default(), || {
            tracing::debug!("quiet");
            tracing::info!(target: "openraft::engine", "quiet");
            tracing::info!("heard");
        });

        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("heard"), "{text}");
    }

    #[test]
    fn a_library_that_the_operator_names_is_heard() {
        let config = Config { log_level: "warn,openraft=info".to_owned(), ..Config::default() };

        let text = written(&config, || tracing::info!(target: "openraft::engine", "heard"));

        assert!(text.contains("heard"), "{text}");
    }

    #[test]
    fn what_is_counted_is_rendered_with_buckets_for_seconds() {
        let metrics = Metrics::start().unwrap();

        metrics::counter!("apolo_test_total").increment(3);
        metrics::histogram!("apolo_test_seconds").record(0.02);
        metrics.fold();

        let text = metrics.render();
        assert!(text.contains("apolo_test_total 3"), "{text}");
        assert!(text.contains("apolo_test_seconds_bucket{le=\"0.025\"} 1"), "{text}");
        assert_eq!(Metrics::start().unwrap_err(), AlreadyStarted("metrics"));
    }

    /// A process has one hook, so one test sees it from both sides.
    #[test]
    fn a_panic_is_one_line_or_the_previous_hooks_where_logs_are_off() {
        let unheard = Arc::new(Mutex::new(Vec::new()));
        let heard_by = Arc::clone(&unheard);
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |panic| match panic_text(panic.payload()) {
            text @ ("the log is on" | "the log is off") => {
                heard_by.lock().unwrap().push(text.to_owned());
            }
            _ => previous(panic),
        }));
        log_panics();

        let config = Config { log_format: LogFormat::Json, ..Config::default() };
        let text = written(&config, || {
            let caught = panic::catch_unwind(|| panic!("the log is on"));
            assert!(caught.is_err());
        });
        let caught = panic::catch_unwind(|| panic!("the log is off"));

        assert!(caught.is_err());
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["message"], "panicked: the log is on");
        assert!(line["place"].as_str().is_some_and(|at| at.contains("telemetry.rs:")), "{line}");
        assert_eq!(*unheard.lock().unwrap(), ["the log is off"]);
    }
}
