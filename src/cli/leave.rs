//! `apolo leave`.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Failure, client::Client, configure::configure, output::say};
use crate::config::ClientFlags;

/// How long the others may take to take the shards over, and the process to end.
const WITHIN: Duration = Duration::from_secs(120);

/// Between two looks at whether the node is still there.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Scales a cluster down by the node that is asked: it hands its shards off and gives up the leadership, is removed from
the members, and its process ends with status 0. Wait for that before the next node leaves. What starts the process
again (Restart=always, a StatefulSet) must be told not to: a second start says that the node has left, and ends. To let
the node join again as a new one, delete what is in its data directory.

SIGTERM removes no member: use it for restarts. For a node that is dead there is `apolo remove`.

Examples:
  apolo leave --data-dir /var/lib/apolo
  kubectl exec apolo-2 -- apolo leave && kubectl scale statefulset apolo --replicas 2")]
pub(super) struct Arguments {
    #[command(flatten)]
    flags: ClientFlags,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let client = Client::new(&configure(arguments.flags)?)?;
    say(client.change(&["leave"]).await?.done)?;
    let deadline = Instant::now() + WITHIN;
    loop {
        let Ok(view) = client.view().await else { return say("it has left") };
        let drained = view.nodes.iter().any(|node| node.id == view.node.id && node.drains);
        if Instant::now() >= deadline {
            let message = format!("{} is still there", view.node.name);
            let help = if drained {
                "Its shards are still being handed off: `apolo shards` shows which."
            } else {
                "It takes its part again; its log says why it did not leave."
            };
            return Err(Failure::failed(message).help(help));
        }
        sleep(LOOK_EVERY).await;
    }
}
