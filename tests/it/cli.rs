//! The binary, as it is typed.

use std::{
    path::Path,
    process::{Command, Output},
};

/// Runs `apolo` with nothing in its environment but `variables`.
fn apolo(words: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_apolo"))
        .args(words)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .expect("the binary was built for this test")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("stdout is text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("stderr is text")
}

#[test]
fn help_shows_examples_and_is_no_failure() {
    let output = apolo(&["--help"], &[]);

    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("Examples:"));
}

#[test]
fn usage_errors_end_with_64() {
    for words in
        [&["stat"][..], &[], &["status", "--nonsense"], &["bench", "distribution", "--shards", "0"]]
    {
        let output = apolo(words, &[]);

        assert_eq!(output.status.code(), Some(64), "{words:?}: {}", stderr(&output));
    }
}

#[test]
fn a_wrong_setting_ends_with_64_and_names_value_origin_and_remedy() {
    let output = apolo(&["status"], &[("APOLO_ENDPOINT", "ftp://10.0.0.7")]);

    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(64), "{said}");
    for word in ["ftp://10.0.0.7", "APOLO_ENDPOINT", "http://127.0.0.1:3000"] {
        assert!(said.contains(word), "{word} in {said}");
    }
}

#[test]
fn a_token_in_the_arguments_ends_with_64_and_is_not_repeated() {
    let output = apolo(&["status", "--api-token", "s3cret"], &[]);

    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("APOLO_API_TOKEN_FILE"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
}

#[test]
fn asking_where_no_node_runs_fails_with_1_and_says_where_it_looked() {
    let output = apolo(&["status", "--data-dir", "/does/not/exist"], &[]);

    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/does/not/exist") && said.contains("--endpoint"), "{said}");
}

#[test]
fn asking_a_socket_that_a_dead_node_left_fails_with_1() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("apolo.sock")).expect("a socket"));

    let output = apolo(&["shards", "--data-dir", text(dir.path())], &[]);

    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("The node is not running."), "{}", stderr(&output));
}

#[test]
fn the_seeds_analysis_is_balanced_at_the_seeds_ten_shards() {
    let output = apolo(&["bench", "distribution", "--guilds", "1000000", "--json"], &[]);

    assert_eq!(output.status.code(), Some(0));
    let found: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(found["shards"], 10);
    assert_eq!(found["counts"].as_array().map(Vec::len), Some(10));
    assert!(found["imbalancePercent"].as_f64().is_some_and(|percent| percent < 5.0), "{found}");
}

#[test]
fn every_shell_gets_a_script() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = apolo(&["completions", shell], &[]);

        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(stdout(&output).contains("unhalt"), "{shell}");
    }
}

#[test]
fn the_version_is_the_packages() {
    let output = apolo(&["version"], &[]);

    assert!(stdout(&output).starts_with(concat!("apolo ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_reader_that_hangs_up_is_no_failure() {
    let script = format!("{} completions zsh | head -1", env!("CARGO_BIN_EXE_apolo"));

    let output = Command::new("bash")
        .args(["-c", &format!("set -o pipefail; {script}")])
        .output()
        .expect("bash is there");

    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn the_simulator_listens_only_where_bots_can_be_told_to_connect() {
    let output = apolo(&["simulate", "--port", "0", "--host", "0.0.0.0", "--for", "1s"], &[]);

    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no bot can connect to that address"), "{said}");
}

#[test]
fn the_simulator_says_where_it_is_and_what_happened() {
    let output = apolo(&["simulate", "--port", "0", "--guilds", "10", "--for", "300ms"], &[]);

    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(said.starts_with("DISCORD_API=http://127.0.0.1:"), "{said}");
    assert!(said.ends_with("no rule was broken\n"), "{said}");
}

#[test]
fn the_simulator_plays_a_scenario() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("storm.toml");
    let steps = "[[steps]]\nat_ms = 0\nkind = \"burst\"\nevents_per_second = 10.0\n";
    std::fs::write(&file, steps).expect("a file");

    let words = ["simulate", "--port", "0", "--guilds", "10", "--for", "2s", "--json"];
    let output = apolo(&[&words[..], &["--scenario", text(&file)]].concat(), &[]);

    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let (_, truth) = said.split_once('\n').expect("a line, then JSON");
    let truth: serde_json::Value = serde_json::from_str(truth).expect("JSON");
    assert_eq!(truth["faults"]["burst"], 1, "{truth}");
}

#[test]
fn a_scenario_that_makes_no_sense_ends_with_64_and_names_the_line_and_what_would_be_right() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("storm.toml");
    let step = |rest: &str| format!("# a storm\n[[steps]]\nat_ms = 5\n{rest}");
    let cases = [
        (step("kind = \"reconect\""), ["line 2", "`reconnect`"]),
        (step("kind = \"reconnect\"\nshard = 3"), ["line 2", "`shards`"]),
        (step("code = 4009"), ["line 2", "`event_rate`"]),
        (step("kind = "), ["line 4", "--help"]),
    ];

    for (text_of_file, words) in cases {
        std::fs::write(&file, text_of_file).expect("a file");
        let output = apolo(&["simulate", "--port", "0", "--scenario", text(&file)], &[]);

        // The report is wrapped at the terminal's width.
        let said = stderr(&output).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary directory's name is text")
}

#[test]
fn an_authority_is_rotated_in_three_steps_that_wait_for_the_nodes() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ca = dir.path().join("ca");
    let run = |words: &[&str]| apolo(&[&["ca"], words, &["--ca-dir", text(&ca)]].concat(), &[]);
    let certificates = || {
        let bundle = std::fs::read_to_string(ca.join("ca.crt")).expect("a bundle");
        bundle.matches("BEGIN CERTIFICATE").count()
    };
    let key = || std::fs::read_to_string(ca.join("ca.key")).expect("a key");
    assert_eq!(run(&["create"]).status.code(), Some(0));
    let old = key();

    let first = run(&["rotate"]);
    assert!(stdout(&first).contains("step 1 of 3"), "{}", stderr(&first));
    assert_eq!((certificates(), key() == old), (2, true));
    let early = run(&["rotate"]);
    assert_eq!(early.status.code(), Some(1));
    assert!(stderr(&early).contains("--now"), "{}", stderr(&early));
    assert_eq!((certificates(), key() == old), (2, true), "a refused step changes nothing");
    assert!(stdout(&run(&["status"])).contains("step 1 of 3"));

    let second = run(&["rotate", "--now"]);
    assert!(stdout(&second).contains("step 2 of 3"), "{}", stderr(&second));
    assert_eq!((certificates(), key() == old), (2, false));
    assert!(!ca.join("ca.next.key").exists());
    assert_eq!(run(&["rotate"]).status.code(), Some(1));

    let third = run(&["rotate", "--now"]);
    assert!(stdout(&third).contains("one authority"), "{}", stderr(&third));
    assert_eq!(certificates(), 1);
}

#[test]
fn joining_with_nothing_to_prove_itself_by_ends_with_64_and_names_both_ways() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let words = ["join", "127.0.0.1", "--data-dir", text(dir.path())];

    let output = apolo(&words, &[("DISCORD_TOKEN", "any")]);

    let said = stderr(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("--ca-dir") && said.contains("--join-token-file"), "{said}");
    assert!(said.contains("apolo token create"), "{said}");
}

#[test]
fn a_join_token_in_the_arguments_ends_with_64_and_is_not_repeated() {
    let output = apolo(&["join", "127.0.0.1", "--join-token", "apolo1.s3cret"], &[]);

    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("--join-token-file") && !said.contains("s3cret"), "{said}");
}

