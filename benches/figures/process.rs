//! A child process of this very program that answers one question a line.

use std::{env, ffi::OsStr, fs, path::PathBuf, process::Stdio, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout},
    time::timeout,
};

use crate::{Failure, mortal};

/// Nothing that is asked takes longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A process whose output has ended is gone by then.
const END_WITHIN: Duration = Duration::from_secs(5);

/// What is shown of the log of a process that has ended.
const LAST_LINES: usize = 5;

/// The process, killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Process {
    /// Starts this program with `flag`, and `seat` as its value. What it says on stderr goes to `log`.
    pub(crate) fn start(
        flag: impl AsRef<OsStr>,
        seat: &impl Serialize,
        log: PathBuf,
    ) -> Result<Self, Failure> {
        let mut child = mortal::command(env::current_exe()?, &log)?
            .arg(flag)
            .arg(serde_json::to_string(seat)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        Ok(Self { child, input, output, log })
    }

    pub(crate) async fn ask<A: DeserializeOwned>(
        &mut self,
        ask: &impl Serialize,
    ) -> Result<A, Failure> {
        let asked = format!("{}\n", serde_json::to_string(ask)?);
        // What it can't be told, its end explains.
        let _ = self.input.write_all(asked.as_bytes()).await;
        let line = timeout(ANSWER_WITHIN, self.output.next_line()).await;
        match line.map_err(|_| self.told("did not answer"))?? {
            Some(line) => Ok(serde_json::from_str(&line)?),
            None => Err(self.end().await),
        }
    }

    /// `kill -9`.
    pub(crate) async fn kill(mut self) -> Result<(), Failure> {
        self.child.start_kill()?;
        self.child.wait().await?;
        Ok(())
    }

    async fn end(&mut self) -> Failure {
        match timeout(END_WITHIN, self.child.wait()).await {
            Ok(Ok(status)) => self.told(&format!("has ended: {status}")),
            Ok(Err(error)) => error.into(),
            Err(_) => self.told("closed its output"),
        }
    }

    fn told(&self, what: &str) -> Failure {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(LAST_LINES).collect();
        let last = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
        format!("a process {what}; its last lines:\n{last}").into()
    }
}
