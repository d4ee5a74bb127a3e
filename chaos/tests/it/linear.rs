use apolo_chaos::clusters::{LinearOptions, linear};

/// Twice as many as there are faults, and some.
const HISTORIES: usize = 20;

const OPERATIONS: usize = 2_000;

fn options() -> LinearOptions {
    LinearOptions {
        program: env!("CARGO_BIN_EXE_apolo-chaos").into(),
        nodes: 3,
        histories: HISTORIES,
        operations: OPERATIONS,
        seed: 4,
        stale: false,
        save_in: env!("CARGO_TARGET_TMPDIR").into(),
    }
}

/// Kills, freezes and, where packets can be dropped, cuts. More of it is `apolo-chaos cluster linear`.
#[expect(clippy::print_stderr, reason = "a test that skips says so")]
#[tokio::test(flavor = "multi_thread")]
async fn what_clients_are_told_over_faults_is_linearizable() {
    let _alone = crate::MACHINE.lock().await;

    let report = linear(&options(), |_| ()).await.unwrap();

    if let Some(reason) = &report.without_cuts {
        eprintln!("kills and freezes alone: {reason}");
    }
    assert!(report.holds(), "{report}");
    assert!(report.is_hard(), "{report}");
}

/// The teeth: were answers not compared with each other, reads of old copies would pass too.
#[tokio::test(flavor = "multi_thread")]
async fn reads_of_a_copy_that_may_be_old_are_found_out() {
    let _alone = crate::MACHINE.lock().await;
    let stale = LinearOptions { histories: 3, stale: true, ..options() };

    let report = linear(&stale, |_| ()).await.unwrap();

    let failed = report.failed().expect("some read was old");
    let verdict = failed.verdict.to_string();
    assert!(!report.holds() && verdict.contains("NOT linearizable"), "{report}");
}
