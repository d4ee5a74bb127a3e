//! Imports point downward, foreign crates stay home, files stay small, folders say what they are for.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// What each module may import. A module without a row fails.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("config", &["model"]),
    ("telemetry", &["model", "config"]),
    ("state", &["model"]),
    ("placement", &["model", "state"]),
    ("backup", &["model", "state"]),
    ("store", &["model"]),
    ("transport", &["model"]),
    ("cluster", &["model", "store", "transport"]),
    ("lease", &["model", "state"]),
    ("raft", &["model", "state", "store", "transport"]),
    ("invite", &["model", "state", "raft", "transport", "cluster"]),
    ("ipc", &["model", "state", "transport"]),
    ("kubernetes", &[]),
    ("kv", &["model", "state", "raft", "lease"]),
    ("gateway", &["model"]),
    ("simulator", &["model"]),
    ("bot", &["model", "state", "gateway", "ipc", "kv", "lease"]),
    ("control", &["model", "state", "placement", "raft", "gateway", "lease", "transport"]),
    (
        "agent",
        &[
            "model",
            "state",
            "placement",
            "raft",
            "ipc",
            "kv",
            "gateway",
            "bot",
            "lease",
            "transport",
        ],
    ),
    ("timeline", &["model", "state"]),
    ("http", &["model", "state", "timeline"]),
    (
        "consumer",
        // Its types are also what the API says of what the bot keeps.
        &["model", "state", "gateway", "lease", "ipc", "bot", "agent", "http"],
    ),
    (
        "node",
        &[
            "model",
            "config",
            "telemetry",
            "state",
            "placement",
            "store",
            "raft",
            "ipc",
            "kubernetes",
            "kv",
            "gateway",
            "bot",
            "control",
            "agent",
            "http",
            "consumer",
            "backup",
            "cluster",
            "lease",
            "transport",
            "invite",
            "simulator",
            "timeline",
        ],
    ),
    ("apolo", &["model", "config", "telemetry", "ipc", "gateway", "bot", "node"]),
    (
        "cli",
        &[
            "model",
            "config",
            "telemetry",
            "state",
            // The clock that goes on in a suspend.
            "lease",
            "gateway",
            "bot",
            "agent",
            "http",
            "consumer",
            "backup",
            "node",
            "timeline",
            "transport",
            "simulator",
        ],
    ),
];

/// Where each foreign crate may be named. An upgrade of one touches one folder.
const HOMES: &[(&str, &[&str])] = &[
    ("sled", &["store"]),
    ("openraft", &["raft"]),
    ("twilight_gateway", &["gateway"]),
    // Its types are the bot's API, so whoever handles an event or an intent may name them.
    ("twilight_model", &["gateway", "simulator", "bot", "agent", "node", "cli"]),
    ("quinn", &["transport"]),
    ("hickory_resolver", &["cluster"]),
    ("rcgen", &["transport"]),
    ("x509_parser", &["transport"]),
    ("socket2", &["transport"]),
    ("base64", &["transport", "consumer"]),
    // What benchmarks measure against.
    ("redis", &[]),
    ("async_nats", &[]),
    ("clap", &["cli", "config"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("miette", &["cli"]),
    ("indicatif", &["cli"]),
    ("comfy_table", &["cli"]),
    ("axum", &["http", "simulator"]),
    ("tokio_websockets", &["simulator", "gateway", "consumer"]),
    ("toml", &["config", "simulator"]),
    ("metrics_exporter_prometheus", &["telemetry"]),
    ("metrics_process", &["telemetry"]),
];

/// Files of the crate's root: the story and its facade, and the exit code.
const ROOTS: &[(&str, &[&str])] = &[("lib", &[]), ("main", &["cli"])];

/// No file is longer. It may fall, never rise.
const LINES_MAX: usize = 600;

/// Of the environment, `config` alone may read.
const ENVIRONMENT_READERS: &[&str] = &["config"];

struct Source {
    path: PathBuf,
    module: String,
    text: String,
}

#[test]
fn imports_point_downward() {
    let complaints = each_line(|source, line| {
        if ROOTS.iter().any(|(root, _)| *root == source.module) {
            return None;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(module, _)| *module == source.module)
        else {
            let import = paths_after(line, "crate::").next()?;
            let module = &source.module;
            return Some(format!("`{module}` imports `{import}`, and has no row in MAY_IMPORT"));
        };
        let import = paths_after(line, "crate::")
            .find(|import| *import != source.module && !allowed.contains(import))?;
        Some(format!("`{}` must not import `{import}`", source.module))
    });

    assert!(complaints.is_empty(), "{complaints}");
}

#[test]
fn foreign_crates_stay_home() {
    let complaints = each_line(|source, line| {
        let (stranger, homes) = HOMES
            .iter()
            .find(|(stranger, homes)| names(line, stranger) && !homes.contains(&&*source.module))?;
        Some(format!("`{stranger}` lives in `{}`", homes.join("`, `")))
    });

    assert!(complaints.is_empty(), "{complaints}");
}

#[test]
fn config_alone_reads_the_environment() {
    let complaints = each_line(|source, line| {
        let reads = ["env::var", "env::vars"].iter().any(|call| line.contains(call));
        (reads && !ENVIRONMENT_READERS.contains(&&*source.module))
            .then(|| "only `config` reads the environment".to_owned())
    });

    assert!(complaints.is_empty(), "{complaints}");
}

/// Whoever collects the lines as JSON can't compare a text with a number.
#[test]
fn a_shard_is_a_number_in_every_log_line() {
    let complaints = each_line(|_, line| {
        let text =
            ["%shard", "shard = %", "?shard,", "shard = ?"].iter().any(|it| line.contains(it));
        text.then(|| "write `shard = shard.0`".to_owned())
    });

    assert!(complaints.is_empty(), "{complaints}");
}

#[test]
fn no_file_grows_beyond_the_ratchet() {
    let mut complaints = String::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            let _ = writeln!(
                complaints,
                "{}: {lines} lines, {LINES_MAX} at most",
                source.path.display()
            );
        }
    }

    assert!(complaints.is_empty(), "{complaints}");
}

