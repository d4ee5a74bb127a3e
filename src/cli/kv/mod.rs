//! `apolo kv`: what the bot keeps in the cluster, from a shell.

mod lock;
mod show;

use std::{
    io::{self, Read as _},
    time::Duration,
};

use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;

use super::{Failure, client::Client, configure::configure, output::say};
use crate::config::ClientFlags;
use crate::http::{
    Expected, KvAsk, KvChanges, KvDone, KvRequest, KvRow, KvScore, KvText, ScoreChange,
};

/// More than a value may have, so that the node says what the limit is.
const STDIN_BYTES_MAX: u64 = 256 * 1024;

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  apolo kv put greeting 'hello there'             set a value, for good
  apolo kv put session/7 x --ttl 30m              set it for half an hour
  apolo kv get greeting                           the value alone, for scripts
  apolo kv put config - < config.json             a value from a file, at most 64 KiB
  apolo kv cas leader-note '' me                  set it if it is the empty value
  apolo kv incr commands/today --ttl 24h          count; the count begins anew after a day
  apolo kv list session/                          keys that begin with this
  apolo kv watch session/                         follow what changes
  apolo kv score xp ada 10; apolo kv top xp       a leaderboard
  apolo kv lock nightly -- ./backup.sh            run a job on one node alone

Reads see every write that was answered before, on whichever node; --local reads this node's copy,
which may be old. Over --endpoint all of this needs APOLO_API_TOKEN.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what a key holds
    Get(Get),
    /// Set a value
    Put(Put),
    /// Set a value if the key holds the expected one
    Cas(Cas),
    /// Remove a key, whatever it holds
    Delete(Delete),
    /// List keys that begin with a prefix
    List(List),
    /// Add to a counter, and print what it is then
    Incr(Incr),
    /// Follow what changes, line by line, until interrupted
    Watch(Watch),
    /// Run a command while holding a lock, so that it runs on one node at a time
    Lock(lock::Arguments),
    /// Change a member's score on a leaderboard
    Score(Score),
    /// Show the first members of a leaderboard
    Top(Top),
}

/// What all of them take.
#[derive(Args, Debug)]
struct Common {
    /// In which namespace the key is
    #[arg(short, long, default_value = "default", value_name = "NAME")]
    namespace: String,
    /// Print what the API says, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: ClientFlags,
}

