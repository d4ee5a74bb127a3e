use super::{
    protocol::{Found, Said},
    subject::Subject,
    verdict::Acknowledged,
};
use serde::de::DeserializeOwned;
use std::{
    io::{self, BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread::{self, JoinHandle},
    time::Duration,
};

/// A child that did not do its part.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It could not be started, or the volume could not be mounted.
    #[error("start a child on a volume: {0}")]
    Io(#[from] io::Error),
    /// It said nothing until the deadline, and was killed.
    #[error("the {0} said nothing for {1:?}")]
    Silent(&'static str, Duration),
    /// It ended without having said what it should.
    #[error("the {0} ended early: {1}")]
    Ended(&'static str, String),
}

/// The longest that a child may take to say its next line. Opening a damaged sled can take for ever.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// How often a wait for a line looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Lines that wait to be read; a writer that is further ahead waits.
const LINES_MAX: usize = 1024;

/// A child whose standard output is read as lines of JSON. Killed when dropped.
struct Talker<T> {
    role: &'static str,
    child: Child,
    lines: Receiver<T>,
    reader: Option<JoinHandle<()>>,
}

impl<T: DeserializeOwned + Send + 'static> Talker<T> {
    fn spawn(role: &'static str, command: &mut Command) -> io::Result<Self> {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let out = child.stdout.take().expect("it is piped");
        let (sender, lines) = sync_channel(LINES_MAX);
        let reader = thread::spawn(move || {
            for line in whole_lines(out) {
                let Ok(said) = serde_json::from_str(&line) else { return };
                if sender.send(said).is_err() {
                    return;
                }
            }
        });
        Ok(Self { role, child, lines, reader: Some(reader) })
    }

    /// The next line; `None` at the end, or as soon as `enough` says so.
    fn next(&self, enough: impl Fn() -> bool) -> Result<Option<T>, ChildError> {
        for _ in 0..SILENCE_MAX.as_millis() / LOOK_EVERY.as_millis() {
            match self.lines.recv_timeout(LOOK_EVERY) {
                Ok(line) => return Ok(Some(line)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if enough() => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        Err(ChildError::Silent(self.role, SILENCE_MAX))
    }

    /// Kills it as the kernel does, without a chance to tidy up, and waits until it is gone.
    fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    fn ended(&mut self) -> ChildError {
        let _ = self.kill();
        let mut words = String::new();
        if let Some(errors) = self.child.stderr.take() {
            let _ = errors.take(WORDS_BYTES_MAX).read_to_string(&mut words);
        }
        ChildError::Ended(self.role, words.trim().to_owned())
    }
}

/// The most of a child's last words that go into an error.
const WORDS_BYTES_MAX: u64 = 2_000;

impl<T> Drop for Talker<T> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A reader that waits for room ends with the channel.
        drop(std::mem::replace(&mut self.lines, sync_channel(0).1));
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// The lines that end in a line feed: the killed writer's last one may be half a line, which acknowledges nothing.
fn whole_lines(out: ChildStdout) -> impl Iterator<Item = String> {
    let mut out = BufReader::new(out);
    std::iter::from_fn(move || {
        let mut line = String::new();
        out.read_line(&mut line).ok().filter(|_| line.ends_with('\n'))?;
        Some(line)
    })
}

/// A running writer and what it acknowledged so far.
pub(super) struct Writer {
    talker: Talker<Said>,
    acknowledged: Acknowledged,
    pub(super) acknowledgements: u64,
    /// Entries that this writer added.
    added: u64,
    /// Where its log ends.
    serial: u64,
}

impl Writer {
    /// Starts one; `acknowledged` is what earlier writers did.
    pub(super) fn spawn(
        program: &Path,
        subject: Subject,
        directory: &Path,
        entries: Option<u64>,
        acknowledged: Acknowledged,
    ) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(["store-writer", "--subject", subject.name(), "--dir"]).arg(directory);
        if let Some(entries) = entries {
            command.arg("--entries").arg(entries.to_string());
        }
        let talker = Talker::spawn("writer", &mut command)?;
        Ok(Self { talker, acknowledged, acknowledgements: 0, added: 0, serial: 0 })
    }

    /// Waits for one more line. False once it ended, or when it says nothing and `enough` is true.
    pub(super) fn listen(&mut self, enough: impl Fn() -> bool) -> Result<bool, ChildError> {
        let Some(said) = self.talker.next(enough)? else { return Ok(false) };
        self.acknowledged.hear(said);
        match said {
            Said::Opened(last) | Said::Truncating(last) | Said::Truncated(last) => {
                self.serial = last.serial
            }
            Said::Entry(last) => {
                self.added += last.serial - self.serial;
                self.serial = last.serial;
            }
            Said::Vote(_) => {}
        }
        self.acknowledgements += 1;
        Ok(true)
    }

    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.talker.kill()
    }

    /// Kills it and hears out what it still said: all that was acknowledged, and how many entries this writer added.
    pub(super) fn finish(mut self) -> Result<(Acknowledged, u64), ChildError> {
        self.kill()?;
        while self.listen(|| false)? {}
        Ok((self.acknowledged, self.added))
    }

    /// Why it ended by itself.
    pub(super) fn ended(&mut self) -> ChildError {
        self.talker.ended()
    }
}

/// Has a child open what is left and say what it found. One that panics or hangs over it is a finding too.
pub(super) fn find(program: &Path, subject: Subject, directory: &Path) -> io::Result<Found> {
    let mut command = Command::new(program);
    command.args(["store-check", "--subject", subject.name(), "--dir"]).arg(directory);
    let mut talker = Talker::<Found>::spawn("checker", &mut command)?;
    Ok(match talker.next(|| false) {
        Ok(Some(found)) => found,
        Ok(None) => Found::Died(talker.ended().to_string()),
        Err(hung) => Found::Died(hung.to_string()),
    })
}
