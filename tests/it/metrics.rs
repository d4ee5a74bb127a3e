//! The page about metrics, the code, and what is drawn and alerted on by them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

/// Every metric that the code names, and its type.
fn in_code(directory: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).expect("a folder of the repository") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            in_code(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            let kinds = ["counter", "gauge", "histogram"];
            for (at, _) in text.match_indices("\"apolo_") {
                let name: String = text[at + 1..].chars().take_while(|c| *c != '"').collect();
                let before = &text[..at];
                let kind = kinds.into_iter().max_by_key(|kind| before.rfind(&format!("{kind}!(")));
                let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
                if is_name && !name.starts_with("apolo_test_") {
                    found.insert(name, kind.expect("there are three").to_owned());
                }
            }
        }
    }
}

/// Every metric that the page has a row for, and its type.
fn on_page(text: &str) -> BTreeMap<String, String> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `apolo_"));
    let row = |row: &str| {
        let mut cells = row.split('|').map(str::trim);
        let name = cells.next()?.strip_suffix('`')?;
        Some((format!("apolo_{name}"), cells.next()?.to_owned()))
    };
    rows.filter_map(row).collect()
}

/// Every metric that some rules name.
fn in_rules(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let names = text.match_indices("apolo_").map(|(at, _)| {
        let name: String = text[at..].chars().take_while(|c| is_name(*c)).collect();
        name.trim_end_matches("_bucket").to_owned()
    });
    names.collect()
}

#[test]
fn rules_name_only_metrics_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = BTreeMap::new();
    in_code(&root.join("src"), &mut code);
    let rules = fs::read_to_string(root.join("deploy/prometheus/rules.yml")).expect("the rules");

    let unknown: Vec<_> =
        in_rules(&rules).into_iter().filter(|name| !code.contains_key(name)).collect();

    assert!(unknown.is_empty(), "{unknown:?}");
}

/// What Prometheus' own clients have, and `metrics-process` with them.
const OF_A_PROCESS: [&str; 8] = [
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
    "process_virtual_memory_bytes",
    "process_virtual_memory_max_bytes",
];

/// Every metric that is asked for somewhere in a dashboard.
fn in_dashboard(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for key in ["expr", "query", "definition"] {
                let Some(text) = fields.get(key).and_then(serde_json::Value::as_str) else {
                    continue;
                };
                let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
                let names =
                    words.filter(|word| word.starts_with("apolo_") || word.starts_with("process_"));
                found.extend(names.map(|name| name.trim_end_matches("_bucket").to_owned()));
            }
            fields.values().for_each(|field| in_dashboard(field, found));
        }
        serde_json::Value::Array(items) => {
            items.iter().for_each(|item| in_dashboard(item, found));
        }
        _ => {}
    }
}

#[test]
fn dashboards_draw_only_metrics_that_the_page_explains() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = on_page(&fs::read_to_string(root.join("docs/METRICS.md")).expect("the page"));
    let dashboards = fs::read_dir(root.join("deploy/grafana")).expect("the dashboards");
    let mut drawn = BTreeSet::new();
    for entry in dashboards {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = fs::read_to_string(&path).expect("a dashboard");
            in_dashboard(&serde_json::from_str(&text).expect("JSON"), &mut drawn);
        }
    }

    let unknown: Vec<_> = drawn
        .iter()
        .filter(|name| !page.contains_key(*name) && !OF_A_PROCESS.contains(&name.as_str()))
        .collect();

    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(drawn.len() >= 30, "{}", drawn.len());
}

#[expect(clippy::print_stderr, reason = "a test that skips says so")]
#[test]
fn alerts_come_when_they_should_and_not_otherwise() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    let tested = Command::new("promtool")
        .args(["test", "rules", "rules_test.yml"])
        .current_dir(directory)
        .output();
    let Ok(output) = tested else {
        return eprintln!("skipped: there is no promtool (Debian's `prometheus`)");
    };

    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_metric_is_explained_and_every_explained_one_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = BTreeMap::new();
    in_code(&root.join("src"), &mut code);
    let page = fs::read_to_string(root.join("docs/METRICS.md")).expect("the page");

    assert_eq!(on_page(&page), code);
    assert!(code.len() >= 40, "{}", code.len());
}
