use super::{
    child::{ChildError, Writer, find},
    protocol::Found,
    subject::Subject,
    verdict::{Acknowledged, Verdict, judge},
};
use crate::powerloss::{Faults, FsyncError, Loss, Volume, VolumeOptions};
use std::path::PathBuf;

/// What goes wrong with the disk while a writer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// One fsync fails, and with it the changes that it should have written: whoever tries again and then
    /// acknowledges loses them ("fsyncgate").
    FsyncErrorOnce,
    /// Every fsync fails.
    FsyncErrorAlways,
    /// Every write fails.
    WriteError,
    /// No file can grow.
    Full,
}

/// A writer that meets a trouble.
#[derive(Clone, Debug)]
pub struct TroubleOptions {
    /// The `apolo-chaos` program, whose subcommands are the children.
    pub program: PathBuf,
    /// What is put to the test.
    pub subject: Subject,
    /// What goes wrong.
    pub trouble: Trouble,
    /// After how many acknowledgements it does.
    pub acknowledgements: u64,
    /// Whether another process opens the subject while the trouble lasts, before the power goes.
    pub reopened: bool,
}

/// How a subject met a trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// What the writer said when it gave up.
    pub last_words: String,
    /// What the process found that opened the subject while the trouble lasted.
    pub during: Option<Found>,
    /// What was left after a power loss on top, once the trouble was over.
    pub verdict: Verdict,
}

/// Lets a writer write until the trouble ends it, and opens what is left after a power loss on top.
///
/// # Errors
///
/// A child that does not do its part: [`ChildError::Silent`] if the writer neither ends nor goes on.
pub fn meet(options: &TroubleOptions) -> Result<Met, ChildError> {
    let TroubleOptions { program, subject, trouble, acknowledgements, reopened } = options;
    let volume = Volume::mount(VolumeOptions::default())?;
    let directory = volume.path().join("data");
    let mut writer = Writer::spawn(program, *subject, &directory, None, Acknowledged::default())?;
    while writer.acknowledgements < *acknowledgements {
        if !writer.listen(|| false)? {
            return Err(writer.ended());
        }
    }
    trouble.begin(&volume);
    while writer.listen(|| false)? {}
    let last_words = writer.ended().to_string();
    let (acknowledged, _) = writer.finish()?;
    let during = reopened.then(|| find(program, *subject, &directory)).transpose()?;
    volume.power_cut(Loss::Everything);
    volume.restore();
    volume.set_capacity_bytes(VolumeOptions::default().capacity_bytes);
    let verdict = judge(acknowledged, &find(program, *subject, &directory)?);
    Ok(Met { last_words, during, verdict })
}

impl Trouble {
    fn begin(self, volume: &Volume) {
        let faults = Faults::default();
        match self {
            Self::FsyncErrorOnce => {
                volume.set_faults(Faults { fsync_error: Some(FsyncError::Once), ..faults })
            }
            Self::FsyncErrorAlways => {
                volume.set_faults(Faults { fsync_error: Some(FsyncError::Always), ..faults })
            }
            Self::WriteError => volume.set_faults(Faults { write_error: true, ..faults }),
            Self::Full => volume.set_capacity_bytes(0),
        }
    }
}
