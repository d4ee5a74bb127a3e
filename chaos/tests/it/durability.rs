use crate::volume::skipped;
use apolo_chaos::durability::{
    Found, Met, Report, RoundOptions, Subject, SweepOptions, Trouble, TroubleOptions, Verdict,
    meet, rounds, sweep,
};
use std::path::PathBuf;

fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_apolo-chaos").into()
}

fn random_rounds(subject: Subject, count: u64) -> Report {
    rounds(&RoundOptions { program: program(), subject, rounds: count, seed: 1 }, |_| ()).unwrap()
}

fn every_operation(subject: Subject, entries: u64, points_max: u64) -> Report {
    sweep(&SweepOptions { program: program(), subject, entries, points_max, seed: 1 }, |_, _| ())
        .unwrap()
}

#[test]
fn acknowledged_writes_survive_power_loss() {
    if skipped() {
        return;
    }

    let report = random_rounds(Subject::Store, 25);

    assert!(report.is_whole() && report.acknowledged > 1_000, "{report}");
}

#[test]
fn acknowledged_writes_survive_power_loss_at_every_storage_operation() {
    if skipped() {
        return;
    }

    let report = every_operation(Subject::Store, 60, 300);

    assert!(report.is_whole() && report.cuts >= 100, "{report}");
}

#[test]
fn without_fdatasync_acknowledged_writes_are_lost() {
    if skipped() {
        return;
    }

    let report = random_rounds(Subject::StoreFlushOnly, 8);

    assert!(
        report.quarantined + report.cuts_with_loss >= 4,
        "the volume forgets nothing: {report}"
    );
    assert!(report.is_safe(), "the open gate did not notice: {report}");
}

#[test]
fn sled_with_the_barrier_keeps_what_it_acknowledged() {
    if skipped() {
        return;
    }

    let report = random_rounds(Subject::Sled, 20);

    assert!(report.is_safe() && report.acknowledged > 1_000, "{report}");
}

#[test]
fn sled_that_only_flushes_loses_what_it_acknowledged() {
    if skipped() {
        return;
    }

    let report = random_rounds(Subject::SledFlushOnly, 5);

    assert!(
        report.lost_entries > 100 && report.votes_fallen > 0,
        "the volume forgets nothing: {report}"
    );
}

#[test]
fn sled_with_the_barrier_keeps_it_at_every_storage_operation() {
    if skipped() {
        return;
    }

    let report = every_operation(Subject::Sled, 200, 100);

    assert!(report.is_safe() && report.cuts >= 50, "{report}");
}

fn trouble(trouble: Trouble, reopened: bool) -> Met {
    let options = TroubleOptions {
        program: program(),
        subject: Subject::Store,
        trouble,
        acknowledgements: 30,
        reopened,
    };
    meet(&options).unwrap()
}

#[test]
fn the_first_failed_fsync_is_the_last_for_the_process() {
    if skipped() {
        return;
    }
    for kind in [Trouble::FsyncErrorOnce, Trouble::FsyncErrorAlways] {
        let met = trouble(kind, false);

        assert!(met.last_words.contains("Input/output error"), "{kind:?}: {met:?}");
        assert_eq!(met.verdict, Verdict::Kept, "{kind:?}: {met:?}");
    }
}

/// The restarted process reads what the failed fsync left in the page cache, and no later fsync writes it. Nobody can
/// see that before the power goes; what matters is that it is seen then.
#[test]
fn what_a_failed_fsync_left_in_the_cache_is_not_missed_silently_after_a_restart() {
    if skipped() {
        return;
    }

    let met = trouble(Trouble::FsyncErrorOnce, true);

    assert!(matches!(met.during, Some(Found::Intact { .. })), "{met:?}");
    assert!(matches!(met.verdict, Verdict::Kept | Verdict::Quarantined(_)), "{met:?}");
}

#[test]
fn a_failed_write_costs_nothing_that_was_acknowledged() {
    if skipped() {
        return;
    }

    let met = trouble(Trouble::WriteError, false);

    assert!(met.last_words.contains("Input/output error"), "{met:?}");
    assert_eq!(met.verdict, Verdict::Kept, "{met:?}");
}

#[test]
fn a_full_disk_is_a_clear_error_and_costs_nothing_that_was_acknowledged() {
    if skipped() {
        return;
    }

    let met = trouble(Trouble::Full, true);

    assert!(met.last_words.contains("no storage space"), "{met:?}");
    assert!(
        matches!(&met.during, Some(Found::Refused(why)) if why.contains("free some space")),
        "{met:?}"
    );
    assert_eq!(met.verdict, Verdict::Kept, "{met:?}");
}
