//! `apolo ca`: the cluster's authority.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Failure, output::say};
use crate::model::UnixMillis;
use crate::transport::{Authority, AuthorityError, LEAF_LIFETIME, Roll, Stage};

#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Make a cluster's authority: the key that nodes prove themselves by, and its certificate
    Create(Create),
    /// Replace the authority by a new one, step by step, without losing a connection
    Rotate(Rotate),
    /// Show which authorities are trusted, and where a rotation stands
    Status(Where),
}

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Whoever holds ca.key can join the cluster as any node: keep it as you keep the bot's token. In Kubernetes it is a Secret
that the pods mount. Nodes that shall not hold it join with a token: see `apolo token create --help`.

Examples:
  apolo ca create                        in /etc/apolo/ca, where `apolo join` looks
  apolo ca create --ca-dir ./ca
  kubectl create secret generic apolo-ca --from-file=ca/ca.crt --from-file=ca/ca.key")]
struct Create {
    #[command(flatten)]
    place: Where,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Run it three times, and after each time copy ca.crt and ca.key to every node that has them (or
update the Secret). Nodes see new files within 10 s; nodes that joined with a token ask for them
every 30 s.
  1  makes a new authority: ca.crt trusts both, the old one signs
  2  the new one signs; every node renews its certificate at once
  3  ca.crt trusts the new one alone
A step that comes too soon for nodes that have not seen the last one is refused, with the time that
is left: 5 minutes before step 2, a certificate's 24 hours before step 3, by the files' last change.
ca.next.key stays where it is; tokens to join with that were made before step 2 end with it.")]
struct Rotate {
    #[command(flatten)]
    place: Where,
    /// Do the next step although its time has not come: after a look at every node
    #[arg(long)]
    now: bool,
}

#[derive(clap::Args, Debug)]
struct Where {
    /// Where ca.crt and ca.key are; `create` makes the directory, and overwrites nothing in it
    #[arg(long, env = "APOLO_CA_DIR", default_value = "/etc/apolo/ca", value_name = "DIR")]
    ca_dir: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Create(Create { place: Where { ca_dir } }) => {
            create(ca_dir)?;
            say(format!(
                "made ca.crt and ca.key in {}; copy both to every node that is to sign, and `apolo token create` lets others in",
                ca_dir.display()
            ))
        }
        Command::Rotate(Rotate { place, now }) => rotate(&place.ca_dir, *now),
        Command::Status(Where { ca_dir }) => {
            let now = UnixMillis::now();
            let roll = Roll::look(ca_dir, now).map_err(|error| failed(&error))?;
            say(describe(&roll, now))
        }
    }
}

/// Makes an authority in `ca_dir`.
pub(super) fn create(ca_dir: &Path) -> Result<(), Failure> {
    Authority::create(ca_dir, UnixMillis::now()).map(drop).map_err(|error| failed(&error))
}

fn rotate(ca_dir: &Path, at_once: bool) -> Result<(), Failure> {
    let now = UnixMillis::now();
    let roll = Roll::look(ca_dir, now).map_err(|error| failed(&error))?;
    let wait = roll.wait(now);
    if !wait.is_zero() && !at_once {
        return Err(Failure::failed(format!("the next step is safe in {}", shown(wait))).help(format!(
            "{}. Run `apolo ca rotate` again then, or with --now once you have seen it on every node.",
            describe(&roll, now)
        )));
    }
    let roll = roll.step(ca_dir, now).map_err(|error| failed(&error))?;
    say(describe(&roll, now))
}

fn describe(roll: &Roll, now: UnixMillis) -> String {
    let wait = roll.wait(now);
    let next = if wait.is_zero() { "now".to_owned() } else { format!("in {}", shown(wait)) };
    match roll.stage {
        Stage::Single => {
            "one authority is trusted and signs; `apolo ca rotate` begins to replace it. If a rotation has just ended, \
             copy ca.crt to every node: the old authority is trusted until then"
                .to_owned()
        }
        Stage::Both => format!(
            "step 1 of 3 done: a new authority is trusted beside the old one, which signs. Copy ca.crt to every node; \
             the next step is safe {next}, once all trust both"
        ),
        Stage::Switched => format!(
            "step 2 of 3 done: the new authority signs. Copy ca.crt and ca.key to every node that signs; the next step \
             is safe {next}, when the last certificate of the old one is over ({} after the switch)",
            shown(LEAF_LIFETIME)
        ),
    }
}

fn shown(span: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(span.as_secs().max(1)))
}

fn failed(error: &AuthorityError) -> Failure {
    Failure::failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_rotation_stands_is_said_with_what_it_waits_for() {
        let roll = |stage| Roll { stage, since: UnixMillis(1_000_000) };
        let said = |stage, after: u64| {
            describe(
                &roll(stage),
                UnixMillis(1_000_000 + Duration::from_secs(after).as_millis() as u64),
            )
        };

        assert!(said(Stage::Both, 60).contains("safe in 4m"), "{}", said(Stage::Both, 60));
        assert!(said(Stage::Both, 300).contains("safe now"));
        assert!(said(Stage::Switched, 300).contains("safe in 1day"));
        assert!(said(Stage::Single, 0).contains("apolo ca rotate"));
    }
}
