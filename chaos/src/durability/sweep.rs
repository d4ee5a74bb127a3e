use super::{
    child::{ChildError, Writer, find},
    report::Report,
    rounds::draw_loss,
    subject::Subject,
    verdict::{Acknowledged, judge},
};
use crate::powerloss::{Volume, VolumeOptions};
use rand::{SeedableRng, rngs::StdRng};
use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

/// A power loss at every storage operation of a scripted workload.
#[derive(Clone, Debug)]
pub struct SweepOptions {
    /// The `apolo-chaos` program, whose subcommands are the children.
    pub program: PathBuf,
    /// What is put to the test.
    pub subject: Subject,
    /// The entries of the script. One entry is two to four operations.
    pub entries: u64,
    /// The most power losses: beyond it the operations are taken at even distances.
    pub points_max: u64,
    /// Chooses the losses.
    pub seed: u64,
}

/// Cuts that run at the same time: half of each is waiting for a child to start.
const THREADS: u64 = 3;

/// Runs the sweep; `progress` is told how many of how many points are done.
///
/// The script starts with the opening of an empty directory, continues over a clean restart, so that the opening of an
/// existing one is swept as well, and is the same in every run.
///
/// # Errors
///
/// A child that does not do its part.
pub fn sweep(
    options: &SweepOptions,
    progress: impl Fn(u64, u64) + Sync,
) -> Result<Report, ChildError> {
    let operations = Point::run(options, None)?.1;
    let step = operations.div_ceil(options.points_max.max(1)).max(1);
    let points: Vec<u64> = (1..=operations).step_by(usize::try_from(step).unwrap_or(1)).collect();
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let worker = || -> Result<Report, ChildError> {
        let mut report = Report::default();
        while let Some(&operation) =
            points.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX))
        {
            report.merge(Point::run(options, Some(operation))?.0);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, points.len() as u64);
        }
        Ok(report)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(worker)).collect();
        let mut report = Report::default();
        for worker in workers {
            report.merge(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(report)
    })
}

/// One run of the script on a fresh volume.
struct Point;

impl Point {
    /// Runs the script with a cut after `operation`, or to its end: the report, and how many operations there were.
    fn run(options: &SweepOptions, operation: Option<u64>) -> Result<(Report, u64), ChildError> {
        let volume = Volume::mount(VolumeOptions::default())?;
        let directory = volume.path().join("data");
        let mut random = StdRng::seed_from_u64(options.seed ^ operation.unwrap_or(0));
        let loss = draw_loss(&mut random);
        if let Some(operation) = operation {
            volume.cut_after(operation, loss);
        }
        let mut acknowledged = Acknowledged::default();
        let mut report = Report::default();
        for entries in [options.entries / 2, options.entries.div_ceil(2)] {
            let mut writer = Writer::spawn(
                &options.program,
                options.subject,
                &directory,
                Some(entries),
                acknowledged,
            )?;
            while writer.listen(|| !volume.is_powered())? {}
            if operation.is_none() && writer.acknowledgements == 0 {
                return Err(writer.ended());
            }
            let (now_acknowledged, added) = writer.finish()?;
            acknowledged = now_acknowledged;
            report.acknowledged += added;
            if !volume.is_powered() {
                break;
            }
        }
        let operations = volume.stats().operations;
        if let Some(operation) = operation {
            volume.power_cut(loss);
            volume.restore();
            let found = find(&options.program, options.subject, &directory)?;
            let moment = format!("operation {operation}, {loss:?}, {acknowledged:?}");
            report.add(&judge(acknowledged, &found), &moment);
            report.add_dropped(volume.stats());
        }
        Ok((report, operations))
    }
}