#[test]
fn every_folder_says_what_it_is_for() {
    let mut complaints = String::new();
    for source in sources() {
        if source.path.ends_with("mod.rs") && !source.text.starts_with("//! ") {
            let _ = writeln!(complaints, "{}: must start with `//!`", source.path.display());
        }
    }

    assert!(complaints.is_empty(), "{complaints}");
}

#[test]
fn no_module_has_two_rows() {
    let mut modules: Vec<_> = MAY_IMPORT.iter().map(|(module, _)| module).collect();
    modules.sort_unstable();
    modules.dedup();

    assert_eq!(modules.len(), MAY_IMPORT.len());
}

#[test]
fn the_scanner_finds_what_it_looks_for() {
    let line = "use crate::model::Epoch; crate::state::State; self::crate_like::x";

    assert_eq!(paths_after(line, "crate::").collect::<Vec<_>>(), ["model", "state"]);
    let group = spell_out_groups("use crate::{\n    model::{A, B},\n    state::{self, C},\n};\n");
    let lines: Vec<_> = group.lines().flat_map(|line| paths_after(line, "crate::")).collect();
    assert_eq!(lines, ["model", "state"]);
    assert_eq!(group.lines().count(), 4);
    assert!(names("use sled::Db;", "sled"));
    assert!(names("fn f(db: &sled::Db) {}", "sled"));
    assert!(!names("use unsled::Db;", "sled"));
    assert!(!names("mod sled_like;", "sled"));
    assert!(!names(r#"info!(target: "sled::tree", "…")"#, "sled"));
}

/// Asks `judge` about every line of code, and collects `path:line: complaint`.
fn each_line(judge: impl Fn(&Source, &str) -> Option<String>) -> String {
    let mut complaints = String::new();
    for source in sources() {
        for (nth, line) in source.text.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            if let Some(complaint) = judge(&source, line) {
                let _ = writeln!(complaints, "{}:{}: {complaint}", source.path.display(), nth + 1);
            }
        }
    }
    complaints
}

/// `use crate::{model::A, state::B}` with `crate::` before each word too, on the lines where they stand.
fn spell_out_groups(text: &str) -> String {
    const OPEN: &str = "crate::{";
    let mut spelled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(OPEN) {
        let (before, group) = rest.split_at(at + OPEN.len());
        spelled.push_str(before);
        let (mut depth, mut awaited, mut end) = (1, true, group.len());
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => awaited = true,
                _ if awaited && is_word(c) => {
                    spelled.push_str("crate::");
                    awaited = false;
                }
                _ => {}
            }
            if depth == 0 {
                end = at;
                break;
            }
            spelled.push(c);
        }
        rest = &group[end..];
    }
    spelled + rest
}

/// The words that follow `prefix` where that stands by itself.
fn paths_after<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let starts = line.match_indices(prefix).filter(|(at, _)| !line[..*at].ends_with(is_word));
    starts.filter_map(move |(at, _)| {
        let rest = &line[at + prefix.len()..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        // `crate::Name` is the facade's, not a module's.
        (end > 0 && rest.starts_with(|c: char| c.is_ascii_lowercase())).then(|| &rest[..end])
    })
}

fn names(line: &str, stranger: &str) -> bool {
    let path = format!("{stranger}::");
    let in_text = |at: usize| line[..at].matches('"').count() % 2 == 1;
    let called =
        line.match_indices(&path).any(|(at, _)| !line[..at].ends_with(is_word) && !in_text(at));
    called || line.trim() == format!("use {stranger};")
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(source(&root, path));
            }
        }
    }
    assert!(found.len() > 10, "the sources are not where this test looks for them");
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn source(root: &Path, path: PathBuf) -> Source {
    let text = spell_out_groups(&fs::read_to_string(&path).expect("a source is UTF-8"));
    let inside = path.strip_prefix(root).expect("it was found below the root");
    let first = inside.iter().next().expect("it has a name").to_string_lossy();
    let module = first.trim_end_matches(".rs").to_owned();
    Source { path: inside.to_owned(), module, text }
}
