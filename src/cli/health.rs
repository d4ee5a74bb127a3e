//! `apolo health`.

use crate::config::ClientFlags;
use crate::http::{HealthBody, Readiness};

use super::{Failure, client::Client, configure::configure, output::say};

#[derive(clap::Args, Debug)]
#[command(after_help = "\
For a container's health check, where there is neither a shell nor curl, and for scripts. It needs no token.

Examples:
  HEALTHCHECK CMD [\"apolo\", \"health\"]
  apolo health --ready && echo ready")]
pub(super) struct Arguments {
    /// Ask whether it is ready, and not only alive
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    flags: ClientFlags,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let client = Client::for_probes(&configure(arguments.flags)?).await?;
    if arguments.ready {
        let readiness: Readiness = client.probe("ready").await?;
        let failing: Vec<_> = readiness
            .conditions
            .iter()
            .filter(|condition| !condition.holds)
            .map(|condition| format!("{}: {}", condition.name, condition.detail))
            .collect();
        return match readiness.ready {
            true => say("ready"),
            false => Err(Failure::failed(format!("not ready: {}", failing.join("; ")))),
        };
    }
    let body: HealthBody = client.probe("health").await?;
    match body.stall {
        Some(stall) => Err(Failure::failed(format!("{} is not well: {stall}", body.node.name))),
        None => say("alive"),
    }
}
