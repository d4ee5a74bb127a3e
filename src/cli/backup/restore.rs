//! `apolo restore`.

use std::{path::PathBuf, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{
    Failure, file,
    show::{Shown, many},
};
use crate::backup::{Backup, read};
use crate::cli::{
    client::Client,
    configure::configure,
    failure::Again,
    output::{say, say_json, thousands},
};
use crate::config::ClientFlags;
use crate::state::user::{RESTORE_MS_MAX, RestoreId, RestorePlan, Restored};

/// How long a restore has, unless it is said.
const WITHIN: Duration = Duration::from_secs(20);

/// And so much more for each MiB: a fifth of that is enough on two cores that do something else.
const WITHIN_FOR_MIB: Duration = Duration::from_secs(3);

/// Between two attempts at one step.
const RETRY: Duration = Duration::from_millis(200);

#[derive(clap::Args, Debug)]
#[command(after_help = "\
The whole file is checked before anything is asked of the cluster. Then it is put aside there, piece
by piece, and takes the place of what is kept in one step: nobody sees a part of it, and a restore
that fails changes nothing. Any node may be asked; if the leader ends meanwhile, it goes on.

What the bot writes before that step is lost with all else that is replaced. Afterwards:
  - revisions, and so the tokens of locks, are above all that either cluster has given;
  - who watches is told to read anew; who compares with a revision read before, that it differs;
  - a time to live is what was left at the backup, and longer by the time of --within at most;
  - locks that are held go on; those that were held at the backup are free.

If all of a cluster is lost: form one in the ordinary way on empty volumes (`apolo join`), then
restore into it.

Examples:
  apolo restore bot.apolo --check      is it whole, and what is in it; needs no node
  apolo restore bot.apolo              into a cluster that keeps nothing yet
  apolo restore bot.apolo --replace    in place of what it keeps

Over --endpoint it needs APOLO_API_TOKEN.")]
pub(in crate::cli) struct Arguments {
    /// The backup
    file: PathBuf,
    /// Only check the file, and show what it holds
    #[arg(long, conflicts_with = "replace")]
    check: bool,
    /// Let go of what the cluster keeps
    #[arg(long)]
    replace: bool,
    /// How long it may take; keys with a time to live have so much more [default: 20s, and 3s for each MiB]
    #[arg(long, value_name = "TIME", value_parser = within)]
    within: Option<Duration>,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: ClientFlags,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    revision: u64,
    keys: u64,
    replaced: u64,
    locks: u64,
}

pub(in crate::cli) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { file, check, replace, within, json, flags } = arguments;
    let bytes = file::open(&file)?;
    let backup = read(&bytes).map_err(|error| {
        Failure::failed(format!("{} can't be restored: {error}", file.display()))
            .help("Nothing was changed.")
    })?;
    if check {
        let shown = Shown::new(&file, bytes.len(), &backup.header);
        return say(if json { shown.json()? } else { shown.table().trim_end().to_owned() });
    }
    let client = Client::new(&configure(flags)?)?;
    let mib = u32::try_from(bytes.len() >> 20).unwrap_or(u32::MAX);
    let within = within.unwrap_or(WITHIN + WITHIN_FOR_MIB * mib);
    let done = Restoring::begin(&client, &backup, replace, within).await?.through().await?;
    let Restored { revision, keys, replaced, locks, .. } = done;
    if json {
        return say_json(&Done { revision, keys, replaced, locks });
    }
    let gone = match replaced {
        0 => String::new(),
        some => format!(" in place of {}", many(some, "key")),
    };
    let held = match locks {
        0 => String::new(),
        some => format!("; {} held on", many(some, "lock")),
    };
    say(format_args!(
        "restored {}{gone} at revision {}{held}",
        many(keys, "key"),
        thousands(revision)
    ))
}

/// A restore that has begun.
struct Restoring<'a> {
    client: &'a Client,
    chunks: &'a [&'a [u8]],
    id: RestoreId,
    /// When there is no use in going on.
    until: Instant,
}

impl<'a> Restoring<'a> {
    async fn begin(
        client: &'a Client,
        backup: &'a Backup<'a>,
        replace: bool,
        within: Duration,
    ) -> Result<Self, Failure> {
        let Backup { header, seed, digest, chunks } = backup;
        let id = RestoreId(rand::random());
        let plan = RestorePlan {
            id,
            revision: header.revision,
            seed: *seed,
            digest: *digest,
            chunks: u32::try_from(chunks.len()).unwrap_or(u32::MAX),
            keys: header.counts.keys(),
            replace,
            within_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
        };
        let until = Instant::now() + within;
        client.post::<Option<Restored>>("restore", &plan).await?;
        Ok(Self { client, chunks, id, until })
    }

    /// All other steps. Where one of them fails for good, what was put aside is let go of.
    async fn through(self) -> Result<Restored, Failure> {
        let bar = bar(self.chunks.iter().map(|chunk| chunk.len() as u64).sum());
        let done = self.steps(&bar).await;
        bar.finish_and_clear();
        let RestoreId(id) = self.id;
        if done.is_err() {
            // Where this fails too, its time ends it.
            let path = format!("restore/{id}/abandon");
            let _ = self.client.post::<Option<Restored>>(&path, &()).await;
        }
        done
    }

    async fn steps(&self, bar: &ProgressBar) -> Result<Restored, Failure> {
        for (number, chunk) in self.chunks.iter().enumerate() {
            self.step(&number.to_string(), chunk).await?;
            bar.inc(chunk.len() as u64);
        }
        let unclear = || Failure::failed("the node's answer to the last step is not one");
        self.step("finish", &[]).await?.ok_or_else(unclear)
    }

    /// A step, until its outcome is known. It counts once.
    async fn step(&self, what: &str, chunk: &[u8]) -> Result<Option<Restored>, Failure> {
        let path = format!("restore/{}/{what}", self.id.0);
        loop {
            match self.client.send(&path, chunk.to_vec()).await {
                Err(failure) if failure.again() == Again::Soon && Instant::now() < self.until => {
                    sleep(RETRY).await;
                }
                Err(failure) if failure.again() == Again::AfterChange => {
                    return Err(failure.help(
                        "If it took too long, give it more time with --within. What the cluster keeps has not changed.",
                    ));
                }
                done => return done,
            }
        }
    }
}

fn bar(bytes: u64) -> ProgressBar {
    let style = "restore    {bar:40} {bytes}/{total_bytes}  {bytes_per_sec}";
    ProgressBar::new(bytes)
        .with_style(ProgressStyle::with_template(style).expect("a constant template"))
}

fn within(text: &str) -> Result<Duration, String> {
    let most = Duration::from_millis(RESTORE_MS_MAX);
    match humantime::parse_duration(text) {
        Ok(span) if (Duration::from_secs(1)..=most).contains(&span) => Ok(span),
        Ok(_) => Err("from 1s to 1h".to_owned()),
        Err(error) => Err(format!("{error}; try 90s or 10m")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_has_a_second_to_an_hour() {
        assert_eq!(within("90s"), Ok(Duration::from_secs(90)));
        for wrong in ["0s", "2h", "soon"] {
            assert!(within(wrong).is_err(), "{wrong}");
        }
    }
}
