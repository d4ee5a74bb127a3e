use super::{
    child::{ChildError, Writer, find},
    report::Report,
    subject::Subject,
    verdict::{Acknowledged, Verdict, judge},
};
use crate::powerloss::{Loss, Sector, Volume, VolumeOptions};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::path::PathBuf;

/// Power losses at random moments, one after the other on the same volume.
#[derive(Clone, Debug)]
pub struct RoundOptions {
    /// The `apolo-chaos` program, whose subcommands are the children.
    pub program: PathBuf,
    /// What is put to the test.
    pub subject: Subject,
    /// How many power losses.
    pub rounds: u64,
    /// Chooses the moments and the losses.
    pub seed: u64,
}

/// The moment at which a round ends.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// The writer is killed after so many acknowledgements, then the power goes.
    KilledThenCut { acknowledgements: u64 },
    /// The power goes after so many storage operations, under a writer that lives on for a moment and sees EIO. The
    /// opening of the subject is among them.
    CutUnderWriter { operations: u64 },
}

/// Runs the rounds; `progress` is told after each.
///
/// # Errors
///
/// A child that does not do its part, which is a finding about the subject too: a hang, or an end without a reason.
pub fn rounds(options: &RoundOptions, mut progress: impl FnMut(u64)) -> Result<Report, ChildError> {
    let volume = Volume::mount(VolumeOptions::default())?;
    let mut random = StdRng::seed_from_u64(options.seed);
    let mut report = Report::default();
    let mut acknowledged = Acknowledged::default();
    let mut life = 0;
    for round in 1..=options.rounds {
        let (moment, loss) = (Moment::draw(&mut random), draw_loss(&mut random));
        let directory = volume.path().join(format!("life-{life}"));
        let writer =
            Writer::spawn(&options.program, options.subject, &directory, None, acknowledged)?;
        let (now_acknowledged, added) = moment.reach(&volume, writer, loss)?;
        volume.restore();
        let found = find(&options.program, options.subject, &directory)?;
        let verdict = judge(now_acknowledged, &found);
        report.acknowledged += added;
        report.add(&verdict, &format!("round {round}, {moment:?}, {loss:?}, {now_acknowledged:?}"));
        // Whatever is not whole has been counted; the next round starts a new life, so that it is counted once.
        acknowledged = if verdict == Verdict::Kept {
            now_acknowledged
        } else {
            life += 1;
            Acknowledged::default()
        };
        progress(round);
    }
    report.add_dropped(volume.stats());
    Ok(report)
}

impl Moment {
    fn draw(random: &mut StdRng) -> Self {
        if random.random_bool(0.5) {
            Self::KilledThenCut { acknowledgements: random.random_range(0..ACKNOWLEDGEMENTS_MAX) }
        } else {
            Self::CutUnderWriter { operations: random.random_range(1..OPERATIONS_MAX) }
        }
    }

    fn reach(
        self,
        volume: &Volume,
        mut writer: Writer,
        loss: Loss,
    ) -> Result<(Acknowledged, u64), ChildError> {
        match self {
            Self::KilledThenCut { acknowledgements } => {
                while writer.acknowledgements < acknowledgements {
                    if !writer.listen(|| false)? {
                        return Err(writer.ended());
                    }
                }
                writer.kill()?;
            }
            Self::CutUnderWriter { operations } => {
                volume.cut_after(operations, loss);
                while volume.is_powered() {
                    if !writer.listen(|| !volume.is_powered())? && volume.is_powered() {
                        return Err(writer.ended());
                    }
                }
            }
        }
        volume.power_cut(loss);
        writer.finish()
    }
}

/// Acknowledgements before a kill: enough for purges, large entries and a log of several segments.
const ACKNOWLEDGEMENTS_MAX: u64 = 150;
/// Storage operations before a cut: from the middle of the opening to some hundred entries.
const OPERATIONS_MAX: u64 = 500;

/// Any of the losses, with a seed of its own.
pub(super) fn draw_loss(random: &mut StdRng) -> Loss {
    let seed = random.random();
    match random.random_range(0..4) {
        0 => Loss::Everything,
        1 => Loss::Subset { seed },
        2 => Loss::Torn { seed, sector: Sector::Bytes512 },
        _ => Loss::Torn { seed, sector: Sector::Bytes4096 },
    }
}
