use super::{
    entry::{self, Mark},
    protocol::{Found, Said, say},
    subject::{Journal, Subject},
};
use std::{io::Write, path::PathBuf};

/// What a writer does.
#[derive(Clone, Debug, clap::Args)]
pub struct WriterOptions {
    /// The directory of the subject.
    #[arg(long)]
    pub dir: PathBuf,
    /// What to write to.
    #[arg(long)]
    pub subject: Subject,
    /// Ends after this many entries.
    #[arg(long, default_value_t = u64::MAX)]
    pub entries: u64,
}

/// Appends from where the subject ends, and says what is acknowledged, until it is killed, fails, or is done.
///
/// # Errors
///
/// The first failure of the subject: a storage that failed once is not asked again.
pub fn write(options: &WriterOptions, out: &mut impl Write) -> Result<(), String> {
    let journal = options.subject.open(&options.dir).map_err(|found| format!("{found:?}"))?;
    let found = journal.find();
    let Found::Intact { last, vote } = found else { return Err(format!("{found:?}")) };
    let end = last.serial.saturating_add(options.entries);
    let mut writer = Writer { journal, out, last, vote, large: options.subject.large_entries() };
    writer.tell(Said::Opened(last))?;
    while writer.last.serial < end {
        writer.rewrite()?;
        writer.append(end)?;
    }
    Ok(())
}

struct Writer<'a, W> {
    journal: Box<dyn Journal>,
    out: &'a mut W,
    last: Mark,
    vote: u64,
    large: bool,
}

impl<W: Write> Writer<'_, W> {
    fn tell(&mut self, said: Said) -> Result<(), String> {
        say(self.out, &said).map_err(|error| error.to_string())
    }

    /// Truncates, where it is time for it, as a follower does whose leader has other entries.
    fn rewrite(&mut self) -> Result<(), String> {
        let Some(serial) = self.last.truncate_to() else { return Ok(()) };
        let last = Mark { serial, ..self.last };
        self.tell(Said::Truncating(last))?;
        self.journal.truncate(serial)?;
        self.tell(Said::Truncated(last))?;
        self.last = Mark { term: last.term + 1, serial };
        Ok(())
    }

    /// A vote, where it is time for it, and a batch of entries up to `end`.
    fn append(&mut self, end: u64) -> Result<(), String> {
        let (term, first) = (self.last.next_term(), self.last.serial + 1);
        if entry::vote(first) > self.vote {
            self.vote = entry::vote(first);
            self.journal.vote(self.vote)?;
            self.tell(Said::Vote(self.vote))?;
        }
        let marks = (first..=entry::batch_end(first).min(end)).map(|serial| Mark { term, serial });
        let batch: Vec<_> = marks.map(|mark| (mark, mark.payload(self.large))).collect();
        self.journal.append(&batch)?;
        for (mark, _) in &batch {
            self.last = *mark;
        }
        self.tell(Said::Entry(self.last))?;
        batch
            .iter()
            .find_map(|(mark, _)| entry::purge_before(mark.serial))
            .map_or(Ok(()), |serial| self.journal.purge(serial))
    }
}