#[derive(Args, Debug)]
struct Get {
    /// The key
    key: String,
    /// Read this node's copy, which may be old and needs no quorum
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Put {
    /// The key
    key: String,
    /// The value; `-` reads it from stdin
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// How long it lives, such as 90s or 12h; for good without it
    #[arg(long, value_name = "TIME", value_parser = span)]
    ttl: Option<Duration>,
    /// Only if there is no such key
    #[arg(long, conflicts_with = "if_revision")]
    if_absent: bool,
    /// Only if it was changed last at this revision
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Cas {
    /// The key
    key: String,
    /// What it must hold
    #[arg(allow_hyphen_values = true)]
    expected: String,
    /// The new value
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// How long the new value lives; for good without it
    #[arg(long, value_name = "TIME", value_parser = span)]
    ttl: Option<Duration>,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Delete {
    /// The key
    key: String,
    /// Only if it was changed last at this revision
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct List {
    /// With what the keys begin
    #[arg(default_value = "")]
    prefix: String,
    /// Only keys behind this one
    #[arg(long, value_name = "KEY")]
    after: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    limit: usize,
    /// Read this node's copy, which may be old and needs no quorum
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Incr {
    /// The key
    key: String,
    /// How much to add
    #[arg(default_value_t = 1, allow_negative_numbers = true)]
    by: i64,
    /// How long a counter lives that begins with this; one that is there keeps its end
    #[arg(long, value_name = "TIME", value_parser = span)]
    ttl: Option<Duration>,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Watch {
    /// With what the keys begin
    #[arg(default_value = "")]
    prefix: String,
    /// The first revision to show, as far back as changes are remembered; from now on without it
    #[arg(long, value_name = "REVISION")]
    from: Option<u64>,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Score {
    /// The leaderboard
    board: String,
    /// The member
    member: String,
    /// How much to add, or the score with --set
    #[arg(allow_negative_numbers = true, required_unless_present = "remove")]
    by: Option<i64>,
    /// Set the score instead of adding to it
    #[arg(long, conflicts_with = "remove")]
    set: bool,
    /// Take the member off
    #[arg(long, conflicts_with = "by")]
    remove: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Top {
    /// The leaderboard
    board: String,
    /// How many at most
    #[arg(long, default_value_t = 10, value_name = "COUNT")]
    limit: usize,
    /// Read this node's copy, which may be old and needs no quorum
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    common: Common,
}

/// A node, asked about one namespace.
#[derive(Debug)]
struct Asking {
    client: Client,
    namespace: String,
    json: bool,
}

impl Asking {
    fn new(common: Common) -> Result<Self, Failure> {
        let Common { namespace, json, flags } = common;
        Ok(Self { client: Client::new(&configure(flags)?)?, namespace, json })
    }

    async fn ask<T: DeserializeOwned>(&self, ask: KvAsk) -> Result<T, Failure> {
        self.client.post("kv", &KvRequest { namespace: self.namespace.clone(), ask }).await
    }

    async fn change(&self, ask: KvAsk) -> Result<KvDone, Failure> {
        self.ask(ask).await
    }
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Get(arguments) => get(arguments).await,
        Command::Put(arguments) => put(arguments).await,
        Command::Cas(Cas { key, expected, value, ttl, common }) => {
            let (value, expected) = (KvText::Text(value), Expected::Value(KvText::Text(expected)));
            let put = KvAsk::Put { key, value, ttl_ms: ttl.map(millis), expected };
            changed(common, put).await
        }
        Command::Delete(Delete { key, if_revision, common }) => {
            let expected = if_revision.map_or(Expected::Anything, Expected::Revision);
            changed(common, KvAsk::Delete { key, expected }).await
        }
        Command::List(List { prefix, after, limit, local, common }) => {
            let asking = Asking::new(common)?;
            let list = KvAsk::List { prefix, after, most: limit, local };
            let rows: Vec<KvRow> = asking.ask(list).await?;
            show::rows(&rows, asking.json)
        }
        Command::Incr(Incr { key, by, ttl, common }) => {
            changed(common, KvAsk::Increment { key, by, ttl_ms: ttl.map(millis) }).await
        }
        Command::Watch(arguments) => watch(arguments).await,
        Command::Lock(arguments) => lock::run(arguments).await,
        Command::Score(Score { board, member, by, set, remove, common }) => {
            let by = by.unwrap_or(0);
            let change = match (remove, set) {
                (true, _) => ScoreChange::Remove,
                (false, true) => ScoreChange::Set(by),
                (false, false) => ScoreChange::Add(by),
            };
            changed(common, KvAsk::Score { key: board, member, change }).await
        }
        Command::Top(Top { board, limit, local, common }) => {
            let asking = Asking::new(common)?;
            let top = KvAsk::Top { key: board, most: limit, local };
            let scores: Vec<KvScore> = asking.ask(top).await?;
            show::scores(&scores, asking.json)
        }
    }
}

async fn get(Get { key, local, common }: Get) -> Result<(), Failure> {
    let asking = Asking::new(common)?;
    let row: Option<KvRow> = asking.ask(KvAsk::Get { key: key.clone(), local }).await?;
    match row {
        Some(row) => show::row(&row, asking.json),
        None => Err(Failure::failed(format!("there is no key {key:?} in {:?}", asking.namespace))
            .help("`apolo kv list` shows which there are; -n names another namespace.")),
    }
}

async fn put(arguments: Put) -> Result<(), Failure> {
    let Put { key, value, ttl, if_absent, if_revision, common } = arguments;
    let value = if value == "-" { stdin()? } else { KvText::Text(value) };
    let expected = match if_revision {
        Some(revision) => Expected::Revision(revision),
        None if if_absent => Expected::Absent,
        None => Expected::Anything,
    };
    changed(common, KvAsk::Put { key, value, ttl_ms: ttl.map(millis), expected }).await
}

async fn changed(common: Common, ask: KvAsk) -> Result<(), Failure> {
    let asking = Asking::new(common)?;
    let done = asking.change(ask).await?;
    show::done(&done, asking.json)
}

async fn watch(Watch { prefix, from, common }: Watch) -> Result<(), Failure> {
    let asking = Asking::new(common)?;
    let mut from = from;
    loop {
        let watch = KvAsk::Watch { prefix: prefix.clone(), from };
        let KvChanges { next, changes } = asking.ask(watch).await?;
        for change in &changes {
            say(show::change(change, asking.json)?)?;
        }
        from = Some(next);
    }
}

fn stdin() -> Result<KvText, Failure> {
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(STDIN_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|error| Failure::failed(format!("can't read stdin: {error}")))?;
    Ok(KvText::of(&bytes))
}

/// As long as a time to live may be.
const SPAN_MAX: Duration = Duration::from_hours(10 * 365 * 24);

fn span(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(span) if span.is_zero() => Err("more than nothing is needed".to_owned()),
        Ok(span) if span > SPAN_MAX => Err("ten years are the most".to_owned()),
        Ok(span) => Ok(span),
        Err(error) => Err(format!("{error}; try 30s, 15m or 2h")),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis().max(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_more_than_nothing() {
        assert_eq!(span("1m 30s"), Ok(Duration::from_secs(90)));
        for wrong in ["0s", "", "soon"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
        assert_eq!(millis(Duration::from_micros(1)), 1);
    }
}
