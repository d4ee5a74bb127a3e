//! The page, in a real browser.

use std::{path::Path, process::Command};

/// Where the scripts are that drive the browser.
const SCRIPTS: &str = "tests/dashboard";

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

#[expect(clippy::print_stderr, reason = "a test that skips says so")]
fn run(script: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(SCRIPTS);
    if !has("node") || !directory.join("node_modules").exists() {
        return eprintln!("skipped: no node, or `npm ci --prefix {SCRIPTS}` was not run");
    }
    let output = Command::new("node")
        .args(["--test", script])
        .env("APOLO", env!("CARGO_BIN_EXE_apolo"))
        .current_dir(directory)
        .output()
        .expect("node starts");

    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // Without chromium the script skips itself, and says so.
    eprintln!("{said}");
}

#[test]
fn the_page_shows_what_a_node_says_and_holds_up_in_a_browser() {
    run("page.test.mjs");
}

#[test]
fn a_node_is_killed_and_the_page_shows_its_shards_move_without_a_reload() {
    run("kill.test.mjs");
}
