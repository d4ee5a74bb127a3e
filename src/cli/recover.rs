//! `apolo recover`.

use std::fmt::Write as _;

use super::{Failure, configure::configure, output::say};
use crate::config::ClientFlags;
use crate::model::NodeId;
use crate::node::{RecoverFailure, RecoveryReport, recover};

#[derive(clap::Args, Debug)]
#[command(after_help = "\
For a cluster of which more than half of the voters are gone for good: nothing can be committed any more, and no shard
runs. While they can be started again, start them: nothing is lost then.

The node whose data directory this is becomes the only voter of the same cluster, in a new generation, with all that
its own log holds. What only the others had is lost: checkpoints (Discord sends those events again) and sessions (their
shards identify anew).

How to proceed:
  1. Stop every node that is left, and see that the lost ones can't start by themselves.
  2. Run `apolo recover` on each that is left. It changes nothing without the flag. Take the one with the highest term,
     and among those with one term the highest index.
  3. There: apolo recover --data-dir DIR --i-have-lost-quorum
  4. Start it with the command line that it always had. It leads, and resumes every shard.
  5. On every other node, delete what is in the data directory, and start it: it joins as a new one. One that is
     started with its old directory is refused, says so, and ends.")]
pub(super) struct Arguments {
    /// Go through with it: the other voters are gone for good
    #[arg(long)]
    i_have_lost_quorum: bool,
    #[command(flatten)]
    flags: ClientFlags,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let config = configure(arguments.flags)?;
    let before = recover(&config.data_dir, false).await?;
    say(describe(&before).trim_end())?;
    if !arguments.i_have_lost_quorum {
        return Err(Failure::usage("nothing was changed").help(
            "If the other voters are gone for good, and no survivor has a higher term and index, add \
             --i-have-lost-quorum. `apolo recover --help` says how to proceed.",
        ));
    }
    recover(&config.data_dir, true).await?;
    say(format_args!(
        "\nrecovered: generation {} begins. Start this node as always; empty the data directories of the others before \
         they start.",
        before.generation
    ))
}

fn describe(report: &RecoveryReport) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{} becomes the only voter of its cluster", shown(&report.node));
    let _ =
        writeln!(text, "  keeps     the log up to term {}, index {}", report.term, report.index);
    match report.committed {
        Some(committed) if committed < report.index => {
            let _ = writeln!(
                text,
                "            behind index {committed} it is not known here whether a quorum had it; it counts from \
                 here on"
            );
        }
        _ => {}
    }
    let _ = writeln!(
        text,
        "  keeps     the sessions of {} of {} shards, to be resumed",
        report.sessions, report.shards
    );
    let forgotten: Vec<_> = report.forgotten.iter().map(shown).collect();
    let _ = writeln!(text, "  forgets   {}", forgotten.join(", "));
    let _ = writeln!(text, "  loses     what only they had: later checkpoints and sessions");
    let _ = writeln!(
        text,
        "  begins    generation {}: every epoch is above all before",
        report.generation
    );
    text
}

fn shown((id, name): &(NodeId, Option<String>)) -> String {
    match name {
        Some(name) => format!("{name} ({id})"),
        None => id.to_string(),
    }
}

impl From<RecoverFailure> for Failure {
    fn from(failure: RecoverFailure) -> Self {
        match failure {
            RecoverFailure::NoDirectory { .. } => Self::usage(failure.to_string()),
            failure => Self::failed(failure.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_and_what_is_lost_is_said_before_anything_is_done() {
        let report = RecoveryReport {
            node: (NodeId(0xab), Some("node-1".to_owned())),
            term: 4,
            index: 120,
            committed: Some(118),
            generation: 2,
            forgotten: vec![(NodeId(0xac), Some("node-2".to_owned())), (NodeId(0xad), None)],
            shards: 16,
            sessions: 15,
        };

        let expected = "\
node-1 (00000000000000ab) becomes the only voter of its cluster
  keeps     the log up to term 4, index 120
            behind index 118 it is not known here whether a quorum had it; it counts from here on
  keeps     the sessions of 15 of 16 shards, to be resumed
  forgets   node-2 (00000000000000ac), 00000000000000ad
  loses     what only they had: later checkpoints and sessions
  begins    generation 2: every epoch is above all before
";
        assert_eq!(describe(&report), expected);
    }
}