#[test]
fn a_file_that_holds_no_join_token_ends_with_64_and_says_why() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("join.token");
    std::fs::write(&file, "apolo1.0000beef.s3cret").expect("a file");
    let data = dir.path().join("data");
    let words = ["join", "127.0.0.1", "--data-dir", text(&data), "--join-token-file", text(&file)];

    let free = ["--http-addr", "127.0.0.1:0", "--quic-addr", "127.0.0.1:0", "--bot-addr", "none"];
    let output = apolo(&[&words[..], &free].concat(), &[("DISCORD_TOKEN", "any")]);

    let said = stderr(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("this has 3") && !said.contains("s3cret"), "{said}");
}

#[test]
fn a_token_that_can_be_shown_to_nobody_ends_with_64() {
    let output =
        apolo(&["join", "--join-token-file", "/does/not/exist"], &[("DISCORD_TOKEN", "any")]);

    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("apolo join node-1"), "{said}");
}

#[test]
fn the_doctor_says_what_to_mend_and_fails_where_no_node_could_run() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = dir.path().display().to_string();
    let words = ["doctor", "--data-dir", &at, "--http-addr", "127.0.0.1:0"];
    let words =
        [&words[..], &["--bot-addr", "none", "--discord-api", "http://127.0.0.1:9/api"]].concat();

    let output = apolo(&words, &[]);

    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{said}{}", stderr(&output));
    assert!(said.contains("ok    disk"), "{said}");
    assert!(said.contains("FAIL  token") && said.contains("fix: "), "{said}");
    assert!(said.contains("DISCORD_TOKEN_FILE"), "{said}");

    let output = apolo(&[&words[..], &["--json"]].concat(), &[("DISCORD_TOKEN", "s3cret")]);
    let found: Vec<serde_json::Value> = serde_json::from_str(&stdout(&output)).expect("JSON");
    let token = found.iter().find(|found| found["check"] == "token").expect("a finding");
    assert_eq!(token["verdict"], "failure", "nobody listens there");
    assert!(!stdout(&output).contains("s3cret") && !stderr(&output).contains("s3cret"));
}

#[test]
fn the_manual_is_printed_or_written_for_every_command() {
    let page = apolo(&["man"], &[]);
    assert_eq!(page.status.code(), Some(0));
    assert!(stdout(&page).contains(".TH apolo 1"), "{}", stdout(&page));

    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = dir.path().join("man1");
    let written = apolo(&["man", "--dir", &at.display().to_string()], &[]);

    assert_eq!(written.status.code(), Some(0), "{}", stderr(&written));
    for name in ["apolo.1", "apolo-join.1", "apolo-status.1"] {
        assert!(at.join(name).exists(), "{name}");
    }
}

#[test]
fn without_a_node_the_health_check_fails_and_says_so() {
    let dir = tempfile::tempdir().expect("a temporary directory");

    let at = dir.path().display().to_string();
    let output = apolo(&["health", "--data-dir", &at], &[("APOLO_HTTP_ADDR", "127.0.0.1:9")]);

    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("127.0.0.1:9") && said.contains("The node is not running"), "{said}");
}
