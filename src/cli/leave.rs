//! `apolo leave`.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Failure, client::Client, configure::configure, output::say};
use crate::config::{ClientFlags, Config};
use crate::node::has_left;

/// How long the others may take to take the shards over, and the process to end.
const WITHIN: Duration = Duration::from_secs(120);

/// Between two looks at whether the node is still there.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// So many questions in a row are without an answer where the node has ended.
const UNANSWERED_MAX: usize = 5;

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Scales a cluster down by the node that is asked: it hands its shards off and gives up the leadership, is removed from
the members, and its process ends with status 0. Wait for that before the next node leaves. What starts the process
again (Restart=always, a StatefulSet) must be told not to: a second start says that the node has left, and ends. To let
the node join again as a new one, delete what is in its data directory.

SIGTERM removes no member: use it for restarts. A pod that a StatefulSet has scaled away leaves by itself, if it may read the
StatefulSet (--kubernetes-api). For a node that is dead there is `apolo remove`.

Examples:
  apolo leave --data-dir /var/lib/apolo

  kubectl exec apolo-bot-3 -- apolo leave
  kubectl exec apolo-bot-0 -- apolo status                     once it names apolo-bot-3 no longer:
  kubectl scale statefulset apolo-bot --replicas=3")]
pub(super) struct Arguments {
    #[command(flatten)]
    flags: ClientFlags,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let config = configure(arguments.flags)?;
    let client = Client::new(&config)?;
    say(client.change(&["leave"]).await?.done)?;
    let deadline = Instant::now() + WITHIN;
    let mut unanswered = 0;
    loop {
        let view = match client.view().await {
            Ok(view) => view,
            Err(_) if unanswered < UNANSWERED_MAX => {
                unanswered += 1;
                sleep(LOOK_EVERY).await;
                continue;
            }
            Err(_) => return ended(&config),
        };
        unanswered = 0;
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

/// Of a node on this machine its data directory tells how it has ended.
fn ended(config: &Config) -> Result<(), Failure> {
    if config.endpoint.is_some() {
        return say("it has ended; `apolo status` on another node shows whether it is gone");
    }
    if has_left(&config.data_dir) {
        return say("it has left");
    }
    Err(Failure::failed("the node has ended before it had left").help(
        "It is a member still, and drained: start it again and run `apolo undrain`, or let it leave once more. If it \
         never comes back, run `apolo remove` on another node.",
    ))
}
