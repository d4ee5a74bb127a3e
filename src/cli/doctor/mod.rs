//! `apolo doctor`.
//!
//! Looks at what a node needs before one is started, or beside one that runs, and says what to mend. It changes nothing
//! and sends the token to Discord alone.

mod discord;
mod machine;
mod network;

use serde::Serialize;

use crate::config::{Config, NodeFlags};

use super::{
    Failure,
    configure::configure,
    output::{say, say_json},
};

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Give it the flags and variables that the node is started with. It may run beside the node. Exit status 1 where a check
fails; a warning is none.

Examples:
  DISCORD_TOKEN=… apolo doctor
  apolo doctor --config /etc/apolo.toml --json
  kubectl exec apolo-bot-0 -- apolo doctor")]
pub(super) struct Arguments {
    /// Print the checks as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: NodeFlags,
}

/// What a check found.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Verdict {
    Ok,
    Warning,
    Failure,
    /// It could not be checked, which is no fault.
    Skipped,
}

/// A check, and what to do about it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn new(check: &'static str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { check, verdict, detail: detail.into(), fix: None }
    }

    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, detail)
    }

    fn warning(check: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..Self::new(check, Verdict::Warning, detail) }
    }

    fn failure(check: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..Self::new(check, Verdict::Failure, detail) }
    }

    fn skipped(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(check, Verdict::Skipped, detail)
    }
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let config = configure(arguments.flags)?;
    let mut findings = Vec::new();
    let mut tell = |found: Vec<Finding>| -> Result<(), Failure> {
        if !arguments.json {
            // As they come: some take seconds.
            found.iter().try_for_each(|finding| say(line(finding).trim_end()))?;
        }
        findings.extend(found);
        Ok(())
    };
    tell(machine::disk(&config).await)?;
    tell(vec![machine::udp_buffers(), machine::descriptors()])?;
    tell(network::ports(&config).await)?;
    tell(network::names(&config).await)?;
    tell(discord::checks(&config).await)?;
    if arguments.json {
        say_json(&findings)?;
    }
    let failed = findings.iter().filter(|found| found.verdict == Verdict::Failure).count();
    match failed {
        0 => Ok(()),
        1 => Err(Failure::failed("1 check failed")),
        count => Err(Failure::failed(format!("{count} checks failed"))),
    }
}

fn line(finding: &Finding) -> String {
    let mark = match finding.verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warn",
        Verdict::Failure => "FAIL",
        Verdict::Skipped => "-",
    };
    let mut text = format!("{mark:<5} {:<12} {}\n", finding.check, finding.detail);
    if let Some(fix) = &finding.fix {
        text.push_str(&format!("{:<18} fix: {fix}\n", ""));
    }
    text
}

/// The node that runs on this data directory, if one does.
async fn running(config: &Config) -> bool {
    match super::client::Client::for_probes(config).await {
        Ok(client) => client.probe::<crate::http::HealthBody>("health").await.is_ok(),
        Err(_) => false,
    }
}
