//! `apolo dev` with a cluster of real processes.

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::Instant;

/// Beyond every bound of `dev` itself, on a busy machine too.
const END_WITHIN: Duration = Duration::from_secs(240);

fn dev(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_apolo"));
    command.arg("dev").args(words).env_clear();
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("stdout is text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("stderr is text")
}

/// The processes that `dev` said it had started.
fn pids(said: &str) -> Vec<Pid> {
    let number = |line: &str| line.rsplit_once("kill -9 ")?.1.trim().parse().ok();
    said.lines().filter_map(number).filter_map(Pid::from_raw).collect()
}

/// Whoever adopts a process may be slow to bury it.
fn runs(pid: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()));
    test_kill_process(pid).is_ok() && !status.is_ok_and(|text| text.contains("State:\tZ"))
}

fn all_end(pids: &[Pid]) {
    let deadline = Instant::now() + END_WITHIN;
    while pids.iter().any(|pid| runs(*pid)) {
        assert!(Instant::now() < deadline, "{pids:?} outlive dev");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_cluster_of_three_processes_loses_nothing_and_leaves_none_behind() {
    let words = "--nodes 3 --for 5s --shards 4 --guilds 200 --event-rate 100";
    let words: Vec<&str> = words.split(' ').collect();

    let output = dev(&words).output().expect("the binary was built for this test");

    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{said}{}", stderr(&output));
    assert!(said.contains(" handled, 0 lost\n"), "{said}");
    assert!(said.ends_with("nothing was lost\n"), "{said}");
    assert_eq!(pids(&said).len(), 3, "{said}");
    all_end(&pids(&said));
}

#[test]
fn a_node_that_cannot_start_shows_its_log_and_takes_the_others_with_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let authority = dir.path().join("ca");
    std::fs::create_dir(&authority).expect("a directory");
    std::fs::write(authority.join("ca.crt"), "nonsense").expect("a file");
    std::fs::write(authority.join("ca.key"), "nonsense").expect("a file");

    let output = dev(&["--nodes", "2", "--shards", "1", "--guilds", "1", "--data-dir"])
        .arg(dir.path())
        .output()
        .expect("the binary was built for this test");

    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ended") && said.contains("node.log"), "{said}");
    all_end(&pids(&stdout(&output)));
}

#[test]
fn whoever_asks_twice_is_obeyed_at_once_and_no_process_stays_behind() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("said");
    let file = std::fs::File::create(&path).expect("a file");
    let mut child = dev(&["--nodes", "2", "--shards", "1", "--guilds", "1"])
        .stdout(file)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the binary was built for this test");
    let me = Pid::from_raw(child.id().try_into().expect("a pid")).expect("a pid");
    let started = wait_for_pids(&path, 2);

    let deadline = Instant::now() + END_WITHIN;
    while child.try_wait().expect("it can be waited for").is_none() {
        assert!(Instant::now() < deadline, "it does not end");
        kill_process(me, Signal::INT).expect("it runs, or has not been waited for");
        std::thread::sleep(Duration::from_millis(50));
    }

    all_end(&started);
}

#[test]
fn the_nodes_end_with_a_dev_that_is_killed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("said");
    let mut child = dev(&["--nodes", "2", "--shards", "1", "--guilds", "1"])
        .stdout(std::fs::File::create(&path).expect("a file"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the binary was built for this test");
    let started = wait_for_pids(&path, 2);

    child.kill().expect("it runs");
    child.wait().expect("it was started here");

    all_end(&started);
}

#[test]
fn a_node_whose_dev_has_ended_already_does_not_start() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut node = Command::new(env!("CARGO_BIN_EXE_apolo"));
    // Nobody's parent but the kernel's first process's.
    node.args(["join", "--end-with=1", "--data-dir"]).arg(dir.path()).env_clear();

    let output = node.output().expect("the binary was built for this test");

    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("it has ended"), "{}", stderr(&output));
}

fn wait_for_pids(path: &Path, count: usize) -> Vec<Pid> {
    let deadline = Instant::now() + END_WITHIN;
    loop {
        let found = pids(&std::fs::read_to_string(path).expect("a file"));
        if found.len() == count {
            return found;
        }
        assert!(Instant::now() < deadline, "{found:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
