//! `apolo token`: tokens by which nodes without the authority's key join.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use super::{
    Failure,
    client::Client,
    configure::configure,
    output::{say, say_json, table},
};
use crate::config::ClientFlags;
use crate::http::{Changed, TokenCreated, TokenRequest, TokenRow};
use crate::model::{TokenId, UnixMillis};
use crate::state::TOKEN_LIFETIME_MAX;
use crate::transport::{JoinSecret, JoinToken};

#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Make a token that lets one node join, and print it
    Create(Create),
    /// Show the tokens that are on record, and who has used them
    List(List),
    /// Let nobody join with a token any more
    Revoke(Revoke),
}

#[derive(clap::Args, Debug)]
#[command(after_help = CREATE)]
struct Create {
    /// How long it may be used, at most 24h
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = lifetime)]
    ttl: Duration,
    /// Let only a node of this name use it; needed where the node was a member before
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    flags: ClientFlags,
}

const CREATE: &str = "\
Examples:
  apolo token create > join.token                 on a member; the token alone goes to stdout
  apolo join node-1 --join-token-file join.token  on the new node, which needs no ca.key

Whoever has the token can join the cluster once: hand it over as you would the bot's token. It
pins the cluster's authority, so the new node shows it to no one else. The new node makes its own
key, and a member that holds ca.key signs its certificate, now and whenever two thirds of its 24 h
are over.";

#[derive(clap::Args, Debug)]
struct List {
    /// Print what the API says, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: ClientFlags,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "\
A node that has joined with it stays a member: `apolo token list` shows which has.")]
struct Revoke {
    /// The token's second part, as `apolo token list` shows it
    #[arg(value_name = "ID")]
    id: TokenId,
    #[command(flatten)]
    flags: ClientFlags,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Create(arguments) => create(arguments).await,
        Command::List(List { json, flags }) => list(json, flags).await,
        Command::Revoke(Revoke { id, flags }) => {
            let client = Client::new(&configure(flags)?)?;
            let revoked: Changed = client.post(&format!("tokens/{id}/revoke"), &()).await?;
            say(revoked.done)
        }
    }
}

/// The secret is made here and printed here; the node learns its salted hash.
async fn create(Create { ttl, name, flags }: Create) -> Result<(), Failure> {
    let client = Client::new(&configure(flags)?)?;
    let (id, secret) = (TokenId(rand::random()), JoinSecret::create());
    let salt = rand::random();
    let lifetime_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    let hash = secret.salted(&salt);
    let request = TokenRequest { id, salt, hash, lifetime_ms, name: name.clone() };
    let created: TokenCreated = client.post("tokens", &request).await?;
    let pin = created.pin.parse();
    let pin = pin.map_err(|_| Failure::failed("the node answered what this version can't read"))?;
    let whom = name.map_or_else(|| "one node".to_owned(), |name| format!("the node {name:?}"));
    let ttl = humantime::format_duration(ttl);
    let _ = writeln!(
        io::stderr().lock(),
        "token {id} lets {whom} join within {ttl}; put it into a file there, and start it with\n  \
         apolo join PEER --join-token-file FILE"
    );
    say(JoinToken { id, secret, pin }.expose())
}

async fn list(json: bool, flags: ClientFlags) -> Result<(), Failure> {
    let rows: Vec<TokenRow> = Client::new(&configure(flags)?)?.get("tokens").await?;
    if json {
        return say_json(&rows);
    }
    let now = UnixMillis::now();
    say(table(&["id", "for", "state"], rows.iter().map(|row| describe(row, now))))
}

fn describe(row: &TokenRow, now: UnixMillis) -> Vec<String> {
    let span = |span: Duration| humantime::format_duration(Duration::from_secs(span.as_secs()));
    let state = match (&row.used_by, row.used_at) {
        (Some(node), at) => {
            format!("used by {node} {} ago", span(now.since(at.unwrap_or(now))))
        }
        (None, _) if row.expires_at <= now => "ended".to_owned(),
        (None, _) => format!("may be used for {}", span(row.expires_at.since(now))),
    };
    vec![row.id.clone(), row.name.clone().unwrap_or_else(|| "any node".to_owned()), state]
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let span =
        humantime::parse_duration(text).map_err(|error| format!("{error}; try 30m or 2h"))?;
    if span.is_zero() || span > TOKEN_LIFETIME_MAX {
        return Err("a token lives more than nothing and at most 24h".to_owned());
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_at_most_a_day() {
        assert_eq!(lifetime("24h"), Ok(TOKEN_LIFETIME_MAX));
        for wrong in ["0s", "24h 1s", "soon", ""] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_row_says_what_has_become_of_the_token() {
        let row = |expires_at, used: Option<(&str, u64)>| TokenRow {
            id: "0000beef".to_owned(),
            name: None,
            expires_at: UnixMillis(expires_at),
            used_by: used.map(|(node, _)| node.to_owned()),
            used_at: used.map(|(_, at)| UnixMillis(at)),
        };
        let state = |row| describe(&row, UnixMillis(100_000))[2].clone();

        assert_eq!(state(row(160_000, None)), "may be used for 1m");
        assert_eq!(state(row(100_000, None)), "ended");
        assert_eq!(state(row(90_000, Some(("apolo-3", 70_000)))), "used by apolo-3 30s ago");
    }
}
