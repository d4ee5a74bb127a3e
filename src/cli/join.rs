//! `apolo join`.

use std::path::Path;

use super::{
    Failure,
    configure::{configure, warn},
    run::node,
    tether,
};
use crate::config::{Config, NodeFlags};
use crate::node::has_proof;

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Where other nodes may be: HOST[:PORT], port 7400 unless it says otherwise; this node may be among them
    #[arg(value_name = "PEER")]
    peer: Vec<String>,
    /// Go through with a change of --total-shards or --intents, although it drops every session and spends identifies
    #[arg(long)]
    reshard: bool,
    /// End as soon as this process does, which must be the parent: for `apolo dev`
    #[arg(long, hide = true, value_name = "PID")]
    end_with: Option<i32>,
    #[command(flatten)]
    flags: NodeFlags,
}

const EXAMPLES: &str = "\
Examples:
  apolo ca create --ca-dir /etc/apolo/ca            once, and copied to every node
  apolo join node-1 node-2 node-3 --expect 3        the same line on each of the three, at every start
  apolo join --discover dns:apolo.default.svc --expect 3
  apolo join node-1 --join-token-file join.token    without ca.key, by `apolo token create`

The nodes look for each other. If any is in a cluster, the others join that one; exactly --expect nodes that have no
data form a new one, once all of them see each other. A node that has lost its disk joins again as a new member.";

/// Where the authority is unless somebody says otherwise.
const CA_DIR: &str = "/etc/apolo/ca";

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { peer, reshard, end_with, mut flags } = arguments;
    if let Some(parent) = end_with {
        tether::end_with(parent)?;
    }
    if !peer.is_empty() {
        flags = flags.or("peers", peer.join(","));
    }
    let mut config = configure(flags)?;
    if config.peers.is_empty() && config.discover.is_none() && config.expect > 1 {
        return Err(Failure::usage("there is nobody to join: no PEER and no --discover was given")
            .help("Name the other nodes (`apolo join node-1 node-2 node-3 --expect 3`), or a DNS name under which all are found (`--discover dns:apolo`)."));
    }
    prove(&mut config)?;
    if config.expect > 1 && config.expect.is_multiple_of(2) {
        warn(&format!(
            "--expect {} is even: {} nodes survive no more losses than {}",
            config.expect,
            config.expect,
            config.expect - 1
        ));
    }
    node(config, reshard).await
}

/// Whether the node has anything to prove itself by: the authority, a certificate that it was given, or a token to be
/// given one.
fn prove(config: &mut Config) -> Result<(), Failure> {
    let usual = Path::new(CA_DIR);
    if config.ca_dir.is_none() && usual.is_dir() {
        config.ca_dir = Some(usual.to_owned());
    }
    let problem = match &config.ca_dir {
        Some(directory) if directory.is_dir() => return Ok(()),
        Some(directory) => {
            format!("the cluster's authority is not there: {} is no directory", directory.display())
        }
        None if config.join_token_file.is_some() => return somewhere_to_go(config),
        None if has_proof(&config.data_dir) => return Ok(()),
        None => format!(
            "this node has nothing to prove itself by: there is no authority (--ca-dir, usually {CA_DIR}) and no token (--join-token-file)"
        ),
    };
    Err(Failure::usage(problem).help("Make an authority with `apolo ca create --ca-dir DIR`, copy it to every node, and name it with --ca-dir or APOLO_CA_DIR. To join a cluster that runs without having its key, make a token on a member with `apolo token create`, put it into a file, and name that with --join-token-file or APOLO_JOIN_TOKEN_FILE."))
}

/// A token is shown to a member, and none was named.
fn somewhere_to_go(config: &Config) -> Result<(), Failure> {
    if !config.peers.is_empty() || config.discover.is_some() {
        return Ok(());
    }
    Err(Failure::usage("there is nobody to show the token to: no PEER and no --discover was given")
        .help("Name a member of the token's cluster: `apolo join node-1 --join-token-file FILE`."))
}
